//! The manifest of a file: which segments are its, how long it is, and the key
//! that they are sealed with. It is the payload of the version's record, so that
//! a rewrap touches nothing else, and a record's commitment to its payload is
//! one to the file's key.

use strongroom_guard::SecretBytes;

use super::aead::{KEY_BYTES, Suite};
use super::stream::{FILE_ID_BYTES, FileId, Opener, SEGMENT_BYTES};
use crate::error::{Error, Result};
use crate::wrapper::Dek;

const FORMAT: u8 = 1;
/// Format, file id, key, length, size of a segment.
const MANIFEST_BYTES: usize = 1 + FILE_ID_BYTES + KEY_BYTES + 8 + 4;
const KEY_AT: usize = 1 + FILE_ID_BYTES;
const LENGTH_AT: usize = KEY_AT + KEY_BYTES;

/// What a manifest says.
#[derive(Debug)]
pub(super) struct Manifest {
    pub(super) file: FileId,
    /// Seals this file's segments and nothing else. Not the record's DEK: that
    /// one is made for a version, and which version a file becomes is known when
    /// its last segment is stored.
    pub(super) key: Dek,
    /// In bytes.
    pub(super) length: u64,
}

impl Manifest {
    /// The bytes, in guarded memory: they hold a key.
    pub(super) fn encode(&self) -> Result<SecretBytes> {
        let mut bytes = SecretBytes::zeroed(MANIFEST_BYTES)?;
        let out = bytes.expose_mut();
        out[0] = FORMAT;
        out[1..KEY_AT].copy_from_slice(&self.file.0);
        out[KEY_AT..LENGTH_AT].copy_from_slice(self.key.expose());
        out[LENGTH_AT..LENGTH_AT + 8].copy_from_slice(&self.length.to_le_bytes());
        out[LENGTH_AT + 8..].copy_from_slice(&(SEGMENT_BYTES as u32).to_le_bytes());
        Ok(bytes)
    }

    /// Reads what a record's payload says. The record has been authenticated:
    /// what this cannot read comes from a later release.
    pub(super) fn parse(bytes: &SecretBytes) -> Result<Self> {
        let bytes: &[u8; MANIFEST_BYTES] = bytes.expose().try_into().map_err(|_| later())?;
        let (fixed, numbers) = bytes.split_at(LENGTH_AT);
        let (length, segment) = numbers.split_first_chunk::<8>().ok_or_else(later)?;
        if fixed[0] != FORMAT || segment != (SEGMENT_BYTES as u32).to_le_bytes() {
            return Err(later());
        }
        let mut file = [0; FILE_ID_BYTES];
        file.copy_from_slice(&fixed[1..KEY_AT]);
        let key = Dek::from_secret(SecretBytes::copy_from(&fixed[KEY_AT..])?)?;
        Ok(Self { file: FileId(file), key, length: u64::from_le_bytes(*length) })
    }

    /// How many segments the file has. One that is empty has one, which is empty.
    pub(super) fn segments(&self) -> u64 {
        self.length.div_ceil(SEGMENT_BYTES as u64).max(1)
    }

    pub(super) fn opener(&self, suite: Suite) -> Result<Opener> {
        Opener::new(&self.key, suite, &self.file)
    }
}

fn later() -> Error {
    Error::unsupported("the manifest of the file has another format: use a newer release")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn manifest(length: u64) -> Manifest {
        let key = SecretBytes::copy_from(&[5; 32]).expect("memory");
        Manifest { file: FileId([7; 16]), key: Dek::from_secret(key).expect("a key"), length }
    }

    #[test]
    fn a_manifest_reads_back() {
        for length in [0, 1, u64::from(u32::MAX) + 1, u64::MAX] {
            let bytes = manifest(length).encode().expect("encoded");
            let read = Manifest::parse(&bytes).expect("whole");
            assert_eq!((read.file, read.length), (FileId([7; 16]), length));
            assert!(read.key.expose() == [5; 32]);
        }
    }

    #[test]
    fn what_a_later_release_wrote_is_unsupported() {
        let good = manifest(9).encode().expect("encoded");
        let parsed = |change: fn(&mut Vec<u8>)| {
            let mut bytes = good.expose().to_vec();
            change(&mut bytes);
            let bytes = SecretBytes::take(bytes).expect("memory");
            Manifest::parse(&bytes).expect_err("another format").kind()
        };
        let changes: [fn(&mut Vec<u8>); 5] = [
            |bytes| bytes[0] = 2,
            |bytes| bytes[57] ^= 1,
            |bytes| bytes.push(0),
            |bytes| bytes.truncate(MANIFEST_BYTES - 1),
            Vec::clear,
        ];
        assert_eq!(changes.map(parsed), [ErrorKind::Unsupported; 5]);
    }

    #[test]
    fn segments_are_counted_to_the_last_byte() {
        let segment = SEGMENT_BYTES as u64;
        let cases = [(0, 1), (1, 1), (segment, 1), (segment + 1, 2), (10 * segment - 1, 10)];
        for (length, segments) in cases {
            assert_eq!(manifest(length).segments(), segments, "{length} bytes");
        }
    }
}
