//! [`Engine`]: what a program uses. It reads names as they are written in its
//! scope, lets nobody see a child's secrets, and writes the audit log before an
//! answer leaves.

mod files;
mod metadata;
mod render;
#[cfg(test)]
mod tests;
mod upkeep;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use strongroom_guard::SecretBytes;

use crate::audit::{Actor, AuditLog, Event, Read};
use crate::context::CallerContext;
use crate::error::{Error, Result};
use crate::name::{Scope, SecretName};
use crate::secret::{Listing, Secret, Version, VersionInfo};
use crate::store::{Capabilities, Page, PageRequest, PutOptions, SecretStore, Select};

/// A secret's name, as operations take it: written as in the engine's scope, or
/// resolved beforehand.
pub trait Named: Send + Sync {
    /// The secret that is meant in `scope`.
    ///
    /// # Errors
    /// `InvalidName` if the name is not well-formed; `AccessDenied` if `scope`
    /// does not see the secret.
    fn resolve_in(&self, scope: &Scope) -> Result<Cow<'_, SecretName>>;
}

impl Named for str {
    fn resolve_in(&self, scope: &Scope) -> Result<Cow<'_, SecretName>> {
        scope.resolve(self).map(Cow::Owned)
    }
}

impl Named for String {
    fn resolve_in(&self, scope: &Scope) -> Result<Cow<'_, SecretName>> {
        self.as_str().resolve_in(scope)
    }
}

impl Named for SecretName {
    fn resolve_in(&self, scope: &Scope) -> Result<Cow<'_, SecretName>> {
        if scope.sees(self.scope()) {
            return Ok(Cow::Borrowed(self));
        }
        Err(Error::access_denied(format!(
            "{scope} does not see the secrets of {}: a scope sees its own and its parents'",
            self.scope()
        )))
    }
}

