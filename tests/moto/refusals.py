"""What each call comes to: done, or the status and the code that it is refused with."""

import sys

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

key, role, wrong_id = sys.argv[1:]


def client(service, credentials=None, **config):
    credentials = dict(zip(("id", "secret", "token"), credentials or ()))
    return boto3.client(
        service,
        config=Config(retries={"total_max_attempts": 1}, **config),
        aws_access_key_id=credentials.get("id"),
        aws_secret_access_key=credentials.get("secret"),
        aws_session_token=credentials.get("token"),
    )


def outcome(what, call):
    try:
        call()
        print(f"{what}: done")
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        print(f"{what}: {status} {error.response['Error']['Code']}")


def of_three(what, *arguments, **config):
    outcome(f"kms, {what}", client("kms", *arguments, **config).list_keys)
    outcome(f"sts, {what}", client("sts", *arguments, **config).get_caller_identity)
    outcome(f"ec2, {what}", client("ec2", *arguments, **config).describe_regions)


def assume(**more):
    sts = client("sts")
    return sts.assume_role(RoleArn=role, RoleSessionName="test", **more)["Credentials"]


of_three("allowed")
of_three("unsigned", signature_version=UNSIGNED)
mine = boto3.Session().get_credentials()
of_three("wrong secret", (mine.access_key, "wrong"))
of_three("unknown", (wrong_id, "wrong"))
outcome("encrypt", lambda: client("kms").encrypt(KeyId=key, Plaintext=b"x"))
outcome("secret", lambda: client("secretsmanager").list_secrets())
outcome("user", lambda: client("iam").create_user(UserName="other"))

outcome("assume, without an external id", assume)
outcome("assume, wrong external id", lambda: assume(ExternalId="wrong"))
outcome("assume, right external id", lambda: assume(ExternalId="right"))
given = assume(ExternalId="right")
session = (given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])
outcome("session, encrypt", lambda: client("kms", session).encrypt(KeyId=key, Plaintext=b"x"))
outcome("session, list", lambda: client("kms", session).list_keys())
outcome("session, without its token", lambda: client("kms", session[:2]).list_keys())
outcome("session, wrong token", lambda: client("kms", (*session[:2], "x" * 50)).list_keys())
outcome("session, wrong secret", lambda: client("kms", (session[0], "x", session[2])).list_keys())
web = dict(RoleArn=role, RoleSessionName="test", WebIdentityToken="anything")
outcome("web identity", lambda: client("sts").assume_role_with_web_identity(**web))
