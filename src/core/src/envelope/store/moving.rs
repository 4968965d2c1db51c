//! Secrets that come from another store or go to one: what is here of them, and
//! whose they are, stands in their heads.

use async_trait::async_trait;

use super::super::entries::{context, missing_record, no_such_version, number, version};
use super::super::head::{Head, State};
use super::super::{Content, Header, Record, keys, seal};
use super::files::Pieces;
use super::read::Found;
use super::uploads::Upload;
use super::{EnvelopeStore, StoredHead};
use crate::error::{Error, ErrorKind, Result};
use crate::file::{FileReader, FileSource};
use crate::metadata::Metadata;
use crate::name::SecretName;
use crate::record::{Batch, PageLimit, Precondition, Revision};
use crate::secret::{Version, VersionInfo};
use crate::store::{Page, PageRequest, SecretStore};
use crate::transfer::{Deleted, Place, Standing, Transfer};
use strongroom_guard::SecretBytes;

/// How many records one commit removes, and how many bytes of them are read for
/// it at most.
const REMOVE: PageLimit = PageLimit { entries: 256, bytes: 4 << 20 };
/// How often what a re-encryption came between is tried.
const ATTEMPTS: usize = 8;
/// Finds the first of a range, at the cost of one value.
const ONE: PageLimit = PageLimit { entries: 1, bytes: 1 };

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

    // === the source's side ===

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
                let last = head.latest.min(head.first.saturating_add(REMOVE.entries as u64 - 1));
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

    // === the target's side ===

    async fn incoming_head(&self, name: &SecretName) -> Result<StoredHead> {
        let is_reserved = |stored: &StoredHead| matches!(stored.head.state, State::Incoming { .. });
        let stored = self.head(name).await?.filter(is_reserved);
        stored.ok_or_else(|| Error::conflict("the name is not reserved for a secret that comes"))
    }

    async fn reserve_for(&self, name: &SecretName, from: &Place) -> Result<()> {
        let mut current = self.head(name).await?;
        if let Some(stored) = &current
            && (stored.head.is_expired(self.clock.now()) || stored.head.state == State::Purging)
        {
            self.purge_versions(name, stored, None).await?;
            current = self.head(name).await?;
        }
        let (first, latest) = match current.as_ref().map(|stored| &stored.head) {
            None => (1, 0),
            Some(head) => match &head.state {
                // It never gets a number twice.
                State::Purged => (head.latest.saturating_add(1), head.latest),
                // What comes back has the numbers that it had.
                State::Moved { .. } => (1, head.latest),
                State::Incoming { from: before } if before.id == from.id => {
                    (head.first, head.latest)
                }
                State::Incoming { from: before } => {
                    return Err(Error::conflict(format!(
                        "a secret of this name is being moved here from {before}: finish that, or \
                         purge what has come of it"
                    )));
                }
                _ => {
                    return Err(Error::already_exists(
                        "there is a secret of this name: it was left as it is",
                    ));
                }
            },
        };
        let (kind, updated) = (crate::Kind::default(), self.clock.now());
        let state = State::Incoming { from: from.clone() };
        let metadata = Metadata::default();
        let head = Head { state, kind, first, latest, updated, metadata };
        let before =
            current.map_or(Precondition::Absent, |stored| Precondition::At(stored.revision));
        let batch = Batch::new().require(keys::head(name), before);
        self.records.commit(batch.write(keys::head(name), head.seal(None)?)).await?;
        self.remove_all(name).await
    }

    /// Every record and every segment, of a name that has no secret.
    async fn remove_all(&self, name: &SecretName) -> Result<()> {
        let prefix = keys::versions(name);
        loop {
            let page = self.records.scan(&prefix, None, REMOVE).await?;
            if page.entries.is_empty() {
                break;
            }
            let keys = page.entries.into_iter().map(|(key, _)| key);
            self.records.commit(keys.fold(Batch::new(), Batch::delete)).await?;
        }
        self.remove_files(name, None).await
    }

    async fn stage_version(
        &self,
        name: &SecretName,
        info: &VersionInfo,
        source: &mut dyn FileSource,
    ) -> Result<()> {
        let limits = self.capabilities();
        let mut pieces = Pieces::begin(source, limits.max_file_bytes).await?;
        let first = pieces.next().await?;
        if first.last && first.bytes.len() <= limits.max_value_bytes {
            return self.commit_staged(name, info, Content::Value, &first.bytes, None).await;
        }
        let mut upload = self.begin_upload(name).await?;
        let staged = async {
            let suite = self.options.suite;
            let manifest = self.store_segments(&upload, suite, first, &mut pieces).await?;
            let manifest = manifest.encode()?;
            self.commit_staged(name, info, Content::Manifest, &manifest, Some(&upload)).await
        };
        let staged = staged.await;
        if staged.is_ok() || self.discard(upload.segments()).await.is_ok() {
            upload.disarm();
        }
        staged
    }

    async fn commit_staged(
        &self,
        name: &SecretName,
        info: &VersionInfo,
        content: Content,
        payload: &SecretBytes,
        upload: Option<&Upload>,
    ) -> Result<()> {
        let _lock = self.lock(name).await;
        let stored = self.incoming_head(name).await?;
        let number = number(&info.version)?;
        if number < stored.head.first {
            return Err(Error::already_exists(format!(
                "versions up to {} of this name were purged here, and version {number} would be \
                 given a second time",
                stored.head.latest
            )));
        }
        self.check_follows(name, number).await?;
        let VersionInfo { kind, created, .. } = *info;
        let bound_to = context(name, number, kind)?;
        let header = Header { content, suite: self.options.suite, kind, created };
        let sealed = seal(&*self.wrapper, &bound_to, &header, payload.expose()).await?;
        let batch = upload.map_or_else(Batch::new, |upload| {
            let (marker, revision) = upload.marker();
            Batch::new().require(marker.clone(), Precondition::At(revision)).delete(marker)
        });
        let batch = batch
            .require(keys::head(name), Precondition::At(stored.revision))
            .require(keys::version(name, number), Precondition::Absent)
            .write(keys::version(name, number), sealed.bytes);
        self.records.commit(batch).await
    }

    /// Versions of one secret have no gaps: every number from the first to the
    /// latest has a record.
    async fn check_follows(&self, name: &SecretName, number: u64) -> Result<()> {
        let is_first =
            self.records.scan(&keys::versions(name), None, ONE).await?.entries.is_empty();
        if number == 0 || !is_first && self.record(name, number.saturating_sub(1)).await?.is_none()
        {
            return Err(Error::conflict(format!(
                "version {number} does not follow what was brought before it"
            )));
        }
        Ok(())
    }

    async fn publish_staged(
        &self,
        name: &SecretName,
        latest: &Version,
        deleted: Option<Deleted>,
        metadata: &Metadata,
    ) -> Result<()> {
        let stored = self.incoming_head(name).await?;
        let latest = number(latest)?;
        let prefix = keys::versions(name);
        let page = self.records.scan(&prefix, None, ONE).await?;
        let (key, _) = page.entries.first().ok_or_else(|| no_such_version(latest))?;
        let (_, first) = keys::parse_version(key)?;
        if self.record(name, latest.saturating_add(1)).await?.is_some() {
            return Err(Error::conflict(format!("version {latest} is not the latest brought")));
        }
        let record = self.records.get(&keys::version(name, latest)).await?;
        let record = record.ok_or_else(|| no_such_version(latest))?;
        let parsed = Record::parse(&record.value)?;
        let Header { kind, created: updated, .. } = *parsed.header();
        let context = context(name, latest, kind)?;
        let dek = parsed.unwrap(&*self.wrapper, &context).await?;
        let state = match deleted {
            None => State::Live,
            Some(Deleted { since, until }) => State::Deleted { since, until },
        };
        let metadata = metadata.clone();
        let head = Head { state, kind, first, latest, updated, metadata };
        let batch = Batch::new()
            .require(keys::head(name), Precondition::At(stored.revision))
            .require(keys::version(name, latest), Precondition::At(record.revision))
            .write(keys::head(name), head.seal(Some((&dek, &context)))?);
        self.records.commit(batch).await
    }

    /// What had this name before is remembered as it was.
    pub(super) async fn give_up_reserved(
        &self,
        name: &SecretName,
        stored: &StoredHead,
    ) -> Result<()> {
        self.remove_all(name).await?;
        let key = keys::head(name);
        let batch = Batch::new().require(key.clone(), Precondition::At(stored.revision));
        let latest = stored.head.latest;
        self.records
            .commit(if latest == 0 {
                batch.delete(key)
            } else {
                let first = latest.saturating_add(1);
                let head = Head { state: State::Purged, first, ..stored.head.clone() };
                batch.write(key, head.seal(None)?)
            })
            .await
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
