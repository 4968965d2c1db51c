//! The seam to a key management system: [`KeyWrapper`] wraps and unwraps DEKs
//! under a KEK that never leaves it.

use std::borrow::Cow;
use std::fmt;

use async_trait::async_trait;
use strongroom_guard::SecretBytes;

pub use self::branch::{BRANCH_PREFIX, BranchKeys, BranchOptions};
pub use self::cached::{CachedKeys, KeyCacheOptions, KeyCacheStats};
pub use self::keyring::Keyring;
pub use self::wraps::{KekState, KekVersion, MissingWrap, Wraps};
pub(crate) use self::wraps::{are_current, base_kek};
use crate::context::EncryptionContext;
use crate::error::{Error, ErrorKind, Result};
use crate::random;

mod branch;
mod cached;
mod keyring;
#[cfg(test)]
mod tests;
mod wraps;

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

    /// The same key once more, for whoever has two uses for it.
    pub(crate) fn try_clone(&self) -> Result<Self> {
        Ok(Self(self.0.try_clone()?))
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
///   wrapped. `rotate` asks for it where the KMS lets us.
/// - A wrapper of one KEK implements the methods for one wrapped DEK. Those for
///   all wraps of a record follow from them; only what puts several KEKs
///   together, such as [`Keyring`], has its own.
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

    /// The KEK version that `wrap` uses now. It is asked often: a wrapper of a
    /// KMS behind a network answers from what it learnt a short while ago.
    async fn current_version(&self) -> Result<String>;

    /// Proves that the KEK can be used, by using it where that costs nothing
    /// that lasts.
    async fn check(&self) -> Result<()>;

    /// Makes a new version of this KEK, uses it from now on, and returns it.
    /// `Unsupported` where only the KMS itself rotates.
    async fn rotate(&self, kek: &str) -> Result<String> {
        let _ = kek;
        Err(Error::unsupported(format!(
            "{} is rotated by its KMS: do it there, and rewrap here",
            self.identity()
        )))
    }

    /// The versions that this KEK has, oldest first, as far as the KMS tells.
    async fn versions(&self, kek: &str) -> Result<Vec<KekVersion>> {
        let _ = kek;
        let version = self.current_version().await?;
        Ok(vec![KekVersion { version, created: None, is_current: true }])
    }

    /// Destroys a version of this KEK: what only it wrapped is lost. Whoever
    /// calls this has seen that no record uses it. `Conflict` for the current
    /// version, `Unsupported` where that is done in the KMS.
    async fn destroy_version(&self, kek: &str, version: &str) -> Result<()> {
        let _ = (kek, version);
        Err(Error::unsupported(format!("versions of {} are destroyed in its KMS", self.identity())))
    }

    /// Whether this wrapper unwraps what `kek` wrapped.
    fn knows(&self, kek: &str) -> bool {
        kek == self.identity()
    }

    /// The KEKs that a record is wrapped under, the preferred one first.
    async fn keks(&self) -> Result<Vec<KekState>> {
        let current = Some(self.current_version().await?);
        Ok(vec![KekState { identity: self.identity().to_owned(), current }])
    }

    /// Makes a fresh DEK and wraps it under every KEK.
    async fn generate_all(&self, context: &EncryptionContext) -> Result<(Dek, Wraps)> {
        let (dek, wrapped) = self.generate(context).await?;
        Ok((dek, Wraps::of(wrapped)))
    }

    /// Unwraps the DEK of a record: the wraps are tried in order, and the first
    /// one's error is returned when none can be had. A wrap that was altered
    /// stays an alarm even if another opens.
    async fn unwrap_any(
        &self,
        wraps: &[WrappedDek<'_>],
        context: &EncryptionContext,
    ) -> Result<Dek> {
        let mut first_error = None;
        for wrapped in wraps {
            match self.unwrap(wrapped, context).await {
                Ok(dek) => return Ok(dek),
                Err(error) if error.kind() == ErrorKind::Tampered => return Err(error),
                Err(error) => drop(first_error.get_or_insert(error)),
            }
        }
        Err(first_error.unwrap_or_else(|| Error::tampered("the record holds no wrapped DEK")))
    }

    /// Wraps a record's DEK anew, under the current version of every KEK.
    async fn rewrap_all(
        &self,
        wraps: &[WrappedDek<'_>],
        context: &EncryptionContext,
    ) -> Result<Wraps> {
        if let Some(known) = wraps.iter().find(|wrapped| self.knows(&wrapped.kek)) {
            return Ok(Wraps::of(self.rewrap(known, context).await?));
        }
        let dek = self.unwrap_any(wraps, context).await?;
        Ok(Wraps::of(self.wrap(&dek, context).await?))
    }
}
