//! Files: segments first, a batch at a time, and the record that makes them a
//! version last, so that a file is there wholly or not at all.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join;
use strongroom_guard::SecretBytes;

use super::super::entries::{check_expectation, context, missing_record, version};
use super::super::head::{Head, State};
use super::super::manifest::Manifest;
use super::super::stream::{MAX_SEALED_BYTES, Opener, SEGMENT_BYTES, Sealer};
use super::super::{Content, Header, Record, Suite, TAG_BYTES, keys};
use super::EnvelopeStore;
use super::read::Found;
use super::uploads::Upload;
use super::write::Payload;
use crate::error::{Error, Result};
use crate::file::{FileInfo, FileReader, FileSource, Segments};
use crate::kinds;
use crate::name::SecretName;
use crate::record::{Batch, Precondition, RecordStore};
use crate::secret::{Secret, VersionInfo};
use crate::store::{PutOptions, SecretStore, Select};
use crate::wrapper::Dek;

/// How much one commit of segments has, at most. Two of them are in memory, one
/// on its way to the disk and one that is being sealed: together with what a
/// record store copies, that stays below 4 MiB.
const BATCH_BYTES: usize = 1 << 20;

impl EnvelopeStore {
    pub(super) async fn put_file_version(
        &self,
        name: &SecretName,
        source: &mut dyn FileSource,
        options: &PutOptions,
    ) -> Result<VersionInfo> {
        let limits = self.capabilities();
        if source.length().is_some_and(|length| length > limits.max_file_bytes) {
            return Err(too_long(limits.max_file_bytes));
        }
        self.sweep_on(usize::MAX).await;
        self.look_ahead(name, options).await?;
        let mut pieces = Pieces::begin(source, limits.max_file_bytes).await?;
        let first = pieces.next().await?;
        // A short one needs no segments of its own.
        if first.last && first.bytes.len() <= limits.max_value_bytes {
            return self.put_version(name, &first.bytes, options).await;
        }
        kinds::check_length(options.kind, usize::MAX)?;
        let mut upload = self.begin_upload(name).await?;
        let stored = async {
            let manifest = self
                .store_segments(&upload, self.options.suite, first, &mut pieces)
                .await?
                .encode()?;
            let payload = Payload::File { manifest: &manifest, upload: &upload };
            self.put_payload(name, &payload, options).await
        };
        let stored = stored.await;
        match &stored {
            Ok(_) => upload.disarm(),
            // Otherwise it stays among what is left over.
            Err(_) if self.discard(upload.segments()).await.is_ok() => upload.disarm(),
            Err(_) => {}
        }
        stored
    }

    /// Whether a put would be allowed now.
    async fn look_ahead(&self, name: &SecretName, options: &PutOptions) -> Result<()> {
        let is_over = |head: &Head| head.is_expired(self.clock.now());
        let current = self.head(name).await?.map(|stored| stored.head);
        let head = current.filter(|head| head.state != State::Purging && !is_over(head));
        check_expectation(head.as_ref(), &options.expect).map(drop)
    }

    /// Seals and commits every segment. While one batch is on its way to the
    /// disk, the next one is sealed.
    pub(super) async fn store_segments(
        &self,
        upload: &Upload,
        suite: Suite,
        first: Piece,
        pieces: &mut Pieces<'_>,
    ) -> Result<Manifest> {
        let (file, key) = (upload.file(), Dek::random()?);
        let mut sealer = Sealer::new(&key, suite, &file)?;
        let mut sealing = Sealing { upload, sealer: &mut sealer, pieces, number: 0, length: 0 };
        let most = self.records.max_batch_bytes().min(BATCH_BYTES);
        let mut next = sealing.batch(Some(first), most).await?;
        while let Some(batch) = next {
            // The commit is polled first, so that it has begun before the source
            // takes the thread.
            ((), next) = try_join(self.records.commit(batch), sealing.batch(None, most)).await?;
        }
        let length = sealing.length;
        Ok(Manifest { file, key, length })
    }

    /// The same for a file that is stored already: `reader`'s bytes as the
    /// segments of `upload`.
    pub(super) async fn copy_segments(
        &self,
        upload: &Upload,
        suite: Suite,
        mut reader: FileReader,
    ) -> Result<Manifest> {
        let mut pieces = Pieces::begin(&mut reader, u64::MAX).await?;
        let first = pieces.next().await?;
        self.store_segments(upload, suite, first, &mut pieces).await
    }

