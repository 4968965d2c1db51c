//! [`EnvelopeStore`]: a [`SecretStore`] made of a [`KeyWrapper`] and a
//! [`RecordStore`].

mod caller;
mod files;
mod incoming;
mod moving;
mod read;
pub(super) mod upkeep;
mod uploads;
mod write;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::lock::{Mutex, MutexGuard};
use strongroom_guard::SecretBytes;

use self::uploads::Leftovers;
use super::entries::{context, missing_record, no_secret, number};
use super::head::{Head, State};
use super::identity::Identity;
use super::{Record, Suite, keys};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::context::{CallerContext, EncryptionContext};
use crate::error::{Error, Result};
use crate::file::{FileReader, FileSource};
use crate::metadata::{Metadata, MetadataChange};
use crate::name::{Scope, SecretName};
use crate::record::{RecordStore, Revision};
use crate::secret::{Listing, Secret, Version, VersionInfo};
use crate::store::{Capabilities, Page, PageRequest, PutOptions, SecretStore, Select};
use crate::transfer::Transfer;
use crate::upkeep::Upkeep;
use crate::wrapper::{Dek, KeyWrapper};

/// Puts to one name wait for each other; names share this many locks.
const WRITE_LOCKS: usize = 1024;
/// How many commits an opening spends on what killed uploads have left, and a
/// write: each removes 16 MiB, in some milliseconds.
const SWEEPS_AT_OPEN: usize = 8;
const SWEEPS_AT_WRITE: usize = 1;

/// How an [`EnvelopeStore`] behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvelopeOptions {
    /// The AEAD of new records; records of every suite are read.
    pub suite: Suite,
    /// How long a deleted secret can be restored.
    pub recovery_window: Duration,
    /// The longest value, in bytes; at most what the record store takes.
    pub max_value_bytes: usize,
    /// The longest file, in bytes.
    pub max_file_bytes: u64,
}

impl Default for EnvelopeOptions {
    /// AES-256-GCM, 30 days, values of 10 MiB, files of 1 TiB.
    fn default() -> Self {
        Self {
            suite: Suite::Aes256Gcm,
            recovery_window: Duration::from_hours(30 * 24),
            max_value_bytes: 10 << 20,
            max_file_bytes: 1 << 40,
        }
    }
}

/// Secrets as sealed records: every version under a DEK of its own, the DEK
/// wrapped by the KMS, and a head for each secret that names the latest.
///
/// Versions are numbered from 1. A number is never reused: what is left of a
/// purged secret is its name and its last number.
pub struct EnvelopeStore {
    records: Arc<dyn RecordStore>,
    wrapper: Arc<dyn KeyWrapper>,
    clock: Arc<dyn Clock>,
    options: EnvelopeOptions,
    account: String,
    identity: Identity,
    description: String,
    turns: Arc<Turns>,
    leftovers: Arc<Leftovers>,
}

/// What writers of the same records wait for each other with.
struct Turns {
    write_locks: Box<[Mutex<()>]>,
    /// Held by whoever rotates, rewraps or encrypts anew.
    upkeep: Mutex<()>,
    hasher: RandomState,
}

impl Turns {
    fn new() -> Arc<Self> {
        let write_locks = (0..WRITE_LOCKS).map(|_| Mutex::new(())).collect();
        Arc::new(Self { write_locks, upkeep: Mutex::new(()), hasher: RandomState::new() })
    }
}

impl EnvelopeStore {
    /// Gives an empty record store its identity for `account` and opens it.
    /// `AlreadyExists` when it has one.
    pub async fn create(
        records: Arc<dyn RecordStore>,
        wrapper: Arc<dyn KeyWrapper>,
        account: &str,
        options: EnvelopeOptions,
    ) -> Result<Self> {
        let clock = SystemClock::shared();
        Identity::create(&*records, &*wrapper, account, clock.now())
            .await
            .map_err(|e| e.during("create").in_store(records.describe()))?;
        Self::open(records, wrapper, account, options).await
    }

    /// Opens a record store that [`create`](Self::create) made for the same
    /// account and KEK; anything else is `Configuration`.
    pub async fn open(
        records: Arc<dyn RecordStore>,
        wrapper: Arc<dyn KeyWrapper>,
        account: &str,
        options: EnvelopeOptions,
    ) -> Result<Self> {
        let at = Arc::clone(&records);
        let place = |e: Error| e.during("open").in_store(at.describe());
        let leftovers = Arc::new(Leftovers::find(&*records).await.map_err(place)?);
        let store =
            Self::assemble(records, wrapper, account, options, Turns::new(), leftovers).await?;
        store.sweep_on(SWEEPS_AT_OPEN).await;
        Ok(store)
    }

