//! The chain: each line's hash covers the line and the hash before it.

use std::fmt;

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

/// Computes hashes: HMAC-SHA256 with a key, SHA-256 without.
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
        Ok(Head { seq: 0, hash: self.hash(GENESIS, b"")? })
    }

    /// The hash of the line that follows `previous`.
    pub(super) fn next(&self, previous: &Head, hashed: &[u8]) -> Result<[u8; HASH_BYTES]> {
        self.hash(&previous.hash, hashed)
    }

    /// Whether a line's hash is right, in constant time: with a key this is the
    /// check of a MAC.
    pub(super) fn follows(
        &self,
        previous: &Head,
        hashed: &[u8],
        hash: &[u8; HASH_BYTES],
    ) -> Result<bool> {
        Ok(self.next(previous, hashed)?.ct_eq(hash).into())
    }

    fn hash(&self, first: &[u8], second: &[u8]) -> Result<[u8; HASH_BYTES]> {
        let Some(key) = self.0 else {
            return Ok(Sha256::new().chain_update(first).chain_update(second).finalize().into());
        };
        let mac = Hmac::<Sha256>::new_from_slice(key.expose())
            .map_err(|e| Error::internal("HMAC refused the audit key").with_source(e))?;
        Ok(mac.chain_update(first).chain_update(second).finalize().into_bytes().into())
    }
}

pub(super) fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    out
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
