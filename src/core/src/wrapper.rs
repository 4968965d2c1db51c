//! The seam to a key management system: [`KeyWrapper`] wraps and unwraps DEKs
//! under a KEK that never leaves it.

use std::borrow::Cow;
use std::fmt;

use async_trait::async_trait;
use strongroom_guard::SecretBytes;

use crate::context::EncryptionContext;
use crate::error::{Error, Result};
use crate::random;

/// The size of every DEK in bytes: a 256-bit key, whatever the suite.
pub const DEK_BYTES: usize = 32;

/// A data encryption key: 32 bytes in guarded memory, used for one message.
#[derive(Debug)]
pub struct Dek(SecretBytes);

impl Dek {
    /// A fresh random key.
    pub fn random() -> Result<Self> {
        let mut key = SecretBytes::zeroed(DEK_BYTES)?;
        random::fill(key.expose_mut())?;
        Ok(Self(key))
    }

    /// The key that a wrapper unwrapped. Anything but 32 bytes is `Tampered`:
    /// nothing that we wrapped has another size.
    pub fn from_secret(key: SecretBytes) -> Result<Self> {
        if key.len() == DEK_BYTES {
            Ok(Self(key))
        } else {
            Err(Error::tampered(format!("an unwrapped DEK has {} bytes instead of 32", key.len())))
        }
    }

    /// The key's bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }
}

/// A DEK wrapped under one KEK, as it stands in a record.
#[derive(Clone, PartialEq, Eq)]
pub struct WrappedDek<'a> {
    /// Names the KEK, as [`KeyWrapper::identity`] does; at most 255 bytes.
    pub kek: Cow<'a, str>,
    /// The KEK version that wrapped, as the KMS writes it; at most 255 bytes.
    pub kek_version: Cow<'a, str>,
    /// What the KMS gave; at most 65,535 bytes.
    pub bytes: Cow<'a, [u8]>,
}

impl WrappedDek<'_> {
    /// The same, owning its parts.
    #[must_use]
    pub fn into_owned(self) -> WrappedDek<'static> {
        WrappedDek {
            kek: Cow::Owned(self.kek.into_owned()),
            kek_version: Cow::Owned(self.kek_version.into_owned()),
            bytes: Cow::Owned(self.bytes.into_owned()),
        }
    }
}

impl fmt::Debug for WrappedDek<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrappedDek")
            .field("kek", &self.kek)
            .field("kek_version", &self.kek_version)
            .finish_non_exhaustive()
    }
}

/// Wraps and unwraps DEKs under a KEK.
///
/// # Contract
/// - What `wrap` returned, `unwrap` turns back into the same DEK when it gets
///   the same context, for as long as that KEK version exists.
/// - With another context, or with any byte altered, `unwrap` returns
///   `Tampered` and no key. A KMS that authenticates no context must not be
///   put behind this trait without an AEAD of our own around it.
/// - The KEK never leaves the KMS; a DEK in clear is only ever in guarded
///   memory.
/// - Rotation is the KMS's: after it, `wrap` uses the new version,
///   `current_version` names it, and `unwrap` still opens what older ones
///   wrapped.
///
/// # Errors
/// - `KeyUnavailable`: the KEK, or the version that wrapped, is unknown,
///   disabled, destroyed or pending deletion.
/// - `AccessDenied`, `Unauthenticated`: our credential may not use the KEK.
/// - `Unavailable`, `Throttled`: retryable.
/// - `Tampered`: as above.
#[async_trait]
pub trait KeyWrapper: Send + Sync + fmt::Debug {
    /// The KEK's stable name, without its version: part of every record and of
    /// the store's identity. At most 255 bytes, printable.
    fn identity(&self) -> &str;

    /// Wraps `dek` under the current KEK version.
    async fn wrap(&self, dek: &Dek, context: &EncryptionContext) -> Result<WrappedDek<'static>>;

    /// Unwraps what `wrap` returned.
    async fn unwrap(&self, wrapped: &WrappedDek<'_>, context: &EncryptionContext) -> Result<Dek>;

    /// Makes a fresh DEK and wraps it. A KMS that does both in one call
    /// overrides this.
    async fn generate(&self, context: &EncryptionContext) -> Result<(Dek, WrappedDek<'static>)> {
        let dek = Dek::random()?;
        let wrapped = self.wrap(&dek, context).await?;
        Ok((dek, wrapped))
    }

    /// Wraps the DEK anew under the current KEK version. A KMS that can do it
    /// without the DEK leaving it overrides this.
    async fn rewrap(
        &self,
        wrapped: &WrappedDek<'_>,
        context: &EncryptionContext,
    ) -> Result<WrappedDek<'static>> {
        let dek = self.unwrap(wrapped, context).await?;
        self.wrap(&dek, context).await
    }

    /// The KEK version that `wrap` uses now.
    async fn current_version(&self) -> Result<String>;

    /// Proves that the KEK can be used, by using it where that costs nothing
    /// that lasts.
    async fn check(&self) -> Result<()>;
}
