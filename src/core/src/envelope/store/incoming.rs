//! The target's side of a move: a name is reserved, versions are staged, and one
//! commit publishes them. Until then the secret is not here.

use strongroom_guard::SecretBytes;

use super::super::entries::{context, no_such_version, number};
use super::super::head::{Head, State};
use super::super::{Content, Header, Record, keys, seal};
use super::files::Pieces;
use super::uploads::Upload;
use super::{EnvelopeStore, StoredHead};
use crate::error::{Error, Result};
use crate::file::FileSource;
use crate::metadata::Metadata;
use crate::name::SecretName;
use crate::record::{Batch, PageLimit, Precondition};
use crate::secret::{Version, VersionInfo};
use crate::store::SecretStore;
use crate::transfer::{Deleted, Place};

/// How many records one commit removes, and how many bytes of them are read for
/// it at most.
const REMOVE: PageLimit = PageLimit { entries: 256, bytes: 4 << 20 };
/// Finds the first of a range, at the cost of one value.
const ONE: PageLimit = PageLimit { entries: 1, bytes: 1 };

impl EnvelopeStore {
    pub(super) async fn incoming_head(&self, name: &SecretName) -> Result<StoredHead> {
        let is_reserved = |stored: &StoredHead| matches!(stored.head.state, State::Incoming { .. });
        let stored = self.head(name).await?.filter(is_reserved);
        stored.ok_or_else(|| Error::conflict("the name is not reserved for a secret that comes"))
    }

    pub(super) async fn reserve_for(&self, name: &SecretName, from: &Place) -> Result<()> {
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

    pub(super) async fn stage_version(
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

    pub(super) async fn publish_staged(
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
