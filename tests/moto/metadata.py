"""What the instance metadata service answers, and who boto3 is with what it gives."""

import os
import urllib.error
import urllib.request

endpoint = os.environ["AWS_ENDPOINT_URL"]
TTL, TOKEN = "X-aws-ec2-metadata-token-ttl-seconds", "X-aws-ec2-metadata-token"
ROLES = "/latest/meta-data/iam/security-credentials/"


def ask(what, path, method="GET", **headers):
    request = urllib.request.Request(endpoint + path, method=method)
    for name, value in headers.items():
        request.add_header({"ttl": TTL, "token": TOKEN}[name], value)
    try:
        with urllib.request.urlopen(request) as answer:
            print(f"{what}: {answer.status} {answer.headers.get(TTL, '')}".rstrip())
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        print(f"{what}: {error.code}")


ask("no token", ROLES)
ask("wrong token", ROLES, token="wrong")
ask("role without a token", ROLES + "default-role")
ask("token without a time", "/latest/api/token", "PUT")
ask("token for too long", "/latest/api/token", "PUT", ttl="21601")
ask("token without PUT", "/latest/api/token", ttl="60")
token = ask("token", "/latest/api/token", "PUT", ttl="60")
print(ask("roles", ROLES, token=token))
ask("nothing", "/latest/meta-data/none", token=token)

# boto3 has no other credentials now.
del os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
os.environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = endpoint
import boto3

print(boto3.client("sts").get_caller_identity()["Arn"])
