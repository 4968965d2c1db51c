//! Wrapping a DEK under one KEK version: AES-256-GCM with a random nonce.

use strongroom_core::envelope::Suite;
use strongroom_core::envelope::aead::{NONCE_BYTES, TAG_BYTES};
use strongroom_core::wrapper::DEK_BYTES;
use strongroom_core::{Dek, Error, ErrorKind, Result, random};

use super::keyring::{ID_BYTES, KekVersion};

const AEAD: Suite = Suite::Aes256Gcm;
/// The size of a wrapped DEK: nonce, ciphertext, tag.
pub(super) const WRAPPED_BYTES: usize = NONCE_BYTES + DEK_BYTES + TAG_BYTES;

const LABEL: &[u8; 24] = b"strongroom local wrap v1";

/// Wraps `dek`. The caller has counted this wrap against the version's limit.
///
/// The key is expanded anew for each call: that costs some 180 ns, and an
/// expanded key kept would have to live in guarded memory as the key does.
pub(super) fn wrap(
    version: &KekVersion,
    id: &[u8; ID_BYTES],
    dek: &Dek,
    context: &[u8],
) -> Result<[u8; WRAPPED_BYTES]> {
    let nonce = random::array::<NONCE_BYTES>()?;
    let mut wrapped = [0; WRAPPED_BYTES];
    let (head, tail) = wrapped.split_at_mut(NONCE_BYTES);
    let (ciphertext, tag) = tail.split_at_mut(DEK_BYTES);
    head.copy_from_slice(&nonce);
    let aad = aad(version, id, context);
    let computed = AEAD.seal_into(version.key.expose(), &nonce, &aad, dek.expose(), ciphertext)?;
    tag.copy_from_slice(&computed);
    Ok(wrapped)
}

/// Unwraps into guarded memory.
pub(super) fn unwrap(
    version: &KekVersion,
    id: &[u8; ID_BYTES],
    wrapped: &[u8],
    context: &[u8],
) -> Result<Dek> {
    let wrapped: &[u8; WRAPPED_BYTES] = wrapped.try_into().map_err(|_| {
        Error::tampered(format!(
            "a DEK wrapped by a local KEK has {WRAPPED_BYTES} bytes, and this one {}",
            wrapped.len()
        ))
    })?;
    let (nonce, tail) = wrapped.split_first_chunk::<NONCE_BYTES>().expect("of this size");
    let (ciphertext, tag) = tail.split_last_chunk::<TAG_BYTES>().expect("of this size");
    let aad = aad(version, id, context);
    let dek = AEAD.open_detached(version.key.expose(), nonce, &aad, ciphertext, tag);
    dek.and_then(Dek::from_secret).map_err(|error| {
        if error.kind() == ErrorKind::Tampered {
            Error::tampered(
                "the wrapped DEK was altered, or belongs to another name, version or scope",
            )
        } else {
            error
        }
    })
}

/// What the wrap is bound to: every part has a fixed size but the last, which
/// its length precedes.
fn aad(version: &KekVersion, id: &[u8; ID_BYTES], context: &[u8]) -> Vec<u8> {
    let mut aad = Vec::with_capacity(LABEL.len() + ID_BYTES + 8 + context.len());
    aad.extend_from_slice(LABEL);
    aad.extend_from_slice(id);
    aad.extend_from_slice(&version.number.to_le_bytes());
    aad.extend_from_slice(&(context.len() as u32).to_le_bytes());
    aad.extend_from_slice(context);
    aad
}
