"""Makes a role, and prints its ARN."""

import sys

import boto3

name, trust, policy = sys.argv[1:]
iam = boto3.client("iam")
role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]
iam.put_role_policy(RoleName=name, PolicyName="inline", PolicyDocument=policy)
print(role["Arn"])
