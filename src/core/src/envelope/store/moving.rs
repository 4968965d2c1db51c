//! Secrets that come from another store or go to one: what is here of them, and
//! whose they are, stands in their heads.

use async_trait::async_trait;

use super::super::entries::{missing_record, no_such_version, number, version};
use super::super::head::{Head, State};
use super::super::keys;
use super::read::Found;
use super::{EnvelopeStore, StoredHead};
use crate::error::{Error, ErrorKind, Result};
use crate::file::{FileReader, FileSource};
use crate::metadata::Metadata;
use crate::name::SecretName;
use crate::record::{Batch, Precondition, Revision};
use crate::secret::{Version, VersionInfo};
use crate::store::{Page, PageRequest};
use crate::transfer::{Deleted, Place, Standing, Transfer};

/// How many records one commit removes.
const REMOVE: u64 = 256;
/// How often what a re-encryption came between is tried.
const ATTEMPTS: usize = 8;

#[async_trait]
impl Transfer for EnvelopeStore {
    fn place(&self) -> Place {
        Place::new(&self.identity.id, &self.description)
    }

    async fn standing(&self, name: &SecretName) -> Result<Standing> {
        self.standing_of(name).await.map_err(self.place("look up", name))
    }

    async fn versions_of(
        &self,
        name: &SecretName,
        page: &PageRequest,
    ) -> Result<Page<VersionInfo>> {
        let found = async {
            self.owns(name.scope())?;
            self.page_of_versions(name, page).await
        };
        found.await.map_err(self.place("list versions of", name))
    }

    async fn read_version(&self, name: &SecretName, version: &Version) -> Result<FileReader> {
        self.read_any(name, version).await.map_err(self.place("get", name))
    }

    async fn hand_over(&self, name: &SecretName, to: &Place, mark: Revision) -> Result<()> {
        let change = async {
            let _lock = self.lock(name).await;
            let stored = self.existing_head(name).await?;
            if stored.revision != mark {
                return Err(changed());
            }
            // Head and record are read one after the other: the secret may have been
            // encrypted anew in between.
            let (dek, context) = match self.head_key(name, &stored).await {
                Err(error) if error.kind() == ErrorKind::Tampered => {
                    let now = self.existing_head(name).await?.revision;
                    return Err(if now == mark { error } else { changed() });
                }
                key => key?,
            };
            let state = State::Moved { to: to.clone(), deleted: deleted(&stored.head) };
            let head = Head { state, ..stored.head };
            let batch = Batch::new()
                .require(keys::head(name), Precondition::At(mark))
                .write(keys::head(name), head.seal(Some((&dek, &context)))?);
            self.records.commit(batch).await
        };
        change.await.map_err(self.place("hand over", name))
    }

    async fn drop_versions(&self, name: &SecretName) -> Result<()> {
        let _lock = self.lock(name).await;
        let dropped = self.unless_reencrypted(|| self.drop_moved(name)).await;
        dropped.map_err(self.place("remove the versions of", name))
    }

    async fn reserve(&self, name: &SecretName, from: &Place) -> Result<()> {
        let _lock = self.lock(name).await;
        self.reserve_for(name, from).await.map_err(self.place("reserve", name))
    }

    async fn stage(
        &self,
        name: &SecretName,
        info: &VersionInfo,
        source: &mut dyn FileSource,
    ) -> Result<()> {
        self.stage_version(name, info, source).await.map_err(self.place("stage", name))
    }

    async fn publish(
        &self,
        name: &SecretName,
        latest: &Version,
        deleted: Option<Deleted>,
        metadata: &Metadata,
    ) -> Result<()> {
        let _lock = self.lock(name).await;
        let published =
            self.unless_reencrypted(|| self.publish_staged(name, latest, deleted, metadata)).await;
        published.map_err(self.place("publish", name))
    }

