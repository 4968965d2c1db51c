//! Records on redb 4: a copy-on-write B-tree in one file, whose transactions
//! are durable and whose readers see snapshots.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use redb::{
    Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition,
};
use strongroom_core::{
    Batch, Error, PageLimit, RecordPage, RecordStore, Result, Revision, Snapshot, Stored,
};

use super::commit_queue::{CommitQueue, CommitStats, GroupError, GroupWriter};
use super::directory::{StoreDirectory, io_error, open_private};
use super::disk_space::require_space;
use super::{MAX_VALUE_BYTES, RecordOptions, RecordStoreKind};

/// key -> revision (u64, big-endian), value
const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
/// [`LAST_REVISION`] -> the revision that was given out last
const STATE: TableDefinition<'_, &str, u64> = TableDefinition::new("state");
const LAST_REVISION: &str = "last_revision";

/// A record store on redb.
#[derive(Debug)]
pub struct RedbRecords {
    // Dropped in this order: the writer, the database, the lock.
    queue: CommitQueue,
    records: Arc<Records>,
    directory: StoreDirectory,
}

impl RedbRecords {
    /// Opens the store in `dir`, and creates it when there is none. See
    /// [`open_records`](super::open_records) for the errors.
    pub fn open(dir: &Path, options: &RecordOptions) -> Result<Self> {
        let directory = StoreDirectory::open(RecordStoreKind::Redb, dir)?;
        let describe = directory.describe.as_str();
        let open = || {
            directory.create_once(|data| Records::create(data, options))?;
            Records::open(&directory.data, options)
        };
        let records = Arc::new(open().map_err(|e| e.during("open").in_store(describe))?);
        let writer =
            Writer::new(records.clone(), &directory.data).map_err(|e| e.in_store(describe))?;
        let queue = CommitQueue::start("strongroom-redb", writer)?;
        Ok(Self { queue, records, directory })
    }

    /// What the writer has done since the store was opened.
    pub fn stats(&self) -> CommitStats {
        self.queue.stats()
    }

    fn place(&self, error: Error) -> Error {
        error.in_store(&self.directory.describe)
    }
}

#[async_trait]
impl RecordStore for RedbRecords {
    fn describe(&self) -> &str {
        &self.directory.describe
    }

    fn max_value_bytes(&self) -> usize {
        MAX_VALUE_BYTES
    }

    fn max_batch_bytes(&self) -> usize {
        2 * MAX_VALUE_BYTES
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Stored>> {
        self.records.get(key).map_err(|e| self.place(e))
    }

    async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: PageLimit,
    ) -> Result<RecordPage> {
        self.records.scan(prefix, after, limit).map_err(|e| self.place(e))
    }

    async fn commit(&self, batch: Batch) -> Result<()> {
        batch.check_limits(MAX_VALUE_BYTES).map_err(|e| self.place(e))?;
        self.queue.commit(batch).await.map_err(|e| self.place(e))
    }

    /// A read transaction. What it sees stays on the disk for as long as it lives.
    async fn snapshot(&self) -> Result<Option<Box<dyn Snapshot>>> {
        let begun = self.records.db.begin_read().map_err(|e| redb_error(e.into()));
        let transaction = begun.map_err(|e| self.place(e))?;
        Ok(Some(Box::new(Moment { transaction, describe: self.directory.describe.clone() })))
    }

    async fn check(&self) -> Result<()> {
        if let Some(error) = self.queue.failure() {
            return Err(self.place(error));
        }
        self.records.last_revision().map_err(|e| self.place(e))?;
        self.queue.commit(Batch::new()).await.map_err(|e| self.place(e))
    }
}

impl Drop for RedbRecords {
    fn drop(&mut self) {
        self.queue.close();
    }
}

#[derive(Debug)]
struct Records {
    db: Database,
}

impl Records {
    fn create(data: &Path, options: &RecordOptions) -> Result<()> {
        let records = Self::open(data, options)?;
        let create = || -> Result<(), redb::Error> {
            let transaction = records.db.begin_write()?;
            transaction.open_table(RECORDS)?;
            transaction.open_table(STATE)?.insert(LAST_REVISION, 0)?;
            Ok(transaction.commit()?)
        };
        create().map_err(redb_error)
    }

