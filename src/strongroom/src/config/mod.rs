//! The configuration: one TOML file, every key of which is documented in
//! `strongroom.example.toml`.
//!
//! No secret stands in it: a passphrase is named as `env:NAME` or `file:PATH`.
//! An unknown key is an error that names the nearest known one.

#[cfg(feature = "aws")]
mod aws;
mod check;
mod circles;
mod connector;
mod external;
mod kek;
mod parse;
mod secret;
mod sidecar;
mod template;
mod value;
#[cfg(feature = "vault")]
mod vault;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use strongroom_core::cache::CacheOptions;
use strongroom_core::guard;
use strongroom_core::{Result, Scope, Suite};

#[cfg(feature = "aws")]
pub use self::aws::{AwsConnector, AwsSection, CredentialType};
pub use self::external::{ExternalSection, ReferenceType};
pub(crate) use self::kek::KekSpec;
pub use self::kek::{KekSection, KekType, MoreKek, ProtectionType};
pub use self::secret::ConnectorSecret;
pub use self::sidecar::{AllowRule, SidecarSection, Verb};
pub use self::template::NewConfig;
pub use self::value::{SecretRef, parse_duration};
#[cfg(feature = "vault")]
pub(crate) use self::vault::transit;
#[cfg(feature = "vault")]
pub use self::vault::{VaultAuth, VaultChecked, VaultConnector, VaultSection};
use crate::Home;

/// The record store of a configuration that does not name one.
pub const DEFAULT_STORE: StoreType = StoreType::Redb;

/// An example that contains every key, with what it means and its default.
pub const EXAMPLE: &str = include_str!("../../strongroom.example.toml");

/// A configuration, as it was read.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// The scope that names are read in.
    pub scope: ScopeSection,
    /// Where records are kept, and how.
    pub store: StoreSection,
    /// The key that wraps every DEK.
    pub kek: KekSection,
    /// The cache of a long-lived process.
    pub cache: CacheSection,
    /// The audit log.
    pub audit: AuditSection,
    /// Guarded memory.
    pub memory: MemorySection,
    /// The sidecar.
    pub sidecar: SidecarSection,
    /// Connectors to AWS.
    #[cfg(feature = "aws")]
    pub aws: AwsSection,
    /// Connectors to Vault.
    #[cfg(feature = "vault")]
    pub vault: VaultSection,
    /// The file that this was read from.
    #[serde(skip)]
    file: Option<PathBuf>,
}

/// `[scope]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ScopeSection {
    /// The account. The store remembers it and refuses another.
    pub account: String,
    /// The org in the account.
    pub org: Option<String>,
    /// The project in the org.
    pub project: Option<String>,
}

/// `[store]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct StoreSection {
    /// Which record store.
    #[serde(rename = "type")]
    pub kind: StoreType,
    /// Its directory.
    pub path: PathBuf,
    /// The connector that reaches a store of a cloud.
    pub connector: Option<String>,
    /// What the names in a store of a cloud begin with.
    pub prefix: String,
    /// The KMS key that a store of a cloud encrypts with.
    pub kms_key: Option<String>,
    /// Whether a deleted secret is gone at once.
    pub force_delete: bool,
    /// Where Vault has its KV engine.
    pub mount: String,
    /// That engine's version, if it is not to be asked.
    pub engine_version: Option<u8>,
    /// The key of a secret of KV that the value is at.
    pub value_key: String,
    /// Whether nothing is to be written.
    pub read_only: bool,
    /// The most memory that it caches from the disk in, in bytes.
    pub cache_bytes: usize,
    /// How long a deleted secret can be restored.
    #[serde(with = "value::duration")]
    pub recovery_window: Duration,
    /// The AEAD of new records; records of every suite are read.
    #[serde(with = "value::suite")]
    pub suite: Suite,
    /// The longest value, in bytes.
    pub max_value_bytes: usize,
    /// The longest file, in bytes.
    pub max_file_bytes: u64,
    /// The configuration of the store that secrets are moving to.
    pub moving_to: Option<PathBuf>,
    /// The external stores that references may lead to.
    pub references: Vec<ExternalSection>,
}

