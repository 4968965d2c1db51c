//! [`Migrating`]: two stores as one, while secrets go from the first to the
//! second.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use futures_util::lock::{Mutex, MutexGuard};
use futures_util::stream::{self, StreamExt};
use strongroom_guard::SecretBytes;

use super::HAND_OVER;
use super::copy::{Route, Side};
use super::journal::{Journal, Recorder};
use crate::batch::MAX_CONCURRENT_READS;
use crate::context::CallerContext;
use crate::error::{Error, ErrorKind, Result};
use crate::file::{FileReader, FileSource};
use crate::metadata::{Metadata, MetadataChange};
use crate::name::{Scope, SecretName};
use crate::secret::{Listing, Secret, Version, VersionInfo};
use crate::store::{Capabilities, Page, PageRequest, PutOptions, SecretStore, Select};
use crate::transfer::Standing;
use crate::upkeep::Upkeep;

/// Writes to one name, and its switch, wait for each other; names share this many
/// locks. A list takes all of them.
const LOCKS: usize = 64;

/// A source and a target as one store: every name is read and written where it
/// is owned, before, during and after its switch. New names begin at the source
/// until everything has been moved, and at the target from then on.
///
/// Its [`Upkeep`] looks after the source's keys, destroys none, and makes no backup; it
/// verifies both. The target's keys are looked after when it stands alone. Values
/// that callers keep sealed stay under the key that sealed them.
pub struct Migrating {
    pub(super) source: Arc<dyn SecretStore>,
    pub(super) target: Arc<dyn SecretStore>,
    pub(super) source_log: Journal,
    pub(super) target_log: Journal,
    pub(super) turns: Arc<Turns>,
    description: String,
}

/// What writers and migrations of the same two stores wait for each other with.
pub(super) struct Turns {
    /// Held by the one migration that runs.
    pub(super) running: Mutex<()>,
    locks: Box<[Mutex<()>]>,
    hasher: RandomState,
    begins_at_target: AtomicBool,
}

/// Where a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Source,
    Target {
        /// Whether the source knows nothing of it.
        unknown: bool,
    },
}

impl Migrating {
    /// Serves `source` and `target` as one. Nobody else may write to either.
    #[must_use]
    pub fn new(source: Arc<dyn SecretStore>, target: Arc<dyn SecretStore>) -> Self {
        let description = format!("{}, moving to {}", source.describe(), target.describe());
        Self {
            source,
            target,
            source_log: Journal::default(),
            target_log: Journal::default(),
            turns: Arc::new(Turns {
                running: Mutex::new(()),
                locks: (0..LOCKS).map(|_| Mutex::new(())).collect(),
                hasher: RandomState::new(),
                begins_at_target: AtomicBool::new(false),
            }),
            description,
        }
    }

    /// For the same two stores, opened with other settings while `other` is still
    /// in use.
    #[must_use]
    pub fn taking_turns_with(self, other: &Self) -> Self {
        Self { turns: Arc::clone(&other.turns), ..self }
    }

    /// Records what happens to each store's secrets in its own log: the switches
    /// in both, and in the target's what is written there. What is read, and
    /// written at the source, is recorded by the engine in front.
    #[must_use]
    pub fn with_logs(self, source: Option<Recorder>, target: Option<Recorder>) -> Self {
        self.set_logs(source, target);
        self
    }

    /// The same from now on, for logs that were opened anew.
    pub fn set_logs(&self, source: Option<Recorder>, target: Option<Recorder>) {
        self.source_log.set(source);
        self.target_log.set(target);
    }

