//! The seam to what persists records: [`RecordStore`] keeps bytes under
//! ordered keys and never sees plaintext.

use std::fmt;

use async_trait::async_trait;

use crate::error::{Error, Result};

/// The longest key that every record store takes, in bytes.
pub const MAX_KEY_BYTES: usize = 1024;

/// A number that changes with every write of a key; opaque but for equality.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// A stored value and the revision that it has.
#[derive(Clone, PartialEq, Eq)]
pub struct Stored {
    /// Changes with every write of this key.
    pub revision: Revision,
    /// The bytes as they were committed.
    pub value: Vec<u8>,
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stored({:?}, {} bytes)", self.revision, self.value.len())
    }
}

/// How long a page of a scan may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageLimit {
    /// The most entries, at least one.
    pub entries: usize,
    /// A page ends with the entry that brings its keys and values to so many
    /// bytes, so that a reader's memory stays bounded whatever the values are.
    pub bytes: usize,
}

impl PageLimit {
    /// So many entries, however long they are.
    #[must_use]
    pub const fn entries(entries: usize) -> Self {
        Self { entries, bytes: usize::MAX }
    }
}

/// What a scan found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordPage {
    /// Keys and values, in the order of the keys.
    pub entries: Vec<(Vec<u8>, Stored)>,
    /// Whether there may be more after the last of them.
    pub more: bool,
}

impl RecordPage {
    /// Takes `entries` until `limit` is reached. For implementations of
    /// [`RecordStore`].
    pub fn collect<E>(
        entries: impl IntoIterator<Item = std::result::Result<(Vec<u8>, Stored), E>>,
        limit: PageLimit,
    ) -> std::result::Result<Self, E> {
        let (mut page, mut bytes) = (Self::default(), 0_usize);
        for entry in entries {
            let (key, stored) = entry?;
            bytes = bytes.saturating_add(key.len()).saturating_add(stored.value.len());
            page.entries.push((key, stored));
            page.more = page.entries.len() >= limit.entries || bytes >= limit.bytes;
            if page.more {
                break;
            }
        }
        Ok(page)
    }
}

/// What must hold for a batch to be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// The key has no value.
    Absent,
    /// The key has the value that was written as this revision.
    At(Revision),
}

impl Precondition {
    /// Compares with the revision that the key has; `Conflict` when it differs.
    /// For implementations of [`RecordStore`].
    pub fn check(self, current: Option<Revision>) -> Result<()> {
        let holds = match self {
            Self::Absent => current.is_none(),
            Self::At(revision) => current == Some(revision),
        };
        if holds {
            Ok(())
        } else {
            Err(Error::conflict("somebody else changed this record meanwhile"))
        }
    }
}

