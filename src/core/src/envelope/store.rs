//! [`EnvelopeStore`]: a [`SecretStore`] made of a [`KeyWrapper`] and a
//! [`RecordStore`].

mod caller;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::lock::{Mutex, MutexGuard};
use strongroom_guard::SecretBytes;

use super::entries::{
    check_expectation, context, listing, missing_record, no_such_version, number, version,
    version_info,
};
use super::head::{Head, State};
use super::identity::Identity;
use super::{Header, Record, Suite, keys, seal};
use crate::clock::{Clock, SystemClock};
use crate::context::{CallerContext, EncryptionContext};
use crate::error::{Error, ErrorKind, Result};
use crate::name::{Scope, SecretName};
use crate::record::{Batch, Precondition, RecordStore, Revision};
use crate::secret::{Listing, Secret, Version, VersionInfo};
use crate::store::{Capabilities, Page, PageRequest, PutOptions, SecretStore, Select};
use crate::wrapper::{Dek, KeyWrapper};

/// How often a put that meets other writers begins anew, before it gives up.
const PUT_ATTEMPTS: usize = 64;
/// How many versions one batch of a purge removes.
const PURGE_BATCH: u64 = 256;
/// Puts to one name wait for each other; names share this many locks.
const WRITE_LOCKS: usize = 1024;

/// How an [`EnvelopeStore`] behaves.
#[derive(Clone, Debug)]
pub struct EnvelopeOptions {
    /// The AEAD of new records; records of every suite are read.
    pub suite: Suite,
    /// How long a deleted secret can be restored.
    pub recovery_window: Duration,
    /// The longest value, in bytes; at most what the record store takes.
    pub max_value_bytes: usize,
}

