//! [`Engine`]: what a program uses. It reads names as they are written in its
//! scope, lets nobody see a child's secrets, and writes the audit log before an
//! answer leaves.

use std::sync::Arc;

use strongroom_guard::SecretBytes;

use crate::audit::{Actor, AuditLog, Event};
use crate::error::{Error, Result};
use crate::name::{Scope, SecretName};
use crate::secret::{Listing, Secret, Version, VersionInfo};
use crate::store::{Capabilities, Page, PageRequest, PutOptions, SecretStore, Select};

/// A secret store as it is seen from one scope, by one actor. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Engine {
    store: Arc<dyn SecretStore>,
    scope: Scope,
    audit: Option<Arc<AuditLog>>,
    actor: Arc<Actor>,
}

impl Engine {
    /// `store` as seen from `scope`, without an audit log.
    #[must_use]
    pub fn new(store: Arc<dyn SecretStore>, scope: Scope) -> Self {
        Self { store, scope, audit: None, actor: Arc::default() }
    }

    /// Records every operation in `log`. An operation that cannot be recorded
    /// does not answer.
    #[must_use]
    pub fn with_audit(self, log: Arc<AuditLog>) -> Self {
        Self { audit: Some(log), ..self }
    }

    /// The same engine, acting for `actor`.
    #[must_use]
    pub fn acting_for(&self, actor: Actor) -> Self {
        Self { actor: Arc::new(actor), ..self.clone() }
    }

    /// The same engine, seen from another scope of the same account.
    pub fn at(&self, scope: Scope) -> Result<Self> {
        if scope.account_id() != self.scope.account_id() {
            return Err(Error::access_denied(format!(
                "this engine serves account {}, not {}",
                self.scope.account_id(),
                scope.account_id()
            )));
        }
        Ok(Self { scope, ..self.clone() })
    }

    /// Where names are read from.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The store behind this engine.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn SecretStore> {
        &self.store
    }

    /// The audit log, if there is one.
    #[must_use]
    pub fn audit(&self) -> Option<&Arc<AuditLog>> {
        self.audit.as_ref()
    }

    /// What the store can do.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    /// Writes a new version of the secret that is written `name` here.
    pub async fn put(
        &self,
        name: &str,
        value: &SecretBytes,
        options: &PutOptions,
    ) -> Result<VersionInfo> {
        let name = self.resolve("put", name)?;
        self.intend("put", &name)?;
        let result = self.store.put(&name, value, options).await;
        self.record("put", &name, result, |info| Some(info.version.clone()))
    }

    /// Reads a version of a secret.
    pub async fn get(&self, name: &str, select: &Select) -> Result<Secret> {
        let name = self.resolve("get", name)?;
        let result = self.store.get(&name, select).await;
        self.record("get", &name, result, |secret| Some(secret.version.clone()))
    }

    /// The versions of a secret, oldest first.
    pub async fn versions(&self, name: &str, page: &PageRequest) -> Result<Page<VersionInfo>> {
        let name = self.resolve("versions", name)?;
        let result = self.store.versions(&name, page).await;
        self.record("versions", &name, result, |_| None)
    }

    /// The secrets of exactly `scope`, which must be visible from here.
    pub async fn list(
        &self,
        scope: &Scope,
        include_deleted: bool,
        page: &PageRequest,
    ) -> Result<Page<Listing>> {
        let operation = "list";
        if !self.scope.sees(scope) {
            let denied = Error::access_denied(format!(
                "{} does not see the secrets of {scope}: a scope sees its own and its parents'",
                self.scope
            ));
            return Err(denied.during(operation));
        }
        let result = self.store.list(scope, include_deleted, page).await;
        let event = Event::done(operation, &self.actor).within(scope);
        self.append(&match &result {
            Ok(_) => event,
            Err(error) => event.failed(error.kind()),
        })?;
        result
    }

    /// Hides a secret until it is restored or its recovery window ends.
    pub async fn delete(&self, name: &str) -> Result<()> {
        let name = self.resolve("delete", name)?;
        self.intend("delete", &name)?;
        let result = self.store.delete(&name).await;
        self.record("delete", &name, result, |()| None)
    }

    /// Brings a deleted secret back.
    pub async fn restore(&self, name: &str) -> Result<()> {
        let name = self.resolve("restore", name)?;
        self.intend("restore", &name)?;
        let result = self.store.restore(&name).await;
        self.record("restore", &name, result, |()| None)
    }

    /// Removes every version of a secret for good.
    pub async fn purge(&self, name: &str) -> Result<()> {
        let name = self.resolve("purge", name)?;
        self.intend("purge", &name)?;
        let result = self.store.purge(&name).await;
        self.record("purge", &name, result, |()| None)
    }

    /// Proves that the store can be used; a line for each thing looked at.
    pub async fn check(&self) -> Result<Vec<String>> {
        self.store.check().await
    }

    fn resolve(&self, operation: &'static str, written: &str) -> Result<SecretName> {
        self.scope.resolve(written).map_err(|error| error.during(operation))
    }

    /// A change is announced before it is made: one that cannot be recorded
    /// does not happen.
    fn intend(&self, operation: &'static str, name: &SecretName) -> Result<()> {
        self.append(&Event::intent(operation, &self.actor).about(name))
    }

    fn record<T>(
        &self,
        operation: &'static str,
        name: &SecretName,
        result: Result<T>,
        version: impl Fn(&T) -> Option<Version>,
    ) -> Result<T> {
        let event = Event::done(operation, &self.actor).about(name);
        match &result {
            Ok(answer) => match version(answer) {
                Some(version) => self.append(&event.of_version(&version))?,
                None => self.append(&event)?,
            },
            Err(error) => self.append(&event.failed(error.kind()))?,
        }
        result
    }

    fn append(&self, event: &Event<'_>) -> Result<()> {
        self.audit.as_ref().map_or(Ok(()), |log| log.append(event))
    }
}
