//! How records lie in sled's one ordered map.
//!
//! ```text
//! 0x00                          -> last revision (u64)
//! 0x01 revision(u64) index(u32) -> one chunk of a long value
//! 0x02 key                      -> revision(u64) 0x00 value, or
//!                                  revision(u64) 0x01 length(u64) of a long value
//! ```
//! All numbers are big-endian. sled puts what exceeds a quarter of a segment
//! into side files that it never syncs, and a page holds up to 17 entries,
//! so that values are cut into chunks far below that.

use strongroom_core::{Error, Result, Revision};

/// Where the last revision is kept.
pub(super) const LAST_REVISION: [u8; 1] = [0x00];

/// The longest value of one sled entry, in bytes. See `SEGMENT_BYTES` in
/// `sled.rs`, which depends on it.
pub(super) const CHUNK_BYTES: usize = 8 << 10;

const CHUNK: u8 = 0x01;
const HEAD: u8 = 0x02;
const INLINE: u8 = 0x00;
const CHUNKED: u8 = 0x01;

/// What stands under a record's key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head<'a> {
    pub(super) revision: Revision,
    pub(super) body: Body<'a>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Body<'a> {
    Inline(&'a [u8]),
    Chunked { bytes: usize },
}

/// The sled key of a record, or of a prefix of records' keys.
pub(super) fn head_key(key: &[u8]) -> Vec<u8> {
    let mut head = Vec::with_capacity(1 + key.len());
    head.push(HEAD);
    head.extend_from_slice(key);
    head
}

/// The record's key, from its sled key.
pub(super) fn record_key(head_key: &[u8]) -> Result<&[u8]> {
    match head_key.split_first() {
        Some((&HEAD, key)) => Ok(key),
        _ => Err(damaged()),
    }
}

/// The sled key of one chunk. A revision belongs to one write of one record,
/// so that chunks of two writes never mix.
pub(super) fn chunk_key(revision: Revision, index: u32) -> [u8; 13] {
    let mut key = [CHUNK; 13];
    key[1..9].copy_from_slice(&revision.0.to_be_bytes());
    key[9..].copy_from_slice(&index.to_be_bytes());
    key
}

/// The indexes of the chunks of a value of `bytes` bytes.
pub(super) fn chunk_indexes(bytes: usize) -> std::ops::Range<u32> {
    0..bytes.div_ceil(CHUNK_BYTES) as u32
}

/// The entry under a record's key; a value that is too long for it goes into
/// chunks.
pub(super) fn encode_head(revision: Revision, value: &[u8]) -> Vec<u8> {
    let mut entry = Vec::with_capacity(17 + value.len().min(CHUNK_BYTES));
    entry.extend_from_slice(&revision.0.to_be_bytes());
    if value.len() <= CHUNK_BYTES {
        entry.push(INLINE);
        entry.extend_from_slice(value);
    } else {
        entry.push(CHUNKED);
        entry.extend_from_slice(&(value.len() as u64).to_be_bytes());
    }
    entry
}

/// Reads what [`encode_head`] wrote.
pub(super) fn decode_head(entry: &[u8]) -> Result<Head<'_>> {
    let (revision, rest) = entry.split_first_chunk::<8>().ok_or_else(damaged)?;
    let revision = Revision(u64::from_be_bytes(*revision));
    let body = match rest.split_first() {
        Some((&INLINE, value)) if value.len() <= CHUNK_BYTES => Body::Inline(value),
        Some((&CHUNKED, bytes)) => {
            let bytes = u64::from_be_bytes(bytes.try_into().map_err(|_| damaged())?);
            let bytes = usize::try_from(bytes).map_err(|_| damaged())?;
            if bytes > super::MAX_VALUE_BYTES {
                return Err(damaged());
            }
            Body::Chunked { bytes }
        }
        _ => return Err(damaged()),
    };
    Ok(Head { revision, body })
}

/// Reads the last revision.
pub(super) fn decode_last_revision(entry: &[u8]) -> Result<u64> {
    entry.try_into().map(u64::from_be_bytes).map_err(|_| damaged())
}

/// An entry is not what this module wrote.
pub(super) fn damaged() -> Error {
    Error::tampered("the store holds an entry that no release of this program wrote")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_survive_a_round_trip_and_say_where_the_value_is() {
        let revision = Revision(7);
        for bytes in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES] {
            let value = vec![3; bytes];
            let entry = encode_head(revision, &value);
            assert!(decode_head(&entry).unwrap() == Head { revision, body: Body::Inline(&value) });
        }
        let bytes = CHUNK_BYTES + 1;
        let entry = encode_head(revision, &vec![3; bytes]);
        assert_eq!(decode_head(&entry).unwrap(), Head { revision, body: Body::Chunked { bytes } });
        assert_eq!(chunk_indexes(bytes), 0..2);
        assert_eq!(chunk_indexes(2 * CHUNK_BYTES), 0..2);
    }

    #[test]
    fn entries_that_nobody_wrote_are_tampered() {
        let mut too_long = encode_head(Revision(1), &vec![0; CHUNK_BYTES + 1]);
        too_long[9] = 0xff;
        let short = encode_head(Revision(1), b"")[..8].to_vec();
        let unknown = [&[0; 8][..], &[9]].concat();
        for entry in [vec![], short, unknown, too_long] {
            let error = decode_head(&entry).unwrap_err();
            assert_eq!(error.kind(), strongroom_core::ErrorKind::Tampered);
        }
        assert!(record_key(&chunk_key(Revision(1), 0)).is_err());
    }
}
