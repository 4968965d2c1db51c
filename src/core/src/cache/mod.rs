//! [`CachedStore`]: a secret store that remembers what another one answered.
//!
//! Values are kept encrypted in ordinary memory, under a key in guarded memory,
//! and opened for each reader anew. However many readers ask for one secret at
//! once, the backend is asked once; and once for all that a reader of many
//! misses. A write through this store is seen by every reader that begins after
//! it; a change made elsewhere after `ttl` at the latest.
//!
//! # While the backend does not answer
//! With `max_stale`, an expired entry is still given, marked, for so long: at
//! once if the backend is known to fail or to hang, else after `stale_wait`.
//! The call goes on in the background. Only failures that may pass
//! ([`Error::is_retryable`](crate::Error::is_retryable)) are bridged like this. Anything else is the
//! backend's word about the secret, such as `NotFound`, `AccessDenied`,
//! `Unauthenticated` or a key that was disabled: it is given to the reader and
//! evicts the entry at once, also one that had time to live.
//!
//! # What ends
//! A value that is good for a while only (`Secret::valid_for`, such as credentials
//! with a lease) is never given after its end, neither as fresh nor as stale.
//!
//! # After a fork
//! A child's cache key is wiped and its mutex may be held for ever: in a forked
//! child every call goes to the backend.

mod flight;
mod lookup;
mod many;
mod options;
mod sealed;
mod spawn;
mod table;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use strongroom_guard::{SecretBytes, fork_generation};

use self::lookup::Core;
pub use self::options::CacheOptions;
use self::sealed::{Sealer, Times};
pub use self::spawn::{Spawn, ThreadSpawn};
pub use self::table::CacheStats;
use self::table::{Content, Table};
use crate::clock::{Clock, Timestamp};
use crate::context::CallerContext;
use crate::error::{ErrorKind, Result};
use crate::file::{FileReader, FileSource};
use crate::metadata::{Metadata, MetadataChange};
use crate::name::{Scope, SecretName};
use crate::secret::{Listing, Secret, Version, VersionInfo};
use crate::store::{Capabilities, Page, PageRequest, PutOptions, SecretStore, Select};
use crate::upkeep::Upkeep;

/// A secret store that remembers what another one answered; see the
/// [module](self).
pub struct CachedStore {
    core: Arc<Core>,
}

/// What is known of the latest version of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntryStatus {
    /// The version that would be given.
    pub version: Version,
    /// How long ago the backend confirmed it.
    pub age: Duration,
    /// How long it will still be given as fresh.
    pub expires_in: Duration,
    /// When the backend confirmed it.
    pub last_success: Timestamp,
    /// Whether it is past its time to live.
    pub stale: bool,
}

impl CachedStore {
    /// Remembers what `inner` answers. `spawn` runs what goes on in the
    /// background.
    ///
    /// # Errors
    /// `Configuration` if the options make no sense; `LimitExceeded` if guarded
    /// memory has no room for the cache's key.
    pub fn new(
        inner: Arc<dyn SecretStore>,
        options: CacheOptions,
        clock: Arc<dyn Clock>,
        spawn: Arc<dyn Spawn>,
    ) -> Result<Self> {
        options.validate()?;
        let sealer = Sealer::new()?;
        let (generation, table) = (fork_generation(), Mutex::new(Table::new()));
        let core = Core { inner, options, clock, spawn, sealer, generation, table };
        Ok(Self { core: Arc::new(core) })
    }

    /// What is known of the latest version of `name`, without asking anybody.
    pub fn status(&self, name: &SecretName) -> Option<EntryStatus> {
        let now = self.core.clock.monotonic();
        let mut table = self.core.table()?;
        let Content::Value(sealed) = &table.peek(name, &Select::Latest)?.content else {
            return None;
        };
        let Times { confirmed, confirmed_at, expires, gone, .. } = sealed.times;
        (now < gone).then(|| EntryStatus {
            version: sealed.version.clone(),
            age: now.saturating_sub(confirmed),
            expires_in: expires.saturating_sub(now),
            last_success: confirmed_at,
            stale: now >= expires,
        })
    }

    /// Figures since this cache was made.
    pub fn stats(&self) -> CacheStats {
        self.core.table().map(|table| table.stats).unwrap_or_default()
    }

    /// Forgets everything about `name`: the next reader asks the backend.
    pub fn invalidate(&self, name: &SecretName) {
        self.core.forget(name);
    }