    pub(super) fn route(&self) -> Route<'_> {
        Route { source: Side(&*self.source), target: Side(&*self.target) }
    }

    pub(super) async fn lock(&self, name: &SecretName) -> MutexGuard<'_, ()> {
        let index = self.turns.hasher.hash_one(name) % LOCKS as u64;
        self.turns.locks[index as usize].lock().await
    }

    /// While this is held, no name changes its owner.
    async fn lock_all(&self) -> Vec<MutexGuard<'_, ()>> {
        let mut guards = Vec::with_capacity(LOCKS);
        for lock in &self.turns.locks {
            guards.push(lock.lock().await);
        }
        guards
    }

    /// From now on, new names begin at the target; every write that began before
    /// has ended.
    pub(super) async fn begin_at_target(&self) {
        self.turns.begins_at_target.store(true, Ordering::SeqCst);
        drop(self.lock_all().await);
    }

    /// Who has `name`. Whoever asks holds its lock.
    async fn owner(&self, name: &SecretName) -> Result<Owner> {
        let Route { source, target } = self.route();
        match source.standing(name).await? {
            Standing::Moved { to, .. } if to.id == target.place().id => {
                Ok(Owner::Target { unknown: false })
            }
            Standing::Absent => match target.standing(name).await? {
                Standing::Absent if !self.turns.begins_at_target.load(Ordering::SeqCst) => {
                    Ok(Owner::Source)
                }
                _ => Ok(Owner::Target { unknown: true }),
            },
            _ => Ok(Owner::Source),
        }
    }

    fn at(&self, owner: Owner) -> &dyn SecretStore {
        match owner {
            Owner::Source => &*self.source,
            Owner::Target { .. } => &*self.target,
        }
    }

    /// Asks whoever has `name`, and looks again where its switch came in between.
    async fn ask_owner<'a, T>(
        &'a self,
        name: &SecretName,
        ask: impl Fn(&'a dyn SecretStore) -> BoxFuture<'a, Result<T>> + Send + Sync,
    ) -> Result<T> {
        match ask(&*self.source).await {
            answer if is_not_at_source(&answer) => {}
            answer => return answer,
        }
        match ask(&*self.target).await {
            answer if is_open(&answer) => {}
            answer => return answer,
        }
        self.ask_settled_owner(name, ask).await
    }

    /// Asks whoever has `name`, while its switch waits.
    async fn ask_settled_owner<'a, T>(
        &'a self,
        name: &SecretName,
        ask: impl FnOnce(&'a dyn SecretStore) -> BoxFuture<'a, Result<T>> + Send,
    ) -> Result<T> {
        let _lock = self.lock(name).await;
        ask(self.at(self.owner(name).await?)).await
    }

    /// Records that `name` is about to be changed at the target. The engine in front
    /// does so in the source's log, where a secret that the source never had must not
    /// look like one that was lost.
    async fn begin_change(
        &self,
        operation: &'static str,
        name: &SecretName,
        unknown: bool,
    ) -> Result<()> {
        if unknown {
            self.source_log.done(HAND_OVER, name, Ok(()), None).await?;
        }
        self.target_log.intend(operation, name).await
    }

    /// Changes `name` where it is, and records what happened at the target.
    async fn change<'a, T>(
        &'a self,
        operation: &'static str,
        name: &SecretName,
        change: impl FnOnce(&'a dyn SecretStore) -> BoxFuture<'a, Result<T>> + Send,
        version: impl Fn(&T) -> Option<&Version> + Send,
    ) -> Result<T> {
        let _lock = self.lock(name).await;
        let owner = self.owner(name).await?;
        let Owner::Target { unknown } = owner else { return change(&*self.source).await };
        self.begin_change(operation, name, unknown).await?;
        let result = change(&*self.target).await;
        let version = result.as_ref().ok().and_then(version).cloned();
        self.target_log.done(operation, name, result, version.as_ref()).await
    }
}

#[async_trait]
impl SecretStore for Migrating {
    fn describe(&self) -> &str {
        &self.description
    }

