"""Writes into the folder that is named a server's certificate for 127.0.0.1 and a
client's, both by one CA, and those of a stranger by another.
"""

import os
import sys

os.umask(0o077)
os.makedirs(sys.argv[1], exist_ok=True)


def write(file, content):
    with open(os.path.join(sys.argv[1], file), "wb") as out:
        out.write(content)


def write_certificate(subject, issuer, issuer_key, extension):
    key = new_key()
    write(f"{subject}.pem", certificate(subject, key, issuer, issuer_key, extension))
    write(f"{subject}-key.pem", key_pem(key))


for ca, members in (
    ("ca", {"server": HERE, "client": IS_CLIENT}),
    ("other-ca", {"stranger": IS_CLIENT}),
):
    ca_key = new_key()
    write(f"{ca}.pem", certificate(ca, ca_key, ca, ca_key, IS_CA))
    for subject, extension in members.items():
        write_certificate(subject, ca, ca_key, extension)
