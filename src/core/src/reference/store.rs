//! [`ReferencingStore`]: a secret store whose references are followed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt};
use strongroom_guard::SecretBytes;

use super::{Reference, is_store_name};
use crate::batch::MAX_CONCURRENT_READS;
use crate::context::CallerContext;
use crate::error::{Error, Result};
use crate::file::{FileReader, FileSource, read_whole};
use crate::kinds;
use crate::metadata::{Metadata, MetadataChange};
use crate::name::{Scope, SecretName};
use crate::secret::{Kind, Listing, Secret, Version, VersionInfo};
use crate::store::{Capabilities, Page, PageRequest, PutOptions, SecretStore, Select};
use crate::transfer::Transfer;
use crate::upkeep::Upkeep;

/// A store that somebody else looks after, and that is only read.
///
/// # Contract
/// - `read` gives the whole of what stands at `path` now. The keys of a reference
///   are not its concern: they mean the same everywhere.
/// - It never changes anything in the external store.
/// - What is not there is `NotFound`; an error names the path and no value.
#[async_trait]
pub trait ExternalStore: Send + Sync + fmt::Debug {
    /// Names the store in errors: its type and place.
    fn describe(&self) -> &str;

    /// Reads what stands at `path`.
    async fn read(&self, path: &str) -> Result<ExternalValue>;
}

/// What an external store has at a path.
#[derive(Debug)]
pub struct ExternalValue {
    /// The value, in guarded memory.
    pub value: SecretBytes,
    /// What its bytes are, as far as the store knows.
    pub kind: Kind,
    /// How long it is good for from now on; `None` if the store tells of no end. No
    /// cache gives it for longer.
    pub valid_for: Option<Duration>,
}

impl ExternalValue {
    /// A value that is good until somebody changes it.
    #[must_use]
    pub fn new(value: SecretBytes, kind: Kind) -> Self {
        Self { value, kind, valid_for: None }
    }
}

/// A secret store whose references are followed: `get` of one reads the external
/// store and gives what stands there, of its kind, with version and age of the
/// reference. A version belongs to the store that gave it, and whoever compares
/// and swaps, caches or audits means this one's.
///
/// A reference that leads to another is not followed further: that is `Unsupported`,
/// and so nothing goes in a circle. Nothing is ever written to an external store, so
/// that deleting or purging a reference leaves what it leads to.
pub struct ReferencingStore {
    inner: Arc<dyn SecretStore>,
    external: BTreeMap<String, Arc<dyn ExternalStore>>,
}

impl ReferencingStore {
    /// `inner`, whose references lead to these stores.
    ///
    /// # Errors
    /// `Configuration` if a store's name cannot stand in a reference.
    pub fn new(
        inner: Arc<dyn SecretStore>,
        external: BTreeMap<String, Arc<dyn ExternalStore>>,
    ) -> Result<Self> {
        if let Some(name) = external.keys().find(|name| !is_store_name(name)) {
            return Err(Error::configuration(format!(
                "{name:?} cannot name an external store: write a letter, and then letters, digits, \
                 - and _"
            )));
        }
        Ok(Self { inner, external })
    }

    /// What `reference` leads to.
    async fn follow(&self, reference: &Reference) -> Result<ExternalValue> {
        let store = self.external.get(reference.store()).ok_or_else(|| {
            let known: Vec<_> = self.external.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let name = reference.store();
            Error::configuration(format!(
                "there is no external store {name}: the configuration has {known}"
            ))
        })?;
        let found = store.read(reference.path()).await.map_err(|error| at(reference, error))?;
        if found.kind == Kind::Reference {
            let what = "there stands another reference, which is not followed";
            return Err(at(reference, Error::unsupported(what)));
        }
        part(found, reference.keys()).map_err(|error| at(reference, error))
    }

    /// The reference in the value of one.
    async fn resolved(&self, stored: Secret) -> Result<Secret> {
        let reference = Reference::parse(stored.value.expose())?;
        let ExternalValue { value, kind, valid_for } = self.follow(&reference).await?;
        Ok(Secret { value, kind, valid_for, ..stored })
    }

    /// What was stored, or what it leads to.
    async fn followed(&self, name: &SecretName, stored: Result<Secret>) -> Result<Secret> {
        match stored {
            Ok(stored) if stored.kind == Kind::Reference => {
                self.resolved(stored).await.map_err(self.place("get", name))
            }
            stored => stored,
        }
    }

    /// A reference is stored only if it leads somewhere, unless the caller says
    /// that it need not.
    async fn check_target(&self, value: &SecretBytes, options: &PutOptions) -> Result<()> {
        let reference = Reference::parse(value.expose())?;
        if !options.unchecked_reference {
            self.follow(&reference).await?;
        }
        Ok(())
    }

    fn place<'a>(
        &'a self,
        operation: &'static str,
        name: &'a SecretName,
    ) -> impl Fn(Error) -> Error + 'a {
        move |error| error.during(operation).about(name).in_store(self.inner.describe())
    }
}

