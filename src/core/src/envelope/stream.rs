//! A file in segments, each sealed by itself: any of them can be opened alone,
//! and none can be altered, left out, doubled, moved or passed off as the end.
//!
//! The construction is STREAM of V. T. Hoang, R. Reyhanitabar, P. Rogaway and
//! D. Vizár, "Online Authenticated-Encryption and its Nonce-Reuse
//! Misuse-Resistance" (CRYPTO 2015, <https://eprint.iacr.org/2015/189>), with the
//! nonces of age (<https://age-encryption.org/v1>, "Payload"): eleven bytes that
//! count, big-endian, and one that says whether this is the last segment. A key
//! belongs to one file, so that no nonce needs a random part.

use strongroom_guard::SecretBytes;

use super::aead::{KEY_BYTES, NONCE_BYTES, Suite, TAG_BYTES};
use super::head::derive;
use crate::error::{Error, Result};
use crate::random;
use crate::wrapper::Dek;

/// How many bytes of a file one segment has; the last one may have fewer. 60 KiB,
/// so that a sealed segment with its key, of 546 bytes at most, and what a B-tree
/// adds fits a page of 64 KiB: redb doubles its pages, and with segments of 64 KiB
/// a file took twice its length on disk.
pub const SEGMENT_BYTES: usize = 60 << 10;
/// The longest sealed segment, in bytes.
pub const MAX_SEALED_BYTES: usize = SEGMENT_BYTES + TAG_BYTES;
/// The size of a file's id, in bytes.
pub const FILE_ID_BYTES: usize = 16;

const KEY_LABEL: &[u8; 18] = b"strongroom file v1";

/// Names one file for ever: random, and never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId(pub [u8; FILE_ID_BYTES]);

impl FileId {
    /// A fresh one.
    pub fn random() -> Result<Self> {
        random::array().map(Self)
    }
}

/// The key of one file's segments and what is authenticated with each.
struct StreamKey {
    suite: Suite,
    key: SecretBytes,
    /// File id and suite; number and end are in the nonce.
    aad: [u8; FILE_ID_BYTES + 1],
}

impl StreamKey {
    /// HKDF-Expand (RFC 5869 §2.3), so that no key is ever used with both suites.
    fn derive(dek: &Dek, suite: Suite, file: &FileId) -> Result<Self> {
        let mut aad = [suite as u8; FILE_ID_BYTES + 1];
        aad[..FILE_ID_BYTES].copy_from_slice(&file.0);
        let mut key = SecretBytes::zeroed(KEY_BYTES)?;
        derive(dek.expose(), &[&KEY_LABEL[..], &aad].concat(), key.expose_mut())?;
        Ok(Self { suite, key, aad })
    }
}

/// `number` in eleven bytes, big-endian, then whether this is the end.
fn nonce(number: u64, last: bool) -> [u8; NONCE_BYTES] {
    let mut nonce = [0; NONCE_BYTES];
    nonce[3..11].copy_from_slice(&number.to_be_bytes());
    nonce[11] = u8::from(last);
    nonce
}

/// Seals the segments of one file, in order, each once.
pub struct Sealer {
    key: StreamKey,
    next: u64,
    ended: bool,
}

impl Sealer {
    /// For the file `file`, whose own key `dek` is: it has sealed nothing yet.
    pub fn new(dek: &Dek, suite: Suite, file: &FileId) -> Result<Self> {
        Ok(Self { key: StreamKey::derive(dek, suite, file)?, next: 0, ended: false })
    }

    /// Whether the last segment has been sealed.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Encrypts the next segment into `out`: ciphertext and tag. Each has
    /// [`SEGMENT_BYTES`]; only the last may have fewer, and nothing follows it.
    pub fn seal(&mut self, segment: &[u8], last: bool, out: &mut [u8]) -> Result<()> {
        let fits = segment.len() == SEGMENT_BYTES || (last && segment.len() < SEGMENT_BYTES);
        if self.ended || !fits || out.len() != segment.len() + TAG_BYTES {
            return Err(Error::internal("a segment of a file has the wrong length or place"));
        }
        let number = self.next;
        // First: a nonce is used once, also if sealing fails.
        (self.next, self.ended) = (number + 1, last);
        let StreamKey { suite, key, aad } = &self.key;
        let (out, tag) = out.split_at_mut(segment.len());
        let nonce = nonce(number, last);
        tag.copy_from_slice(&suite.seal_into(key.expose(), &nonce, aad, segment, out)?);
        Ok(())
    }
}

