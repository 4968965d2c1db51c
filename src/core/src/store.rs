//! The seam to where secrets live: [`SecretStore`], with what every store
//! promises and what only some can do.

use std::fmt;

use async_trait::async_trait;
use serde::Serialize;
use strongroom_guard::SecretBytes;

use crate::batch::get_each;
use crate::context::CallerContext;
use crate::error::{Error, Result};
use crate::file::{FileReader, FileSource, read_whole};
use crate::metadata::{Metadata, MetadataChange};
use crate::name::{Scope, SecretName};
use crate::secret::{Kind, Listing, Secret, Version, VersionInfo};
use crate::transfer::Transfer;
use crate::upkeep::Upkeep;

/// What a store can do. Callers and tests follow this, never a store's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a separate, named ability")]
pub struct Capabilities {
    /// `put` and `delete` work; otherwise the store is read-only.
    pub write: bool,
    /// Older versions can be read.
    pub versions: bool,
    /// `put` honours [`Expect::Absent`] and [`Expect::Latest`].
    pub compare_and_swap: bool,
    /// `delete` keeps the secret for a recovery window.
    pub soft_delete: bool,
    /// `restore` brings a deleted secret back.
    pub restore: bool,
    /// `purge` removes every version for good.
    pub purge: bool,
    /// `list` works.
    pub list: bool,
    /// `names` works.
    pub names: bool,
    /// `seal` and `open` work.
    pub seal: bool,
    /// Secrets move in and out with every version: there is a `transfer`.
    pub transfer: bool,
    /// Secrets have descriptions and tags, which `put` and `change_metadata` set.
    pub metadata: bool,
    /// References are followed: see [`reference`](crate::reference).
    pub references: bool,
    /// The longest value, in bytes.
    pub max_value_bytes: usize,
    /// The longest file, in bytes: what `put_file` takes and `get_file` gives.
    pub max_file_bytes: u64,
}

/// What must be true of a secret for a `put` to happen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Expect {
    /// Anything: write a new version.
    #[default]
    Any,
    /// There is no such secret; else `AlreadyExists`.
    Absent,
    /// The latest version is still this one; else `Conflict`.
    Latest(Version),
}

/// How to put.
#[derive(Clone, Debug, Default)]
pub struct PutOptions {
    /// What the value's bytes are.
    pub kind: Kind,
    /// What must be true for the put to happen.
    pub expect: Expect,
    /// The secret's metadata from now on; `None` leaves what is there.
    pub metadata: Option<Metadata>,
    /// Whether a reference is stored though nobody has looked whether there is
    /// what it leads to.
    pub unchecked_reference: bool,
}

/// Which version to read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Select {
    /// The latest.
    #[default]
    Latest,
    /// This one.
    Version(Version),
}

/// Which part of a long answer to give.
#[derive(Clone, Debug)]
pub struct PageRequest {
    /// The `next` of the page before; `None` for the first.
    pub after: Option<String>,
    /// At most so many items; at least one.
    pub limit: usize,
}

impl PageRequest {
    /// The first page, of at most `limit` items.
    #[must_use]
    pub fn first(limit: usize) -> Self {
        Self { after: None, limit: limit.max(1) }
    }
}

/// A part of a long answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The items, in the store's order.
    pub items: Vec<T>,
    /// Where the next page begins; `None` when this is the last.
    pub next: Option<String>,
}

/// Where secrets live.
///
/// # Contract
/// - `put` writes a new version, durable when it returns, and returns it. A
///   version is never given twice to one name, also not after a purge. Two
///   concurrent puts give two versions; with [`Expect::Latest`] exactly one of
///   them succeeds. A `put` to a deleted secret that can be restored returns
///   `AlreadyExists`: restore or purge it first.
/// - `get` returns exactly the bytes that were put, or an error; never bytes
///   that fail authentication. A secret or version that does not exist, or
///   that is deleted, is `NotFound`.
/// - `versions` lists the versions oldest first, also of a deleted secret.
/// - `list` gives the secrets of exactly one scope, ordered by name, neither a
///   parent's nor a child's; deleted ones only when asked.
/// - `delete` hides a secret until it is restored or its recovery window ends.
///   Deleting a secret that does not exist, or is deleted, returns `NotFound`.
/// - `restore` brings it back with all versions. Restoring a secret that is not
///   deleted returns `Conflict`; one that does not exist, or whose window has
///   ended, `NotFound`.
/// - `purge` removes every version, deleted or not, for good. Purging a secret
///   that does not exist returns `NotFound`.
/// - `names` gives every name within a scope and the scopes below it, each once:
///   live, deleted, or handed over to another store.
/// - A value of a kind with a structure is what [`kinds`](crate::kinds) says, or
///   `put` returns `InvalidName`.
/// - Where references are followed, `get`, `get_file` and reads of versions give
///   what they lead to, and `get_stored` what is stored; `put` of one that leads
///   nowhere is refused, unless it is not to be looked at. Nothing is ever changed
///   where they lead.
/// - Metadata belong to the secret, not to a version: they stay with new versions,
///   deletion and restoring, and go with a purge. `list` gives them. They are
///   authenticated when the latest version is read, and before anything is
///   written that keeps them. `change_metadata` of a secret that does not exist, or
///   is deleted, returns `NotFound`; of two at once, each has its effect.
/// - `seal` encrypts a value for a caller who keeps the bytes himself; the store
///   keeps nothing of it. `open` gives it back under the same context, and is
///   `Tampered` under any other and for altered bytes. Sealed bytes never pass
///   for a stored secret, nor a secret's record for sealed bytes.
/// - `put_file` and `get_file` are `put` and `get` of a value that is never in
///   memory as a whole. The expectation holds when the file becomes visible, and
///   is looked at beforehand, so that nobody sends a long file in vain. A file
///   that fails midway, or whose future is dropped, was never there. A file that
///   was read gives either all of one version or an error, whatever happens to
///   its name meanwhile. `get` gives a file as a value, if it has no more than
///   `max_value_bytes`; otherwise `LimitExceeded`. `get_file` gives values too.
/// - What a store cannot do it answers with `Unsupported`, and its
///   [`Capabilities`] say so beforehand.
/// - A value longer than `max_value_bytes` is refused by `put` and `seal` with `LimitExceeded`
///   before anything is sent anywhere; a file longer than `max_file_bytes` by
///   `put_file`, as soon as its length is known.
///
/// # Errors
/// Every error names the operation, the store and the secret. `Unavailable` and
/// `Throttled` are retryable; after one, a `put` may have taken effect.
#[async_trait]
pub trait SecretStore: Send + Sync + fmt::Debug {
    /// Names the store in errors and listings: its type and place.
    fn describe(&self) -> &str;

