//! [`CachedKeys`]: unwrapped keys kept for a while in guarded memory, so that a
//! KMS is asked once for what is used often.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{BoxFuture, FutureExt, WeakShared};
use lru::LruCache;
use sha2::{Digest, Sha256};

use super::{Dek, KekVersion, KeyWrapper, WrappedDek};
use crate::clock::Clock;
use crate::context::EncryptionContext;
use crate::error::Result;

/// What one key takes, roughly: itself in guarded memory, its name and its
/// place in the table.
const KEY_COST_BYTES: usize = 256;

/// How long and how often an unwrapped key is used before the KMS is asked
/// again.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KeyCacheOptions {
    /// How long after it was unwrapped a key is used. A KEK that was disabled,
    /// or a permission that was taken away, is noticed after so long.
    pub ttl: Duration,
    /// How often a key is used.
    pub max_uses: u64,
    /// The most memory that keys take, in bytes; the key used longest ago gives
    /// way. Some 256 for each.
    pub max_bytes: usize,
}

impl Default for KeyCacheOptions {
    /// 5 minutes, 100,000 uses, 4 MiB.
    fn default() -> Self {
        Self { ttl: Duration::from_mins(5), max_uses: 100_000, max_bytes: 4 << 20 }
    }
}

/// What a key cache has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyCacheStats {
    /// Keys that were at hand.
    pub hits: u64,
    /// Keys that the KMS was asked for.
    pub misses: u64,
}

/// A [`KeyWrapper`] that remembers what it unwrapped and wrapped.
///
/// A key is found again by everything that the KMS would check: the KEK, its
/// version, the wrapped bytes and the encryption context. Other bytes or another
/// context never find it, and go to the KMS to be refused. Several who want the
/// same key at one time cause one call. An error is not remembered.
pub struct CachedKeys {
    inner: Arc<dyn KeyWrapper>,
    clock: Arc<dyn Clock>,
    options: KeyCacheOptions,
    table: Arc<Mutex<Table>>,
}

type Name = [u8; 32];
type Flight = BoxFuture<'static, Result<Arc<Dek>>>;

struct Table {
    keys: LruCache<Name, Entry>,
    flights: HashMap<Name, WeakShared<Flight>>,
    stats: KeyCacheStats,
}

struct Entry {
    dek: Arc<Dek>,
    expires: Duration,
    uses_left: u64,
}

impl CachedKeys {
    /// Keys of `inner`, kept by `options`.
    #[must_use]
    pub fn new(
        inner: Arc<dyn KeyWrapper>,
        options: KeyCacheOptions,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let most = NonZeroUsize::new(options.max_bytes / KEY_COST_BYTES);
        let keys = LruCache::new(most.unwrap_or(NonZeroUsize::MIN));
        let table = Table { keys, flights: HashMap::new(), stats: KeyCacheStats::default() };
        Self { inner, clock, options, table: Arc::new(Mutex::new(table)) }
    }

    /// What this cache has done.
    #[must_use]
    pub fn stats(&self) -> KeyCacheStats {
        lock(&self.table).stats
    }

    /// Forgets every key: the next use of each asks the KMS.
    pub fn clear(&self) {
        lock(&self.table).keys.clear();
    }

    fn keep(&self, name: Name, dek: &Dek) -> Result<()> {
        let entry = self.entry(Arc::new(dek.try_clone()?));
        lock(&self.table).keys.put(name, entry);
        Ok(())
    }

    fn entry(&self, dek: Arc<Dek>) -> Entry {
        let expires = self.clock.monotonic().saturating_add(self.options.ttl);
        Entry { dek, expires, uses_left: self.options.max_uses }
    }

