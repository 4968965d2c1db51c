# What moto 5.2.5 does otherwise than AWS, put right as the API reference of Secrets
# Manager says it, so that the suites meet AWS's rules.
import json, threading, time
from moto.secretsmanager import models as _models, responses as _responses
from moto.secretsmanager.exceptions import InvalidRequestException, SecretNotFoundException

_Backend, _Response = _models.SecretsManagerBackend, _responses.SecretsManagerResponse


def _corrected(owner, name):
    def put(correction):
        original = getattr(owner, name)
        setattr(owner, name, lambda self, *a, **k: correction(original, self, *a, **k))
    return put


# A call has its effect as a whole, and none sees another's half.
_turn = threading.RLock()


@_corrected(_Response, 'call_action')
def _(original, self):
    with _turn:
        return original(self)


# UpdateSecretVersionStage: the current version is the one that AWSCURRENT was moved to.
@_corrected(_Backend, 'update_secret_version_stage')
def _(original, self, secret_id, version_stage, remove_from_version_id, move_to_version_id):
    answer = original(self, secret_id, version_stage, remove_from_version_id, move_to_version_id)
    if version_stage == 'AWSCURRENT' and move_to_version_id:
        self.secrets[secret_id].set_default_version_id(move_to_version_id)
    return answer


def _refuse_deleted(backend, secret_id):
    if secret_id in backend.secrets and backend.secrets[secret_id].is_deleted():
        raise InvalidRequestException('the secret is scheduled for deletion')


# PutSecretValue, CreateSecret, TagResource, UntagResource and UpdateSecretVersionStage
# of a secret that is scheduled for deletion.
for _name in ['put_secret_value', 'create_secret', 'tag_resource', 'untag_resource']:
    @_corrected(_Response, _name)
    def _(original, self):
        _refuse_deleted(self.backend, self._get_param('SecretId') or self._get_param('Name'))
        return original(self)


# UpdateSecret: a description that is empty takes the place of one that was not.
@_corrected(_Backend, 'update_secret')
def _(original, self, secret_id, description=None, **rest):
    answer = original(self, secret_id, description=description, **rest)
    if description is not None:
        self.secrets[secret_id].description = description
    return answer


# DeleteSecret: DeletedDate is when that was, and not the end of the window.
@_corrected(_Backend, 'delete_secret')
def _(original, self, secret_id, recovery_window_in_days, force_delete_without_recovery):
    answer = original(self, secret_id, recovery_window_in_days, force_delete_without_recovery)
    if not force_delete_without_recovery:
        self.secrets[secret_id].delete(time.time())
    return answer


# ListSecretVersionIds: NotFound, pages, dates, and what IncludeDeprecated is for.
def _list_secret_version_ids(self):
    secret_id = self._get_param('SecretId')
    if secret_id not in self.backend.secrets:
        raise SecretNotFoundException()
    secret = self.backend.secrets[secret_id]
    deprecated = self._get_param('IncludeDeprecated', if_none=False)
    versions = [
        {'VersionId': id, 'VersionStages': of['version_stages'], 'CreatedDate': of['createdate']}
        for id, of in secret.versions.items() if of['version_stages'] or deprecated
    ]
    start = int(self._get_param('NextToken') or 0)
    end = start + (self._get_int_param('MaxResults') or 100)
    answer = {'ARN': secret.arn, 'Name': secret.name, 'Versions': versions[start:end]}
    if end < len(versions):
        answer['NextToken'] = str(end)
    return json.dumps(answer)


_Response.list_secret_version_ids = _list_secret_version_ids
