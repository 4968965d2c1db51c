//! Records on sled 0.34, made durable: as shipped, sled syncs neither its log
//! (`flush` calls `sync_file_range(2)`, which is no barrier), nor its directory,
//! nor the side files that it puts large values into.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use async_trait::async_trait;
use sled::Db;
use strongroom_core::{Batch, Error, PageLimit, RecordPage, RecordStore, Result, Revision, Stored};

use super::commit_queue::{CommitQueue, CommitStats, GroupError, GroupWriter};
use super::directory::{StoreDirectory, io_error, make_private, open_private, sync_entry};
use super::disk_space::require_space;
use super::sled_layout::{
    Body, CHUNK_BYTES, Head, LAST_REVISION, chunk_indexes, chunk_key, damaged, decode_head,
    decode_last_revision, encode_head, head_key, record_key,
};
use super::{RecordOptions, RecordStoreKind};

#[cfg(test)]
mod tests;

/// A record store on sled.
#[derive(Debug)]
pub struct SledRecords {
    // Dropped in this order: the writer, the database, the lock.
    queue: CommitQueue,
    records: Arc<Records>,
    directory: StoreDirectory,
}

impl SledRecords {
    /// The longest value, in bytes: one commit, which may hold little more, must
    /// fit into a segment of sled's log.
    pub const MAX_VALUE_BYTES: usize = 192 << 10;

