//! Upkeep: what is done to the keys and ciphertexts of a whole store, and never
//! to a value. Rotate, rewrap and re-encrypt are operations of their own; each
//! may be killed at any moment and begun again, and readers and writers go on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use async_trait::async_trait;
use serde::Serialize;

use crate::envelope::Suite;
use crate::envelope::backup::{BackupInfo, BackupSink};
use crate::error::{Error, ErrorKind, Result};
use crate::migrate::{Migrate, Migrated};
use crate::name::{Scope, SecretName};
use crate::secret::Version;
use crate::wrapper::KekVersion;

/// The most failures that a report lists; all are counted.
const MAX_LISTED: usize = 100;

/// How far an operation on many secrets is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// How many versions are done with, changed or not.
    pub done: u64,
    /// How many there are, once that is known. Writers go on meanwhile, so that
    /// it is not exact.
    pub total: Option<u64>,
    /// How many versions were changed.
    pub changed: u64,
    /// How many could not be.
    pub failed: u64,
}

impl Progress {
    /// How many are left.
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        self.total.map(|total| total.saturating_sub(self.done))
    }
}

/// Is told how far an operation is, some times a second or less.
pub type Observer<'a> = dyn Fn(&Progress) + Send + Sync + 'a;

/// A version that an operation could not deal with, and left as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failed {
    /// The secret.
    #[serde(serialize_with = "name_in_full")]
    pub name: SecretName,
    /// The version, where one is meant.
    pub version: Option<Version>,
    /// What kind of error it was.
    pub kind: ErrorKind,
    /// The same in words; never a value.
    pub message: String,
}

impl Failed {
    /// `version` of `name` failed with `error`.
    #[must_use]
    pub fn new(name: &SecretName, version: Option<Version>, error: &Error) -> Self {
        let (kind, message) = (error.kind(), error.message().to_owned());
        Self { name: name.clone(), version, kind, message }
    }
}

fn name_in_full<S: serde::Serializer>(
    name: &SecretName,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{}:{}", name.scope(), name.id()))
}

/// What an operation on many versions did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// How many versions were looked at.
    pub examined: u64,
    /// How many were changed.
    pub changed: u64,
    /// How many could not be, and are as they were.
    pub failed: u64,
    /// The first of those.
    pub failures: Vec<Failed>,
    /// By KEK, under how many of the changed versions it is missing.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub missing_keks: BTreeMap<String, u64>,
    /// Whether this went on with what an earlier call had begun.
    pub resumed: bool,
}

impl Outcome {
    pub(crate) fn fail(&mut self, failed: Failed) {
        self.failed += 1;
        if self.failures.len() < MAX_LISTED {
            self.failures.push(failed);
        }
    }

    pub(crate) fn progress(&self, total: Option<u64>) -> Progress {
        Progress { done: self.examined, total, changed: self.changed, failed: self.failed }
    }
}

/// Which secrets an operation is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub enum Selection {
    /// Every secret of the store.
    #[default]
    All,
    /// Those of a scope and of the scopes below it, as the scope is written.
    Within(String),
    /// These, as `scope:name`.
    Names(BTreeSet<String>),
}

impl Selection {
    /// The secrets of `scope` and of the scopes below it.
    #[must_use]
    pub fn within(scope: &Scope) -> Self {
        Self::Within(scope.to_string())
    }

    /// Exactly `names`.
    pub fn names<'a>(names: impl IntoIterator<Item = &'a SecretName>) -> Self {
        let full = |name: &SecretName| format!("{}:{}", name.scope(), name.id());
        Self::Names(names.into_iter().map(full).collect())
    }

    /// Whether `name` is one of them.
    #[must_use]
    pub fn contains(&self, name: &SecretName) -> bool {
        match self {
            Self::All => true,
            Self::Within(scope) => {
                let own = name.scope().to_string();
                own.strip_prefix(scope.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Self::Names(names) => names.contains(&format!("{}:{}", name.scope(), name.id())),
        }
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("every secret"),
            Self::Within(scope) => write!(f, "the secrets within {scope}"),
            Self::Names(names) if names.len() == 1 => {
                names.iter().try_for_each(|name| f.write_str(name))
            }
            Self::Names(names) => write!(f, "{} secrets", names.len()),
        }
    }
}

/// What to encrypt anew, and how.
#[derive(Clone, Debug, Default)]
pub struct Reencrypt {
    /// Which secrets, with all their versions.
    pub selection: Selection,
    /// The AEAD; the store's own unless told.
    pub suite: Option<Suite>,
    /// Begin anew, though another re-encryption is not finished.
    pub restart: bool,
}