/// Opens the segments of one file, in any order.
pub struct Opener(StreamKey);

impl Opener {
    /// For what was sealed with the same three.
    pub fn new(dek: &Dek, suite: Suite, file: &FileId) -> Result<Self> {
        StreamKey::derive(dek, suite, file).map(Self)
    }

    /// Decrypts segment `number` into guarded memory. `sealed` is ciphertext and
    /// tag. What is not segment `number` of this file, or is not its end when
    /// `last` says so, or is when `last` does not, is `Tampered`, and no byte of
    /// what was decrypted remains.
    pub fn open(&self, number: u64, last: bool, sealed: &[u8]) -> Result<SecretBytes> {
        let bytes = sealed.len().checked_sub(TAG_BYTES).ok_or_else(altered)?;
        let mut segment = SecretBytes::zeroed(bytes.min(SEGMENT_BYTES))?;
        self.open_into(number, last, sealed, segment.expose_mut())?;
        Ok(segment)
    }

    /// The same into `out`, which has as many bytes as the segment.
    pub fn open_into(&self, number: u64, last: bool, sealed: &[u8], out: &mut [u8]) -> Result<()> {
        let (ciphertext, tag) = sealed.split_last_chunk().ok_or_else(altered)?;
        let fits = ciphertext.len() == SEGMENT_BYTES || (last && ciphertext.len() < SEGMENT_BYTES);
        if !fits || out.len() != ciphertext.len() {
            return Err(altered());
        }
        let StreamKey { suite, key, aad } = &self.0;
        suite.open_into(key.expose(), &nonce(number, last), aad, ciphertext, tag, out)
    }
}

