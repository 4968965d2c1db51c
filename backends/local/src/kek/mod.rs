//! The local KEK: 256 random bits per version, in a key file of its own.
//!
//! [`LocalKek`] is the [`KeyWrapper`] of an installation that has no KMS. The
//! key file is defined in `FORMAT.md` beside this file; it should not lie where
//! the records lie, since a copy of both opens everything. Three things guard
//! it, by [`Protection`]: its permissions, a passphrase, or a systemd
//! credential.
//!
//! # Counted wraps
//! Wraps use AES-256-GCM with random nonces, and NIST SP 800-38D §8.3 allows
//! 2^32 of those under one key. A KEK version therefore makes at most
//! [`MAX_WRAPS_PER_VERSION`], and then the KEK rotates by itself. Each process
//! reserves wraps in the key file before it makes them, so that neither a crash
//! nor a second process makes more than are counted: 64 at first, then twice as
//! many each time, at most 65,536. An old copy of the key file put back forgets
//! what was counted since; the limit leaves room for 15 such accidents.
//!
//! # Several processes
//! Any number may share a key file. Writers hold a lock on `PATH.lock`, read
//! the file, change it, and replace it atomically. A version that another
//! process made is found when something is unwrapped that needs it, and used
//! for wraps within [`Options::refresh_interval`].

mod counting;
mod dek;
mod file;
mod format;
mod keyring;
mod protection;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use strongroom_core::wrapper::KekVersion;
use strongroom_core::{
    Clock, Dek, EncryptionContext, Error, KeyWrapper, Result, SystemClock, Timestamp, WrappedDek,
};

use self::counting::{Disk, State};
use self::file::KeyFile;
use self::format::Header;
use self::keyring::{Keyring, identity};
use self::protection::Sealing;
pub use self::protection::{
    MIN_CREDENTIAL_BYTES, PassphraseCost, Protection, Unlock, systemd_credential,
};

/// How many wraps a KEK version makes before the KEK rotates: 2^28, a sixteenth
/// of what NIST SP 800-38D §8.3 allows with random nonces.
pub const MAX_WRAPS_PER_VERSION: u64 = 1 << 28;

/// What may be chosen about a [`LocalKek`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// After how many wraps the KEK rotates, 1 to 2^32.
    pub max_wraps_per_version: u64,
    /// How soon a rotation by another process is noticed when wrapping. Each
    /// look costs one `stat`.
    pub refresh_interval: Duration,
    /// How old a version may become before a wrap makes the next one; without
    /// it, versions end by their wraps alone.
    pub rotate_after: Option<Duration>,
    /// Dates new versions and paces the looks at the key file.
    pub clock: Arc<dyn Clock>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_wraps_per_version: MAX_WRAPS_PER_VERSION,
            refresh_interval: Duration::from_secs(1),
            rotate_after: None,
            clock: SystemClock::shared(),
        }
    }
}

impl Options {
    fn check(&self) -> Result<()> {
        // NIST SP 800-38D §8.3: at most 2^32 invocations with random nonces.
        if (1..=1 << 32).contains(&self.max_wraps_per_version) {
            return Ok(());
        }
        Err(Error::configuration("a KEK version makes from 1 to 2^32 wraps before it is rotated"))
    }
}

/// One version of a KEK, as [`LocalKek::versions`] lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KekVersionInfo {
    /// Its number, from 1 up.
    pub number: u32,
    /// When it was made.
    pub created: Timestamp,
    /// An upper bound of the wraps made with it.
    pub wraps_reserved: u64,
}

/// What a key file says of itself before it is opened. Nothing vouches for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFileInfo {
    /// The KEK's name, as records carry it.
    pub identity: String,
    /// What [`Unlock`] it asks for.
    pub protection: ProtectionKind,
}

/// The kinds of [`Protection`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtectionKind {
    /// [`Protection::Plain`]
    Plain,
    /// [`Protection::Passphrase`]
    Passphrase,
    /// [`Protection::Credential`]
    Credential,
}

/// A KEK kept in a key file, or in memory only.
pub struct LocalKek {
    identity: String,
    id: [u8; keyring::ID_BYTES],
    options: Options,
    disk: Option<Disk>,
    state: RwLock<State>,
    /// Held by whoever changes the state; how many wraps to reserve next.
    writer: Mutex<u64>,
    /// When the key file was last looked at, by the clock's monotonic time.
    looked_nanos: AtomicU64,
}

