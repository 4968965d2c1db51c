//! The seam of moving: [`Transfer`] is what a store has to be able to do so that
//! a secret goes to another store with its versions, and has one owner at every
//! moment. Who owns it stands in the stores themselves and nowhere else.

use std::fmt;

use async_trait::async_trait;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::error::Result;
use crate::file::{FileReader, FileSource};
use crate::metadata::Metadata;
use crate::name::SecretName;
use crate::record::Revision;
use crate::secret::{Version, VersionInfo};
use crate::store::{Page, PageRequest};

/// A store, as another one remembers it.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// What tells the store from every other; the same wherever it lies. At most
    /// [`MAX_ID_BYTES`](Self::MAX_ID_BYTES).
    pub id: String,
    /// Where it was, for people; at most
    /// [`MAX_DESCRIPTION_BYTES`](Self::MAX_DESCRIPTION_BYTES).
    pub description: String,
}

impl Place {
    /// The longest id, in bytes.
    pub const MAX_ID_BYTES: usize = 256;
    /// The longest description, in bytes.
    pub const MAX_DESCRIPTION_BYTES: usize = 512;

    /// A place; what is longer than it may be is cut.
    #[must_use]
    pub fn new(id: &str, description: &str) -> Self {
        let cut = |text: &str, max: usize| text[..text.floor_char_boundary(max)].to_owned();
        Self {
            id: cut(id, Self::MAX_ID_BYTES),
            description: cut(description, Self::MAX_DESCRIPTION_BYTES),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.description)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({}, {})", self.id, self.description)
    }
}

/// Since when a secret is deleted, and until when it can be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Deleted {
    /// When it was deleted.
    pub since: Timestamp,
    /// From then on it is gone.
    pub until: Timestamp,
}

/// What a name is to a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing that could be read or restored.
    Absent,
    /// The secret is here, and nowhere else.
    Owned {
        /// Changes with everything that happens to the secret.
        mark: Revision,
        /// The latest version.
        latest: Version,
        /// Set if it is deleted and can be restored.
        deleted: Option<Deleted>,
        /// What is told about it.
        metadata: Metadata,
    },
    /// Another store's secret is being brought here. It is read and written
    /// there, until it was handed over.
    Incoming {
        /// Where from.
        from: Place,
    },
    /// The secret was handed over.
    Moved {
        /// Where to.
        to: Place,
        /// The latest version that it had here.
        latest: Version,
        /// Set if it was deleted then.
        deleted: Option<Deleted>,
        /// What was told about it then.
        metadata: Metadata,
        /// Whether its versions are still here, unread by anybody.
        has_versions: bool,
    },
}

/// Moving secrets between stores.
///
/// # Contract
/// - A source's side: `hand_over` is the switch, one commit. From then on every
///   operation of [`SecretStore`](crate::SecretStore) on the name says where the
///   secret went (`NotFound`, a put `Conflict`), in this process and every later
///   one, and `versions_of` and `read_version` still give what was there, until
///   `drop_versions` removes it. The mark of the move stays.
/// - A target's side: `reserve` keeps the name for what comes and begins anew
///   where an earlier attempt was cut short; from then on others that read or
///   write the name get `Unavailable`. `stage` brings one version, under the
///   number and time that it has elsewhere, oldest first. Nothing of it is seen
///   before `publish`, which is one commit. `give_up` takes everything back.
/// - Killed at any moment, a store is between two of these calls, or within one
///   of `stage`, `give_up` and `drop_versions`, which are called again.
#[async_trait]
pub trait Transfer: Send + Sync {
    /// This store, as others remember it.
    fn place(&self) -> Place;

    /// What `name` is here.
    async fn standing(&self, name: &SecretName) -> Result<Standing>;

    /// The versions, oldest first, whatever the standing: also deleted, handed
    /// over, or staged.
    async fn versions_of(&self, name: &SecretName, page: &PageRequest)
    -> Result<Page<VersionInfo>>;

    /// One of them.
    async fn read_version(&self, name: &SecretName, version: &Version) -> Result<FileReader>;

    /// Marks the secret as moved to `to`, if nothing has happened to it since it
    /// had `mark`; otherwise `Conflict`.
    async fn hand_over(&self, name: &SecretName, to: &Place, mark: Revision) -> Result<()>;

    /// Removes the versions of a secret that was handed over.
    async fn drop_versions(&self, name: &SecretName) -> Result<()>;

    /// Keeps `name`, which nobody may own here, for a secret that comes from
    /// `from`. `AlreadyExists` if it is owned.
    async fn reserve(&self, name: &SecretName, from: &Place) -> Result<()>;

    /// Brings a version of a reserved name. `AlreadyExists` for a number that a
    /// purged secret of this name had.
    async fn stage(
        &self,
        name: &SecretName,
        info: &VersionInfo,
        source: &mut dyn FileSource,
    ) -> Result<()>;

    /// Makes what was staged the secret, in one commit.
    async fn publish(
        &self,
        name: &SecretName,
        latest: &Version,
        deleted: Option<Deleted>,
        metadata: &Metadata,
    ) -> Result<()>;

    /// Removes what was staged, and the reservation.
    async fn give_up(&self, name: &SecretName) -> Result<()>;
}