    /// What the store can do.
    fn capabilities(&self) -> Capabilities;

    /// A number that grows with every version of a secret, where this store's
    /// versions have one. It orders versions and means nothing else.
    fn version_order(&self, version: &Version) -> Option<u64> {
        let _ = version;
        None
    }

    /// Writes a new version of `name`.
    async fn put(
        &self,
        name: &SecretName,
        value: &SecretBytes,
        options: &PutOptions,
    ) -> Result<VersionInfo>;

    /// Reads a version of `name`.
    async fn get(&self, name: &SecretName, select: &Select) -> Result<Secret>;

    /// What is stored itself: of a reference, the reference. The default is for
    /// stores that follow none.
    async fn get_stored(&self, name: &SecretName, select: &Select) -> Result<Secret> {
        self.get(name, select).await
    }

    /// Reads many secrets: an answer for each, in the order of `wanted`. The default
    /// gets each by itself, and waits together for those that are not at hand.
    async fn get_many(&self, wanted: &[(&SecretName, &Select)]) -> Vec<Result<Secret>> {
        get_each(self, wanted).await
    }

    /// Writes a new version of `name` from `source`. The default holds it in
    /// memory, up to `max_value_bytes`.
    async fn put_file(
        &self,
        name: &SecretName,
        source: &mut dyn FileSource,
        options: &PutOptions,
    ) -> Result<VersionInfo> {
        let place = |error: Error| error.during("put").about(name).in_store(self.describe());
        let max = self.capabilities().max_value_bytes;
        let value = read_whole(source, max).await.map_err(place)?;
        self.put(name, &value, options).await
    }

    /// A version of `name`, to be read in segments. The default holds it in
    /// memory.
    async fn get_file(&self, name: &SecretName, select: &Select) -> Result<FileReader> {
        self.get(name, select).await.map(FileReader::from)
    }

    /// The versions of `name`, oldest first.
    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>>;

    /// The secrets of exactly `scope`, ordered by name.
    async fn list(
        &self,
        scope: &Scope,
        include_deleted: bool,
        page: &PageRequest,
    ) -> Result<Page<Listing>>;

    /// The names of `scope` and of the scopes below it, of the whole store
    /// without one. The pages follow an order of the store's own.
    async fn names(&self, scope: Option<&Scope>, page: &PageRequest) -> Result<Page<SecretName>> {
        let _ = (scope, page);
        let cannot = Error::unsupported("this store cannot tell all its names");
        Err(cannot.during("list names").in_store(self.describe()))
    }

    /// Changes the metadata of `name`, and returns what they are now.
    async fn change_metadata(
        &self,
        name: &SecretName,
        change: &MetadataChange,
    ) -> Result<Metadata> {
        let _ = change;
        Err(unsupported(self.describe(), "describe", name))
    }

    /// Hides `name` until it is restored or its recovery window ends.
    async fn delete(&self, name: &SecretName) -> Result<()>;

    /// Brings a deleted `name` back.
    async fn restore(&self, name: &SecretName) -> Result<()> {
        Err(unsupported(self.describe(), "restore", name))
    }

    /// Removes every version of `name` for good.
    async fn purge(&self, name: &SecretName) -> Result<()> {
        Err(unsupported(self.describe(), "purge", name))
    }

    /// Encrypts `value` for a caller who keeps the bytes.
    async fn seal(&self, context: &CallerContext, value: &SecretBytes) -> Result<Vec<u8>> {
        let _ = value;
        Err(unsupported(self.describe(), "seal", context.name()))
    }

    /// Decrypts what `seal` returned for the same context.
    async fn open(&self, context: &CallerContext, sealed: &[u8]) -> Result<SecretBytes> {
        let _ = sealed;
        Err(unsupported(self.describe(), "open", context.name()))
    }

    /// What keeps the keys of this store young; `None` for a store that has none
    /// of ours.
    fn upkeep(&self) -> Option<&dyn Upkeep> {
        None
    }

    /// What moves secrets in and out with every version; `None` for a store that
    /// can only be written to.
    fn transfer(&self) -> Option<&dyn Transfer> {
        None
    }

    /// Proves that the store, and the KMS behind it, can be used. Returns what
    /// was looked at, a line each.
    async fn check(&self) -> Result<Vec<String>>;
}

fn unsupported(store: &str, operation: &'static str, name: &SecretName) -> Error {
    Error::unsupported("this store cannot do that").during(operation).about(name).in_store(store)
}