    /// The same records under another wrapper or with other settings, while this
    /// store is still in use: writers, uploads and upkeep of the two know of each
    /// other.
    pub async fn reopen(
        &self,
        wrapper: Arc<dyn KeyWrapper>,
        account: &str,
        options: EnvelopeOptions,
    ) -> Result<Self> {
        let (turns, leftovers) = (Arc::clone(&self.turns), Arc::clone(&self.leftovers));
        let records = Arc::clone(&self.records);
        let store = Self::assemble(records, wrapper, account, options, turns, leftovers).await?;
        Ok(store.with_clock(Arc::clone(&self.clock)))
    }

    async fn assemble(
        records: Arc<dyn RecordStore>,
        wrapper: Arc<dyn KeyWrapper>,
        account: &str,
        options: EnvelopeOptions,
        turns: Arc<Turns>,
        leftovers: Arc<Leftovers>,
    ) -> Result<Self> {
        let identity = Identity::open(&*records, &*wrapper, account)
            .await
            .and_then(|identity| {
                identity.ok_or_else(|| {
                    Error::configuration("the store has not been initialized: create it first")
                })
            })
            .map_err(|e| e.during("open").in_store(records.describe()))?;
        let scope = Scope::account(account)?;
        let description = format!("{} under {}", records.describe(), wrapper.identity());
        Ok(Self {
            records,
            wrapper,
            clock: SystemClock::shared(),
            options,
            account: scope.account_id().to_owned(),
            identity,
            description,
            turns,
            leftovers,
        })
    }

    /// Takes the time from `clock`.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The key of this store's audit log: derived from a key that only the KEK
    /// opens, so that whoever can write the log cannot forge its chain.
    pub fn audit_key(&self) -> Result<SecretBytes> {
        Ok(self.identity.audit_key.try_clone()?)
    }

    pub(super) fn records(&self) -> &Arc<dyn RecordStore> {
        &self.records
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn lock(&self, name: &SecretName) -> MutexGuard<'_, ()> {
        let index = self.turns.hasher.hash_one(name) % WRITE_LOCKS as u64;
        self.turns.write_locks[index as usize].lock().await
    }

    fn owns(&self, scope: &Scope) -> Result<()> {
        if scope.account_id() == self.account {
            return Ok(());
        }
        Err(Error::access_denied(format!(
            "this store holds account {}, not {}",
            self.account,
            scope.account_id()
        )))
    }

    /// The head with its bytes and revision; `None` when the name was never used.
    async fn head(&self, name: &SecretName) -> Result<Option<StoredHead>> {
        self.owns(name.scope())?;
        let Some(stored) = self.records.get(&keys::head(name)).await? else { return Ok(None) };
        let head = Head::parse(&stored.value)?;
        Ok(Some(StoredHead { head, bytes: stored.value, revision: stored.revision }))
    }

    /// The head of a secret that exists, deleted or not.
    async fn existing_head(&self, name: &SecretName) -> Result<StoredHead> {
        match self.head(name).await? {
            Some(stored) if stored.head.exists() => Ok(stored),
            other => Err(no_secret(other.as_ref().map(|stored| &stored.head))),
        }
    }

    /// The bytes of a version's record.
    async fn record(&self, name: &SecretName, number: u64) -> Result<Option<Vec<u8>>> {
        Ok(self.records.get(&keys::version(name, number)).await?.map(|stored| stored.value))
    }

    /// The DEK of the latest version, after it has authenticated the head.
    async fn head_key(
        &self,
        name: &SecretName,
        stored: &StoredHead,
    ) -> Result<(Dek, EncryptionContext)> {
        let bytes = self.record(name, stored.head.latest).await?.ok_or_else(missing_record)?;
        let record = Record::parse(&bytes)?;
        let context = context(name, stored.head.latest, record.header().kind)?;
        let dek = record.unwrap(&*self.wrapper, &context).await?;
        Head::authenticate(&stored.bytes, &dek, &context)?;
        Ok((dek, context))
    }

    /// Names operation, secret and store in an error.
    fn place<'a>(
        &'a self,
        operation: &'static str,
        name: &'a SecretName,
    ) -> impl Fn(Error) -> Error + 'a {
        move |error| error.during(operation).about(name).in_store(&self.description)
    }
}

#[async_trait]
impl SecretStore for EnvelopeStore {
    fn describe(&self) -> &str {
        &self.description
    }

