//! `Get` and `BatchGet`.

use bytes::Bytes;
use strongroom::config::Verb;
use strongroom::{Engine, Error, Result, Secret, SecretBytes, SecretName, Select};
use strongroom_rpc::v1::batch_get_result;
use strongroom_rpc::{duration, kind_to_wire, timestamp, to_wire, v1};

use super::{MAX_BATCH, Service, select, too_many};
use crate::state::Session;

impl Service {
    pub(super) async fn read(&self, request: v1::GetRequest) -> Result<v1::GetResponse> {
        let session = self.session();
        let verb = Verb::Get;
        let (engine, name) = Self::admit(&session, verb, &request.scope, &request.name).await?;
        let select = select(&request.version).map_err(|e| e.during(verb.as_str()))?;
        if request.stored {
            let read = async move { engine.get_stored(&name, &select).await };
            let read = crate::offload::joined(self.shared.backend.spawn(read).await);
            return read.map(response);
        }
        let read = async move { engine.get(&name, &select).await };
        self.look_up(&session, read).await.map(response)
    }

    pub(super) async fn read_all(
        &self,
        request: v1::BatchGetRequest,
    ) -> Result<v1::BatchGetResponse> {
        let session = self.session();
        if request.requests.len() > MAX_BATCH {
            return Err(too_many("requests", request.requests.len()).during(Verb::Get.as_str()));
        }
        let count = request.requests.len();
        let mut groups: Vec<Group> = Vec::new();
        let mut results: Vec<Option<Result<Secret>>> = Vec::with_capacity(count);
        for (at, one) in request.requests.iter().enumerate() {
            let scope = if one.scope.is_empty() { &request.scope } else { &one.scope };
            let admitted = Self::admit_read(&session, &mut groups, scope, at, one).await;
            results.push(admitted.err().map(Err));
        }
        for Group { engine, wanted, places, .. } in groups {
            let read = async move { engine.get_all(&wanted).await };
            let found = self.look_up(&session, read).await?;
            for (place, secret) in places.into_iter().zip(found) {
                results[place] = Some(secret);
            }
        }
        let missing = || Err(Error::internal("fewer answers than were asked for"));
        let results = results.into_iter().map(|result| {
            let result = result.unwrap_or_else(missing);
            let result = match result {
                Ok(secret) => batch_get_result::Result::Secret(response(secret)),
                Err(error) => batch_get_result::Result::Error(to_wire(&error)),
            };
            v1::BatchGetResult { result: Some(result) }
        });
        Ok(v1::BatchGetResponse { results: results.collect() })
    }

    /// Puts a read that the rules allow into the last group, or into a new one if
    /// that is of another scope.
    async fn admit_read(
        session: &Session,
        groups: &mut Vec<Group>,
        scope: &str,
        at: usize,
        one: &v1::GetRequest,
    ) -> Result<()> {
        let operation = Verb::Get.as_str();
        if one.stored {
            let what = "a batch gives what references lead to: ask for what is stored with Get";
            return Err(Error::unsupported(what).during(operation));
        }
        if groups.last().is_none_or(|group| group.scope != scope) {
            let engine = session.engine_at(scope).map_err(|e| e.during(operation))?;
            let scope = scope.to_owned();
            groups.push(Group { scope, engine, wanted: Vec::new(), places: Vec::new() });
        }
        if let Some(group) = groups.last_mut() {
            let name = Self::admit_in(session, &group.engine, Verb::Get, &one.name).await?;
            let select = select(&one.version).map_err(|e| e.during(operation))?;
            group.wanted.push((name, select));
            group.places.push(at);
        }
        Ok(())
    }
}

/// What is read together: neighbours in a batch that name the same scope.
struct Group {
    scope: String,
    engine: Engine,
    wanted: Vec<(SecretName, Select)>,
    places: Vec<usize>,
}

/// A secret on its way out: the value stays in guarded memory until gRPC has
/// copied it into the connection's buffer.
fn response(secret: Secret) -> v1::GetResponse {
    v1::GetResponse {
        value: bytes_of(secret.value),
        version: secret.version.as_str().to_owned(),
        kind: kind_to_wire(secret.kind),
        created: Some(timestamp(secret.created)),
        age: (!secret.age.is_zero()).then(|| duration(secret.age)),
        stale: secret.stale,
    }
}

/// The value as gRPC takes it, without a copy.
pub(super) fn bytes_of(value: SecretBytes) -> Bytes {
    struct Owner(SecretBytes);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            self.0.expose()
        }
    }
    if value.is_empty() { Bytes::new() } else { Bytes::from_owner(Owner(value)) }
}