    fn open(data: &Path, options: &RecordOptions) -> Result<Self> {
        let file = open_private(data, "")?;
        let mut builder = Database::builder();
        builder.set_cache_size(options.cache_bytes);
        let db = builder.create_file(file).map_err(|e| redb_error(e.into()))?;
        Ok(Self { db })
    }

    fn get(&self, key: &[u8]) -> Result<Option<Stored>> {
        get(&self.begin()?, key)
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: PageLimit) -> Result<RecordPage> {
        scan(&self.begin()?, prefix, after, limit)
    }

    fn begin(&self) -> Result<ReadTransaction> {
        self.db.begin_read().map_err(|e| redb_error(e.into()))
    }

    fn last_revision(&self) -> Result<u64> {
        let read = || -> Result<_, redb::Error> {
            let table = self.db.begin_read()?.open_table(STATE)?;
            Ok(table.get(LAST_REVISION)?.map(|entry| entry.value()))
        };
        read().map_err(redb_error)?.ok_or_else(damaged)
    }
}

/// The store at one moment.
struct Moment {
    transaction: ReadTransaction,
    describe: String,
}

#[async_trait]
impl Snapshot for Moment {
    async fn get(&self, key: &[u8]) -> Result<Option<Stored>> {
        get(&self.transaction, key).map_err(|e| e.in_store(&self.describe))
    }

    async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: PageLimit,
    ) -> Result<RecordPage> {
        scan(&self.transaction, prefix, after, limit).map_err(|e| e.in_store(&self.describe))
    }
}

fn get(transaction: &ReadTransaction, key: &[u8]) -> Result<Option<Stored>> {
    let read = || -> Result<_, redb::Error> {
        let table = transaction.open_table(RECORDS)?;
        Ok(table.get(key)?.map(|entry| decode(entry.value())))
    };
    read().map_err(redb_error)?.transpose()
}

fn scan(
    transaction: &ReadTransaction,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: PageLimit,
) -> Result<RecordPage> {
    use std::ops::Bound;
    let start = match after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    };
    let read = || -> Result<_, redb::Error> {
        let table = transaction.open_table(RECORDS)?;
        let found = table.range::<&[u8]>((start, Bound::Unbounded))?;
        let matching = found
            .map(|entry| entry.map_err(|e| redb_error(e.into())))
            .take_while(|entry| {
                entry.as_ref().map_or(true, |(key, _)| key.value().starts_with(prefix))
            })
            .map(|entry| {
                let (key, entry) = entry?;
                Ok((key.value().to_vec(), decode(entry.value())?))
            });
        Ok(RecordPage::collect(matching, limit))
    };
    read().map_err(redb_error)?
}

fn encode(revision: Revision, value: &[u8]) -> Vec<u8> {
    [&revision.0.to_be_bytes(), value].concat()
}

fn decode(entry: &[u8]) -> Result<Stored> {
    let (revision, value) = entry.split_first_chunk::<8>().ok_or_else(damaged)?;
    Ok(Stored { revision: Revision(u64::from_be_bytes(*revision)), value: value.to_vec() })
}

fn damaged() -> Error {
    Error::tampered("the store holds an entry that no release of this program wrote")
}

/// Puts a group into one transaction.
struct Writer {
    records: Arc<Records>,
    last_revision: u64,
    syncs: u64,
    file: File,
    path: PathBuf,
}

impl Writer {
    fn new(records: Arc<Records>, data: &Path) -> Result<Self> {
        let last_revision = records.last_revision()?;
        let file = open_private(data, "")?;
        Ok(Self { records, last_revision, syncs: 0, file, path: data.to_owned() })
    }