    pub(super) async fn read_file(&self, name: &SecretName, select: &Select) -> Result<FileReader> {
        match self.find(name, select).await? {
            Found::Value(secret) => Ok(secret.into()),
            Found::File(info, segments) => Ok(FileReader::new(info, Box::new(segments))),
        }
    }

    /// A file as a value, if it is short enough for one.
    pub(super) async fn whole(&self, info: FileInfo, segments: &StoredSegments) -> Result<Secret> {
        let max = self.capabilities().max_value_bytes;
        let length = usize::try_from(info.length).ok().filter(|length| *length <= max);
        let length = length.ok_or_else(|| {
            Error::limit_exceeded(format!(
                "this is a file of {} bytes, more than the {max} of a value: read it as a file \
                 (`get --output`, Download)",
                info.length
            ))
        })?;
        let mut value = SecretBytes::zeroed(length)?;
        for (number, place) in value.expose_mut().chunks_mut(SEGMENT_BYTES).enumerate() {
            place.copy_from_slice(segments.read(number as u64).await?.expose());
        }
        Ok(Secret::fresh(value, info.kind, info.version, info.created))
    }

    /// What the manifest of a version's record leads to.
    pub(super) fn segments_of(
        &self,
        name: &SecretName,
        number: u64,
        record: &Record<'_>,
        dek: &Dek,
    ) -> Result<(FileInfo, StoredSegments)> {
        let header = *record.header();
        let context = context(name, number, header.kind)?;
        let manifest = Manifest::parse(&record.open_payload(dek, &context)?)?;
        let Header { kind, created, suite, .. } = header;
        let info = FileInfo {
            version: version(number)?,
            kind,
            created,
            length: manifest.length,
            segment_bytes: SEGMENT_BYTES,
            age: Duration::ZERO,
            stale: false,
        };
        let segments = StoredSegments {
            records: Arc::clone(&self.records),
            opener: manifest.opener(suite)?,
            count: manifest.segments(),
            length: manifest.length,
            segments: keys::segments(name, &manifest.file),
            head: keys::head(name),
            number,
            record: keys::version(name, number),
            commitment: *record.commitment,
        };
        Ok((info, segments))
    }
}

/// The segments of a file in a record store.
pub(super) struct StoredSegments {
    records: Arc<dyn RecordStore>,
    opener: Opener,
    count: u64,
    length: u64,
    /// The key of the segments.
    segments: Vec<u8>,
    /// Where it stands whether the version is still there.
    head: Vec<u8>,
    number: u64,
    /// The key of the record, and which record it was.
    record: Vec<u8>,
    commitment: [u8; 32],
}

#[async_trait]
impl Segments for StoredSegments {
    async fn read(&self, number: u64) -> Result<SecretBytes> {
        let last = number + 1 == self.count;
        let Some(stored) = self.records.get(&keys::segment(&self.segments, number)).await? else {
            return Err(self.missing().await);
        };
        let segment = self.opener.open(number, last, &stored.value)?;
        let expected = self.length.saturating_sub(number * SEGMENT_BYTES as u64);
        if segment.len() as u64 != expected.min(SEGMENT_BYTES as u64) {
            return Err(Error::tampered("a segment of the file has another length"));
        }
        // Nothing ends after its end.
        if last && self.records.get(&keys::segment(&self.segments, self.count)).await?.is_some() {
            return Err(Error::tampered("the file has more segments than were written"));
        }
        Ok(segment)
    }
}

impl StoredSegments {
    /// The key of the segments.
    pub(super) fn key(&self) -> &[u8] {
        &self.segments
    }

    /// Why a segment is not there: either its version has gone, or somebody took
    /// it away.
    async fn missing(&self) -> Error {
        match self.is_unchanged().await {
            Ok(true) => Error::tampered("a segment of the file is missing"),
            Ok(false) => {
                Error::conflict("the file was sealed anew while it was read: read it again")
                    .retryable(true)
            }
            Err(error) => error,
        }
    }

