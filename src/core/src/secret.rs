//! What is kept: a secret's kind, versions and value, and what is told about
//! them without the value.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};
use strongroom_guard::SecretBytes;

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::metadata::Metadata;
use crate::name::SecretName;
use crate::wrapper::MissingWrap;

/// What a secret's bytes are. The number is part of the record format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
#[non_exhaustive]
pub enum Kind {
    /// A value that is shown and typed, such as a password.
    #[default]
    Text = 1,
    /// The bytes of a file.
    File = 2,
    /// An SSH private key, perhaps with its public key.
    SshKey = 3,
    /// A user and a password.
    Login = 4,
    /// A certificate, perhaps with its chain, and its private key.
    Certificate = 5,
    /// The address of a value that exists in an external store.
    Reference = 6,
}

impl Kind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Self; 6] =
        [Self::Text, Self::File, Self::SshKey, Self::Login, Self::Certificate, Self::Reference];

    /// The kind with this number in a record.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }

    /// The kind with this number in bytes that are whole: one that is not known
    /// was written by a later release, and is `Unsupported`.
    pub(crate) fn of_number(number: u8) -> Result<Self> {
        Self::from_number(number).ok_or_else(|| {
            Error::unsupported(format!(
                "the secret is of kind {number}, which this build does not know: use a newer \
                 release"
            ))
        })
    }

    /// The stable name, as it is shown and sent to a KMS.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::File => "file",
            Self::SshKey => "ssh-key",
            Self::Login => "login",
            Self::Certificate => "certificate",
            Self::Reference => "reference",
        }
    }
}

/// A version of a secret: opaque text whose order only its store knows. Cloning
/// is cheap: every answer of a cache carries one.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Version(Arc<str>);

impl Version {
    /// The longest version text, in bytes.
    pub const MAX_BYTES: usize = 255;

    /// A version as a store wrote it.
    pub fn new(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        let good = |b: u8| b.is_ascii_graphic();
        if text.is_empty() || text.len() > Self::MAX_BYTES || !text.bytes().all(good) {
            return Err(Error::invalid_name("a version is 1 to 255 printable ASCII characters"));
        }
        Ok(Self(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Version({})", self.0)
    }
}

/// A secret as it is answered: the value and how fresh it is.
#[derive(Debug)]
pub struct Secret {
    /// The value, in guarded memory.
    pub value: SecretBytes,
    /// What the value's bytes are.
    pub kind: Kind,
    /// The version that this is.
    pub version: Version,
    /// When this version was written.
    pub created: Timestamp,
    /// How long ago the backend last confirmed this answer; zero when it comes
    /// from the backend itself.
    pub age: Duration,
    /// Whether this answer is past its time to live and was given because the
    /// backend did not answer.
    pub stale: bool,
    /// How long the value is good for from now on, where that is bounded: credentials
    /// that were made for a while end with their lease.
    pub valid_for: Option<Duration>,
}

impl Secret {
    /// An answer that comes from the backend just now.
    #[must_use]
    pub fn fresh(value: SecretBytes, kind: Kind, version: Version, created: Timestamp) -> Self {
        let (age, stale, valid_for) = (Duration::ZERO, false, None);
        Self { value, kind, version, created, age, stale, valid_for }
    }
}

/// What is told about one version without its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VersionInfo {
    /// The version.
    pub version: Version,
    /// What its bytes are.
    pub kind: Kind,
    /// When it was written.
    pub created: Timestamp,
    /// Of a version that was just written: the KEKs that should protect it and
    /// could not be had. It is readable through the others; a rewrap adds these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing_keks: Vec<MissingWrap>,
}

impl VersionInfo {
    /// A version under every KEK that it should be under.
    #[must_use]
    pub fn new(version: Version, kind: Kind, created: Timestamp) -> Self {
        Self { version, kind, created, missing_keks: Vec::new() }
    }
}

/// What is told about a secret without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The secret's name.
    pub name: SecretName,
    /// Its latest version.
    pub latest: Version,
    /// What the latest version's bytes are.
    pub kind: Kind,
    /// When the latest version was written.
    pub updated: Timestamp,
    /// Its description and tags.
    pub metadata: Metadata,
    /// Since when the secret is deleted, if it is and can be restored.
    pub deleted: Option<Timestamp>,
}
