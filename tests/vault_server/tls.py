"""Says how far clients get that know the server's CA or not, and have certificates in
the folder that is named.
"""

import os
import sys

import hvac
import requests

folder = sys.argv[1]
address = os.environ["VAULT_ADDR"]


def path(name):
    return os.path.join(folder, name)


with open(path("ca.pem")) as file:
    ca = file.read()
hvac.Client().auth.cert.create_ca_certificate_role("member", ca, token_policies=["member"])


def log_in(who, certificate):
    url = f"{address}/v1/auth/cert/login"
    answer = requests.post(url, verify=path("ca.pem"), cert=certificate).json()
    print(f"as {who}:", answer["auth"]["policies"] if "auth" in answer else answer["errors"][0])


try:
    requests.get(f"{address}/v1/sys/health")
except requests.exceptions.SSLError as error:
    print("without its CA:", type(error).__name__)
log_in("nobody", None)
log_in("a stranger", (path("stranger.pem"), path("stranger-key.pem")))
log_in("a client", (path("client.pem"), path("client-key.pem")))
