//! `[kek]`: the keys that every DEK is wrapped under.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::{Config, SecretRef, value};
use crate::Home;

/// `[kek]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct KekSection {
    /// Which key wrapper.
    #[serde(rename = "type")]
    pub kind: KekType,
    /// The key file of a local KEK.
    pub key_file: PathBuf,
    /// How the key file is protected.
    pub protection: ProtectionType,
    /// Where the passphrase is, for `protection = "passphrase"`. Without it
    /// the caller is asked.
    pub passphrase: Option<SecretRef>,
    /// The name of the systemd credential, for `protection = "credential"`.
    pub credential: Option<String>,
    /// How old a version of a local KEK may become before a write makes the next.
    #[serde(deserialize_with = "value::optional_duration::deserialize")]
    pub rotate_after: Option<Duration>,
    /// Whether DEKs are wrapped under a branch key of their scope, and only that
    /// under the KEK.
    pub branch_keys: bool,
    /// The connector that reaches a KEK of a cloud.
    pub connector: Option<String>,
    /// The key in a cloud's KMS.
    pub key: Option<String>,
    /// The regions of its replicas.
    pub replicas: Vec<String>,
    /// The ARNs of the keys that it was before.
    pub former_keys: Vec<String>,
    /// Where Vault has its Transit engine.
    pub mount: Option<String>,
    /// How long a DEK is used that a KMS unwrapped; zero for once.
    #[serde(with = "value::duration")]
    pub dek_ttl: Duration,
    /// How often.
    pub dek_uses: u64,
    /// How many KEKs have to wrap a DEK, where there are several.
    pub quorum: Option<usize>,
    /// Further KEKs that every DEK is wrapped under.
    pub more: Vec<MoreKek>,
}

/// `[[kek.more]]`: a KEK besides the preferred one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct MoreKek {
    /// Which key wrapper.
    #[serde(rename = "type")]
    pub kind: KekType,
    /// The key file.
    pub key_file: PathBuf,
    /// How the key file is protected.
    pub protection: ProtectionType,
    /// Where the passphrase is.
    pub passphrase: Option<SecretRef>,
    /// The name of the systemd credential.
    pub credential: Option<String>,
    /// The connector that reaches a KEK of a cloud.
    pub connector: Option<String>,
    /// The key in a cloud's KMS.
    pub key: Option<String>,
    /// The regions of its replicas.
    pub replicas: Vec<String>,
    /// The ARNs of the keys that it was before.
    pub former_keys: Vec<String>,
    /// Where Vault has its Transit engine.
    pub mount: Option<String>,
}

/// The kinds of key wrappers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum KekType {
    /// A random key in a key file.
    #[default]
    Local,
    /// A key of AWS KMS.
    #[cfg(feature = "aws")]
    AwsKms,
    /// A key of Vault's Transit engine.
    #[cfg(feature = "vault")]
    VaultTransit,
}

/// One of the KEKs, wherever the configuration has it.
pub(crate) struct KekSpec<'a> {
    /// Where it stands, for a message.
    pub(crate) place: String,
    pub(crate) kind: KekType,
    pub(crate) key_file: &'a Path,
    pub(crate) protection: ProtectionType,
    pub(crate) passphrase: Option<&'a SecretRef>,
    pub(crate) credential: Option<&'a str>,
    pub(crate) connector: Option<&'a str>,
    pub(crate) key: Option<&'a str>,
    pub(crate) replicas: &'a [String],
    pub(crate) former_keys: &'a [String],
    pub(crate) mount: Option<&'a str>,
}

/// How a key file is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ProtectionType {
    /// By its permissions alone.
    #[default]
    None,
    /// By a passphrase.
    Passphrase,
    /// By a systemd credential.
    Credential,
}

impl Config {
    /// Whether records are under a key file, and not under a KMS alone.
    #[must_use]
    pub fn has_key_file(&self) -> bool {
        self.store.kind.is_embedded() && self.kek.kind == KekType::Local
    }

    /// Whether `create` and `open` need a passphrase that the file does not
    /// say where to find.
    #[must_use]
    pub fn asks_for_passphrase(&self) -> bool {
        let KekSection { kind, protection, passphrase, .. } = &self.kek;
        let asks = *protection == ProtectionType::Passphrase && passphrase.is_none();
        asks && *kind == KekType::Local && self.store.kind.is_embedded()
    }

    /// Whether the KEKs are those of `other`, reached in the same way.
    pub(crate) fn has_keks_of(&self, other: &Self) -> bool {
        self.kek == other.kek
            && self.key_path() == other.key_path()
            && self.has_connectors_of(other)
    }

    /// The KEKs, the preferred one first.
    pub(crate) fn keks(&self) -> Vec<KekSpec<'_>> {
        let kek = &self.kek;
        let first = KekSpec {
            place: "[kek]".to_owned(),
            kind: kek.kind,
            key_file: &kek.key_file,
            protection: kek.protection,
            passphrase: kek.passphrase.as_ref(),
            credential: kek.credential.as_deref(),
            connector: kek.connector.as_deref(),
            key: kek.key.as_deref(),
            replicas: &kek.replicas,
            former_keys: &kek.former_keys,
            mount: kek.mount.as_deref(),
        };
        let more = kek.more.iter().enumerate().map(|(index, more)| KekSpec {
            place: format!("[[kek.more]] {}:", index + 1),
            kind: more.kind,
            key_file: &more.key_file,
            protection: more.protection,
            passphrase: more.passphrase.as_ref(),
            credential: more.credential.as_deref(),
            connector: more.connector.as_deref(),
            key: more.key.as_deref(),
            replicas: &more.replicas,
            former_keys: &more.former_keys,
            mount: more.mount.as_deref(),
        });
        std::iter::once(first).chain(more).collect()
    }
}

impl ProtectionType {
    /// The name in a configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Passphrase => "passphrase",
            Self::Credential => "credential",
        }
    }
}

impl Default for KekSection {
    fn default() -> Self {
        let key_cache = strongroom_core::wrapper::KeyCacheOptions::default();
        Self {
            kind: KekType::Local,
            key_file: Home::KEY_FILE.into(),
            protection: ProtectionType::None,
            passphrase: None,
            credential: None,
            rotate_after: None,
            branch_keys: false,
            connector: None,
            key: None,
            replicas: Vec::new(),
            former_keys: Vec::new(),
            mount: None,
            dek_ttl: key_cache.ttl,
            dek_uses: key_cache.max_uses,
            quorum: None,
            more: Vec::new(),
        }
    }
}