    /// What both can do.
    fn capabilities(&self) -> Capabilities {
        let (a, b) = (self.source.capabilities(), self.target.capabilities());
        Capabilities {
            write: a.write && b.write,
            versions: a.versions && b.versions,
            compare_and_swap: a.compare_and_swap && b.compare_and_swap,
            soft_delete: a.soft_delete && b.soft_delete,
            restore: a.restore && b.restore,
            purge: a.purge && b.purge,
            list: a.list && b.list,
            names: a.names && b.names,
            seal: a.seal && b.seal,
            transfer: false,
            metadata: a.metadata && b.metadata,
            references: a.references && b.references,
            max_value_bytes: a.max_value_bytes.min(b.max_value_bytes),
            max_file_bytes: a.max_file_bytes.min(b.max_file_bytes),
        }
    }

    fn version_order(&self, version: &Version) -> Option<u64> {
        self.source.version_order(version).or_else(|| self.target.version_order(version))
    }

    async fn put(
        &self,
        name: &SecretName,
        value: &SecretBytes,
        options: &PutOptions,
    ) -> Result<VersionInfo> {
        self.change("put", name, |at| at.put(name, value, options), |info| Some(&info.version))
            .await
    }

    async fn get(&self, name: &SecretName, select: &Select) -> Result<Secret> {
        self.ask_owner(name, |at| at.get(name, select)).await
    }

    /// Each store is asked once, for all that it may have.
    async fn get_many(&self, wanted: &[(&SecretName, &Select)]) -> Vec<Result<Secret>> {
        let mut answers = self.source.get_many(wanted).await;
        let places = answers.iter().enumerate().filter(|(_, answer)| is_not_at_source(answer));
        let places: Vec<_> = places.map(|(at, _)| at).collect();
        if places.is_empty() {
            return answers;
        }
        let moved: Vec<_> = places.iter().map(|&at| wanted[at]).collect();
        let found = places.into_iter().zip(self.target.get_many(&moved).await);
        let settled = found.map(|(at, answer)| async move {
            let (name, select) = wanted[at];
            match answer {
                answer if is_open(&answer) => {
                    (at, self.ask_settled_owner(name, |at| at.get(name, select)).await)
                }
                answer => (at, answer),
            }
        });
        let mut settled = stream::iter(settled).buffer_unordered(MAX_CONCURRENT_READS);
        while let Some((at, answer)) = settled.next().await {
            answers[at] = answer;
        }
        answers
    }

    /// A file that is long in coming does not keep others from the name: if that
    /// moved meanwhile, the file was written nowhere.
    async fn put_file(
        &self,
        name: &SecretName,
        source: &mut dyn FileSource,
        options: &PutOptions,
    ) -> Result<VersionInfo> {
        let owner = {
            let _lock = self.lock(name).await;
            self.owner(name).await?
        };
        if let Owner::Target { unknown } = owner {
            self.begin_change("put", name, unknown).await?;
            let result = self.target.put_file(name, source, options).await;
            let version = result.as_ref().ok().map(|info| info.version.clone());
            return self.target_log.done("put", name, result, version.as_ref()).await;
        }
        let result = self.source.put_file(name, source, options).await;
        match result {
            Err(error) if error.kind() == ErrorKind::Conflict => {
                let _lock = self.lock(name).await;
                match self.owner(name).await? {
                    Owner::Source => Err(error),
                    Owner::Target { .. } => Err(Error::conflict(
                        "the secret was moved while the file came: send it again",
                    )
                    .retryable(true)),
                }
            }
            answer => answer,
        }
    }

