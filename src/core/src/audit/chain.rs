//! The chain: each line's hash covers the line and the hash before it.

use std::fmt;

#[cfg(not(feature = "aws-lc-rs"))]
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use strongroom_guard::SecretBytes;
use subtle::ConstantTimeEq;

use crate::error::{Error, Result};

/// The size of a hash, in bytes.
pub const HASH_BYTES: usize = 32;
/// HMAC gains nothing from a shorter key than its hash (RFC 2104 §3).
const MIN_KEY_BYTES: usize = 32;
/// What the first line is chained to. It names the format of the lines.
const GENESIS: &[u8] = b"strongroom audit log v1";

/// The end of a log: kept elsewhere, it shows later that nothing was cut off.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The number of the last line; 0 for an empty log.
    pub seq: u64,
    /// Its hash.
    pub hash: [u8; HASH_BYTES],
}

impl fmt::Display for Head {
    /// `SEQ:HASH`, the hash in hex.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, to_hex(&self.hash))
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Head({self})")
    }
}

impl std::str::FromStr for Head {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parsed = text.split_once(':').and_then(|(seq, hash)| {
            Some(Self { seq: seq.parse().ok()?, hash: from_hex(hash.as_bytes())? })
        });
        parsed.ok_or_else(|| {
            Error::configuration("a log's head is SEQ:HASH, as `audit verify` shows it")
        })
    }
}

/// Where the hashes of a log come from: HMAC-SHA256 with a key, SHA-256 without.
pub(super) struct Chain<'a>(pub(super) Option<&'a SecretBytes>);

impl Chain<'_> {
    pub(super) fn check_key(&self) -> Result<()> {
        match self.0 {
            Some(key) if key.len() < MIN_KEY_BYTES => Err(Error::configuration(format!(
                "the audit key has {} bytes: {MIN_KEY_BYTES} are needed",
                key.len()
            ))),
            _ => Ok(()),
        }
    }

    pub(super) fn genesis(&self) -> Result<Head> {
        Ok(Head { seq: 0, hash: self.links()?.hash(GENESIS, b"") })
    }

    /// Whether a line's hash is right, in constant time: with a key this is the
    /// check of a MAC.
    pub(super) fn follows(
        &self,
        previous: &Head,
        hashed: &[u8],
        hash: &[u8; HASH_BYTES],
    ) -> Result<bool> {
        Ok(self.links()?.next(previous, hashed).ct_eq(hash).into())
    }

    /// What computes any number of hashes. It holds what the key became, outside
    /// of guarded memory, and is wiped when it is dropped: keep it for one call.
    pub(super) fn links(&self) -> Result<Links> {
        self.0.map_or(Ok(Links::Sha256), Links::keyed)
    }
}

/// Computes the hashes of lines that follow each other.
#[cfg_attr(
    feature = "aws-lc-rs",
    expect(clippy::large_enum_variant, reason = "there is one at a time, and it goes nowhere")
)]
pub(super) enum Links {
    Sha256,
    /// SHA-256 is most of what a line costs, and takes half of the time here
    /// where the processor has no instructions for it.
    #[cfg(feature = "aws-lc-rs")]
    Hmac(aws_lc_rs::hmac::Key),
    #[cfg(not(feature = "aws-lc-rs"))]
    Hmac(Hmac<Sha256>),
}

impl Links {
    /// The hash of the line that follows `previous`.
    pub(super) fn next(&self, previous: &Head, hashed: &[u8]) -> [u8; HASH_BYTES] {
        self.hash(&previous.hash, hashed)
    }

    #[cfg(feature = "aws-lc-rs")]
    #[expect(clippy::unnecessary_wraps, reason = "as the other provider")]
    fn keyed(key: &SecretBytes) -> Result<Self> {
        use aws_lc_rs::hmac;
        Ok(Self::Hmac(hmac::Key::new(hmac::HMAC_SHA256, key.expose())))
    }

    #[cfg(not(feature = "aws-lc-rs"))]
    fn keyed(key: &SecretBytes) -> Result<Self> {
        let mac = Hmac::new_from_slice(key.expose());
        mac.map(Self::Hmac)
            .map_err(|e| Error::internal("HMAC refused the audit key").with_source(e))
    }

    fn hash(&self, first: &[u8], second: &[u8]) -> [u8; HASH_BYTES] {
        match self {
            Self::Sha256 => {
                Sha256::new().chain_update(first).chain_update(second).finalize().into()
            }
            #[cfg(feature = "aws-lc-rs")]
            Self::Hmac(key) => {
                let mut mac = aws_lc_rs::hmac::Context::with_key(key);
                mac.update(first);
                mac.update(second);
                let mut hash = [0; HASH_BYTES];
                hash.copy_from_slice(mac.sign().as_ref());
                hash
            }
            #[cfg(not(feature = "aws-lc-rs"))]
            Self::Hmac(mac) => {
                mac.clone().chain_update(first).chain_update(second).finalize().into_bytes().into()
            }
        }
    }
}

pub(super) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|&byte| hex_digits(byte)).map(char::from).collect()
}

pub(super) fn hex_digits(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

/// Reads lower-case hex only: each hash has one spelling.
pub(super) fn from_hex(text: &[u8]) -> Option<[u8; HASH_BYTES]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if text.len() != 2 * HASH_BYTES {
        return None;
    }
    let mut out = [0; HASH_BYTES];
    for (to, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        *to = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use hmac::{Hmac, KeyInit, Mac};

    use super::*;

    /// Whatever computes it, the chain is the same: a log is read by every build.
    #[test]
    fn a_keyed_chain_is_hmac_sha256_of_the_hash_before_and_the_line() {
        for key_bytes in [32, 64, 65, 200] {
            let key = vec![0x0b; key_bytes];
            let guarded = SecretBytes::copy_from(&key).expect("memory");
            let links = Chain(Some(&guarded)).links().expect("a key");
            for line in [0, 1, 23, 24, 64, 1000].map(|bytes| vec![0xcd; bytes]) {
                let previous = Head { seq: 1, hash: [0x5a; HASH_BYTES] };
                let mac = Hmac::<Sha256>::new_from_slice(&key).expect("a key");
                let mac = mac.chain_update(previous.hash).chain_update(&line).finalize();
                assert_eq!(links.next(&previous, &line)[..], mac.into_bytes()[..]);
            }
        }
        // RFC 4231 §4.2.
        let key = SecretBytes::copy_from(&[0x0b; 20]).expect("memory");
        let hash = Chain(Some(&key)).links().expect("a key").hash(b"Hi", b" There");
        let expected = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7";
        assert_eq!(to_hex(&hash), expected);
    }
}