    /// Forgets everything.
    pub fn clear(&self) {
        if let Some(mut table) = self.core.table() {
            table.clear();
        }
    }

    /// Removes every entry that may not be given any more. The cache does so by
    /// itself too, at most once in each `ttl` and only while it is used.
    pub fn sweep(&self) {
        let now = self.core.clock.monotonic();
        if let Some(mut table) = self.core.table() {
            table.sweep(now);
        }
    }
}

impl fmt::Debug for CachedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Core { inner, options, .. } = &*self.core;
        let mut out = f.debug_struct("CachedStore");
        out.field("inner", inner).field("options", options).finish_non_exhaustive()
    }
}

#[async_trait]
impl SecretStore for CachedStore {
    fn describe(&self) -> &str {
        self.core.inner.describe()
    }

    /// What is moved is moved below the cache: it would go on with what it has.
    fn capabilities(&self) -> Capabilities {
        Capabilities { transfer: false, ..self.core.inner.capabilities() }
    }

    fn version_order(&self, version: &Version) -> Option<u64> {
        self.core.inner.version_order(version)
    }

    async fn put(
        &self,
        name: &SecretName,
        value: &SecretBytes,
        options: &PutOptions,
    ) -> Result<VersionInfo> {
        let _forget = self.core.forget_around(name);
        self.core.inner.put(name, value, options).await
    }

    async fn get(&self, name: &SecretName, select: &Select) -> Result<Secret> {
        self.core.get(name, select).await
    }

    async fn get_many(&self, wanted: &[(&SecretName, &Select)]) -> Vec<Result<Secret>> {
        self.core.get_many(wanted).await
    }

    /// Past the cache, which has what references lead to.
    async fn get_stored(&self, name: &SecretName, select: &Select) -> Result<Secret> {
        self.core.inner.get_stored(name, select).await
    }

    async fn put_file(
        &self,
        name: &SecretName,
        source: &mut dyn FileSource,
        options: &PutOptions,
    ) -> Result<VersionInfo> {
        let _forget = self.core.forget_around(name);
        self.core.inner.put_file(name, source, options).await
    }

    /// What is known as a value is given as one. Everything else goes past the
    /// cache: what has no bound in length has no place here.
    async fn get_file(&self, name: &SecretName, select: &Select) -> Result<FileReader> {
        let is_known =
            self.core.table().is_some_and(|mut table| table.peek(name, select).is_some());
        if is_known {
            match self.core.get(name, select).await {
                Err(error) if error.kind() == ErrorKind::LimitExceeded => {}
                answer => return answer.map(FileReader::from),
            }
        }
        self.core.inner.get_file(name, select).await
    }

    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        self.core.inner.versions(name, page).await
    }

    async fn list(
        &self,
        scope: &Scope,
        include_deleted: bool,
        page: &PageRequest,
    ) -> Result<Page<Listing>> {
        self.core.inner.list(scope, include_deleted, page).await
    }

    async fn names(&self, scope: Option<&Scope>, page: &PageRequest) -> Result<Page<SecretName>> {
        self.core.inner.names(scope, page).await
    }

    async fn change_metadata(
        &self,
        name: &SecretName,
        change: &MetadataChange,
    ) -> Result<Metadata> {
        self.core.inner.change_metadata(name, change).await
    }

    async fn delete(&self, name: &SecretName) -> Result<()> {
        let _forget = self.core.forget_around(name);
        self.core.inner.delete(name).await
    }

    async fn restore(&self, name: &SecretName) -> Result<()> {
        let _forget = self.core.forget_around(name);
        self.core.inner.restore(name).await
    }

    async fn purge(&self, name: &SecretName) -> Result<()> {
        let _forget = self.core.forget_around(name);
        self.core.inner.purge(name).await
    }

    async fn seal(&self, context: &CallerContext, value: &SecretBytes) -> Result<Vec<u8>> {
        self.core.inner.seal(context, value).await
    }

    async fn open(&self, context: &CallerContext, sealed: &[u8]) -> Result<SecretBytes> {
        self.core.inner.open(context, sealed).await
    }

    fn upkeep(&self) -> Option<&dyn Upkeep> {
        self.core.inner.upkeep()
    }

    async fn check(&self) -> Result<Vec<String>> {
        self.core.inner.check().await
    }
}
