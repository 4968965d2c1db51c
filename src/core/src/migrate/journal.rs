//! The audit logs of the two stores: each says what became of its own secrets.

use std::sync::{Arc, PoisonError, RwLock};

use crate::audit::{Actor, AuditLog, Event};
use crate::error::{Error, Result};
use crate::name::SecretName;
use crate::secret::Version;

/// Where what happens in one of the stores is recorded, and who does it.
#[derive(Clone, Debug)]
pub struct Recorder {
    /// The store's log.
    pub log: Arc<AuditLog>,
    /// Who migrates.
    pub actor: Arc<Actor>,
}

/// Records in the log of one of the stores, if it has one.
#[derive(Debug, Default)]
pub(super) struct Journal(RwLock<Option<Recorder>>);

impl Journal {
    pub(super) fn set(&self, recorder: Option<Recorder>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = recorder;
    }

    fn recorder(&self) -> Option<Recorder> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is about to happen: it does not, if that cannot be recorded.
    pub(super) async fn intend(&self, operation: &'static str, name: &SecretName) -> Result<()> {
        let Some(Recorder { log, actor }) = self.recorder() else { return Ok(()) };
        log.record(&Event::intent(operation, &actor).about(name)).await
    }

    /// What came of it, which is returned.
    pub(super) async fn done<T>(
        &self,
        operation: &'static str,
        name: &SecretName,
        result: Result<T>,
        version: Option<&Version>,
    ) -> Result<T> {
        if let Some(Recorder { log, actor }) = self.recorder() {
            let event = Event::done(operation, &actor).about(name);
            let event = match &result {
                Ok(_) => match version {
                    Some(version) => event.of_version(version),
                    None => event,
                },
                Err(error) => event.failed(Error::kind(error)),
            };
            log.record(&event).await?;
        }
        result
    }
}
