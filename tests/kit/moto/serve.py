"""Serves moto on a free port, says which, and ends with its standard input.

Once authentication is on, refusals are as AWS puts them. Of itself moto 5.2 breaks
at an unsigned request, lets a call of AssumeRole without any ExternalId pass a
condition on it, and has one XML for all protocols. Its ciphertexts have no room for
the ids that it gives multi-Region keys, which are longer than those of AWS.
"""

import json
import os
import sys

from moto import settings
from moto.core.authorization import ActionAuthenticatorMixin as Auth
from moto.core.exceptions import _RESTError
from moto.iam.access_control import IAMRequest
from moto.iam.policy_conditions import TrustCondition
from moto.kms import utils as kms
from moto.server import ThreadedMotoServer
from werkzeug.exceptions import HTTPException

# They are not signed, and prove who they are by a token.
UNSIGNED = ("AssumeRoleWithWebIdentity", "AssumeRoleWithSAML")

# What the services that speak JSON call it.
JSON_CODES = {
    "AccessDenied": "AccessDeniedException",
    "IncompleteSignature": "IncompleteSignatureException",
    "InvalidClientTokenId": "UnrecognizedClientException",
    "MissingAuthenticationToken": "MissingAuthenticationTokenException",
    "SignatureDoesNotMatch": "InvalidSignatureException",
}


class Refused(HTTPException):
    def __init__(self, headers, code, message, status):
        if headers.get("X-Amz-Target"):
            self.code = 400
            body = json.dumps({"__type": JSON_CODES.get(code, code), "message": message})
        else:
            self.code = status
            error = f"<Code>{code}</Code><Message>{message}</Message>"
            if "/ec2/aws4_request" in headers.get("Authorization", ""):
                error = f"<Errors><Error>{error}</Error></Errors><RequestID>moto</RequestID>"
                body = f"<Response>{error}</Response>"
            else:
                error = f"<Error><Type>Sender</Type>{error}</Error><RequestId>moto</RequestId>"
                body = f"<ErrorResponse>{error}</ErrorResponse>"
        super().__init__(body)

    def get_body(self, *_):
        return self.description


LONGEST_ID = 40
kms.HEADER_LEN += LONGEST_ID - kms.KEY_ID_LEN
kms.CIPHERTEXT_HEADER_FORMAT = f">{LONGEST_ID}s{kms.IV_LEN}s{kms.TAG_LEN}s"
pack = kms._serialize_ciphertext_blob
unpack = kms._deserialize_ciphertext_blob
kms._serialize_ciphertext_blob = lambda ciphertext: pack(
    ciphertext._replace(key_id=ciphertext.key_id.ljust(LONGEST_ID))
)


def unpack_id(ciphertext_blob):
    ciphertext = unpack(ciphertext_blob)
    return ciphertext._replace(key_id=ciphertext.key_id.rstrip(" "))


kms._deserialize_ciphertext_blob = unpack_id

is_met = TrustCondition.verify_condition
authenticate = Auth._authenticate_and_authorize_action


def is_met_by_a_value(self, values):
    return (values or "sts:ExternalId" not in self.context_keys) and is_met(self, values)


def authenticate_or_refuse(self, kind, resource="*"):
    is_on = Auth.request_count >= settings.INITIAL_NO_AUTH_ACTION_COUNT
    # What is not signed goes to any service: moto knows them by the signature.
    if is_on and not self.headers.get("Authorization"):
        if self._get_action() in UNSIGNED:
            return
        raise Refused(self.headers, "MissingAuthenticationToken", "It is not signed.", 403)
    try:
        authenticate(self, kind, resource)
    except _RESTError as error:
        if kind is not IAMRequest:
            raise
        raise Refused(self.headers, error.error_type, error.message, error.code) from error
    except (KeyError, IndexError) as error:
        if kind is not IAMRequest:
            raise
        raise Refused(self.headers, "IncompleteSignature", "It is not signed in full.", 400) from error


TrustCondition.verify_condition = is_met_by_a_value
Auth._authenticate_and_authorize_action = authenticate_or_refuse

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
os._exit(0)
