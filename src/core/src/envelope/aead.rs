//! The two AEADs of the format, each from two providers that read each other's
//! records: `RustCrypto` always, AWS-LC with the feature `aws-lc-rs`.

use aes_gcm::aead::inout::InOutBuf;
use strongroom_guard::SecretBytes;
use zeroize::Zeroize;

use crate::error::{Error, Result};

/// The size of every key, in bytes.
pub const KEY_BYTES: usize = 32;
/// The size of every nonce, in bytes (RFC 5116 §3.2).
pub const NONCE_BYTES: usize = 12;
/// The size of every tag, in bytes.
pub const TAG_BYTES: usize = 16;

/// An AEAD; the number stands in a record's header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Suite {
    /// AES-256-GCM (NIST SP 800-38D).
    #[default]
    Aes256Gcm = 1,
    /// ChaCha20-Poly1305 (RFC 8439).
    ChaCha20Poly1305 = 2,
}

impl std::str::FromStr for Suite {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = [Self::Aes256Gcm, Self::ChaCha20Poly1305];
        found.into_iter().find(|suite| suite.as_str() == name).ok_or_else(|| {
            Error::configuration(format!(
                "there is no suite {name:?}: use aes-256-gcm or chacha20-poly1305"
            ))
        })
    }
}

impl Suite {
    /// Both suites.
    pub const ALL: [Self; 2] = [Self::Aes256Gcm, Self::ChaCha20Poly1305];

    /// The suite with this number in a record.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| *suite as u8 == number)
    }

    /// The name that the configuration uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "aes-256-gcm",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
        }
    }

    /// Encrypts `buffer` in place and returns the tag, with the fastest provider
    /// of this build. A pair of key and nonce must be used once only.
    pub fn seal_detached(
        self,
        key: &[u8],
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        buffer: &mut [u8],
    ) -> Result<[u8; TAG_BYTES]> {
        Provider::FASTEST.seal(self, key, nonce, aad, buffer)
    }

    /// Encrypts `plaintext` into `out`, which is as long, and returns the tag: nothing
    /// of the plaintext is ever in `out`. As [`seal_detached`](Self::seal_detached)
    /// otherwise.
    pub fn seal_into(
        self,
        key: &[u8],
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        plaintext: &[u8],
        out: &mut [u8],
    ) -> Result<[u8; TAG_BYTES]> {
        Provider::FASTEST.seal_into(self, key, nonce, aad, plaintext, out)
    }

    /// Decrypts into `out`, which is as long as the ciphertext. A wrong tag is
    /// `Tampered`, and no byte of what was decrypted remains.
    pub fn open_into(
        self,
        key: &[u8],
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        ciphertext: &[u8],
        tag: &[u8; TAG_BYTES],
        out: &mut [u8],
    ) -> Result<()> {
        Provider::FASTEST.open_into(self, key, nonce, aad, (ciphertext, tag), out)
    }

    /// Decrypts into guarded memory. A wrong tag is `Tampered`, and no byte of
    /// what was decrypted remains.
    pub fn open_detached(
        self,
        key: &[u8],
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        ciphertext: &[u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<SecretBytes> {
        Provider::FASTEST.open(self, key, nonce, aad, ciphertext, tag)
    }
}

/// Who computes. Public so that a program, and our tests, can compare them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Provider {
    /// The crates `aes-gcm` and `chacha20poly1305`.
    RustCrypto,
    /// AWS-LC.
    #[cfg(feature = "aws-lc-rs")]
    AwsLc,
}

impl Provider {
    /// The provider that [`Suite`] uses.
    #[cfg(feature = "aws-lc-rs")]
    pub const FASTEST: Self = Self::AwsLc;
    /// The provider that [`Suite`] uses.
    #[cfg(not(feature = "aws-lc-rs"))]
    pub const FASTEST: Self = Self::RustCrypto;

    /// Every provider of this build.
    pub const ALL: &[Self] = &[
        Self::RustCrypto,
        #[cfg(feature = "aws-lc-rs")]
        Self::AwsLc,
    ];

    /// As [`Suite::seal_detached`], by this provider.
    pub fn seal(
        self,
        suite: Suite,
        key: &[u8],
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        buffer: &mut [u8],
    ) -> Result<[u8; TAG_BYTES]> {
        let tag = match self {
            Self::RustCrypto => {
                burning_stack(|| rust_crypto::seal(suite, key, nonce, aad, buffer.into()))
            }
            #[cfg(feature = "aws-lc-rs")]
            Self::AwsLc => aws_lc::seal(suite, key, nonce, aad, buffer),
        };
        tag.ok_or_else(refused)
    }

    /// As [`Suite::seal_into`], by this provider.
    pub fn seal_into(
        self,
        suite: Suite,
        key: &[u8],
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        plaintext: &[u8],
        out: &mut [u8],
    ) -> Result<[u8; TAG_BYTES]> {
        let tag = match self {
            Self::RustCrypto => burning_stack(|| {
                let buffer = InOutBuf::new(plaintext, out).ok()?;
                rust_crypto::seal(suite, key, nonce, aad, buffer)
            }),
            #[cfg(feature = "aws-lc-rs")]
            Self::AwsLc => aws_lc::seal_into(suite, key, nonce, aad, plaintext, out),
        };
        tag.ok_or_else(refused)
    }

