//! The store that secrets are moving to: what `[store] moving_to` names.

use std::path::PathBuf;
use std::sync::Arc;

use strongroom_core::audit::{Actor, AuditLog};
use strongroom_core::migrate::Recorder;
use strongroom_core::{Error, Migrating, Result};

use crate::config::Config;
use crate::opened::Opened;
use crate::paths::real;

/// A source and a target that are served as one.
#[derive(Clone)]
pub(crate) struct Moving {
    pub(crate) target: Opened,
    pub(crate) stores: Arc<Migrating>,
}

impl Config {
    /// The same, while its secrets move to the store of the configuration at
    /// `path`.
    ///
    /// # Errors
    /// `Configuration` if they move somewhere else, or to where a connector's secret is.
    pub fn with_moving_to(mut self, path: PathBuf) -> Result<Self> {
        match self.moving_to() {
            Some(other) if real(&other)? != real(&path)? => {
                return Err(Error::configuration(format!(
                    "[store] moving_to says that the secrets move to {}, not to {}",
                    other.display(),
                    path.display()
                )));
            }
            _ => self.store.moving_to = Some(path),
        }
        self.without_circles()
    }

    /// The configuration of the store that secrets are moving to, if they are.
    ///
    /// # Errors
    /// As [`load`](Self::load), and `Configuration` if they cannot move there.
    pub fn target(&self) -> Result<Option<Self>> {
        let Some(path) = self.moving_to() else { return Ok(None) };
        let target = Self::load(&path)?;
        let refused = |why: &str| {
            let path = path.display();
            Err(Error::configuration(format!("secrets cannot move to the store of {path}: {why}")))
        };
        if target.scope.account != self.scope.account {
            return refused(&format!(
                "it holds account {}, and the source {}; a secret keeps its account",
                target.scope.account, self.scope.account
            ));
        }
        if !target.store.kind.is_embedded() {
            return refused("it is not an embedded store");
        }
        if target.store.moving_to.is_some() {
            return refused("its own secrets are moving: end that first");
        }
        if real(&target.store_path())? == real(&self.store_path())? {
            return refused("it is the store that they are in");
        }
        Ok(Some(target))
    }
}

impl Moving {
    /// `source` and `target` as one; the audit log of `source` is `log`. `old` may
    /// still be in use for the same two.
    pub(crate) fn new(
        source: &Opened,
        target: Opened,
        old: Option<&Self>,
        log: Option<&Arc<AuditLog>>,
        actor: &Arc<Actor>,
    ) -> Result<Self> {
        let mut stores = Migrating::new(Arc::clone(&source.store), Arc::clone(&target.store));
        if let Some(old) = old {
            stores = stores.taking_turns_with(&old.stores);
        }
        let moving = Self { target, stores: Arc::new(stores) };
        moving.open_logs(log, actor)?;
        Ok(moving)
    }

    /// Opens the target's audit log, also anew, and records from now on there and in
    /// `log`, the source's.
    pub(crate) fn open_logs(&self, log: Option<&Arc<AuditLog>>, actor: &Arc<Actor>) -> Result<()> {
        let target_log = self.target.audit()?;
        self.stores.set_logs(recorder(log, actor), recorder(target_log.as_ref(), actor));
        Ok(())
    }
}

fn recorder(log: Option<&Arc<AuditLog>>, actor: &Arc<Actor>) -> Option<Recorder> {
    log.map(|log| Recorder { log: Arc::clone(log), actor: Arc::clone(actor) })
}