    fn commit(&mut self, group: &[Batch]) -> Result<Vec<Result<()>>, redb::Error> {
        let mut transaction = self.records.db.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        let mut verdicts = Vec::with_capacity(group.len());
        let before = self.last_revision;
        {
            let mut table = transaction.open_table(RECORDS)?;
            for batch in group {
                let mut verdict = Ok(());
                for (key, precondition) in &batch.preconditions {
                    let current = match table.get(key.as_slice())? {
                        Some(entry) => decode(entry.value()).map(|stored| Some(stored.revision)),
                        None => Ok(None),
                    };
                    verdict = verdict.and_then(|()| precondition.check(current?));
                }
                if verdict.is_ok() {
                    for (key, value) in &batch.changes {
                        self.last_revision += 1;
                        let revision = Revision(self.last_revision);
                        match value {
                            Some(value) => {
                                let entry = encode(revision, value);
                                table.insert(key.as_slice(), entry.as_slice())?;
                            }
                            None => drop(table.remove(key.as_slice())?),
                        }
                    }
                }
                verdicts.push(verdict);
            }
            if self.last_revision != before {
                transaction.open_table(STATE)?.insert(LAST_REVISION, self.last_revision)?;
            }
        }
        if self.last_revision == before {
            transaction.abort()?;
        } else {
            self.syncs += 1;
            transaction.commit()?;
        }
        Ok(verdicts)
    }
}

impl GroupWriter for Writer {
    fn commit_group(&mut self, group: &[Batch]) -> Result<Vec<Result<()>>, GroupError> {
        let bytes: usize = group.iter().map(Batch::bytes).sum();
        // Pages are copied, not rewritten; the tree above them, too.
        let ahead = (1 << 20) + 4 * bytes as u64;
        require_space(&self.file, ahead, &self.path).map_err(GroupError::Refused)?;
        self.commit(group).map_err(|error| GroupError::Unknown(redb_error(error)))
    }

    fn syncs(&self) -> u64 {
        self.syncs
    }
}

/// The one mapping of redb's errors.
fn redb_error(error: redb::Error) -> Error {
    match error {
        redb::Error::Io(error) => io_error(error, "use", Path::new("the store")),
        redb::Error::Corrupted(_) => {
            Error::tampered("the store's own checksums do not match: restore a backup")
                .with_source(error)
        }
        redb::Error::PreviousIo => {
            Error::unavailable("an earlier input or output error closed the store: reopen it")
                .with_source(error)
        }
        redb::Error::UpgradeRequired(_) => {
            Error::configuration("this store was written by another release of redb")
                .with_source(error)
        }
        _ => Error::internal("redb failed").with_source(error),
    }
}

#[cfg(test)]
mod tests {
    use strongroom_core::Precondition;

    use super::*;

    fn open(dir: &Path) -> (Arc<Records>, Writer) {
        let (data, options) = (dir.join("data"), RecordOptions::default());
        Records::create(&data, &options).unwrap();
        let records = Arc::new(Records::open(&data, &options).unwrap());
        (records.clone(), Writer::new(records, &data).unwrap())
    }

    /// Three batches of one group for one key: the first two follow each
    /// other, the third is late.
    #[test]
    fn a_batch_sees_what_the_group_did_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let (records, mut writer) = open(dir.path());
        let key = || b"k".to_vec();
        let next = Precondition::At(Revision(writer.last_revision + 1));
        let group = [
            Batch::new().require(key(), Precondition::Absent).write(key(), b"1".to_vec()),
            Batch::new().require(key(), next).write(key(), b"2".to_vec()),
            Batch::new().require(key(), next).write(b"other".to_vec(), vec![]).delete(key()),
            Batch::new().require(key(), Precondition::Absent).delete(key()),
        ];
        let verdicts = writer.commit_group(&group).unwrap();
        let good: Vec<_> = verdicts.iter().map(Result::is_ok).collect();
        assert_eq!(good, [true, true, false, false]);
        assert!(records.get(b"k").unwrap().unwrap().value == b"2");
        assert!(records.get(b"other").unwrap().is_none());
        assert_eq!(writer.syncs(), 1);
        let gone = [
            Batch::new().delete(key()),
            Batch::new().require(key(), Precondition::Absent).write(key(), b"3".to_vec()),
        ];
        assert!(writer.commit_group(&gone).unwrap().iter().all(Result::is_ok));
        assert!(records.get(b"k").unwrap().unwrap().value == b"3");
    }
}