/// The kinds of stores: embedded record stores, and those of a cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum StoreType {
    /// A log-structured store of many files.
    Sled,
    /// A copy-on-write B-tree in one file.
    Redb,
    /// AWS Secrets Manager.
    #[cfg(feature = "aws")]
    AwsSecretsManager,
    /// Vault's KV engine.
    #[cfg(feature = "vault")]
    VaultKv,
}

/// `[cache]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct CacheSection {
    /// Whether values are cached, sealed, in memory.
    pub enabled: bool,
    /// How long an answer is fresh.
    #[serde(with = "value::duration")]
    pub ttl: Duration,
    /// By which fraction of `ttl` an entry may expire early, at random.
    #[serde(deserialize_with = "value::fraction")]
    pub jitter: f64,
    /// After which fraction of its life a hit refreshes an entry in the
    /// background; 1.0 for never.
    #[serde(deserialize_with = "value::fraction")]
    pub refresh_ahead: f64,
    /// The most bytes of values.
    pub max_bytes: usize,
    /// The most values.
    pub max_entries: usize,
    /// How long past its `ttl` an answer may be given, marked as stale, while
    /// the backend does not answer.
    #[serde(deserialize_with = "value::optional_duration::deserialize")]
    pub max_stale: Option<Duration>,
    /// How long the backend is waited for before a stale answer is given.
    #[serde(with = "value::duration")]
    pub stale_wait: Duration,
    /// How long "there is no such secret" is remembered.
    #[serde(with = "value::duration")]
    pub negative_ttl: Duration,
    /// How long a backend that failed is left alone where a stale answer can be
    /// given.
    #[serde(with = "value::duration")]
    pub retry_after: Duration,
    /// After this time a call to the backend counts as failed.
    #[serde(with = "value::duration")]
    pub flight_timeout: Duration,
    /// The most calls that go on in the background at one time.
    pub max_background: usize,
}

/// `[audit]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct AuditSection {
    /// Whether operations are recorded.
    pub enabled: bool,
    /// The log file.
    pub path: PathBuf,
    /// Whether each line is on the disk before its operation answers.
    pub sync: bool,
}

/// `[memory]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct MemorySection {
    /// The most bytes of locked memory.
    pub max_locked_bytes: usize,
    /// Whether to continue in memory that may be swapped out, once no more can
    /// be locked.
    pub accept_unguarded_memory: bool,
    /// Whether to use memory that the kernel itself cannot map.
    pub secret_memory: SecretMemoryType,
}

/// When `memfd_secret(2)` is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum SecretMemoryType {
    /// Where the kernel has it.
    Auto,
    /// Never.
    Never,
}

impl Config {
    /// The file that this was read from, if it was one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The scope that names are read in.
    pub fn scope(&self) -> Result<Scope> {
        let mut scope = Scope::account(&self.scope.account)?;
        if let Some(org) = &self.scope.org {
            scope = scope.org(org)?;
        }
        if let Some(project) = &self.scope.project {
            scope = scope.project(project)?;
        }
        Ok(scope)
    }

    /// Where relative paths begin: at the file's directory.
    #[must_use]
    pub fn base(&self) -> &Path {
        self.file.as_deref().and_then(Path::parent).unwrap_or(Path::new(""))
    }

    /// The record store's directory.
    #[must_use]
    pub fn store_path(&self) -> PathBuf {
        self.base().join(&self.store.path)
    }

    /// The configuration of the store that secrets are moving to, if they are.
    #[must_use]
    pub fn moving_to(&self) -> Option<PathBuf> {
        self.store.moving_to.as_ref().map(|path| self.base().join(path))
    }

    /// The key file.
    #[must_use]
    pub fn key_path(&self) -> PathBuf {
        self.base().join(&self.kek.key_file)
    }

    /// The audit log, unless there is none.
    #[must_use]
    pub fn audit_path(&self) -> Option<PathBuf> {
        self.audit.enabled.then(|| self.base().join(&self.audit.path))
    }

    /// The sidecar's socket.
    #[must_use]
    pub fn socket_path(&self) -> PathBuf {
        self.base().join(&self.sidecar.socket)
    }