fn altered() -> Error {
    Error::tampered("a segment of the file was altered, moved or cut")
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").field("next", &self.next).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opener").field("suite", &self.0.suite).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::ErrorKind;

    fn dek(byte: u8) -> Dek {
        Dek::from_secret(SecretBytes::copy_from(&[byte; 32]).expect("memory")).expect("a key")
    }

    const FILE: FileId = FileId([7; 16]);

    fn seal_all(dek: &Dek, suite: Suite, file: &FileId, plain: &[u8]) -> Vec<Vec<u8>> {
        let mut sealer = Sealer::new(dek, suite, file).expect("a key");
        let mut pieces: Vec<_> = plain.chunks(SEGMENT_BYTES).map(<[u8]>::to_vec).collect();
        if pieces.is_empty() {
            pieces.push(Vec::new());
        }
        let count = pieces.len();
        for (at, piece) in pieces.iter_mut().enumerate() {
            let mut out = vec![0; piece.len() + TAG_BYTES];
            sealer.seal(piece, at + 1 == count, &mut out).expect("sealed");
            *piece = out;
        }
        pieces
    }

    fn open_all(opener: &Opener, sealed: &[Vec<u8>]) -> Result<Vec<u8>> {
        let mut plain = Vec::new();
        for (at, piece) in sealed.iter().enumerate() {
            let value = opener.open(at as u64, at + 1 == sealed.len(), piece)?;
            plain.extend_from_slice(value.expose());
        }
        Ok(plain)
    }

    fn plain(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at % 251) as u8).collect()
    }

    #[test]
    fn what_was_sealed_opens_whatever_its_length() {
        let dek = dek(1);
        for suite in Suite::ALL {
            for len in [0, 1, SEGMENT_BYTES - 1, SEGMENT_BYTES, SEGMENT_BYTES + 1, 200_000] {
                let plain = plain(len);
                let sealed = seal_all(&dek, suite, &FILE, &plain);
                assert_eq!(sealed.len(), len.div_ceil(SEGMENT_BYTES).max(1));
                let opener = Opener::new(&dek, suite, &FILE).expect("a key");
                assert!(open_all(&opener, &sealed).expect("opened") == plain, "{len} bytes");
            }
        }
    }

    #[test]
    fn each_segment_opens_alone() {
        let (dek, plain) = (dek(1), plain(5 * SEGMENT_BYTES));
        let sealed = seal_all(&dek, Suite::default(), &FILE, &plain);
        let opener = Opener::new(&dek, Suite::default(), &FILE).expect("a key");
        for at in [4, 0, 2] {
            let value = opener.open(at as u64, at == 4, &sealed[at]).expect("opened");
            assert!(value.expose() == &plain[at * SEGMENT_BYTES..][..SEGMENT_BYTES]);
        }
    }

    /// Every segment in every other place, under every other key, with the
    /// other end, and cut.
    #[test]
    fn a_segment_opens_in_its_place_only() {
        let plain = plain(3 * SEGMENT_BYTES + 5);
        let sealed = seal_all(&dek(1), Suite::default(), &FILE, &plain);
        let opener = Opener::new(&dek(1), Suite::default(), &FILE).expect("a key");
        let refused = |opener: &Opener, number, last, sealed: &[u8]| {
            let error = opener.open(number, last, sealed).expect_err("it does not open");
            assert_eq!(error.kind(), ErrorKind::Tampered);
        };
        let other_file = Opener::new(&dek(1), Suite::default(), &FileId([8; 16])).expect("a key");
        let other_dek = Opener::new(&dek(2), Suite::default(), &FILE).expect("a key");
        let other_suite = Opener::new(&dek(1), Suite::ChaCha20Poly1305, &FILE).expect("a key");
        for (at, piece) in sealed.iter().enumerate() {
            for number in 0..4 {
                for last in [false, true] {
                    if (number, last) != (at, at == 3) {
                        refused(&opener, number as u64, last, piece);
                    }
                }
            }
            // A counter that wraps at 32 bits would take this for the same place.
            refused(&opener, at as u64 + (1 << 32), at == 3, piece);
            for opener in [&other_file, &other_dek, &other_suite] {
                refused(opener, at as u64, at == 3, piece);
            }
            for cut in [0, 15, 16, piece.len() / 2, piece.len() - 1] {
                if cut < piece.len() {
                    refused(&opener, at as u64, at == 3, &piece[..cut]);
                }
            }
            refused(&opener, at as u64, at == 3, &[&piece[..], &[0]].concat());
        }
    }

    #[test]
    fn nothing_follows_the_end_and_only_the_end_is_short() {
        let dek = dek(1);
        let sealer = || Sealer::new(&dek, Suite::default(), &FILE).expect("a key");
        let try_seal = |sealer: &mut Sealer, bytes: usize, last| {
            let mut out = vec![0; bytes + TAG_BYTES];
            let outcome = sealer.seal(&vec![1; bytes], last, &mut out);
            // What was refused has not been encrypted.
            assert_eq!(outcome.is_err(), out.iter().all(|byte| *byte == 0));
            outcome.is_ok()
        };
        let mut ended = sealer();
        assert!(try_seal(&mut ended, 10, true));
        assert!(!try_seal(&mut ended, SEGMENT_BYTES, true));
        assert!(!try_seal(&mut sealer(), 10, false));
        assert!(!try_seal(&mut sealer(), SEGMENT_BYTES + 1, true));
        assert!(sealer().seal(&[1; 10], true, &mut [0; 10]).is_err());
    }

    /// The file's key is not used as it is.
    #[test]
    fn the_dek_itself_opens_no_segment() {
        let dek = dek(1);
        let sealed = seal_all(&dek, Suite::default(), &FILE, b"value");
        let (ciphertext, tag) = sealed[0].split_last_chunk().expect("a tag");
        let aad = [&FILE.0[..], &[Suite::default() as u8]].concat();
        let opened =
            Suite::default().open_detached(dek.expose(), &nonce(0, true), &aad, ciphertext, tag);
        assert_eq!(opened.expect_err("another key").kind(), ErrorKind::Tampered);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_flipped_bit_is_told(len in 0usize..150_000, at: prop::sample::Index, bit in 0u8..8) {
            let dek = dek(3);
            let mut sealed = seal_all(&dek, Suite::default(), &FILE, &plain(len));
            let total: usize = sealed.iter().map(Vec::len).sum();
            let at = at.index(total);
            let segment = &mut sealed[at / MAX_SEALED_BYTES];
            segment[at % MAX_SEALED_BYTES] ^= 1 << bit;
            let opener = Opener::new(&dek, Suite::default(), &FILE).expect("a key");
            let mut told = false;
            for (number, piece) in sealed.iter().enumerate() {
                let value = opener.open(number as u64, number + 1 == sealed.len(), piece);
                prop_assert_eq!(value.is_err(), number == at / MAX_SEALED_BYTES);
                told |= value.is_err();
            }
            prop_assert!(told);
        }
    }
}