    async fn get_file(&self, name: &SecretName, select: &Select) -> Result<FileReader> {
        self.ask_owner(name, |at| at.get_file(name, select)).await
    }

    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        self.ask_owner(name, |at| at.versions(name, page)).await
    }

    async fn list(
        &self,
        scope: &Scope,
        include_deleted: bool,
        page: &PageRequest,
    ) -> Result<Page<Listing>> {
        let _locks = self.lock_all().await;
        let source = self.source.list(scope, include_deleted, page).await?;
        let target = self.target.list(scope, include_deleted, page).await?;
        Ok(merge(source, target, page.limit.max(1)))
    }

    /// The source's, and then those of the target that the source knows nothing
    /// of. A page ends with `s` or `t`, and where its store is.
    async fn names(&self, scope: Option<&Scope>, page: &PageRequest) -> Result<Page<SecretName>> {
        let (at, after) = match page.after.as_deref() {
            None => ("s", None),
            Some(text) => text.split_at_checked(1).map_or(("s", None), |(at, rest)| {
                (at, Some(rest.to_owned()).filter(|rest| !rest.is_empty()))
            }),
        };
        let page = PageRequest { after, limit: page.limit };
        if at == "s" {
            let found = self.source.names(scope, &page).await?;
            let next = found.next.map_or_else(|| "t".to_owned(), |next| format!("s{next}"));
            return Ok(Page { items: found.items, next: Some(next) });
        }
        let found = self.target.names(scope, &page).await?;
        let mut items = Vec::new();
        for name in found.items {
            if self.route().source.standing(&name).await? == Standing::Absent {
                items.push(name);
            }
        }
        Ok(Page { items, next: found.next.map(|next| format!("t{next}")) })
    }

    async fn change_metadata(
        &self,
        name: &SecretName,
        change: &MetadataChange,
    ) -> Result<Metadata> {
        self.change("describe", name, |at| at.change_metadata(name, change), |_| None).await
    }

    async fn delete(&self, name: &SecretName) -> Result<()> {
        self.change("delete", name, |at| at.delete(name), |()| None).await
    }

    async fn restore(&self, name: &SecretName) -> Result<()> {
        self.change("restore", name, |at| at.restore(name), |()| None).await
    }

    async fn purge(&self, name: &SecretName) -> Result<()> {
        self.change("purge", name, |at| at.purge(name), |()| None).await
    }

    async fn seal(&self, context: &CallerContext, value: &SecretBytes) -> Result<Vec<u8>> {
        let moved = self.turns.begins_at_target.load(Ordering::SeqCst);
        let at = if moved { &self.target } else { &self.source };
        at.seal(context, value).await
    }

    async fn open(&self, context: &CallerContext, sealed: &[u8]) -> Result<SecretBytes> {
        match self.source.open(context, sealed).await {
            Err(error) if error.kind() == ErrorKind::KeyUnavailable => {
                self.target.open(context, sealed).await
            }
            answer => answer,
        }
    }

    fn upkeep(&self) -> Option<&dyn Upkeep> {
        Some(self)
    }

    async fn check(&self) -> Result<Vec<String>> {
        let mut checked = self.source.check().await?;
        checked.extend(self.target.check().await?);
        Ok(checked)
    }
}

/// Whether the source says that the target may have it.
fn is_not_at_source<T>(answer: &Result<T>) -> bool {
    answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// Whether the target's answer leaves open who has it.
fn is_open<T>(answer: &Result<T>) -> bool {
    let is_open = |kind| matches!(kind, ErrorKind::NotFound | ErrorKind::Unavailable);
    answer.as_ref().is_err_and(|error| is_open(error.kind()))
}

/// The first `limit` of both, in order. Each has given as many, or all it has.
fn merge(source: Page<Listing>, target: Page<Listing>, limit: usize) -> Page<Listing> {
    let more = source.next.is_some() || target.next.is_some();
    let mut items = source.items;
    items.extend(target.items);
    items.sort_by(|a, b| a.name.id().cmp(b.name.id()));
    items.dedup_by(|later, first| later.name == first.name);
    let cut = items.len() > limit;
    items.truncate(limit);
    let last = items.last().filter(|_| more || cut);
    Page { next: last.map(|last| last.name.id().to_owned()), items }
}

impl fmt::Debug for Migrating {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Migrating");
        out.field("source", &self.source).field("target", &self.target).finish_non_exhaustive()
    }
}