impl Default for EnvelopeOptions {
    /// AES-256-GCM, 30 days, 10 MiB.
    fn default() -> Self {
        Self {
            suite: Suite::Aes256Gcm,
            recovery_window: Duration::from_hours(30 * 24),
            max_value_bytes: 10 << 20,
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
    write_locks: Box<[Mutex<()>]>,
    hasher: RandomState,
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
        let place = |e: Error| e.during("open").in_store(records.describe());
        let identity = Identity::open(&*records, &*wrapper, account)
            .await
            .and_then(|identity| {
                identity.ok_or_else(|| {
                    Error::configuration("the store has not been initialized: create it first")
                })
            })
            .map_err(place)?;
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
            write_locks: (0..WRITE_LOCKS).map(|_| Mutex::new(())).collect(),
            hasher: RandomState::new(),
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

    async fn lock(&self, name: &SecretName) -> MutexGuard<'_, ()> {
        let index = self.hasher.hash_one(name) % WRITE_LOCKS as u64;
        self.write_locks[index as usize].lock().await
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
        let stored = self.head(name).await?.filter(|stored| stored.head.exists());
        stored.ok_or_else(|| Error::not_found("there is no such secret"))
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

    /// One attempt at a put; `None` when another writer came first and the
    /// caller did not say which version it expects.
    async fn try_put(
        &self,
        name: &SecretName,
        value: &SecretBytes,
        options: &PutOptions,
    ) -> Result<Option<VersionInfo>> {
        let mut current = self.head(name).await?;
        if let Some(stored) = &current
            && (stored.head.is_expired(self.clock.now()) || stored.head.state == State::Purging)
        {
            self.purge_versions(name, stored).await?;
            current = self.head(name).await?;
        }
        let head = current.as_ref().map(|current| &current.head);
        let latest = check_expectation(head, &options.expect)?;
        let number = latest.checked_add(1).ok_or_else(|| {
            Error::limit_exceeded("the secret has as many versions as can be numbered")
        })?;
        let first = head.filter(|head| head.exists()).map_or(number, |head| head.first);

        let (kind, now) = (options.kind, self.clock.now());
        let context = context(name, number, kind)?;
        let header = Header { suite: self.options.suite, kind, created: now };
        let (record, dek) = seal(&*self.wrapper, &context, &header, value.expose()).await?;
        let head = Head { state: State::Live, kind, first, latest: number, updated: now };
        let batch = Batch::new()
            .require(keys::head(name), precondition(current.as_ref()))
            .require(keys::version(name, number), Precondition::Absent)
            .write(keys::version(name, number), record)
            .write(keys::head(name), head.seal(Some((&dek, &context)))?);
        match self.records.commit(batch).await {
            Ok(()) => Ok(Some(VersionInfo { version: version(number)?, kind, created: now })),
            // Look again: the expectation decides whether to go on.
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces the head of an existing secret, authenticating the old one and
    /// sealing the new one under the same DEK.
    async fn change_state(
        &self,
        name: &SecretName,
        change: impl Fn(&Head) -> Result<State> + Send + Sync,
    ) -> Result<()> {
        let _lock = self.lock(name).await;
        let stored = self.existing_head(name).await?;
        let state = change(&stored.head)?;
        let (dek, context) = self.head_key(name, &stored).await?;
        let head = Head { state, ..stored.head };
        let batch = Batch::new()
            .require(keys::head(name), Precondition::At(stored.revision))
            .write(keys::head(name), head.seal(Some((&dek, &context)))?);
        self.records.commit(batch).await
    }

    /// Removes every version and leaves a tombstone. A purge that was cut short
    /// left `Purging` with the first version that remains, and is finished by
    /// the next.
    async fn purge_versions(&self, name: &SecretName, stored: &StoredHead) -> Result<()> {
        let key = keys::head(name);
        let mut head = stored.head.clone();
        let mut revision = stored.revision;
        loop {
            let last = head.latest.min(head.first.saturating_add(PURGE_BATCH - 1));
            let mut batch = Batch::new().require(key.clone(), Precondition::At(revision));
            for number in head.first..=last {
                batch = batch.delete(keys::version(name, number));
            }
            let is_done = last == head.latest;
            head.state = if is_done { State::Purged } else { State::Purging };
            head.first = last.saturating_add(1);
            self.records.commit(batch.write(key.clone(), head.seal(None)?)).await?;
            if is_done {
                return Ok(());
            }
            revision = self.records.get(&key).await?.ok_or_else(missing_record)?.revision;
        }
    }

    fn check_length(&self, value: &SecretBytes) -> Result<()> {
        let (bytes, limit) = (value.len(), self.capabilities().max_value_bytes);
        if bytes > limit {
            let message = format!("the value has {bytes} bytes: this store takes {limit}");
            return Err(Error::limit_exceeded(message));
        }
        Ok(())
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
            seal: true,
            max_value_bytes: self.options.max_value_bytes.min(room),
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
        let place = self.place("put", name);
        self.check_length(value).map_err(&place)?;
        let _lock = self.lock(name).await;
        for _ in 0..PUT_ATTEMPTS {
            if let Some(info) = self.try_put(name, value, options).await.map_err(&place)? {
                return Ok(info);
            }
        }
        Err(place(Error::conflict("too many others write this secret: try again").retryable(true)))
    }

    async fn get(&self, name: &SecretName, select: &Select) -> Result<Secret> {
        let place = self.place("get", name);
        loop {
            let stored = self.existing_head(name).await.map_err(&place)?;
            if let State::Deleted { .. } = stored.head.state {
                return Err(place(Error::not_found("the secret is deleted")));
            }
            let number = match select {
                Select::Latest => stored.head.latest,
                Select::Version(version) => number(version).map_err(&place)?,
            };
            let Some(bytes) = self.record(name, number).await.map_err(&place)? else {
                if !(stored.head.first..=stored.head.latest).contains(&number) {
                    return Err(place(no_such_version(number)));
                }
                // A purge came in between, or the record was taken away.
                let again = self.existing_head(name).await.map_err(&place)?;
                if again.revision == stored.revision {
                    return Err(place(missing_record()));
                }
                continue;
            };
            return self.open_version(name, number, &bytes, &stored).await.map_err(&place);
        }
    }

    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        let place = self.place("list versions of", name);
        let listing = async {
            self.existing_head(name).await?;
            let after =
                page.after.as_ref().map(|after| Version::new(after.as_str())).transpose()?;
            let after = after.map(|after| number(&after)).transpose()?;
            let after = after.map(|after| keys::version(name, after));
            let prefix = keys::versions(name);
            let found = self.records.scan(&prefix, after.as_deref(), page.limit.max(1)).await?;
            let more = found.len() == page.limit.max(1);
            let items = found.iter().map(|(key, stored)| version_info(&prefix, key, &stored.value));
            let items = items.collect::<Result<Vec<_>>>()?;
            let next = items.last().filter(|_| more).map(|last| last.version.to_string());
            Ok(Page { items, next })
        };
        listing.await.map_err(place)
    }

    async fn list(
        &self,
        scope: &Scope,
        include_deleted: bool,
        page: &PageRequest,
    ) -> Result<Page<Listing>> {
        let place = |error: Error| error.during("list").in_store(&self.description);
        self.owns(scope).map_err(place)?;
        let prefix = keys::heads(scope);
        let limit = page.limit.max(1);
        let now = self.clock.now();
        let mut after = page.after.as_ref().map(|id| [&prefix[..], id.as_bytes()].concat());
        let mut items = Vec::new();
        loop {
            let found = self.records.scan(&prefix, after.as_deref(), limit).await.map_err(place)?;
            let more = found.len() == limit;
            for (key, stored) in found {
                let listing = listing(scope, &prefix, &key, &stored.value).map_err(place)?;
                let wanted = |(listing, head): &(Listing, Head)| {
                    head.exists()
                        && !head.is_expired(now)
                        && (include_deleted || listing.deleted.is_none())
                };
                items.extend(listing.filter(wanted).map(|(listing, _)| listing));
                after = Some(key);
                if items.len() == limit {
                    let next = items.last().map(|last: &Listing| last.name.id().to_owned());
                    return Ok(Page { items, next });
                }
            }
            if !more {
                return Ok(Page { items, next: None });
            }
        }
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
        let place = self.place("purge", name);
        let _lock = self.lock(name).await;
        let stored = self.head(name).await.map_err(&place)?;
        match stored.filter(|stored| stored.head.state != State::Purged) {
            Some(stored) => self.purge_versions(name, &stored).await.map_err(place),
            None => Err(place(Error::not_found("there is no such secret"))),
        }
    }

    async fn seal(&self, context: &CallerContext, value: &SecretBytes) -> Result<Vec<u8>> {
        let sealed = self.seal_for_caller(context, value).await;
        sealed.map_err(self.place("seal", context.name()))
    }

    async fn open(&self, context: &CallerContext, sealed: &[u8]) -> Result<SecretBytes> {
        let value = self.open_for_caller(context, sealed).await;
        value.map_err(self.place("open", context.name()))
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

impl EnvelopeStore {
    /// Opens one version; the latest also authenticates the head that named it.
    async fn open_version(
        &self,
        name: &SecretName,
        number: u64,
        bytes: &[u8],
        stored: &StoredHead,
    ) -> Result<Secret> {
        let record = Record::parse(bytes)?;
        let Header { kind, created, .. } = *record.header();
        let context = context(name, number, kind)?;
        let dek = record.unwrap(&*self.wrapper, &context).await?;
        if number == stored.head.latest {
            Head::authenticate(&stored.bytes, &dek, &context)?;
        }
        let value = record.open_with(&dek, &context)?;
        Ok(Secret::fresh(value, kind, version(number)?, created))
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

fn precondition(current: Option<&StoredHead>) -> Precondition {
    current.map_or(Precondition::Absent, |stored| Precondition::At(stored.revision))
}
