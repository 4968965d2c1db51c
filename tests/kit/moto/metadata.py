# The instance metadata service, in its second version alone (EC2 User Guide, "Use the
# Instance Metadata Service"): who asks puts a token first. moto wants none, and gives
# credentials that are nobody's; here they are a session of the role that is named.
import datetime, secrets
from urllib.parse import urlparse
from moto.core import DEFAULT_ACCOUNT_ID
from moto.instance_metadata.responses import INSTANCE_METADATA, InstanceMetadataResponse
from moto.sts.models import sts_backends

_TTL, _TOKEN = 'X-aws-ec2-metadata-token-ttl-seconds', 'X-aws-ec2-metadata-token'
_LONGEST_TTL = 21600
_ROLE = 'default-role'
_tokens = {}
_as_moto = InstanceMetadataResponse.metadata_response


def _metadata(request, full_url, headers):
    path = urlparse(full_url).path
    if path == '/latest/api/token':
        return _new_token(request)
    if _tokens.get(request.headers.get(_TOKEN), 0) <= time.monotonic():
        return 401, {}, ''
    if path == '/latest/meta-data/iam/security-credentials/' + _ROLE:
        return 200, {}, json.dumps(_session())
    try:
        return _as_moto(request, full_url, headers)
    except NotImplementedError:
        return 404, {}, ''


def _new_token(request):
    ttl = request.headers.get(_TTL, '')
    if request.method != 'PUT' or not ttl.isdigit() or not 1 <= int(ttl) <= _LONGEST_TTL:
        return 400, {}, ''
    token = secrets.token_urlsafe(40)
    _tokens[token] = time.monotonic() + int(ttl)
    return 200, {_TTL: ttl}, token


def _session():
    session = sts_backends[DEFAULT_ACCOUNT_ID]['aws'].assume_role(
        region_name=INSTANCE_METADATA['placement/region'],
        role_session_name=INSTANCE_METADATA['instance-id'],
        role_arn=f'arn:aws:iam::{DEFAULT_ACCOUNT_ID}:role/{_ROLE}',
        policy=None,
        duration=6 * 3600,
        external_id=None,
    )
    now = datetime.datetime.now(datetime.timezone.utc)
    return {
        'Code': 'Success',
        'LastUpdated': now.strftime('%Y-%m-%dT%H:%M:%SZ'),
        'Type': 'AWS-HMAC',
        'AccessKeyId': session.access_key_id,
        'SecretAccessKey': session.secret_access_key,
        'Token': session.session_token,
        'Expiration': session.expiration.strftime('%Y-%m-%dT%H:%M:%SZ'),
    }


InstanceMetadataResponse.metadata_response = staticmethod(_metadata)