impl LocalKek {
    /// Makes a new KEK in a new key file at `path`, and its directory if there
    /// is none. Argon2id takes its time here and in `open`, a fraction of a
    /// second: an asynchronous caller puts both on a thread of their own.
    ///
    /// # Errors
    /// `AlreadyExists` when there is anything at `path`; it is left as it is.
    pub fn create(path: impl AsRef<Path>, protection: &Protection) -> Result<Self> {
        Self::create_with(path, protection, Options::default())
    }

    /// As [`LocalKek::create`], with other options.
    pub fn create_with(
        path: impl AsRef<Path>,
        protection: &Protection,
        options: Options,
    ) -> Result<Self> {
        options.check()?;
        let file = KeyFile::new(path.as_ref())?;
        file.create_directory()?;
        let lock = file.lock()?;
        if file.path().symlink_metadata().is_ok() {
            return Err(file.exists());
        }
        let keyring = Keyring::random(options.clock.now())?;
        let sealing = Sealing::create(protection, keyring.id())?;
        let stamp = file.create(&lock, &format::encode(&keyring, &sealing)?)?;
        Ok(Self::new(keyring, Some((Disk::new(file, sealing), stamp)), options))
    }

    /// Opens the key file at `path`.
    ///
    /// # Errors
    /// - `KeyUnavailable`: there is no such file.
    /// - `Configuration`: others may access it, it belongs to somebody else, it
    ///   is no regular file, or it is protected otherwise than `unlock` says.
    /// - `Unauthenticated`: the passphrase or the credential does not open it.
    /// - `Tampered`: it was altered or truncated.
    pub fn open(path: impl AsRef<Path>, unlock: &Unlock) -> Result<Self> {
        Self::open_with(path, unlock, Options::default())
    }

    /// As [`LocalKek::open`], with other options.
    pub fn open_with(path: impl AsRef<Path>, unlock: &Unlock, options: Options) -> Result<Self> {
        options.check()?;
        let file = KeyFile::new(path.as_ref())?;
        let (bytes, stamp) = file.read()?;
        let opened = Header::parse(bytes.expose()).and_then(|header| {
            let sealing = Sealing::unlock(unlock, header.scheme, &header.id)?;
            Ok((format::decode(bytes.expose(), &sealing)?, sealing))
        });
        let (keyring, sealing) = opened.map_err(|error| in_file(&file, &error))?;
        Ok(Self::new(keyring, Some((Disk::new(file, sealing), stamp)), options))
    }

    /// A new KEK that ends with this value, and with it all that it wrapped.
    pub fn in_memory() -> Result<Self> {
        Self::in_memory_with(Options::default())
    }

    /// As [`LocalKek::in_memory`], with other options.
    pub fn in_memory_with(options: Options) -> Result<Self> {
        options.check()?;
        Ok(Self::new(Keyring::random(options.clock.now())?, None, options))
    }

    /// What the key file at `path` says of itself, so that a program asks for a
    /// passphrase only where there is one.
    pub fn inspect(path: impl AsRef<Path>) -> Result<KeyFileInfo> {
        let file = KeyFile::new(path.as_ref())?;
        let (bytes, _) = file.read()?;
        let header = Header::parse(bytes.expose()).map_err(|error| in_file(&file, &error))?;
        let protection = match header.scheme {
            format::Scheme::Plain => ProtectionKind::Plain,
            format::Scheme::Passphrase { .. } => ProtectionKind::Passphrase,
            format::Scheme::Credential => ProtectionKind::Credential,
        };
        Ok(KeyFileInfo { identity: identity(&header.id), protection })
    }

    /// Adds a version with a fresh key, uses it from now on, and returns its
    /// number. When this returns, the key file holds it.
    pub fn rotate(&self) -> Result<u32> {
        self.add_version()
    }

    /// Destroys a version: what only it wrapped is lost, also where another
    /// process has the key file open. Old copies of the file still hold it, and
    /// so may the medium; put none of them back.
    ///
    /// # Errors
    /// `Conflict` for the current version, `NotFound` for one that there is not.
    pub fn destroy(&self, number: u32) -> Result<()> {
        self.remove_version(number)
    }

