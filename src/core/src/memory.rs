//! The reference record store: everything in one ordered map. It keeps no
//! promise about power, and all the others.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::error::Result;
use crate::record::{Batch, PageLimit, RecordPage, RecordStore, Revision, Snapshot, Stored};

/// Records in memory, for tests and for programs that want no disk at all.
#[derive(Debug, Default)]
pub struct MemoryRecords {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<Vec<u8>, Stored>,
    last_revision: u64,
}

impl MemoryRecords {
    /// The longest value, in bytes: 64 MiB, as a guard against nonsense.
    pub const MAX_VALUE_BYTES: usize = 64 << 20;

    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl RecordStore for MemoryRecords {
    fn describe(&self) -> &'static str {
        "memory"
    }

    fn max_value_bytes(&self) -> usize {
        Self::MAX_VALUE_BYTES
    }

    fn max_batch_bytes(&self) -> usize {
        2 * Self::MAX_VALUE_BYTES
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Stored>> {
        Ok(self.state().entries.get(key).cloned())
    }

    async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: PageLimit,
    ) -> Result<RecordPage> {
        page(&self.state().entries, prefix, after, limit)
    }

    async fn commit(&self, batch: Batch) -> Result<()> {
        batch.check_limits(Self::MAX_VALUE_BYTES)?;
        let mut state = self.state();
        for (key, precondition) in &batch.preconditions {
            precondition.check(state.entries.get(key).map(|stored| stored.revision))?;
        }
        for (key, value) in batch.changes {
            state.last_revision += 1;
            let revision = Revision(state.last_revision);
            match value {
                Some(value) => drop(state.entries.insert(key, Stored { revision, value })),
                None => drop(state.entries.remove(&key)),
            }
        }
        Ok(())
    }

    /// A copy of everything.
    async fn snapshot(&self) -> Result<Option<Box<dyn Snapshot>>> {
        let entries = self.state().entries.clone();
        Ok(Some(Box::new(Copied(entries))))
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}

struct Copied(BTreeMap<Vec<u8>, Stored>);

#[async_trait]
impl Snapshot for Copied {
    async fn get(&self, key: &[u8]) -> Result<Option<Stored>> {
        Ok(self.0.get(key).cloned())
    }

    async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: PageLimit,
    ) -> Result<RecordPage> {
        page(&self.0, prefix, after, limit)
    }
}

fn page(
    entries: &BTreeMap<Vec<u8>, Stored>,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: PageLimit,
) -> Result<RecordPage> {
    let start = match after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    };
    let range = entries.range::<[u8], _>((start, Bound::Unbounded));
    let matching = range.take_while(|(key, _)| key.starts_with(prefix));
    RecordPage::collect(matching.map(|(key, stored)| Ok((key.clone(), stored.clone()))), limit)
}