    fn capabilities(&self) -> Capabilities {
        // A record is at most a prelude and a tail longer than its value.
        let room = self.records.max_value_bytes().saturating_sub(super::MAX_PRELUDE_BYTES + 60);
        Capabilities {
            write: true,
            versions: true,
            compare_and_swap: true,
            soft_delete: true,
            restore: true,
            purge: true,
            list: true,
            names: true,
            seal: true,
            transfer: true,
            metadata: true,
            references: false,
            max_value_bytes: self.options.max_value_bytes.min(room),
            max_file_bytes: self.options.max_file_bytes,
        }
    }

    fn version_order(&self, version: &Version) -> Option<u64> {
        number(version).ok()
    }

    async fn put(
        &self,
        name: &SecretName,
        value: &SecretBytes,
        options: &PutOptions,
    ) -> Result<VersionInfo> {
        self.put_version(name, value, options).await.map_err(self.place("put", name))
    }

    async fn get(&self, name: &SecretName, select: &Select) -> Result<Secret> {
        self.read(name, select).await.map_err(self.place("get", name))
    }

    async fn put_file(
        &self,
        name: &SecretName,
        source: &mut dyn FileSource,
        options: &PutOptions,
    ) -> Result<VersionInfo> {
        self.put_file_version(name, source, options).await.map_err(self.place("put", name))
    }

    async fn get_file(&self, name: &SecretName, select: &Select) -> Result<FileReader> {
        self.read_file(name, select).await.map_err(self.place("get", name))
    }

    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        self.list_versions(name, page).await.map_err(self.place("list versions of", name))
    }

    async fn list(
        &self,
        scope: &Scope,
        include_deleted: bool,
        page: &PageRequest,
    ) -> Result<Page<Listing>> {
        let found = self.list_scope(scope, include_deleted, page).await;
        found.map_err(|error| error.during("list").in_store(&self.description))
    }

    async fn names(&self, scope: Option<&Scope>, page: &PageRequest) -> Result<Page<SecretName>> {
        let found = self.list_names(scope, page).await;
        found.map_err(|error| error.during("list names").in_store(&self.description))
    }

    async fn change_metadata(
        &self,
        name: &SecretName,
        change: &MetadataChange,
    ) -> Result<Metadata> {
        self.redescribe(name, change).await.map_err(self.place("describe", name))
    }

    async fn delete(&self, name: &SecretName) -> Result<()> {
        let since = self.clock.now();
        let until = since.plus(self.options.recovery_window);
        let change = move |head: &Head| match head.state {
            State::Live => Ok(State::Deleted { since, until }),
            _ => Err(Error::not_found("the secret is deleted already")),
        };
        self.change_state(name, change).await.map_err(self.place("delete", name))
    }

    async fn restore(&self, name: &SecretName) -> Result<()> {
        let now = self.clock.now();
        let change = move |head: &Head| match head.state {
            State::Deleted { until, .. } if until <= now => {
                Err(Error::not_found("the secret was deleted, and its recovery window has ended"))
            }
            State::Deleted { .. } => Ok(State::Live),
            _ => Err(Error::conflict("the secret is not deleted")),
        };
        self.change_state(name, change).await.map_err(self.place("restore", name))
    }

    async fn purge(&self, name: &SecretName) -> Result<()> {
        self.purge_secret(name).await.map_err(self.place("purge", name))
    }

    async fn seal(&self, context: &CallerContext, value: &SecretBytes) -> Result<Vec<u8>> {
        let sealed = self.seal_for_caller(context, value).await;
        sealed.map_err(self.place("seal", context.name()))
    }

    async fn open(&self, context: &CallerContext, sealed: &[u8]) -> Result<SecretBytes> {
        let value = self.open_for_caller(context, sealed).await;
        value.map_err(self.place("open", context.name()))
    }

    fn upkeep(&self) -> Option<&dyn Upkeep> {
        Some(self)
    }

    fn transfer(&self) -> Option<&dyn Transfer> {
        Some(self)
    }

    async fn check(&self) -> Result<Vec<String>> {
        let place = |error: Error| error.during("check").in_store(&self.description);
        self.records.check().await.map_err(place)?;
        self.wrapper.check().await.map_err(place)?;
        let version = self.wrapper.current_version().await.map_err(place)?;
        Ok(vec![
            format!("records: {}", self.records.describe()),
            format!("KEK: {}, version {version}", self.wrapper.identity()),
            format!("account: {}", self.account),
        ])
    }
}

impl std::fmt::Debug for EnvelopeStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnvelopeStore").field("store", &self.description).finish_non_exhaustive()
    }
}

struct StoredHead {
    head: Head,
    bytes: Vec<u8>,
    revision: Revision,
}
