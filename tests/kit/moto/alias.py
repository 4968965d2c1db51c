"""Makes a key for an alias that has none, or a new one."""

import sys

import boto3

alias, anew = sys.argv[1:]
kms = boto3.client("kms")
pages = kms.get_paginator("list_aliases").paginate()
names = [each["AliasName"] for page in pages for each in page["Aliases"]]
if alias not in names:
    kms.create_alias(AliasName=alias, TargetKeyId=kms.create_key()["KeyMetadata"]["KeyId"])
elif anew == "anew":
    kms.update_alias(AliasName=alias, TargetKeyId=kms.create_key()["KeyMetadata"]["KeyId"])