/// What is in a store, and what of it is not as it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// How many secrets there are, deleted ones too.
    pub secrets: u64,
    /// How many versions were opened, or should have been.
    pub versions: u64,
    /// How many secrets went to another store.
    pub moved: u64,
    /// How many are being brought from another store.
    pub incoming: u64,
    /// How many entries stand under keys that no release of this program uses.
    pub strangers: u64,
    /// How many things were found wrong.
    pub failed: u64,
    /// The first of those.
    pub failures: Vec<Failed>,
}

impl Verified {
    pub(crate) fn fail(&mut self, failed: Failed) {
        self.failed += 1;
        if self.failures.len() < MAX_LISTED {
            self.failures.push(failed);
        }
    }

    /// Takes in what was found in another store.
    pub(crate) fn add(&mut self, other: Self) {
        self.secrets += other.secrets;
        self.versions += other.versions;
        self.moved += other.moved;
        self.incoming += other.incoming;
        self.strangers += other.strangers;
        self.failed += other.failed;
        let room = MAX_LISTED.saturating_sub(self.failures.len());
        self.failures.extend(other.failures.into_iter().take(room));
    }

    /// Whether everything is as it was written.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.failed == 0 && self.strangers == 0
    }
}

/// A KEK, and how many versions need which of its versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KekUse {
    /// The KEK.
    pub kek: String,
    /// Whether new versions are wrapped under it.
    pub in_use: bool,
    /// Its versions, oldest first.
    pub versions: Vec<KekVersionUse>,
}

/// A version of a KEK, and how many versions of secrets need it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KekVersionUse {
    /// The KEK's version.
    #[serde(flatten)]
    pub kek: KekVersion,
    /// How many versions of secrets are wrapped under it.
    pub records: u64,
    /// Some of them.
    pub examples: Vec<String>,
}

/// Which keys a store needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KeyReport {
    /// The KEKs, the preferred one first, then those that only old records name.
    pub keks: Vec<KekUse>,
    /// How many versions of secrets there are.
    pub records: u64,
    /// How many of them a rewrap would change.
    pub stale: u64,
}

/// What keeps the keys of a store young. A store that has no keys of ours, such
/// as a cloud's own, has none of this.
///
/// # Contract
/// - One of these operations runs at a time; a second is a retryable
///   `Conflict`. Reads and writes go on, and never fail for it with an error
///   that a retry would not cure.
/// - An operation whose future is dropped, or whose process is killed, has
///   changed some versions wholly and the others not at all. Called again, it
///   does the rest.
/// - A version that cannot be dealt with is reported and left as it is. An
///   outage ends the operation with the error; it goes on when called again.
#[async_trait]
pub trait Upkeep: Send + Sync {
    /// Makes a new version of `kek`, or of the preferred KEK, that is used from
    /// now on. What is stored stays under the versions that it has.
    async fn rotate(&self, kek: Option<&str>) -> Result<KekVersion>;

    /// Wraps anew every DEK that is not under the current version of every KEK;
    /// the ciphertexts stay as they are.
    async fn rewrap(&self, observer: &Observer<'_>) -> Result<Outcome>;

    /// Gives versions a fresh DEK and a fresh ciphertext. Their numbers and
    /// times stay.
    async fn reencrypt(&self, what: &Reencrypt, observer: &Observer<'_>) -> Result<Outcome>;

    /// Reads everything: authenticates every head, opens every version with every
    /// segment of its file, and looks for what belongs to nobody. What it finds
    /// wrong is reported, and it goes on. It changes nothing, and may run beside
    /// anything else. Progress is told in versions.
    async fn verify(&self, observer: &Observer<'_>) -> Result<Verified>;

    /// Writes a backup to `out`, while writers go on: records as they are sealed,
    /// readable only with the KEK. Where the record store can show one moment, it
    /// is of that; otherwise each secret is of one. Progress is told in names.
    async fn backup(&self, out: &mut dyn BackupSink, observer: &Observer<'_>)
    -> Result<BackupInfo>;

    /// Which versions of which KEKs are needed, by reading every record.
    async fn key_report(&self, observer: &Observer<'_>) -> Result<KeyReport>;

    /// Destroys a version of `kek`, or of the preferred KEK. `Conflict` if a
    /// record still needs it. Values that callers keep sealed, and backups, are
    /// not known to the store: what only this version wrapped is lost with it.
    async fn destroy_key_version(
        &self,
        kek: Option<&str>,
        version: &str,
        observer: &Observer<'_>,
    ) -> Result<()>;

    /// Moves secrets to the store that this one is moving to, while readers and
    /// writers go on; see [`Migrating::migrate`](crate::Migrating::migrate).
    /// `Configuration` where there is none.
    async fn migrate(&self, _what: &Migrate, _observer: &Observer<'_>) -> Result<Migrated> {
        Err(Error::configuration(
            "this store is not moving to another one: [store] moving_to names the configuration of \
             the other",
        )
        .during("migrate"))
    }
}
