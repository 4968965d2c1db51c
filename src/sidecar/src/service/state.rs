//! `Status` and `Check`.

use std::sync::PoisonError;

use strongroom::config::Verb;
use strongroom::{Result, SecretName};
use strongroom_rpc::{duration, timestamp, to_wire, v1};

use super::{MAX_BATCH, Service, too_many};
use crate::state::Session;

impl Service {
    pub(super) async fn tell_status(
        &self,
        request: v1::StatusRequest,
    ) -> Result<v1::StatusResponse> {
        let session = self.session();
        let operation = Verb::Status.as_str();
        if !session.is_known() {
            let scope = session.engine.scope().clone();
            return Err(session.engine.refuse_within(operation, &scope).await);
        }
        if request.names.len() > MAX_BATCH {
            return Err(too_many("names", request.names.len()).during(operation));
        }
        let mut secrets = Vec::with_capacity(request.names.len());
        for name in &request.names {
            let admitted = Self::admit(&session, Verb::Status, &request.scope, name).await;
            secrets.push(match admitted {
                Ok((_, name)) => cached(&session, &name),
                Err(error) => v1::SecretStatus {
                    name: name.clone(),
                    error: Some(to_wire(&error)),
                    ..v1::SecretStatus::default()
                },
            });
        }
        let (shared, current) = (&self.shared, &session.current);
        let can = session.engine.capabilities();
        let reload_error = shared.reload_error.read().unwrap_or_else(PoisonError::into_inner);
        Ok(v1::StatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: Some(timestamp(shared.started)),
            scope: session.engine.scope().to_string(),
            store: session.engine.store().describe().to_owned(),
            cache: current.cache.as_ref().map(|cache| {
                let stats = cache.stats();
                v1::CacheStatus {
                    hits: stats.hits,
                    misses: stats.misses,
                    stale: stats.stale,
                    flights: stats.flights,
                    entries: stats.entries as u64,
                    bytes: stats.bytes as u64,
                }
            }),
            secrets,
            configured: Some(timestamp(current.configured)),
            reload_error: reload_error.clone().unwrap_or_default(),
            connections: u32::try_from(shared.usage.connections()).unwrap_or(u32::MAX),
            requests_in_flight: u32::try_from(shared.usage.requests()).unwrap_or(u32::MAX),
            capabilities: Some(v1::Capabilities {
                write: can.write,
                versions: can.versions,
                compare_and_swap: can.compare_and_swap,
                soft_delete: can.soft_delete,
                restore: can.restore,
                purge: can.purge,
                list: can.list,
                seal: can.seal,
                metadata: can.metadata,
                references: can.references,
                max_value_bytes: can.max_value_bytes as u64,
                max_file_bytes: can.max_file_bytes,
            }),
        })
    }

    pub(super) async fn check_store(&self) -> Result<v1::CheckResponse> {
        let session = self.session();
        if !session.is_known() {
            let scope = session.engine.scope().clone();
            return Err(session.engine.refuse_within("check", &scope).await);
        }
        let checked = session.engine.check().await?;
        Ok(v1::CheckResponse { checked })
    }
}

fn cached(session: &Session, name: &SecretName) -> v1::SecretStatus {
    let known = session.current.cache.as_ref().and_then(|cache| cache.status(name));
    let told = v1::SecretStatus { name: name.to_string(), ..v1::SecretStatus::default() };
    let Some(known) = known else { return told };
    v1::SecretStatus {
        cached: true,
        version: known.version.to_string(),
        last_success: Some(timestamp(known.last_success)),
        age: Some(duration(known.age)),
        expires_in: Some(duration(known.expires_in)),
        stale: known.stale,
        ..told
    }
}
