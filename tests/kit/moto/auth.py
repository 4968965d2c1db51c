"""Turns authentication on: after so many calls more, that is none."""

import os
import urllib.request

# As a form, which is urllib's default, moto does not read it.
url, headers = os.environ["AWS_ENDPOINT_URL"] + "/moto-api/reset-auth", {"Content-Type": "text/plain"}
urllib.request.urlopen(urllib.request.Request(url, b"0", headers)).read()
