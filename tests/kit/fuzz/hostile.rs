//! What the targets of whole stores share: records that are asked so many times
//! at most, a KEK that remembers, and secrets whose values are known.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use strongroom_core::memory::MemoryRecords;
use strongroom_core::record::{RecordPage, Snapshot, Stored};
use strongroom_core::{
    Batch, Dek, EncryptionContext, EnvelopeOptions, EnvelopeStore, KeyWrapper, Kind, PageLimit,
    PutOptions, RecordStore, Result, SecretName, SecretStore, WrappedDek,
};
use strongroom_local::kek::LocalKek;

use crate::block_on;

/// What one input may cost, in calls, entries and changes: what goes on for ever
/// is a finding, and no time is measured.
const MOST_CALLS: usize = 50_000;

pub(super) const ACCOUNT: &str = "acme";

/// The entries of a record store.
pub(super) type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// Records in memory that end who asks without end.
#[derive(Debug)]
pub(super) struct Bounded {
    inner: MemoryRecords,
    left: AtomicUsize,
}

impl Bounded {
    pub(super) fn new(entries: &Entries) -> Arc<Self> {
        let inner = MemoryRecords::new();
        let entries = entries.iter().map(|(key, value)| (key.clone(), value.clone()));
        let batch = entries.fold(Batch::new(), |batch, (key, value)| batch.write(key, value));
        block_on(inner.commit(batch)).expect("entries within the limits");
        Arc::new(Self { inner, left: AtomicUsize::new(MOST_CALLS) })
    }

    /// Everything that is there.
    pub(super) fn entries(&self) -> Entries {
        let page = block_on(self.inner.scan(b"", None, PageLimit::entries(usize::MAX)));
        let entries = page.expect("a page").entries.into_iter();
        entries.map(|(key, stored)| (key, stored.value)).collect()
    }

    fn spend(&self, calls: usize) {
        let left = self.left.load(Ordering::Relaxed).checked_sub(calls);
        self.left.store(left.expect("it does not come to an end"), Ordering::Relaxed);
    }
}

#[async_trait]
impl RecordStore for Bounded {
    fn describe(&self) -> &str {
        self.inner.describe()
    }

    fn max_value_bytes(&self) -> usize {
        self.inner.max_value_bytes()
    }

    fn max_batch_bytes(&self) -> usize {
        self.inner.max_batch_bytes()
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Stored>> {
        self.spend(1);
        self.inner.get(key).await
    }

    async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: PageLimit,
    ) -> Result<RecordPage> {
        let page = self.inner.scan(prefix, after, limit).await?;
        self.spend(1 + page.entries.len());
        Ok(page)
    }

    async fn commit(&self, batch: Batch) -> Result<()> {
        self.spend(1 + batch.changes.len());
        self.inner.commit(batch).await
    }

    async fn snapshot(&self) -> Result<Option<Box<dyn Snapshot>>> {
        self.inner.snapshot().await
    }

    async fn check(&self) -> Result<()> {
        self.inner.check().await
    }
}

/// A KEK that remembers what the first DEK was wrapped for: the store's own key,
/// of which a store makes everything that is not a secret's.
#[derive(Debug)]
pub(super) struct Kek {
    inner: LocalKek,
    first: OnceLock<EncryptionContext>,
}

impl Kek {
    pub(super) fn new() -> Arc<Self> {
        let inner = LocalKek::in_memory().expect("a KEK");
        Arc::new(Self { inner, first: OnceLock::new() })
    }

    pub(super) fn first(&self) -> &EncryptionContext {
        self.first.get().expect("a store was made")
    }
}

#[async_trait]
impl KeyWrapper for Kek {
    fn identity(&self) -> &str {
        self.inner.identity()
    }

    async fn wrap(&self, dek: &Dek, context: &EncryptionContext) -> Result<WrappedDek<'static>> {
        self.first.get_or_init(|| context.clone());
        self.inner.wrap(dek, context).await
    }

    async fn unwrap(&self, wrapped: &WrappedDek<'_>, context: &EncryptionContext) -> Result<Dek> {
        self.inner.unwrap(wrapped, context).await
    }

    async fn current_version(&self) -> Result<String> {
        self.inner.current_version().await
    }

    async fn check(&self) -> Result<()> {
        self.inner.check().await
    }
}

/// A store of which everything but the shortest files stands in segments.
pub(super) fn create(records: Arc<Bounded>, kek: Arc<Kek>) -> EnvelopeStore {
    let options = EnvelopeOptions { max_value_bytes: 16, ..EnvelopeOptions::default() };
    block_on(EnvelopeStore::create(records, kek, ACCOUNT, options)).expect("a store")
}

/// The same, where longer ones are values too.
pub(super) fn open(records: &Arc<Bounded>, kek: &Arc<Kek>) -> Result<EnvelopeStore> {
    let options = EnvelopeOptions { max_value_bytes: 100_000, ..EnvelopeOptions::default() };
    block_on(EnvelopeStore::open(records.clone(), kek.clone(), ACCOUNT, options))
}

pub(super) fn name(id: &str) -> SecretName {
    SecretName::new(ACCOUNT.parse().expect("a scope"), id).expect("a name")
}

pub(super) fn put(store: &EnvelopeStore, name: &SecretName, mut file: &[u8]) {
    let options = PutOptions { kind: Kind::File, ..PutOptions::default() };
    block_on(store.put_file(name, &mut file, &options)).expect("a put");
}