/// Writes and deletes that happen together or not at all.
#[derive(Clone, Default)]
pub struct Batch {
    /// What must hold, key by key.
    pub preconditions: Vec<(Vec<u8>, Precondition)>,
    /// The writes (`Some`) and deletes (`None`), in order; of several for one
    /// key, the last counts.
    pub changes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Batch {
    /// A batch that changes nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Demands that `key` meets `precondition`.
    #[must_use]
    pub fn require(mut self, key: Vec<u8>, precondition: Precondition) -> Self {
        self.preconditions.push((key, precondition));
        self
    }

    /// Writes `value` under `key`.
    #[must_use]
    pub fn write(mut self, key: Vec<u8>, value: Vec<u8>) -> Self {
        self.changes.push((key, Some(value)));
        self
    }

    /// Removes `key`; removing an absent key is no error.
    #[must_use]
    pub fn delete(mut self, key: Vec<u8>) -> Self {
        self.changes.push((key, None));
        self
    }

    /// How many bytes this batch counts for [`RecordStore::max_batch_bytes`]:
    /// its keys and values, and 32 for each change.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let change = |(key, value): &(Vec<u8>, Option<Vec<u8>>)| {
            key.len() + value.as_ref().map_or(0, Vec::len) + 32
        };
        self.changes.iter().map(change).sum()
    }

    /// Refuses keys and values outside of the contract's limits. For
    /// implementations of [`RecordStore`].
    pub fn check_limits(&self, max_value_bytes: usize) -> Result<()> {
        for (key, value) in &self.changes {
            if key.is_empty() || key.len() > MAX_KEY_BYTES {
                return Err(Error::limit_exceeded(format!(
                    "a record's key has {} bytes: 1 to {MAX_KEY_BYTES} are allowed",
                    key.len()
                )));
            }
            let bytes = value.as_ref().map_or(0, Vec::len);
            if bytes > max_value_bytes {
                return Err(Error::limit_exceeded(format!(
                    "a record has {bytes} bytes: this store takes {max_value_bytes}"
                )));
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (preconditions, changes) = (self.preconditions.len(), self.changes.len());
        write!(f, "Batch({preconditions} preconditions, {changes} changes)")
    }
}

/// Persists records: bytes under ordered keys.
///
/// # Contract
/// - Keys are ordered as byte strings. A key is 1 to [`MAX_KEY_BYTES`] bytes;
///   a value is 0 to `max_value_bytes` bytes, at least 128 KiB. A batch of
///   `max_batch_bytes` fits; a longer one may. Outside of that: `LimitExceeded`,
///   and nothing changes.
/// - `commit` applies a batch wholly or not at all: a reader sees either none
///   of it or all of it. When it returns `Ok`, the batch survives the death of
///   the process and a loss of power. When a precondition does not hold, it
///   returns `Conflict` and nothing changes. An empty batch succeeds.
/// - When `commit` returns another error, or its future is dropped, the batch
///   may or may not have been applied, but never in part.
/// - Every write of a key gives it a revision that the key never had before,
///   also after the key was deleted in between.
/// - `get` and `scan` see everything whose `commit` has returned.
/// - A `snapshot` never shows a part of a commit, nor anything that was committed
///   after it was taken.
/// - A page of `scan` is consistent in itself; between pages, writers go on:
///   a key that is there throughout is returned exactly once.
///
/// # Errors
/// - `Unavailable`: the medium does not answer, the disk is full; nothing that
///   was acknowledged is lost. `Tampered`: the medium's own checks failed.
#[async_trait]
pub trait RecordStore: Send + Sync + fmt::Debug {
    /// Names the store in errors: its type and place.
    fn describe(&self) -> &str;

    /// The longest value that the store takes, in bytes.
    fn max_value_bytes(&self) -> usize;

    /// How many [bytes](Batch::bytes) one batch may have, so that it is never
    /// refused for its length: at least the longest value and 16 KiB.
    fn max_batch_bytes(&self) -> usize;

    /// The value of `key`, or `None`.
    async fn get(&self, key: &[u8]) -> Result<Option<Stored>>;

    /// Entries whose keys begin with `prefix`, in order, from the first key
    /// greater than `after`: until `limit` is reached or there are no more.
    async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: PageLimit,
    ) -> Result<RecordPage>;

    /// Applies `batch`, all or nothing, durable when it returns.
    async fn commit(&self, batch: Batch) -> Result<()>;

    /// The store as it is at this moment, whatever is written afterwards, for as
    /// long as the value lives; `None` where a store cannot do that.
    async fn snapshot(&self) -> Result<Option<Box<dyn Snapshot>>> {
        Ok(None)
    }

    /// Proves that the store can be read and, where it is meant to be, written.
    async fn check(&self) -> Result<()>;
}

/// A record store at one moment.
#[async_trait]
pub trait Snapshot: Send + Sync {
    /// As [`RecordStore::get`].
    async fn get(&self, key: &[u8]) -> Result<Option<Stored>>;

    /// As [`RecordStore::scan`].
    async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: PageLimit,
    ) -> Result<RecordPage>;
}
