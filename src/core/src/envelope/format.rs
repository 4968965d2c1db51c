//! The bytes of a record, format 1: reading them without trust, writing them.
//! `FORMAT.md` is the definition; this file follows it section by section.

use std::borrow::Cow;

use super::aead::{NONCE_BYTES, Suite, TAG_BYTES};
use crate::clock::Timestamp;
use crate::context::{EncryptionContext, FORMAT_VERSION};
use crate::error::{Error, Result};
use crate::secret::Kind;
use crate::wrapper::WrappedDek;

/// The most wrapped DEKs that a record holds.
pub const MAX_WRAPS: usize = 16;
/// The longest prelude, in bytes: its length is written in two.
pub const MAX_PRELUDE_BYTES: usize = u16::MAX as usize;

pub(super) const COMMITMENT_BYTES: usize = 32;
const MAGIC: [u8; 2] = *b"SR";
/// Magic, format version, prelude length, checksum.
const FRAME_BYTES: usize = 9;
/// The frame, suite, kind, time of creation, number of wraps.
const FIXED_BYTES: usize = FRAME_BYTES + 11;
const TAIL_BYTES: usize = NONCE_BYTES + TAG_BYTES + COMMITMENT_BYTES;

/// What the payload of a record is. The number is the record's format version,
/// so that a reader that does not know it says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Content {
    /// The secret's value.
    #[default]
    Value = FORMAT_VERSION,
    /// The manifest of a file whose segments stand elsewhere.
    Manifest = 2,
}

impl Content {
    fn from_number(number: u8) -> Option<Self> {
        [Self::Value, Self::Manifest].into_iter().find(|content| *content as u8 == number)
    }
}

/// What a record says in clear about its payload; all of it is authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the payload is.
    pub content: Content,
    /// The AEAD of the payload.
    pub suite: Suite,
    /// What the payload's bytes are.
    pub kind: Kind,
    /// When the record was sealed.
    pub created: Timestamp,
}

impl Header {
    /// Of a record whose payload is a value.
    #[must_use]
    pub fn of_value(suite: Suite, kind: Kind, created: Timestamp) -> Self {
        Self { content: Content::Value, suite, kind, created }
    }

    /// What is authenticated with the payload: format version, suite, kind and
    /// time in eleven bytes, then the encryption context.
    pub(super) fn aad(&self, context: &EncryptionContext) -> Vec<u8> {
        let mut aad = Vec::with_capacity(11 + context.as_bytes().len());
        aad.push(self.content as u8);
        self.encode_into(&mut aad);
        aad.extend_from_slice(context.as_bytes());
        aad
    }

    fn encode_into(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.suite as u8, self.kind as u8]);
        out.extend_from_slice(&self.created.0.to_le_bytes());
    }
}

/// The prelude of a record in a buffer with room for `tail_bytes` more.
pub(super) fn begin_record(
    header: &Header,
    wraps: &[WrappedDek<'_>],
    tail_bytes: usize,
) -> Result<Vec<u8>> {
    if wraps.is_empty() || wraps.len() > MAX_WRAPS {
        return Err(Error::internal(format!(
            "a record holds 1 to {MAX_WRAPS} wrapped DEKs, not {}",
            wraps.len()
        )));
    }
    let wrap_bytes = |w: &WrappedDek<'_>| 4 + w.kek.len() + w.kek_version.len() + w.bytes.len();
    let prelude_bytes = FIXED_BYTES + wraps.iter().map(wrap_bytes).sum::<usize>();
    let prelude_length = u16::try_from(prelude_bytes).map_err(|_| too_long())?;

    let mut out = Vec::with_capacity(prelude_bytes + tail_bytes);
    out.extend_from_slice(&MAGIC);
    out.push(header.content as u8);
    out.extend_from_slice(&prelude_length.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    header.encode_into(&mut out);
    out.push(wraps.len() as u8);
    for wrap in wraps {
        push_short(&mut out, wrap.kek.as_bytes())?;
        push_short(&mut out, wrap.kek_version.as_bytes())?;
        let length = u16::try_from(wrap.bytes.len()).map_err(|_| too_long())?;
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&wrap.bytes);
    }
    let checksum = prelude_checksum(&out);
    out[5..FRAME_BYTES].copy_from_slice(&checksum.to_le_bytes());
    Ok(out)
}

fn push_short(out: &mut Vec<u8>, text: &[u8]) -> Result<()> {
    out.push(u8::try_from(text.len()).map_err(|_| too_long())?);
    out.extend_from_slice(text);
    Ok(())
}

fn too_long() -> Error {
    Error::internal("a wrapped DEK, or the name or version of its KEK, is too long for a record")
}

/// Over the prelude without the checksum's own four bytes. It is no protection
/// against an attacker, who can compute it; it tells a damaged KEK name from an
/// unknown one.
fn prelude_checksum(prelude: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&prelude[..5]);
    crc.update(&prelude[FRAME_BYTES..]);
    crc.finalize()
}