    /// Opens the store in `dir`, and creates it when there is none. See
    /// [`open_records`](super::open_records) for the errors.
    pub fn open(dir: &Path, options: &RecordOptions) -> Result<Self> {
        let directory = StoreDirectory::open(RecordStoreKind::Sled, dir)?;
        let describe = directory.describe.as_str();
        let open = || {
            directory.create_once(|data| Records::create(data, options))?;
            Records::open(&directory.data, options)
        };
        let records = Arc::new(open().map_err(|e| e.during("open").in_store(describe))?);
        let writer =
            Writer::new(records.clone(), &directory.data).map_err(|e| e.in_store(describe))?;
        let queue = CommitQueue::start("strongroom-sled", writer)?;
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
impl RecordStore for SledRecords {
    fn describe(&self) -> &str {
        &self.directory.describe
    }

    fn max_value_bytes(&self) -> usize {
        Self::MAX_VALUE_BYTES
    }

    fn max_batch_bytes(&self) -> usize {
        MAX_COMMIT_BYTES
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
        batch.check_limits(Self::MAX_VALUE_BYTES).map_err(|e| self.place(e))?;
        let bytes = batch.bytes();
        if bytes > MAX_COMMIT_BYTES {
            return Err(self.place(Error::limit_exceeded(format!(
                "a commit has {bytes} bytes: this store takes {MAX_COMMIT_BYTES}; redb takes more"
            ))));
        }
        self.queue.commit(batch).await.map_err(|e| self.place(e))
    }

    async fn check(&self) -> Result<()> {
        if let Some(error) = self.queue.failure() {
            return Err(self.place(error));
        }
        self.records.last_revision().map_err(|e| self.place(e))?;
        self.queue.commit(Batch::new()).await.map_err(|e| self.place(e))
    }
}

impl Drop for SledRecords {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// The database, its log, and what keeps readers from seeing half a group.
#[derive(Debug)]
struct Records {
    // Dropped before `log`, whose drop waits for it.
    db: Db,
    log: Log,
    /// sled applies a batch atomically, but a page of `scan` and a chunked
    /// value are several reads: they exclude the application of a group (not
    /// its sync).
    applying: RwLock<()>,
    /// A group was applied in part and cannot be taken back: nothing is read
    /// any more until the store is reopened.
    torn: AtomicBool,
}

/// sled moves an item that exceeds a quarter of a segment into a side file. A
/// leaf page is one item; it holds at most 20 entries (split above 16, merged
/// below 4) of a chunk and a key of up to 1 KiB: 186 KiB. An index page holds
/// up to 257 keys: 266 KiB. 2 MiB, whose quarter is 512 KiB, has room for both.
const SEGMENT_BYTES: usize = 2 << 20;

/// What one group, and so one commit, may change: less than a segment of sled's
/// log, of which a changed byte takes about five.
///
/// sled believes its log stable after `sync_file_range(2)`, and writes that
/// belief into the header of the next segment. Of a group that fills several
/// segments, a power cut can keep a later header and lose an earlier one, and
/// then sled finds its log corrupt and does not open. In a test with segments
/// of 32 KiB, 1 in 360 cuts within groups of 25 segments did that, and none of
/// 19,850 within groups of less than one.
const MAX_COMMIT_BYTES: usize = 256 << 10;

impl Records {
    fn config(data: &Path, options: &RecordOptions) -> sled::Config {
        sled::Config::new()
            .path(data)
            .cache_capacity(options.cache_bytes as u64)
            .segment_size(SEGMENT_BYTES)
            // We flush; a thread that does it on a timer keeps an idle
            // process awake.
            .flush_every_ms(None)
    }

    /// An empty database that is closed again.
    fn create(data: &Path, options: &RecordOptions) -> Result<()> {
        drop(Self::open(data, options)?);
        make_private(data).map_err(|e| io_error(e, "change the mode of", data))
    }

    fn open(data: &Path, options: &RecordOptions) -> Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .create(data)
            .and_then(|()| make_private(data))
            .map_err(|e| io_error(e, "create", data))?;
        remove_unfinished_snapshots(data).map_err(|e| io_error(e, "clean", data))?;
        let path = data.join("db");
        let log = Log(open_private(&path, "")?);
        // A killed process leaves writes in the page cache that no sync has
        // covered. sled reads them and writes a synced snapshot that points at
        // them: without this sync, a cut of power keeps the snapshot only.
        log.0.sync_data().map_err(|e| io_error(e, "sync", &path))?;
        let db = Self::config(data, options).open().map_err(|e| sled_error(e, data))?;
        let records = Self { db, log, applying: RwLock::new(()), torn: AtomicBool::new(false) };
        make_private(data).map_err(|e| io_error(e, "change the mode of", data))?;
        // What recovery wrote must be on disk before a segment is used again.
        records.log.0.sync_data().map_err(|e| io_error(e, "sync", &path))?;
        sync_entry(data)?;
        Ok(records)
    }

    fn consistent(&self) -> Result<RwLockReadGuard<'_, ()>> {
        let guard = self.applying.read().unwrap_or_else(PoisonError::into_inner);
        if self.torn.load(Ordering::Relaxed) {
            return Err(
                Error::unavailable("a commit failed half-way: reopen the store").retryable(false)
            );
        }
        Ok(guard)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Stored>> {
        let _consistent = self.consistent()?;
        let Some(entry) = self.db.get(head_key(key)).map_err(failed)? else {
            return Ok(None);
        };
        self.load(&entry).map(Some)
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: PageLimit) -> Result<RecordPage> {
        let prefix = head_key(prefix);
        let start = match after.map(head_key) {
            Some(after) if after >= prefix => std::ops::Bound::Excluded(after),
            _ => std::ops::Bound::Included(prefix.clone()),
        };
        let _consistent = self.consistent()?;
        let range = self.db.range::<Vec<u8>, _>((start, std::ops::Bound::Unbounded));
        let matching = range
            .map(|found| found.map_err(failed))
            .take_while(|found| found.as_ref().map_or(true, |(key, _)| key.starts_with(&prefix)))
            .map(|found| {
                let (key, entry) = found?;
                Ok((record_key(&key)?.to_vec(), self.load(&entry)?))
            });
        RecordPage::collect(matching, limit)
    }

    fn load(&self, entry: &[u8]) -> Result<Stored> {
        let Head { revision, body } = decode_head(entry)?;
        let value = match body {
            Body::Inline(value) => value.to_vec(),
            Body::Chunked { bytes } => {
                let mut value = Vec::with_capacity(bytes);
                for index in chunk_indexes(bytes) {
                    let chunk = self.db.get(chunk_key(revision, index)).map_err(failed)?;
                    value.extend_from_slice(&chunk.ok_or_else(damaged)?);
                }
                if value.len() != bytes {
                    return Err(damaged());
                }
                value
            }
        };
        Ok(Stored { revision, value })
    }

    fn last_revision(&self) -> Result<u64> {
        let entry = self.db.get(LAST_REVISION).map_err(failed)?;
        entry.map_or(Ok(0), |entry| decode_last_revision(&entry))
    }
}

/// Our own handle of sled's log, for the sync that sled does not do.
#[derive(Debug)]
struct Log(File);

impl Drop for Log {
    /// sled's own threads let go of the log, and of sled's lock on it, a
    /// moment after the database was dropped: waits for them, so that the store
    /// can be opened again at once.
    fn drop(&mut self) {
        use rustix::fs::{FlockOperation, flock};
        let _ = flock(&self.0, FlockOperation::LockExclusive);
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

/// A snapshot that a crash left unfinished makes sled's next open fail. The
/// caller holds the store's lock.
fn remove_unfinished_snapshots(data: &Path) -> io::Result<()> {
    for entry in fs::read_dir(data)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Turns a group of batches into one sled batch.
struct Writer {
    records: Arc<Records>,
    last_revision: u64,
    syncs: u64,
    path: PathBuf,
}

/// A key's state while a group is put together: what the database holds, and
/// what the group makes of it.
struct Pending<'a> {
    stored: Option<(Revision, usize)>,
    change: Option<(Revision, Option<&'a [u8]>)>,
}

impl Pending<'_> {
    fn revision(&self) -> Option<Revision> {
        match self.change {
            Some((revision, value)) => value.map(|_| revision),
            None => self.stored.map(|(revision, _)| revision),
        }
    }
}

impl Writer {
    fn new(records: Arc<Records>, data: &Path) -> Result<Self> {
        let last_revision = records.last_revision()?;
        let path = data.join("db");
        Ok(Self { records, last_revision, syncs: 0, path })
    }

    fn pending<'a, 'b>(
        &self,
        keys: &'b mut HashMap<&'a [u8], Pending<'a>>,
        key: &'a [u8],
    ) -> Result<&'b mut Pending<'a>> {
        use std::collections::hash_map::Entry;
        Ok(match keys.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let stored = self.records.db.get(head_key(key)).map_err(failed)?;
                let stored = stored.map(|entry| {
                    decode_head(&entry).map(|head| match head.body {
                        Body::Inline(_) => (head.revision, 0),
                        Body::Chunked { bytes } => (head.revision, bytes),
                    })
                });
                entry.insert(Pending { stored: stored.transpose()?, change: None })
            }
        })
    }

    /// The verdicts, and the sled batch that carries out the good ones.
    fn plan(&mut self, group: &[Batch]) -> Result<(Vec<Result<()>>, Option<sled::Batch>)> {
        let mut keys = HashMap::new();
        let mut verdicts = Vec::with_capacity(group.len());
        let mut changed = false;
        for batch in group {
            let mut verdict = Ok(());
            for (key, precondition) in &batch.preconditions {
                let current = self.pending(&mut keys, key)?.revision();
                verdict = verdict.and_then(|()| precondition.check(current));
            }
            if verdict.is_ok() {
                for (key, value) in &batch.changes {
                    self.last_revision += 1;
                    let revision = Revision(self.last_revision);
                    let pending = self.pending(&mut keys, key)?;
                    pending.change = Some((revision, value.as_deref()));
                    changed = true;
                }
            }
            verdicts.push(verdict);
        }
        if !changed {
            return Ok((verdicts, None));
        }
        let mut out = sled::Batch::default();
        for (key, Pending { stored, change }) in keys {
            let Some((revision, value)) = change else { continue };
            if let Some((revision, bytes)) = stored {
                for index in chunk_indexes(bytes) {
                    out.remove(&chunk_key(revision, index));
                }
            }
            let Some(value) = value else {
                out.remove(head_key(key));
                continue;
            };
            out.insert(head_key(key), encode_head(revision, value));
            if value.len() > CHUNK_BYTES {
                for (index, chunk) in (0..).zip(value.chunks(CHUNK_BYTES)) {
                    out.insert(&chunk_key(revision, index), chunk);
                }
            }
        }
        out.insert(&LAST_REVISION, &self.last_revision.to_be_bytes());
        Ok((verdicts, Some(out)))
    }

    fn apply(&mut self, changes: sled::Batch) -> Result<()> {
        {
            let _applying = self.records.applying.write().unwrap_or_else(PoisonError::into_inner);
            // Set first, so that a panic inside of sled leaves it set.
            self.records.torn.store(true, Ordering::Relaxed);
            self.records.db.apply_batch(changes).map_err(failed)?;
            self.records.torn.store(false, Ordering::Relaxed);
        }
        self.records.db.flush().map_err(failed)?;
        self.syncs += 1;
        self.records.log.0.sync_data().map_err(|e| failed(sled::Error::Io(e)))
    }
}

impl GroupWriter for Writer {
    fn commit_group(&mut self, group: &[Batch]) -> Result<Vec<Result<()>>, GroupError> {
        let (verdicts, changes) = self.plan(group).map_err(GroupError::Refused)?;
        let bytes: usize = group.iter().map(Batch::bytes).sum();
        // A page is rewritten with its neighbours, and a segment never filled.
        let ahead = 4 * (SEGMENT_BYTES + bytes) as u64;
        require_space(&self.records.log.0, ahead, &self.path).map_err(GroupError::Refused)?;
        if let Some(changes) = changes {
            self.apply(changes).map_err(GroupError::Unknown)?;
        }
        Ok(verdicts)
    }

    fn syncs(&self) -> u64 {
        self.syncs
    }

    fn max_group_bytes(&self) -> usize {
        MAX_COMMIT_BYTES
    }
}

// === errors ===

fn failed(error: sled::Error) -> Error {
    sled_error(error, Path::new("the store"))
}

/// The one mapping of sled's errors.
fn sled_error(error: sled::Error, path: &Path) -> Error {
    match error {
        sled::Error::Io(error) => io_error(error, "use", path),
        sled::Error::Corruption { .. } => {
            Error::tampered("the store's own checksums do not match: restore a backup")
                .with_source(error)
        }
        sled::Error::Unsupported(_) => {
            Error::configuration("this store was written with other settings").with_source(error)
        }
        sled::Error::CollectionNotFound(_) | sled::Error::ReportableBug(_) => {
            Error::internal("sled failed").with_source(error)
        }
    }
}