    /// The key that is at hand, or the call that fetches it: one that goes on
    /// already, or a new one.
    fn find(
        &self,
        name: Name,
        wrapped: &WrappedDek<'_>,
        context: &EncryptionContext,
    ) -> std::result::Result<Arc<Dek>, futures_util::future::Shared<Flight>> {
        let now = self.clock.monotonic();
        let mut table = lock(&self.table);
        if let Some(entry) = table.keys.get_mut(&name)
            && entry.expires > now
            && entry.uses_left > 0
        {
            entry.uses_left -= 1;
            let dek = Arc::clone(&entry.dek);
            table.stats.hits += 1;
            return Ok(dek);
        }
        table.keys.pop(&name);
        if let Some(flight) = table.flights.get(&name).and_then(WeakShared::upgrade) {
            return Err(flight);
        }
        table.stats.misses += 1;
        let (inner, shared_table) = (Arc::clone(&self.inner), Arc::clone(&self.table));
        let (wrapped, context) = (wrapped.clone().into_owned(), context.clone());
        let (ttl, clock, max_uses) =
            (self.options.ttl, Arc::clone(&self.clock), self.options.max_uses);
        let flight: Flight = async move {
            // Its time counts from before the KMS was asked.
            let expires = clock.monotonic().saturating_add(ttl);
            let answer = inner.unwrap(&wrapped, &context).await.map(Arc::new);
            let mut table = lock(&shared_table);
            table.flights.remove(&name);
            if let Ok(dek) = &answer {
                let uses_left = max_uses.saturating_sub(1);
                table.keys.put(name, Entry { dek: Arc::clone(dek), expires, uses_left });
            }
            answer
        }
        .boxed();
        let flight = flight.shared();
        if let Some(weak) = flight.downgrade() {
            // A flight that all have left is dropped unfinished; what is left of
            // it here is removed with the next.
            table.flights.retain(|_, flight| flight.upgrade().is_some());
            table.flights.insert(name, weak);
        }
        Err(flight)
    }
}

#[async_trait]
impl KeyWrapper for CachedKeys {
    fn identity(&self) -> &str {
        self.inner.identity()
    }

    async fn wrap(&self, dek: &Dek, context: &EncryptionContext) -> Result<WrappedDek<'static>> {
        let wrapped = self.inner.wrap(dek, context).await?;
        self.keep(name(&wrapped, context), dek)?;
        Ok(wrapped)
    }

    async fn unwrap(&self, wrapped: &WrappedDek<'_>, context: &EncryptionContext) -> Result<Dek> {
        match self.find(name(wrapped, context), wrapped, context) {
            Ok(dek) => dek.try_clone(),
            Err(flight) => flight.await?.try_clone(),
        }
    }

    async fn generate(&self, context: &EncryptionContext) -> Result<(Dek, WrappedDek<'static>)> {
        let (dek, wrapped) = self.inner.generate(context).await?;
        self.keep(name(&wrapped, context), &dek)?;
        Ok((dek, wrapped))
    }

    /// Goes to the KMS, which may do it without giving the DEK away.
    async fn rewrap(
        &self,
        wrapped: &WrappedDek<'_>,
        context: &EncryptionContext,
    ) -> Result<WrappedDek<'static>> {
        self.inner.rewrap(wrapped, context).await
    }

    async fn current_version(&self) -> Result<String> {
        self.inner.current_version().await
    }

    async fn check(&self) -> Result<()> {
        self.inner.check().await
    }

    async fn rotate(&self, kek: &str) -> Result<String> {
        self.inner.rotate(kek).await
    }

    async fn versions(&self, kek: &str) -> Result<Vec<KekVersion>> {
        self.inner.versions(kek).await
    }

    async fn destroy_version(&self, kek: &str, version: &str) -> Result<()> {
        self.inner.destroy_version(kek, version).await?;
        self.clear();
        Ok(())
    }

    fn knows(&self, kek: &str) -> bool {
        self.inner.knows(kek)
    }
}

/// Everything that decides whether the KMS would unwrap, injectively: texts with
/// their lengths.
fn name(wrapped: &WrappedDek<'_>, context: &EncryptionContext) -> Name {
    let mut hash = Sha256::new();
    for part in
        [wrapped.kek.as_bytes(), wrapped.kek_version.as_bytes(), &wrapped.bytes, context.as_bytes()]
    {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for CachedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedKeys")
            .field("inner", &self.inner)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
