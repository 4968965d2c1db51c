"""Makes a user with a policy, and prints its access key."""

import sys

import boto3

name, policy = sys.argv[1:]
iam = boto3.client("iam")
iam.create_user(UserName=name)
iam.put_user_policy(UserName=name, PolicyName="inline", PolicyDocument=policy)
key = iam.create_access_key(UserName=name)["AccessKey"]
print(key["AccessKeyId"], key["SecretAccessKey"])
