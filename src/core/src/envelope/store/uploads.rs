//! What uploads leave behind when they do not end: a marker tells of every
//! upload under way, and who removes one takes its marker first, segments from
//! the last to the first, and then the marker.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::entries::misplaced;
use super::super::keys;
use super::super::stream::{FILE_ID_BYTES, FileId};
use super::EnvelopeStore;
use crate::error::{Error, ErrorKind, Result};
use crate::name::SecretName;
use crate::record::{Batch, PageLimit, Precondition, RecordStore, Revision};

const MARKER_FORMAT: u8 = 1;
/// How many segments one commit removes.
const REMOVE_BATCH: u64 = 256;
/// How many markers are looked at when a store is opened; the next time, the
/// next ones.
const MAX_LEFTOVERS: usize = 1000;
/// Finds out that something is there, at the cost of one value.
const ONE: PageLimit = PageLimit { entries: 1, bytes: 1 };

/// The uploads that nobody goes on with, by the key of their segments.
#[derive(Debug, Default)]
pub(super) struct Leftovers(Mutex<VecDeque<Vec<u8>>>);

impl Leftovers {
    /// Those in `records`. Whoever opens a store has it alone: no upload of
    /// another process is under way. A store that several processes share would
    /// have to go by the age of the markers.
    pub(super) async fn find(records: &dyn RecordStore) -> Result<Self> {
        let limit = PageLimit::entries(MAX_LEFTOVERS);
        let markers = records.scan(keys::UPLOADS, None, limit).await?.entries.into_iter();
        let segments = markers.filter_map(|(key, _)| keys::segments_of_upload(&key));
        Ok(Self(Mutex::new(segments.collect())))
    }

    fn list(&self) -> MutexGuard<'_, VecDeque<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An upload under way. One that is dropped before it has ended, with the future
/// that it belongs to, is left over.
pub(super) struct Upload {
    file: FileId,
    segments: Vec<u8>,
    revision: Revision,
    leftovers: Option<Arc<Leftovers>>,
}

impl Upload {
    pub(super) fn file(&self) -> FileId {
        self.file
    }

    /// The key of the segments.
    pub(super) fn segments(&self) -> &[u8] {
        &self.segments
    }

    /// The marker's key, and the revision that it has while the upload is wanted.
    pub(super) fn marker(&self) -> (Vec<u8>, Revision) {
        (keys::upload(&self.segments), self.revision)
    }

    /// Nothing of it is left to be removed.
    pub(super) fn disarm(&mut self) {
        self.leftovers = None;
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(leftovers) = &self.leftovers {
            leftovers.list().push_back(std::mem::take(&mut self.segments));
        }
    }
}

impl EnvelopeStore {
    /// Removes what killed and abandoned uploads have left, to the end. Opening a
    /// store and writing to it do so too, a step at a time.
    pub async fn sweep(&self) -> Result<()> {
        let swept = self.sweep_leftovers(usize::MAX).await;
        swept.map_err(|error| error.during("sweep").in_store(&self.description))
    }

    /// Goes on with sweeping for at most so many commits of segments. What fails
    /// here is tried again the next time: nobody waits for it.
    pub(super) async fn sweep_on(&self, commits: usize) {
        let _ = self.sweep_leftovers(commits).await;
    }

    async fn sweep_leftovers(&self, mut commits: usize) -> Result<()> {
        loop {
            let Some(segments) = self.leftovers.list().pop_front() else { return Ok(()) };
            let removed = self.discard_some(&segments, &mut commits).await;
            if !matches!(removed, Ok(true)) {
                // Last: one that cannot be removed does not stand before the others.
                self.leftovers.list().push_back(segments);
                return removed.map(drop);
            }
        }
    }

    /// Gives up a file in `batch`: once that is committed, its segments are what
    /// an upload has left, and go like those. Also if this process is killed.
    pub(super) fn give_up(&self, batch: Batch, segments: &[u8]) -> Batch {
        batch.write(keys::upload(segments), self.marker_value())
    }

    fn marker_value(&self) -> Vec<u8> {
        [&[MARKER_FORMAT][..], &self.clock.now().0.to_le_bytes()].concat()
    }

    /// Begins an upload: from now on its segments may be written.
    pub(super) async fn begin_upload(&self, name: &SecretName) -> Result<Upload> {
        let file = FileId::random()?;
        let segments = keys::segments(name, &file);
        let marker = keys::upload(&segments);
        let mut upload = Upload {
            file,
            segments,
            revision: Revision(0),
            leftovers: Some(self.leftovers.clone()),
        };
        let batch = Batch::new()
            .require(marker.clone(), Precondition::Absent)
            .write(marker.clone(), self.marker_value());
        self.records.commit(batch).await?;
        let stored = self.records.get(&marker).await?.ok_or_else(unwanted)?;
        upload.revision = stored.revision;
        Ok(upload)
    }

    /// Whether the marker is as the upload wrote it.
    pub(super) async fn check_wanted(&self, upload: &Upload) -> Result<()> {
        let (marker, revision) = upload.marker();
        match self.records.get(&marker).await? {
            Some(stored) if stored.revision == revision => Ok(()),
            _ => Err(unwanted()),
        }
    }