    /// Whether the store is in a cloud, where `other` has it too, in the same way.
    pub(crate) fn has_cloud_of(&self, other: &Self) -> bool {
        let store = |config: &Self| StoreSection { references: Vec::new(), ..config.store.clone() };
        store(self) == store(other)
            && self.scope.account == other.scope.account
            && !self.store.kind.is_embedded()
            && self.has_connectors_of(other)
    }

    /// Sets the limits of guarded memory for the whole process, before its
    /// first secret exists.
    pub fn configure_memory(&self) -> Result<()> {
        let mut limits = guard::Config::default();
        limits.max_locked_bytes = self.memory.max_locked_bytes;
        limits.accept_unguarded_memory = self.memory.accept_unguarded_memory;
        limits.secret_memory = match self.memory.secret_memory {
            SecretMemoryType::Auto => guard::SecretMemory::Auto,
            SecretMemoryType::Never => guard::SecretMemory::Never,
        };
        Ok(guard::configure(limits)?)
    }
}

impl CacheSection {
    /// The options of a [`CachedStore`](strongroom_core::cache::CachedStore);
    /// `None` where there is to be none.
    #[must_use]
    pub fn options(&self) -> Option<CacheOptions> {
        let mut options = CacheOptions::default();
        options.ttl = self.ttl;
        options.jitter = self.jitter;
        options.refresh_ahead = Some(self.refresh_ahead).filter(|part| *part < 1.0);
        options.max_bytes = self.max_bytes;
        options.max_entries = self.max_entries;
        options.max_stale = self.max_stale;
        options.stale_wait = self.stale_wait;
        options.negative_ttl = self.negative_ttl;
        options.retry_after = self.retry_after;
        options.flight_timeout = self.flight_timeout;
        options.max_background = self.max_background;
        self.enabled.then_some(options)
    }
}

impl StoreType {
    /// The name in a configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sled => "sled",
            Self::Redb => "redb",
            #[cfg(feature = "aws")]
            Self::AwsSecretsManager => "aws-secrets-manager",
            #[cfg(feature = "vault")]
            Self::VaultKv => "vault-kv",
        }
    }

    /// Whether records are kept here, under a KEK of ours.
    #[must_use]
    pub fn is_embedded(self) -> bool {
        matches!(self, Self::Sled | Self::Redb)
    }
}

impl Default for ScopeSection {
    fn default() -> Self {
        Self { account: "default".into(), org: None, project: None }
    }
}

impl Default for StoreSection {
    fn default() -> Self {
        let options = strongroom_core::EnvelopeOptions::default();
        Self {
            kind: DEFAULT_STORE,
            path: Home::RECORDS.into(),
            connector: None,
            prefix: "strongroom".into(),
            kms_key: None,
            force_delete: false,
            mount: "secret".into(),
            engine_version: None,
            value_key: "value".into(),
            read_only: false,
            cache_bytes: 32 << 20,
            recovery_window: options.recovery_window,
            suite: options.suite,
            max_value_bytes: options.max_value_bytes,
            max_file_bytes: options.max_file_bytes,
            moving_to: None,
            references: Vec::new(),
        }
    }
}

impl Default for CacheSection {
    /// Off; where it is turned on, as [`CacheOptions::default`].
    fn default() -> Self {
        let options = CacheOptions::default();
        Self {
            enabled: false,
            ttl: options.ttl,
            jitter: options.jitter,
            refresh_ahead: options.refresh_ahead.unwrap_or(1.0),
            max_bytes: options.max_bytes,
            max_entries: options.max_entries,
            max_stale: options.max_stale,
            stale_wait: options.stale_wait,
            negative_ttl: options.negative_ttl,
            retry_after: options.retry_after,
            flight_timeout: options.flight_timeout,
            max_background: options.max_background,
        }
    }
}

impl Default for AuditSection {
    fn default() -> Self {
        Self { enabled: true, path: Home::AUDIT.into(), sync: false }
    }
}

impl Default for MemorySection {
    fn default() -> Self {
        let limits = guard::Config::default();
        Self {
            max_locked_bytes: limits.max_locked_bytes,
            accept_unguarded_memory: limits.accept_unguarded_memory,
            secret_memory: SecretMemoryType::Auto,
        }
    }
}