    async fn give_up(&self, name: &SecretName) -> Result<()> {
        let give_up = async {
            let _lock = self.lock(name).await;
            let stored = self.incoming_head(name).await?;
            self.give_up_reserved(name, &stored).await
        };
        give_up.await.map_err(self.place("give up", name))
    }
}

impl EnvelopeStore {
    /// Tries again what met a re-encryption: that takes no lock of the name.
    async fn unless_reencrypted<F: Future<Output = Result<()>>>(
        &self,
        attempt: impl Fn() -> F,
    ) -> Result<()> {
        let mut last = attempt().await;
        for _ in 1..ATTEMPTS {
            match last {
                Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Tampered) => {
                    last = attempt().await;
                }
                done => return done,
            }
        }
        last
    }

    async fn standing_of(&self, name: &SecretName) -> Result<Standing> {
        let Some(StoredHead { head, revision, .. }) = self.head(name).await? else {
            return Ok(Standing::Absent);
        };
        let is_over = head.is_expired(self.clock.now());
        let (is_sealed, deleted) = (head.is_sealed(), deleted(&head));
        Ok(match head.state {
            State::Live | State::Deleted { .. } if !is_over => {
                let (latest, metadata) = (version(head.latest)?, head.metadata);
                Standing::Owned { mark: revision, latest, deleted, metadata }
            }
            State::Incoming { from } => Standing::Incoming { from },
            State::Moved { to, .. } => {
                let latest = version(head.latest)?;
                let has_versions = is_sealed || self.has_files(name, None).await?;
                Standing::Moved { to, latest, deleted, metadata: head.metadata, has_versions }
            }
            _ => Standing::Absent,
        })
    }

    async fn read_any(&self, name: &SecretName, version: &Version) -> Result<FileReader> {
        let number = number(version)?;
        loop {
            let stored = self.head(name).await?;
            let sealed = stored.as_ref().filter(|stored| stored.head.is_sealed());
            let bytes = self.record(name, number).await?;
            let bytes = bytes.ok_or_else(|| no_such_version(number))?;
            match self.open_version(name, number, &bytes, sealed).await {
                Ok(Found::Value(secret)) => return Ok(secret.into()),
                Ok(Found::File(info, segments)) => {
                    return Ok(FileReader::new(info, Box::new(segments)));
                }
                // Head and record were read one after the other.
                Err(error) if error.kind() == ErrorKind::Tampered => {
                    let now = self.head(name).await?.map(|stored| stored.revision);
                    if now == stored.map(|stored| stored.revision) {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Records first, from the oldest, as the head tells how far; then what they
    /// named.
    async fn drop_moved(&self, name: &SecretName) -> Result<()> {
        let not_moved = || Error::conflict("the secret was not handed over: it is the only one");
        let stored = self.head(name).await?.ok_or_else(not_moved)?;
        let (mut head, mut revision) = (stored.head.clone(), stored.revision);
        if !matches!(head.state, State::Moved { .. }) {
            return Err(not_moved());
        }
        if head.is_sealed() {
            let (dek, context) = self.head_key(name, &stored).await?;
            while head.first <= head.latest {
                let last = head.latest.min(head.first.saturating_add(REMOVE - 1));
                let mut batch = Batch::new().require(keys::head(name), Precondition::At(revision));
                for number in head.first..=last {
                    batch = batch.delete(keys::version(name, number));
                }
                head.first = last.saturating_add(1);
                let key = head.is_sealed().then_some((&dek, &context));
                self.records.commit(batch.write(keys::head(name), head.seal(key)?)).await?;
                let now = self.records.get(&keys::head(name)).await?;
                revision = now.ok_or_else(missing_record)?.revision;
            }
        }
        self.remove_files(name, None).await
    }
}

fn changed() -> Error {
    Error::conflict("the secret was changed meanwhile")
}

fn deleted(head: &Head) -> Option<Deleted> {
    match &head.state {
        State::Deleted { since, until } => Some(Deleted { since: *since, until: *until }),
        State::Moved { deleted, .. } => *deleted,
        _ => None,
    }
}