    /// Removes what the upload of these segments has written, if it has not
    /// become a version.
    pub(super) async fn discard(&self, segments: &[u8]) -> Result<()> {
        self.discard_some(segments, &mut usize::MAX.clone()).await.map(drop)
    }

    /// The same, for at most so many commits; whether it has come to the end.
    async fn discard_some(&self, segments: &[u8], commits: &mut usize) -> Result<bool> {
        let marker = keys::upload(segments);
        // Without one, it has become a version or is gone.
        let Some(stored) = self.records.get(&marker).await? else { return Ok(true) };
        // A new revision: what the upload still has on its way fails from here on,
        // and it cannot become a version.
        let claim = Batch::new()
            .require(marker.clone(), Precondition::At(stored.revision))
            .write(marker.clone(), stored.value);
        match self.records.commit(claim).await {
            Err(error) if error.kind() == ErrorKind::Conflict => return Ok(false),
            claimed => claimed?,
        }
        if !self.remove_segments(segments, commits).await? {
            return Ok(false);
        }
        self.records.commit(Batch::new().delete(marker)).await?;
        Ok(true)
    }

    /// Removes every file of a secret and every upload to it, but for `keep`.
    pub(super) async fn remove_files(
        &self,
        name: &SecretName,
        keep: Option<&Upload>,
    ) -> Result<()> {
        let files = keys::files(name);
        let mut after = None;
        while let Some(file) = self.next_file(&files, after.as_deref()).await? {
            let segments = [&files[..], &file.0].concat();
            if keep.is_none_or(|keep| keep.segments() != segments) {
                while !self.discard_some(&segments, &mut usize::MAX.clone()).await? {}
                self.remove_segments(&segments, &mut usize::MAX.clone()).await?;
            }
            after = Some(keys::segment(&segments, u64::MAX));
        }
        Ok(())
    }

    /// Whether a secret has any segments but those of `keep`.
    pub(super) async fn has_files(&self, name: &SecretName, keep: Option<&Upload>) -> Result<bool> {
        let files = keys::files(name);
        let Some(file) = self.next_file(&files, None).await? else { return Ok(false) };
        match keep.filter(|keep| keep.file() == file) {
            None => Ok(true),
            Some(keep) => {
                let after = keys::segment(keep.segments(), u64::MAX);
                Ok(self.next_file(&files, Some(&after)).await?.is_some())
            }
        }
    }

    async fn next_file(&self, files: &[u8], after: Option<&[u8]>) -> Result<Option<FileId>> {
        let page = self.records.scan(files, after, ONE).await?;
        let Some((key, _)) = page.entries.first() else { return Ok(None) };
        let (file, _) = keys::parse_segment(files, key).ok_or_else(misplaced)?;
        Ok(Some(file))
    }

    /// Removes the segments of one file, from the end, so that what is left is
    /// always its beginning and its end can be searched for: reading a file of
    /// 10 GiB to learn its keys would take minutes.
    async fn remove_segments(&self, segments: &[u8], commits: &mut usize) -> Result<bool> {
        loop {
            let page = self.records.scan(segments, None, ONE).await?;
            let Some((key, _)) = page.entries.first() else { return Ok(true) };
            let files = &segments[..segments.len() - FILE_ID_BYTES];
            let (_, first) = keys::parse_segment(files, key).ok_or_else(misplaced)?;
            let mut last = self.end_of_run(segments, first).await?;
            loop {
                if *commits == 0 {
                    return Ok(false);
                }
                *commits -= 1;
                let begin = last.saturating_sub(REMOVE_BATCH - 1).max(first);
                let numbers = (begin..=last).map(|number| keys::segment(segments, number));
                self.records.commit(numbers.fold(Batch::new(), Batch::delete)).await?;
                // Numbers may be anybody's: where one is missing, the end is searched for
                // again, so that each commit removes what is there.
                let before = begin.checked_sub(1).filter(|before| *before >= first);
                let Some(before) = before else { break };
                if self.records.get(&keys::segment(segments, before)).await?.is_none() {
                    break;
                }
                last = before;
            }
        }
    }

    /// The last segment of those that follow `first` without a gap, by doubling and
    /// halving; with gaps, any that has none behind it.
    async fn end_of_run(&self, segments: &[u8], first: u64) -> Result<u64> {
        let (mut there, mut step) = (first, 1_u64);
        let mut gone = loop {
            let Some(probe) = there.checked_add(step) else { break u64::MAX };
            if self.records.get(&keys::segment(segments, probe)).await?.is_none() {
                break probe;
            }
            (there, step) = (probe, step.saturating_mul(2));
        };
        while gone - there > 1 {
            let probe = there + (gone - there) / 2;
            match self.records.get(&keys::segment(segments, probe)).await? {
                Some(_) => there = probe,
                None => gone = probe,
            }
        }
        Ok(there)
    }
}

fn unwanted() -> Error {
    Error::conflict(
        "the upload was removed before it ended: its secret was purged, or a sweep came",
    )
}
