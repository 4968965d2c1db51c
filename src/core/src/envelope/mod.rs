//! The envelope: a fresh DEK encrypts one version of a secret, a KEK wraps the
//! DEK, and both are bound to whom the secret belongs to.
//!
//! [`seal`] and [`Record`] work on bytes; [`EnvelopeStore`] keeps those bytes in
//! a [`RecordStore`](crate::RecordStore). The byte format is defined in
//! `FORMAT.md` beside this file.

pub mod aead;
pub mod backup;
mod entries;
mod format;
mod head;
mod identity;
mod keys;
mod manifest;
mod store;
pub mod stream;
#[cfg(test)]
mod tests;

use hmac::digest::Digest;
use sha2::Sha256;
use strongroom_guard::SecretBytes;
use subtle::ConstantTimeEq;

pub use self::aead::Suite;
use self::aead::{KEY_BYTES, NONCE_BYTES, TAG_BYTES};
use self::format::{COMMITMENT_BYTES, begin_record};
pub use self::format::{Content, Header, MAX_PRELUDE_BYTES, MAX_WRAPS, Record};
pub use self::store::{EnvelopeOptions, EnvelopeStore};
use crate::context::EncryptionContext;
use crate::error::{Error, Result};
use crate::random;
use crate::wrapper::{Dek, KeyWrapper, MissingWrap, WrappedDek};

/// A record that was just sealed.
#[derive(Debug)]
pub struct Sealed {
    /// The record's bytes.
    pub bytes: Vec<u8>,
    /// Its DEK, for what else is bound to it; it must not seal anything more.
    pub dek: Dek,
    /// The KEKs that should have wrapped the DEK and could not.
    pub missing: Vec<MissingWrap>,
}

/// Seals `plaintext` under a fresh DEK into the bytes of a record.
pub async fn seal(
    wrapper: &dyn KeyWrapper,
    context: &EncryptionContext,
    header: &Header,
    plaintext: &[u8],
) -> Result<Sealed> {
    let (dek, wraps) = wrapper.generate_all(context).await?;
    let bytes = seal_with(&dek, &wraps.deks, context, header, plaintext)?;
    Ok(Sealed { bytes, dek, missing: wraps.missing })
}

/// Seals `plaintext` under `dek`, which must never have sealed anything.
///
/// The plaintext is encrypted into the record's buffer, and is never in it itself.
pub fn seal_with(
    dek: &Dek,
    wraps: &[WrappedDek<'_>],
    context: &EncryptionContext,
    header: &Header,
    plaintext: &[u8],
) -> Result<Vec<u8>> {
    let nonce = random::array::<NONCE_BYTES>()?;
    seal_with_nonce(dek, &nonce, wraps, context, header, plaintext)
}

/// For test vectors: everybody else gets a random nonce.
fn seal_with_nonce(
    dek: &Dek,
    nonce: &[u8; NONCE_BYTES],
    wraps: &[WrappedDek<'_>],
    context: &EncryptionContext,
    header: &Header,
    plaintext: &[u8],
) -> Result<Vec<u8>> {
    let aad = header.aad(context);
    let tail_bytes = NONCE_BYTES + plaintext.len() + TAG_BYTES + COMMITMENT_BYTES;
    let mut record = begin_record(header, wraps, tail_bytes)?;
    record.extend_from_slice(nonce);
    let start = record.len();
    record.resize(start + plaintext.len(), 0);
    let tag = header.suite.seal_into(dek.expose(), nonce, &aad, plaintext, &mut record[start..])?;
    record.extend_from_slice(&tag);
    record.extend_from_slice(&commitment(dek, nonce, &tag, &aad));
    Ok(record)
}

impl Record<'_> {
    /// Unwraps the record's DEK, by whichever of its wraps `wrapper` can.
    pub async fn unwrap(
        &self,
        wrapper: &dyn KeyWrapper,
        context: &EncryptionContext,
    ) -> Result<Dek> {
        // Most records have one, for which nothing is collected.
        let mut wraps = self.wraps();
        match (wraps.next(), wraps.next()) {
            (Some(only), None) => wrapper.unwrap_any(&[only], context).await,
            _ => wrapper.unwrap_any(&self.wraps().collect::<Vec<_>>(), context).await,
        }
    }

    /// Decrypts a value into guarded memory, after the commitment has shown that
    /// `dek` is the one key which this record was sealed with. `Unsupported` for
    /// the record of a file in segments: its payload is no value.
    pub fn open_with(&self, dek: &Dek, context: &EncryptionContext) -> Result<SecretBytes> {
        // Authenticated first: a value's record that was altered to look like a
        // file's is `Tampered`.
        let payload = self.open_payload(dek, context)?;
        match self.header().content {
            Content::Value => Ok(payload),
            Content::Manifest => Err(Error::unsupported(
                "the record is that of a file in segments: read it from its store, as a file",
            )),
        }
    }

    /// As [`open_with`](Self::open_with), whatever the payload is.
    fn open_payload(&self, dek: &Dek, context: &EncryptionContext) -> Result<SecretBytes> {
        let aad = self.header().aad(context);
        let expected = commitment(dek, self.nonce, self.tag, &aad);
        if !bool::from(expected.ct_eq(self.commitment)) {
            return Err(Error::tampered(
                "the record was altered, or belongs to another name, version or scope",
            ));
        }
        let suite = self.header().suite;
        suite.open_detached(dek.expose(), self.nonce, &aad, self.ciphertext, self.tag)
    }

    /// Unwraps the DEK and decrypts.
    pub async fn open(
        &self,
        wrapper: &dyn KeyWrapper,
        context: &EncryptionContext,
    ) -> Result<SecretBytes> {
        let dek = self.unwrap(wrapper, context).await?;
        self.open_with(&dek, context)
    }
}

const COMMITMENT_LABEL: &[u8; 24] = b"strongroom commitment v1";

/// The CTX construction of J. Chan and P. Rogaway, "On Committing Authenticated
/// Encryption" (ESORICS 2022, <https://eprint.iacr.org/2022/1260>): a hash of
/// key, nonce, associated data and tag commits to all of them, so that no
/// record opens under two keys (the "invisible salamander" and partitioning
/// oracle attacks on GCM and Poly1305).
///
/// The hash is SHA-256 on a prefix-free encoding, fixed-size parts first, then
/// the length of the rest; for such an encoding the Merkle-Damgard construction
/// behaves as a random oracle (Coron, Dodis, Malinaud, Puniya, CRYPTO 2005).
fn commitment(
    dek: &Dek,
    nonce: &[u8; NONCE_BYTES],
    tag: &[u8; TAG_BYTES],
    aad: &[u8],
) -> [u8; COMMITMENT_BYTES] {
    debug_assert_eq!(dek.expose().len(), KEY_BYTES);
    let mut hash = Sha256::new();
    hash.update(COMMITMENT_LABEL);
    hash.update(dek.expose());
    hash.update(nonce);
    hash.update(tag);
    hash.update((aad.len() as u64).to_le_bytes());
    hash.update(aad);
    hash.finalize().into()
}