/// The part of a value that `keys` lead to.
fn part(found: ExternalValue, keys: &[String]) -> Result<ExternalValue> {
    let ExternalValue { value, kind, valid_for } = found;
    let (value, kind) = match keys {
        [] => (value, kind),
        [field, rest @ ..] if !kinds::fields(kind).is_empty() => {
            let value = kinds::field(kind, &value, field)?;
            let value =
                if rest.is_empty() { value } else { kinds::find_in_json(value.expose(), rest)? };
            (value, Kind::Text)
        }
        keys => (kinds::find_in_json(value.expose(), keys)?, Kind::Text),
    };
    Ok(ExternalValue { value, kind, valid_for })
}

/// The error of a reference, which names it. What the external store says of its
/// own secret would pass for ours, and so its kind and message are kept and nothing
/// else.
fn at(reference: &Reference, error: Error) -> Error {
    let message = format!("the reference {reference}: {}", error.message());
    let wrapped = Error::new(error.kind(), message).retryable(error.is_retryable());
    wrapped.with_source(error)
}

impl fmt::Debug for ReferencingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("ReferencingStore");
        out.field("inner", &self.inner).field("external", &self.external).finish()
    }
}

#[async_trait]
impl SecretStore for ReferencingStore {
    fn describe(&self) -> &str {
        self.inner.describe()
    }

    fn capabilities(&self) -> Capabilities {
        let inner = self.inner.capabilities();
        Capabilities { references: inner.write, ..inner }
    }

    fn version_order(&self, version: &Version) -> Option<u64> {
        self.inner.version_order(version)
    }

    async fn put(
        &self,
        name: &SecretName,
        value: &SecretBytes,
        options: &PutOptions,
    ) -> Result<VersionInfo> {
        if options.kind == Kind::Reference {
            self.check_target(value, options).await.map_err(self.place("put", name))?;
        }
        self.inner.put(name, value, options).await
    }

    async fn get(&self, name: &SecretName, select: &Select) -> Result<Secret> {
        self.followed(name, self.inner.get(name, select).await).await
    }

    async fn get_many(&self, wanted: &[(&SecretName, &Select)]) -> Vec<Result<Secret>> {
        let stored = self.inner.get_many(wanted).await;
        let mut follow = Vec::with_capacity(stored.len());
        for (stored, &(name, _)) in stored.into_iter().zip(wanted) {
            follow.push(self.followed(name, stored));
        }
        stream::iter(follow).buffered(MAX_CONCURRENT_READS).collect().await
    }

    async fn get_stored(&self, name: &SecretName, select: &Select) -> Result<Secret> {
        self.inner.get_stored(name, select).await
    }

    async fn put_file(
        &self,
        name: &SecretName,
        source: &mut dyn FileSource,
        options: &PutOptions,
    ) -> Result<VersionInfo> {
        if options.kind == Kind::Reference {
            let value = read_whole(source, kinds::MAX_BYTES).await;
            return self.put(name, &value.map_err(self.place("put", name))?, options).await;
        }
        self.inner.put_file(name, source, options).await
    }

    async fn get_file(&self, name: &SecretName, select: &Select) -> Result<FileReader> {
        let file = self.inner.get_file(name, select).await?;
        if file.info().kind == Kind::Reference {
            return self.get(name, select).await.map(FileReader::from);
        }
        Ok(file)
    }

    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        self.inner.versions(name, page).await
    }

    async fn list(
        &self,
        scope: &Scope,
        include_deleted: bool,
        page: &PageRequest,
    ) -> Result<Page<Listing>> {
        self.inner.list(scope, include_deleted, page).await
    }

    async fn change_metadata(
        &self,
        name: &SecretName,
        change: &MetadataChange,
    ) -> Result<Metadata> {
        self.inner.change_metadata(name, change).await
    }

    async fn delete(&self, name: &SecretName) -> Result<()> {
        self.inner.delete(name).await
    }

    async fn restore(&self, name: &SecretName) -> Result<()> {
        self.inner.restore(name).await
    }

    async fn purge(&self, name: &SecretName) -> Result<()> {
        self.inner.purge(name).await
    }

    async fn seal(&self, context: &CallerContext, value: &SecretBytes) -> Result<Vec<u8>> {
        self.inner.seal(context, value).await
    }

    async fn open(&self, context: &CallerContext, sealed: &[u8]) -> Result<SecretBytes> {
        self.inner.open(context, sealed).await
    }

    async fn names(&self, scope: Option<&Scope>, page: &PageRequest) -> Result<Page<SecretName>> {
        self.inner.names(scope, page).await
    }

    /// A reference moves as what it is.
    fn transfer(&self) -> Option<&dyn Transfer> {
        self.inner.transfer()
    }

    fn upkeep(&self) -> Option<&dyn Upkeep> {
        self.inner.upkeep()
    }

    async fn check(&self) -> Result<Vec<String>> {
        let mut checked = self.inner.check().await?;
        let names = self.external.iter();
        checked
            .extend(names.map(|(name, store)| format!("references {name}: {}", store.describe())));
        Ok(checked)
    }
}