impl<N: Named + ?Sized> Named for &N {
    fn resolve_in(&self, scope: &Scope) -> Result<Cow<'_, SecretName>> {
        (**self).resolve_in(scope)
    }
}

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

    /// The same engine, acting for `actor`: one for each caller, which its
    /// requests clone.
    #[must_use]
    pub fn acting_for(&self, actor: impl Into<Arc<Actor>>) -> Self {
        Self { actor: actor.into(), ..self.clone() }
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

    /// The secret that is written `name` here: `account.NAME`, `org.NAME`, or
    /// `NAME` for a project.
    pub fn resolve(&self, name: &str) -> Result<SecretName> {
        self.scope.resolve(name)
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
        name: impl Named,
        value: &SecretBytes,
        options: &PutOptions,
    ) -> Result<VersionInfo> {
        let name = self.resolved("put", &name)?;
        self.intend("put", &name).await?;
        let result = self.store.put(&name, value, options).await;
        self.record("put", &name, result, |info| Some(&info.version)).await
    }

    /// Reads a version of a secret.
    pub async fn get(&self, name: impl Named, select: &Select) -> Result<Secret> {
        let name = self.resolved("get", &name)?;
        let result = self.store.get(&name, select).await;
        self.record("get", &name, result, |secret| Some(&secret.version)).await
    }

    /// Reads many secrets: an answer for each, in the order of `names`. What the
    /// store does not have at hand is read concurrently, and all are recorded
    /// together.
    ///
    /// # Errors
    /// An error of one is its own answer. The call fails, and gives nothing, if
    /// the audit log cannot be written.
    pub async fn get_all<N: Named>(&self, names: &[(N, Select)]) -> Result<Vec<Result<Secret>>> {
        let operation = "get";
        let resolved: Vec<_> =
            names.iter().map(|(name, _)| self.resolved(operation, name)).collect();
        let wanted = resolved.iter().zip(names);
        let wanted = wanted.filter_map(|(name, (_, select))| Some((name.as_deref().ok()?, select)));
        let wanted: Vec<_> = wanted.collect();
        let found = self.store.get_many(&wanted).await;
        if let Some(log) = &self.audit {
            let reads = resolved.iter().flatten().zip(&found).map(|(name, result)| Read {
                name,
                outcome: result.as_ref().map(|secret| &secret.version).map_err(Error::kind),
            });
            let reads: Vec<_> = reads.collect();
            let events: Vec<_> = Event::reads(operation, &self.actor, &reads).collect();
            log.record_all(&events).await?;
        }
        let mut found = found.into_iter();
        let missing = || Err(Error::internal("the store gave fewer answers than were asked"));
        let answer = |name: Result<_>| name.and_then(|_| found.next().unwrap_or_else(missing));
        Ok(resolved.into_iter().map(answer).collect())
    }

    /// Refuses an operation on the secret that is written `name` here, as rules
    /// outside of the engine want it: the refusal is recorded, and returned.
    pub async fn refuse(&self, operation: &'static str, name: impl Named) -> Error {
        let name = match self.resolved(operation, &name) {
            Ok(name) => name,
            Err(error) => return error,
        };
        let denied = Error::access_denied("the rules do not allow this caller to do that");
        let event = Event::done(operation, &self.actor).about(&name);
        self.refused(event, denied.during(operation).about(&name)).await
    }

    /// Records an operation that is done outside of the engine, such as a watch.
    pub async fn note(&self, operation: &'static str, name: impl Named) -> Result<()> {
        let name = self.resolved(operation, &name)?;
        self.append(&Event::done(operation, &self.actor).about(&name)).await
    }

    /// Records an operation on a whole scope, as [`note`](Self::note) does.
    pub async fn note_within(&self, operation: &'static str, scope: &Scope) -> Result<()> {
        self.append(&Event::done(operation, &self.actor).within(scope)).await
    }

    /// Refuses an operation on a whole scope, as [`refuse`](Self::refuse) does.
    pub async fn refuse_within(&self, operation: &'static str, scope: &Scope) -> Error {
        let denied = Error::access_denied("the rules do not allow this caller to do that");
        let event = Event::done(operation, &self.actor).within(scope);
        self.refused(event, denied.during(operation)).await
    }

    /// The versions of a secret, oldest first.
    pub async fn versions(
        &self,
        name: impl Named,
        page: &PageRequest,
    ) -> Result<Page<VersionInfo>> {
        let name = self.resolved("versions", &name)?;
        let result = self.store.versions(&name, page).await;
        self.record("versions", &name, result, |_| None).await
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
            let event = Event::done(operation, &self.actor).within(scope);
            return Err(self.refused(event, denied.during(operation)).await);
        }
        let result = self.store.list(scope, include_deleted, page).await;
        let event = Event::done(operation, &self.actor).within(scope);
        self.append(&match &result {
            Ok(_) => event,
            Err(error) => event.failed(error.kind()),
        })
        .await?;
        result
    }

    /// Hides a secret until it is restored or its recovery window ends.
    pub async fn delete(&self, name: impl Named) -> Result<()> {
        let name = self.resolved("delete", &name)?;
        self.intend("delete", &name).await?;
        let result = self.store.delete(&name).await;
        self.record("delete", &name, result, |()| None).await
    }

    /// Brings a deleted secret back.
    pub async fn restore(&self, name: impl Named) -> Result<()> {
        let name = self.resolved("restore", &name)?;
        self.intend("restore", &name).await?;
        let result = self.store.restore(&name).await;
        self.record("restore", &name, result, |()| None).await
    }

    /// Removes every version of a secret for good.
    pub async fn purge(&self, name: impl Named) -> Result<()> {
        let name = self.resolved("purge", &name)?;
        self.intend("purge", &name).await?;
        let result = self.store.purge(&name).await;
        self.record("purge", &name, result, |()| None).await
    }

    /// Encrypts `value` for a caller who keeps the bytes. They belong to the name
    /// that is written `name` here and to `pairs`; see [`CallerContext`] for what
    /// those may be.
    pub async fn seal(
        &self,
        name: impl Named,
        pairs: BTreeMap<String, String>,
        value: &SecretBytes,
    ) -> Result<Vec<u8>> {
        let context = self.caller_context("seal", &name, pairs)?;
        let result = self.store.seal(&context, value).await;
        self.record("seal", context.name(), result, |_| None).await
    }

    /// Decrypts what [`seal`](Self::seal) returned for the same name and pairs.
    pub async fn open(
        &self,
        name: impl Named,
        pairs: BTreeMap<String, String>,
        sealed: &[u8],
    ) -> Result<SecretBytes> {
        let context = self.caller_context("open", &name, pairs)?;
        let result = self.store.open(&context, sealed).await;
        self.record("open", context.name(), result, |_| None).await
    }

    /// Proves that the store can be used; a line for each thing looked at.
    pub async fn check(&self) -> Result<Vec<String>> {
        self.store.check().await
    }

    fn resolved<'a>(
        &self,
        operation: &'static str,
        name: &'a impl Named,
    ) -> Result<Cow<'a, SecretName>> {
        name.resolve_in(&self.scope).map_err(|error| error.during(operation))
    }

    fn caller_context(
        &self,
        operation: &'static str,
        name: &impl Named,
        pairs: BTreeMap<String, String>,
    ) -> Result<CallerContext> {
        let name = self.resolved(operation, name)?.into_owned();
        let place = |error: Error| error.during(operation).about(&name);
        CallerContext::new(name.clone(), pairs).map_err(place)
    }

    /// A change is announced before it is made: one that cannot be recorded
    /// does not happen.
    async fn intend(&self, operation: &'static str, name: &SecretName) -> Result<()> {
        self.append(&Event::intent(operation, &self.actor).about(name)).await
    }

    async fn record<T>(
        &self,
        operation: &'static str,
        name: &SecretName,
        result: Result<T>,
        version: impl Fn(&T) -> Option<&Version>,
    ) -> Result<T> {
        self.append(&self.done(operation, name, &result, version)).await?;
        result
    }

    fn done<'a, T>(
        &'a self,
        operation: &'static str,
        name: &'a SecretName,
        result: &'a Result<T>,
        version: impl Fn(&'a T) -> Option<&'a Version>,
    ) -> Event<'a> {
        let event = Event::done(operation, &self.actor).about(name);
        match result {
            Ok(answer) => match version(answer) {
                Some(version) => event.of_version(version),
                None => event,
            },
            Err(error) => event.failed(error.kind()),
        }
    }

    /// Records that `error` was the answer. What is returned is an error in any
    /// case.
    async fn refused(&self, event: Event<'_>, error: Error) -> Error {
        self.append(&event.failed(error.kind())).await.err().unwrap_or(error)
    }

    async fn append(&self, event: &Event<'_>) -> Result<()> {
        match &self.audit {
            Some(log) => log.record(event).await,
            None => Ok(()),
        }
    }
}