/// A record's parts, borrowed from its bytes. That it parses says nothing about
/// who wrote it: only [`Record::open_with`] does.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    header: Header,
    wraps: &'a [u8],
    pub(super) nonce: &'a [u8; NONCE_BYTES],
    pub(super) ciphertext: &'a [u8],
    pub(super) tag: &'a [u8; TAG_BYTES],
    pub(super) commitment: &'a [u8; COMMITMENT_BYTES],
}

impl<'a> Record<'a> {
    /// Reads a record. Bytes that are damaged or truncated are `Tampered`; a
    /// whole record of a later format, or of a kind that is not known, is
    /// `Unsupported`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let mut frame = Reader(bytes);
        let magic = frame.array::<2>()?;
        let [version] = *frame.array::<1>()?;
        let prelude_bytes = usize::from(u16::from_le_bytes(*frame.array::<2>()?));
        let checksum = u32::from_le_bytes(*frame.array::<4>()?);
        if *magic != MAGIC || prelude_bytes < FIXED_BYTES || prelude_bytes > bytes.len() {
            return Err(damaged());
        }
        let (prelude, tail) = bytes.split_at(prelude_bytes);
        if prelude_checksum(prelude) != checksum {
            return Err(damaged());
        }
        let content = Content::from_number(version).ok_or_else(|| {
            Error::unsupported(format!(
                "the record has format {version}, and this build reads {} and {}: use a newer \
                 release",
                Content::Value as u8,
                Content::Manifest as u8
            ))
        })?;

        let mut fields = Reader(&prelude[FRAME_BYTES..]);
        let [suite, kind] = *fields.array::<2>()?;
        let created = Timestamp(u64::from_le_bytes(*fields.array::<8>()?));
        let suite = Suite::from_number(suite).ok_or_else(damaged)?;
        let kind = Kind::of_number(kind)?;
        let [count] = *fields.array::<1>()?;
        let wraps = fields.0;
        for _ in 0..count {
            fields.wrap()?;
        }
        let good_count = (1..=MAX_WRAPS).contains(&usize::from(count));
        if !good_count || !fields.0.is_empty() || tail.len() < TAIL_BYTES {
            return Err(damaged());
        }

        let mut tail = Reader(tail);
        let nonce = tail.array()?;
        let ciphertext = tail.take(tail.0.len() - TAG_BYTES - COMMITMENT_BYTES)?;
        let (tag, commitment) = (tail.array()?, tail.array()?);
        let header = Header { content, suite, kind, created };
        Ok(Self { header, wraps, nonce, ciphertext, tag, commitment })
    }

    /// What the record says in clear.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The wrapped DEKs, in the order in which they are to be tried.
    pub fn wraps(&self) -> impl Iterator<Item = WrappedDek<'a>> + use<'a> {
        let mut rest = Reader(self.wraps);
        // `parse` has read them all once: none fails here.
        std::iter::from_fn(move || rest.wrap().ok())
    }

    /// The same record with other wraps: header, payload and commitment stay to
    /// the byte.
    pub fn with_wraps(&self, wraps: &[WrappedDek<'_>]) -> Result<Vec<u8>> {
        let mut out = begin_record(&self.header, wraps, TAIL_BYTES + self.ciphertext.len())?;
        for part in [&self.nonce[..], self.ciphertext, self.tag, self.commitment] {
            out.extend_from_slice(part);
        }
        Ok(out)
    }

    /// The size of the payload, in bytes.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        self.ciphertext.len()
    }
}

/// Takes fields off the front of bytes that nobody vouches for.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or_else(damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<&'a [u8; N]> {
        let (taken, rest) = self.0.split_first_chunk().ok_or_else(damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    fn short_text(&mut self) -> Result<Cow<'a, str>> {
        let [length] = *self.array::<1>()?;
        let text = std::str::from_utf8(self.take(length.into())?).map_err(|_| damaged())?;
        Ok(Cow::Borrowed(text))
    }

    fn wrap(&mut self) -> Result<WrappedDek<'a>> {
        let (kek, kek_version) = (self.short_text()?, self.short_text()?);
        let length = u16::from_le_bytes(*self.array::<2>()?);
        Ok(WrappedDek { kek, kek_version, bytes: Cow::Borrowed(self.take(length.into())?) })
    }
}

fn damaged() -> Error {
    Error::tampered("the record is damaged or truncated")
}