    /// Whether the version is there, and has the record that was read. A purge
    /// changes the head before it removes anything.
    async fn is_unchanged(&self) -> Result<bool> {
        let purged = || Error::not_found("the secret was purged while it was read");
        let head = self.records.get(&self.head).await?.ok_or_else(purged)?;
        let head = Head::parse(&head.value)?;
        // A secret that is on its way has no reader but who moves it, and one from
        // before: it finds the file where it went.
        let is_moving = matches!(head.state, State::Moved { .. } | State::Incoming { .. });
        if !is_moving && (!head.exists() || self.number < head.first) {
            return Err(purged());
        }
        let gone = || {
            if is_moving {
                let moved = Error::conflict("the file was moved while it was read: read it again");
                moved.retryable(true)
            } else {
                missing_record()
            }
        };
        let record = self.records.get(&self.record).await?.ok_or_else(gone)?;
        Ok(*Record::parse(&record.value)?.commitment == self.commitment)
    }
}

/// A part of a file in guarded memory.
pub(super) struct Piece {
    pub(super) bytes: SecretBytes,
    pub(super) last: bool,
}

/// Cuts what a source gives into segments. Which one is the last shows only when
/// nothing follows: one is read ahead.
pub(super) struct Pieces<'a> {
    source: &'a mut dyn FileSource,
    ahead: Option<SecretBytes>,
    room: u64,
    max: u64,
}

impl<'a> Pieces<'a> {
    pub(super) async fn begin(source: &'a mut dyn FileSource, max: u64) -> Result<Self> {
        let mut pieces = Self { source, ahead: None, room: max, max };
        pieces.ahead = Some(pieces.fill().await?);
        Ok(pieces)
    }

    async fn fill(&mut self) -> Result<SecretBytes> {
        let mut bytes = SecretBytes::zeroed(SEGMENT_BYTES)?;
        let filled = self.source.fill(bytes.expose_mut()).await?;
        self.room = self.room.checked_sub(filled as u64).ok_or_else(|| too_long(self.max))?;
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// The next piece; after the last one there is none, and none is asked for.
    pub(super) async fn next(&mut self) -> Result<Piece> {
        let Some(bytes) = self.ahead.take() else {
            return Err(Error::internal("a file was read beyond its end"));
        };
        if bytes.len() < SEGMENT_BYTES {
            return Ok(Piece { bytes, last: true });
        }
        let ahead = self.fill().await?;
        let last = ahead.is_empty();
        self.ahead = Some(ahead).filter(|ahead| !ahead.is_empty());
        Ok(Piece { bytes, last })
    }
}

/// Turns pieces into batches.
struct Sealing<'a, 'b> {
    upload: &'a Upload,
    sealer: &'a mut Sealer,
    pieces: &'a mut Pieces<'b>,
    number: u64,
    length: u64,
}

impl Sealing<'_, '_> {
    /// As many segments as `most` bytes take, at least one; `None` after the end.
    /// The batch holds only while the upload is still wanted.
    async fn batch(&mut self, first: Option<Piece>, most: usize) -> Result<Option<Batch>> {
        if self.sealer.has_ended() {
            return Ok(None);
        }
        let (marker, revision) = self.upload.marker();
        let mut batch = Batch::new().require(marker, Precondition::At(revision));
        let segment_bytes = self.upload.segments().len() + 8 + MAX_SEALED_BYTES + 32;
        let (mut bytes, mut piece) = (0, first);
        while !self.sealer.has_ended() && (bytes == 0 || bytes + segment_bytes <= most) {
            let Piece { bytes: plain, last } = match piece.take() {
                Some(piece) => piece,
                None => self.pieces.next().await?,
            };
            let mut sealed = vec![0; plain.len() + TAG_BYTES];
            self.sealer.seal(plain.expose(), last, &mut sealed)?;
            batch = batch.write(keys::segment(self.upload.segments(), self.number), sealed);
            self.number += 1;
            self.length += plain.len() as u64;
            bytes += segment_bytes;
        }
        Ok(Some(batch))
    }
}

fn too_long(max: u64) -> Error {
    Error::limit_exceeded(format!("the file is longer than the {max} bytes that are allowed"))
}

/// Whether a record's payload is the manifest of a file.
pub(super) fn is_file(record: &Record<'_>) -> bool {
    record.header().content == Content::Manifest
}
