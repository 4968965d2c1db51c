//! The frames of a backup. Each one's tag covers the tag before it, and the first
//! covers the header: what was cut off, added, altered, moved, or taken from
//! another backup does not verify.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use strongroom_guard::SecretBytes;

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::file::FileSource;

pub(super) const MAGIC: [u8; 3] = *b"SB\x01";
pub(super) const KEY_LABEL: &[u8] = b"strongroom backup v1";
pub(super) const ID_BYTES: usize = 16;
const TAG_BYTES: usize = 32;
/// Id, time, flags, length of the identity.
const FIXED_BYTES: usize = MAGIC.len() + ID_BYTES + 8 + 1 + 4;
/// An identity is some hundred bytes; its prelude has a limit.
const MAX_IDENTITY_BYTES: usize = 128 << 10;
/// A frame ends with the entry that brings it to so many bytes.
pub(super) const FRAME_BYTES: usize = 1 << 20;
/// The longest value that any record store takes, and a frame around it.
const MAX_FRAME_BYTES: usize = (64 << 20) + 2 * FRAME_BYTES;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Frame {
    Entries = 1,
    /// What came of one secret does not count: it comes once more.
    Retract = 2,
    End = 3,
}

impl Frame {
    fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Entries),
            2 => Some(Self::Retract),
            3 => Some(Self::End),
            _ => None,
        }
    }
}

/// What stands before the frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) id: [u8; ID_BYTES],
    pub(super) created: Timestamp,
    pub(super) one_moment: bool,
    /// As it stands in the store.
    pub(super) identity: Vec<u8>,
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED_BYTES + self.identity.len());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&self.id);
        out.extend_from_slice(&self.created.0.to_le_bytes());
        out.push(u8::from(self.one_moment));
        out.extend_from_slice(&(self.identity.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.identity);
        out
    }

    /// Reads a header. Nothing of it is trusted before the first tag.
    pub(super) async fn read(source: &mut dyn FileSource) -> Result<Self> {
        let mut fixed = [0; FIXED_BYTES];
        let read = source.fill(&mut fixed).await?;
        if read < 3 || fixed[..2] != MAGIC[..2] {
            return Err(Error::unsupported("this file is no backup"));
        }
        if fixed[2] != MAGIC[2] {
            return Err(Error::unsupported("the backup has another format: use a newer release"));
        }
        if read < FIXED_BYTES {
            return Err(cut());
        }
        let (id, rest) = fixed[3..].split_first_chunk::<ID_BYTES>().ok_or_else(cut)?;
        let (created, rest) = rest.split_first_chunk::<8>().ok_or_else(cut)?;
        let (flags, length) = rest.split_first().ok_or_else(cut)?;
        let length = u32::from_le_bytes(length.try_into().map_err(|_| cut())?) as usize;
        if *flags > 1 || length > MAX_IDENTITY_BYTES {
            return Err(altered());
        }
        let mut identity = vec![0; length];
        if source.fill(&mut identity).await? < length {
            return Err(cut());
        }
        let created = Timestamp(u64::from_le_bytes(*created));
        Ok(Self { id: *id, created, one_moment: *flags == 1, identity })
    }
}

/// The tags, one after the other.
pub(super) struct Chain {
    key: SecretBytes,
    last: [u8; TAG_BYTES],
}

impl Chain {
    /// Begins after `header`, under the key of this backup.
    pub(super) fn begin(key: SecretBytes, header: &Header) -> Result<Self> {
        let mut chain = Self { key, last: [0; TAG_BYTES] };
        let mut mac = chain.mac()?;
        mac.update(&header.encode());
        chain.last = mac.finalize().into_bytes().into();
        Ok(chain)
    }

    fn mac(&self) -> Result<Hmac<Sha256>> {
        Hmac::<Sha256>::new_from_slice(self.key.expose())
            .map_err(|_| Error::internal("HMAC takes keys of any length"))
    }

    fn next(&self, head: [u8; 5], body: &[u8]) -> Result<Hmac<Sha256>> {
        let mut mac = self.mac()?;
        mac.update(&self.last);
        mac.update(&head);
        mac.update(body);
        Ok(mac)
    }

    /// A frame's bytes.
    pub(super) fn frame(&mut self, kind: Frame, body: &[u8]) -> Result<Vec<u8>> {
        let head = frame_head(kind as u8, body.len() as u32);
        self.last = self.next(head, body)?.finalize().into_bytes().into();
        Ok([&head[..], body, &self.last].concat())
    }

    /// The next frame, once its tag has been compared.
    pub(super) async fn read(
        &mut self,
        source: &mut dyn FileSource,
    ) -> Result<(Frame, Vec<u8>, u64)> {
        let mut head = [0; 5];
        if source.fill(&mut head).await? < head.len() {
            return Err(cut());
        }
        let [a, b, c, d, kind] = head;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        if length > MAX_FRAME_BYTES {
            return Err(altered());
        }
        let mut body = vec![0; length];
        let mut tag = [0; TAG_BYTES];
        if source.fill(&mut body).await? < length || source.fill(&mut tag).await? < TAG_BYTES {
            return Err(cut());
        }
        // In constant time, as `hmac` does it.
        self.next(head, &body)?.verify_slice(&tag).map_err(|_| altered())?;
        self.last = tag;
        let kind = Frame::from_number(kind).ok_or_else(|| {
            Error::unsupported("the backup holds what this release does not know")
        })?;
        Ok((kind, body, (head.len() + length + TAG_BYTES) as u64))
    }
}

fn frame_head(kind: u8, length: u32) -> [u8; 5] {
    let [a, b, c, d] = length.to_le_bytes();
    [a, b, c, d, kind]
}

/// Appends an entry to a frame's body.
pub(super) fn push_entry(body: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    body.extend_from_slice(&(key.len() as u16).to_le_bytes());
    body.extend_from_slice(key);
    body.extend_from_slice(&(value.len() as u32).to_le_bytes());
    body.extend_from_slice(value);
}

/// Takes the next entry of a frame's body.
pub(super) fn take_entry<'a>(body: &mut &'a [u8]) -> Result<(&'a [u8], &'a [u8])> {
    let mut take = || {
        let (length, rest) = body.split_first_chunk::<2>()?;
        let (key, rest) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        *body = rest;
        Some((key, value))
    };
    take().ok_or_else(altered)
}

pub(super) fn cut() -> Error {
    Error::tampered("the backup is cut off: nothing of it is trusted")
}

pub(super) fn altered() -> Error {
    Error::tampered(
        "the backup was altered, or put together from several: nothing of it is trusted",
    )
}