    /// Protects the key file otherwise from now on, for instance by a new
    /// passphrase. Other processes that have it open go on unwrapping, and must
    /// open it again before they wrap. Old copies of the file stay as they are:
    /// where the old passphrase leaked, rotate and rewrap as well.
    ///
    /// # Errors
    /// `Unsupported` for a KEK that has no key file.
    pub fn protect(&self, protection: &Protection) -> Result<()> {
        if self.disk.is_none() {
            return Err(Error::unsupported("a KEK in memory has no key file to protect"));
        }
        self.reseal(Sealing::create(protection, &self.id)?)
    }

    /// Every version, the oldest first.
    pub fn versions(&self) -> Result<Vec<KekVersionInfo>> {
        self.look()?;
        let state = self.state();
        let infos = state.keyring.entries().iter().map(|entry| KekVersionInfo {
            number: entry.version.number,
            created: entry.version.created,
            wraps_reserved: entry.wraps_reserved,
        });
        Ok(infos.collect())
    }

    /// The key file, if there is one.
    pub fn path(&self) -> Option<PathBuf> {
        self.disk.as_ref().map(|disk| disk.file.path().to_owned())
    }
}

#[async_trait]
impl KeyWrapper for LocalKek {
    fn identity(&self) -> &str {
        &self.identity
    }

    async fn wrap(&self, dek: &Dek, context: &EncryptionContext) -> Result<WrappedDek<'static>> {
        let version = self.take()?;
        let bytes = dek::wrap(&version, &self.id, dek, context.as_bytes())?;
        Ok(WrappedDek {
            kek: self.identity.clone().into(),
            kek_version: version.number.to_string().into(),
            bytes: bytes.to_vec().into(),
        })
    }

    async fn unwrap(&self, wrapped: &WrappedDek<'_>, context: &EncryptionContext) -> Result<Dek> {
        self.expect_own(&wrapped.kek)?;
        let version = self.version(&wrapped.kek_version)?;
        dek::unwrap(&version, &self.id, &wrapped.bytes, context.as_bytes())
    }

    async fn current_version(&self) -> Result<String> {
        self.look()?;
        Ok(self.current_number().to_string())
    }

    async fn rotate(&self, kek: &str) -> Result<String> {
        self.expect_own(kek)?;
        Ok(Self::rotate(self)?.to_string())
    }

    async fn versions(&self, kek: &str) -> Result<Vec<KekVersion>> {
        self.expect_own(kek)?;
        let infos = Self::versions(self)?;
        let current = self.current_number();
        let version = |info: KekVersionInfo| KekVersion {
            version: info.number.to_string(),
            created: Some(info.created),
            is_current: info.number == current,
        };
        Ok(infos.into_iter().map(version).collect())
    }

    async fn destroy_version(&self, kek: &str, version: &str) -> Result<()> {
        self.expect_own(kek)?;
        let number = self.version(version)?.number;
        self.destroy(number)
    }

    /// Reads the key file again, wraps a random key and unwraps it. The one
    /// wrap is of those reserved; only when none is left is the file written.
    async fn check(&self) -> Result<()> {
        self.reload()?;
        let version = self.take()?;
        let dek = Dek::random()?;
        // No secret has an empty context, so this opens nothing else.
        let wrapped = dek::wrap(&version, &self.id, &dek, b"")?;
        let unwrapped = dek::unwrap(&version, &self.id, &wrapped, b"")?;
        // `Dek` hides its bytes behind a slice; neither is attacker-chosen.
        if unwrapped.expose() == dek.expose() {
            Ok(())
        } else {
            Err(Error::internal("the KEK unwraps another key than it wrapped"))
        }
    }
}

impl LocalKek {
    fn expect_own(&self, kek: &str) -> Result<()> {
        if kek == self.identity {
            return Ok(());
        }
        Err(Error::key_unavailable(format!(
            "the KEK {kek} is meant, and this is the KEK {}",
            self.identity
        )))
    }
}

impl fmt::Debug for LocalKek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKek")
            .field("identity", &self.identity)
            .field("path", &self.path())
            .field("current_version", &self.current_number())
            .finish_non_exhaustive()
    }
}

/// Names the key file that `error` is about.
fn in_file(file: &KeyFile, error: &Error) -> Error {
    let message = format!("the key file {}: {}", file.path().display(), error.message());
    Error::new(error.kind(), message)
}
