//! Files: values too long to be held in memory, written from a [`FileSource`]
//! and read through a [`FileReader`], one segment in guarded memory at a time.

use std::fmt;
use std::io::{self, Read};
use std::time::Duration;

use async_trait::async_trait;
use strongroom_guard::{SecretBuffer, SecretBytes};

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::secret::{Kind, Secret, Version};

/// How much of a value that was read as a whole one segment has, in bytes.
const WHOLE_SEGMENT_BYTES: usize = 64 << 10;

/// Where the bytes of a file come from.
///
/// # Contract
/// - `fill` gives the bytes in order, each once, and fills the buffer wholly
///   unless they end there. After the end it gives none.
/// - An error ends the file: nothing of it is stored.
#[async_trait]
pub trait FileSource: Send {
    /// Fills `buffer` with what is next. Fewer bytes than it has room for are
    /// the last ones.
    async fn fill(&mut self, buffer: &mut [u8]) -> Result<usize>;

    /// How many bytes there are, where that is known: a store refuses beforehand
    /// what it would not take.
    fn length(&self) -> Option<u64> {
        None
    }
}

#[async_trait]
impl FileSource for &[u8] {
    async fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let (taken, rest) = self.split_at(self.len().min(buffer.len()));
        buffer[..taken.len()].copy_from_slice(taken);
        *self = rest;
        Ok(taken.len())
    }

    fn length(&self) -> Option<u64> {
        Some(self.len() as u64)
    }
}

/// What a [`Read`] gives. It keeps its thread while it reads.
#[derive(Debug)]
pub struct ReadSource<R> {
    reader: R,
    length: Option<u64>,
}

impl<R: Read + Send> ReadSource<R> {
    /// All that `reader` has; `length` where it is known.
    pub fn new(reader: R, length: Option<u64>) -> Self {
        Self { reader, length }
    }
}

#[async_trait]
impl<R: Read + Send> FileSource for ReadSource<R> {
    async fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.reader.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let message = format!("the file cannot be read: {error}");
                    return Err(Error::unavailable(message).retryable(false).with_source(error));
                }
            }
        }
        Ok(filled)
    }

    fn length(&self) -> Option<u64> {
        self.length
    }
}

/// What is told about a file before its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInfo {
    /// The version that it is.
    pub version: Version,
    /// What its bytes are.
    pub kind: Kind,
    /// When it was written.
    pub created: Timestamp,
    /// How many bytes it has.
    pub length: u64,
    /// How many bytes each segment has; the last one may have fewer.
    pub segment_bytes: usize,
    /// As in [`Secret`].
    pub age: Duration,
    /// As in [`Secret`].
    pub stale: bool,
}

impl FileInfo {
    /// How many segments there are.
    #[must_use]
    pub fn segments(&self) -> u64 {
        self.length.div_ceil(self.segment_bytes as u64)
    }
}

/// The segments of one version of a file, in any order.
///
/// # Contract
/// - `read` gives exactly the bytes that were put, or an error: never bytes that
///   fail authentication, never some of another version.
#[async_trait]
pub trait Segments: Send + Sync {
    /// Segment `number`, counted from zero.
    async fn read(&self, number: u64) -> Result<SecretBytes>;

    /// How many bytes of the file are in memory all the while.
    fn held_bytes(&self) -> usize {
        0
    }
}

/// A file that is being read.
pub struct FileReader {
    info: FileInfo,
    segments: Box<dyn Segments>,
    next: u64,
}

impl FileReader {
    /// What `segments` give. For implementations of
    /// [`SecretStore`](crate::SecretStore).
    #[must_use]
    pub fn new(info: FileInfo, segments: Box<dyn Segments>) -> Self {
        Self { info, segments, next: 0 }
    }

    /// What is told about the file.
    #[must_use]
    pub fn info(&self) -> &FileInfo {
        &self.info
    }

    /// How many bytes of the file are in memory as long as this reader is.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.segments.held_bytes()
    }

    /// The next segment, verified; `None` after the last. After an error the same
    /// segment comes again.
    pub async fn next(&mut self) -> Result<Option<SecretBytes>> {
        if self.next >= self.info.segments() {
            return Ok(None);
        }
        let segment = self.read(self.next).await?;
        self.next += 1;
        Ok(Some(segment))
    }

    /// Segment `number`, verified, whatever has been read before. `NotFound` if
    /// there are not so many.
    pub async fn read(&self, number: u64) -> Result<SecretBytes> {
        if number >= self.info.segments() {
            return Err(Error::not_found(format!("the file has no segment {number}")));
        }
        self.segments.read(number).await
    }
}

/// A file that is read can be stored elsewhere: segment by segment, into buffers
/// that have room for one.
#[async_trait]
impl FileSource for FileReader {
    async fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let Some(segment) = self.next().await? else { return Ok(0) };
        let place = buffer.get_mut(..segment.len()).ok_or_else(|| {
            Error::internal("a file is copied into a buffer that is shorter than its segments")
        })?;
        place.copy_from_slice(segment.expose());
        Ok(segment.len())
    }

    fn length(&self) -> Option<u64> {
        Some(self.info.length)
    }
}

impl From<Secret> for FileReader {
    /// A value that was read as a whole, given in segments.
    fn from(secret: Secret) -> Self {
        let Secret { value, kind, version, created, age, stale, .. } = secret;
        let (length, segment_bytes) = (value.len() as u64, WHOLE_SEGMENT_BYTES);
        let info = FileInfo { version, kind, created, length, segment_bytes, age, stale };
        Self::new(info, Box::new(Whole(value)))
    }
}

impl fmt::Debug for FileReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileReader").field("info", &self.info).finish_non_exhaustive()
    }
}

struct Whole(SecretBytes);

#[async_trait]
impl Segments for Whole {
    async fn read(&self, number: u64) -> Result<SecretBytes> {
        let mut pieces = self.0.expose().chunks(WHOLE_SEGMENT_BYTES);
        let piece = pieces.nth(number as usize).unwrap_or_default();
        Ok(SecretBytes::copy_from(piece)?)
    }

    fn held_bytes(&self) -> usize {
        self.0.len()
    }
}

/// All that `source` has, at most `max` bytes: for a store that keeps files as
/// values.
pub(crate) async fn read_whole(source: &mut dyn FileSource, max: usize) -> Result<SecretBytes> {
    let mut value = SecretBuffer::with_limit(max);
    let mut piece = SecretBytes::zeroed(WHOLE_SEGMENT_BYTES.min(max.saturating_add(1)))?;
    loop {
        let filled = source.fill(piece.expose_mut()).await?;
        io::Write::write_all(&mut value, &piece.expose()[..filled]).map_err(|error| match error
            .kind()
        {
            io::ErrorKind::FileTooLarge => {
                Error::limit_exceeded(format!("the file is longer than {max} bytes"))
            }
            _ => Error::limit_exceeded("there is no locked memory for the file").with_source(error),
        })?;
        if filled < piece.len() {
            return Ok(value.into_secret()?);
        }
    }
}