    /// As [`Suite::open_detached`], by this provider.
    pub fn open(
        self,
        suite: Suite,
        key: &[u8],
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        ciphertext: &[u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<SecretBytes> {
        let mut plaintext = SecretBytes::zeroed(ciphertext.len())?;
        let out = plaintext.expose_mut();
        self.open_into(suite, key, nonce, aad, (ciphertext, tag), out)?;
        Ok(plaintext)
    }

    /// As [`Suite::open_into`], by this provider; `sealed` is ciphertext and tag.
    pub fn open_into(
        self,
        suite: Suite,
        key: &[u8],
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        sealed: (&[u8], &[u8; TAG_BYTES]),
        out: &mut [u8],
    ) -> Result<()> {
        let (ciphertext, tag) = sealed;
        if out.len() != ciphertext.len() {
            return Err(Error::internal("a ciphertext is opened into as many bytes as it has"));
        }
        let opened = match self {
            Self::RustCrypto => {
                burning_stack(|| rust_crypto::open(suite, key, nonce, aad, ciphertext, tag, out))
            }
            #[cfg(feature = "aws-lc-rs")]
            Self::AwsLc => aws_lc::open(suite, key, nonce, aad, ciphertext, tag, out),
        };
        opened.ok_or_else(|| {
            // Some of it has been decrypted before the tag was compared.
            out.zeroize();
            Error::tampered("the authentication tag is wrong")
        })
    }
}

fn refused() -> Error {
    Error::internal("the AEAD refused the key or the length of the value")
}

/// How deep the ciphers' frames reach: found by searching a process's memory for
/// what was sealed, with and without optimization, and doubled.
const FRAMES_BYTES: usize = if cfg!(debug_assertions) { 64 << 10 } else { 16 << 10 };

/// Computes, then erases the part of the stack that the computation used: the
/// ciphers keep blocks of plaintext in frames that nobody clears.
fn burning_stack<T>(compute: impl FnOnce() -> T) -> T {
    let result = compute();
    burn();
    result
}

#[inline(never)]
#[expect(clippy::large_stack_arrays, reason = "the stack is what it erases")]
fn burn() {
    let mut frames = [0u8; FRAMES_BYTES];
    std::hint::black_box(&mut frames);
}

mod rust_crypto {
    use aes_gcm::Aes256Gcm;
    use aes_gcm::aead::{AeadInOut, KeyInit};
    use chacha20poly1305::ChaCha20Poly1305;

    use super::{InOutBuf, NONCE_BYTES, Suite, TAG_BYTES};

    pub(super) fn seal(
        suite: Suite,
        key: &[u8],
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        buffer: InOutBuf<'_, '_, u8>,
    ) -> Option<[u8; TAG_BYTES]> {
        let nonce = nonce.into();
        let tag = match suite {
            Suite::Aes256Gcm => {
                Aes256Gcm::new_from_slice(key).ok()?.encrypt_inout_detached(nonce, aad, buffer)
            }
            Suite::ChaCha20Poly1305 => ChaCha20Poly1305::new_from_slice(key)
                .ok()?
                .encrypt_inout_detached(nonce, aad, buffer),
        };
        Some(tag.ok()?.into())
    }

    pub(super) fn open(
        suite: Suite,
        key: &[u8],
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        ciphertext: &[u8],
        tag: &[u8; TAG_BYTES],
        out: &mut [u8],
    ) -> Option<()> {
        let (nonce, tag) = (nonce.into(), tag.into());
        let buffer = InOutBuf::new(ciphertext, out).ok()?;
        match suite {
            Suite::Aes256Gcm => {
                Aes256Gcm::new_from_slice(key).ok()?.decrypt_inout_detached(nonce, aad, buffer, tag)
            }
            Suite::ChaCha20Poly1305 => ChaCha20Poly1305::new_from_slice(key)
                .ok()?
                .decrypt_inout_detached(nonce, aad, buffer, tag),
        }
        .ok()
    }
}

#[cfg(feature = "aws-lc-rs")]
mod aws_lc {
    use aws_lc_rs::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

    use super::{NONCE_BYTES, Suite, TAG_BYTES};

    /// AWS-LC cleanses the expanded key when it frees it (`OPENSSL_free`).
    fn expand(suite: Suite, key: &[u8]) -> Option<LessSafeKey> {
        let algorithm = match suite {
            Suite::Aes256Gcm => &AES_256_GCM,
            Suite::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        };
        UnboundKey::new(algorithm, key).ok().map(LessSafeKey::new)
    }

    pub(super) fn seal(
        suite: Suite,
        key: &[u8],
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        buffer: &mut [u8],
    ) -> Option<[u8; TAG_BYTES]> {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let tag = expand(suite, key)?.seal_in_place_separate_tag(nonce, Aad::from(aad), buffer);
        tag.ok()?.as_ref().try_into().ok()
    }

    pub(super) fn seal_into(
        suite: Suite,
        key: &[u8],
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        plaintext: &[u8],
        out: &mut [u8],
    ) -> Option<[u8; TAG_BYTES]> {
        let (nonce, aad) = (Nonce::assume_unique_for_key(*nonce), Aad::from(aad));
        let mut tag = [0; TAG_BYTES];
        expand(suite, key)?
            .seal_out_of_place_scatter(nonce, aad, plaintext, out, &[], &mut tag)
            .ok()?;
        Some(tag)
    }

    pub(super) fn open(
        suite: Suite,
        key: &[u8],
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        ciphertext: &[u8],
        tag: &[u8; TAG_BYTES],
        out: &mut [u8],
    ) -> Option<()> {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        expand(suite, key)?.open_separate_gather(nonce, Aad::from(aad), ciphertext, tag, out).ok()
    }
}
