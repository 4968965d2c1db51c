//! Changes of secrets: each is one batch that holds or fails as a whole, with the
//! head's revision as its precondition.

use strongroom_guard::SecretBytes;

use super::super::entries::{check_expectation, context, missing_record, no_secret, version};
use super::super::head::{Head, State};
use super::super::{Content, Header, keys, seal};
use super::uploads::Upload;
use super::{EnvelopeStore, SWEEPS_AT_WRITE, StoredHead};
use crate::error::{Error, ErrorKind, Result};
use crate::kinds;
use crate::metadata::{Metadata, MetadataChange};
use crate::name::SecretName;
use crate::record::{Batch, PageLimit, Precondition};
use crate::secret::VersionInfo;
use crate::store::{PutOptions, SecretStore};

/// How often a put that meets other writers begins anew, before it gives up.
const PUT_ATTEMPTS: usize = 64;
/// How many versions one batch of a purge removes.
const PURGE_BATCH: u64 = 256;
/// Finds the first of a range, at the cost of one value.
const ONE: PageLimit = PageLimit { entries: 1, bytes: 1 };

/// What a put makes a version of.
pub(super) enum Payload<'a> {
    Value(&'a SecretBytes),
    /// Segments that stand there already.
    File {
        manifest: &'a SecretBytes,
        upload: &'a Upload,
    },
}

impl<'a> Payload<'a> {
    fn parts(&self) -> (Content, &'a SecretBytes, Option<&'a Upload>) {
        match self {
            Self::Value(value) => (Content::Value, value, None),
            Self::File { manifest, upload } => (Content::Manifest, manifest, Some(upload)),
        }
    }
}

impl EnvelopeStore {
    pub(super) async fn put_version(
        &self,
        name: &SecretName,
        value: &SecretBytes,
        options: &PutOptions,
    ) -> Result<VersionInfo> {
        self.check_length(value)?;
        kinds::check(options.kind, value)?;
        self.sweep_on(SWEEPS_AT_WRITE).await;
        self.put_payload(name, &Payload::Value(value), options).await
    }

    pub(super) async fn put_payload(
        &self,
        name: &SecretName,
        payload: &Payload<'_>,
        options: &PutOptions,
    ) -> Result<VersionInfo> {
        let _lock = self.lock(name).await;
        for _ in 0..PUT_ATTEMPTS {
            if let Some(info) = self.try_put(name, payload, options).await? {
                return Ok(info);
            }
        }
        Err(too_many_writers())
    }

    /// One attempt at a put; `None` when another writer came first and the
    /// caller did not say which version it expects.
    async fn try_put(
        &self,
        name: &SecretName,
        payload: &Payload<'_>,
        options: &PutOptions,
    ) -> Result<Option<VersionInfo>> {
        let (what, bytes, upload) = payload.parts();
        if let Some(upload) = upload {
            self.check_wanted(upload).await?;
        }
        let mut current = self.head(name).await?;
        if let Some(stored) = &current
            && (stored.head.is_expired(self.clock.now()) || stored.head.state == State::Purging)
        {
            self.purge_versions(name, stored, upload).await?;
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
        let Some(metadata) = self.metadata_of_put(name, current.as_ref(), options).await? else {
            return Ok(None);
        };
        let header = Header { content: what, suite: self.options.suite, kind, created: now };
        let sealed = seal(&*self.wrapper, &context, &header, bytes.expose()).await?;
        let head = Head { state: State::Live, kind, first, latest: number, updated: now, metadata };
        let batch = upload.map_or_else(Batch::new, |upload| {
            let (marker, revision) = upload.marker();
            Batch::new().require(marker.clone(), Precondition::At(revision)).delete(marker)
        });
        let batch = batch
            .require(keys::head(name), precondition(current.as_ref()))
            .require(keys::version(name, number), Precondition::Absent)
            .write(keys::version(name, number), sealed.bytes)
            .write(keys::head(name), head.seal(Some((&sealed.dek, &context)))?);
        match self.records.commit(batch).await {
            Ok(()) => {
                let info = VersionInfo::new(version(number)?, kind, now);
                Ok(Some(VersionInfo { missing_keks: sealed.missing, ..info }))
            }
            // Look again: the expectation decides whether to go on.
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What a secret's metadata are after a put. Those that are kept are
    /// authenticated first: what somebody else wrote into the head must not be
    /// sealed under the new version's DEK. `None` when another writer came first.
    async fn metadata_of_put(
        &self,
        name: &SecretName,
        current: Option<&StoredHead>,
        options: &PutOptions,
    ) -> Result<Option<Metadata>> {
        if options.metadata.is_some() {
            return Ok(options.metadata.clone());
        }
        match current.filter(|stored| stored.head.exists() && !stored.head.metadata.is_empty()) {
            Some(stored) => match self.head_key(name, stored).await {
                Ok(_) => Ok(Some(stored.head.metadata.clone())),
                Err(error) => self.unless_changed(name, stored, error).await.map(|()| None),
            },
            None => Ok(Some(Metadata::default())),
        }
    }

    /// Whether `error` comes of head and record being read one after the other:
    /// somebody wrote in between, and it is to be tried again.
    async fn unless_changed(
        &self,
        name: &SecretName,
        stored: &StoredHead,
        error: Error,
    ) -> Result<()> {
        let may_pass = matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Tampered);
        if may_pass && self.existing_head(name).await?.revision != stored.revision {
            return Ok(());
        }
        Err(error)
    }

    pub(super) async fn redescribe(
        &self,
        name: &SecretName,
        change: &MetadataChange,
    ) -> Result<Metadata> {
        let _lock = self.lock(name).await;
        for _ in 0..PUT_ATTEMPTS {
            let stored = self.existing_head(name).await?;
            if stored.head.state != State::Live {
                return Err(Error::not_found("the secret is deleted"));
            }
            let metadata = change.apply(&stored.head.metadata)?;
            let head = Head { metadata: metadata.clone(), ..stored.head.clone() };
            match self.replace_head(name, &stored, &head).await {
                Ok(()) => return Ok(metadata),
                Err(error) => self.unless_changed(name, &stored, error).await?,
            }
        }
        Err(too_many_writers())
    }

    /// Changes the state of an existing secret.
    pub(super) async fn change_state(
        &self,
        name: &SecretName,
        change: impl Fn(&Head) -> Result<State> + Send + Sync,
    ) -> Result<()> {
        let _lock = self.lock(name).await;
        for _ in 0..PUT_ATTEMPTS {
            let stored = self.existing_head(name).await?;
            let head = Head { state: change(&stored.head)?, ..stored.head.clone() };
            match self.replace_head(name, &stored, &head).await {
                Ok(()) => return Ok(()),
                Err(error) => self.unless_changed(name, &stored, error).await?,
            }
        }
        Err(too_many_writers())
    }

    /// Replaces a head, authenticating the old one and sealing the new one under
    /// the same DEK.
    async fn replace_head(
        &self,
        name: &SecretName,
        stored: &StoredHead,
        head: &Head,
    ) -> Result<()> {
        let (dek, context) = self.head_key(name, stored).await?;
        let batch = Batch::new()
            .require(keys::head(name), Precondition::At(stored.revision))
            .write(keys::head(name), head.seal(Some((&dek, &context)))?);
        self.records.commit(batch).await
    }

    pub(super) async fn purge_secret(&self, name: &SecretName) -> Result<()> {
        let _lock = self.lock(name).await;
        for _ in 0..PUT_ATTEMPTS {
            let purged = match self.head(name).await? {
                Some(stored) if matches!(stored.head.state, State::Incoming { .. }) => {
                    self.give_up_reserved(name, &stored).await
                }
                Some(stored) if stored.head.exists() || stored.head.state == State::Purging => {
                    self.purge_versions(name, &stored, None).await
                }
                other => return Err(no_secret(other.as_ref().map(|stored| &stored.head))),
            };
            match purged {
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                done => return done,
            }
        }
        Err(too_many_writers())
    }

    /// Removes every version and leaves a tombstone; of files, all but `keep`,
    /// which is about to become a version. A purge that was cut short
    /// left `Purging` with the first version that remains, and is finished by
    /// the next.
    pub(super) async fn purge_versions(
        &self,
        name: &SecretName,
        stored: &StoredHead,
        keep: Option<&Upload>,
    ) -> Result<()> {
        let key = keys::head(name);
        let mut head = Head { metadata: Metadata::default(), ..stored.head.clone() };
        let mut revision = stored.revision;
        if self.has_files(name, keep).await? {
            // Nobody reads a file any more of which a part is gone.
            head.state = State::Purging;
            let batch = Batch::new().require(key.clone(), Precondition::At(revision));
            self.records.commit(batch.write(key.clone(), head.seal(None)?)).await?;
            self.remove_files(name, keep).await?;
            revision = self.records.get(&key).await?.ok_or_else(missing_record)?.revision;
        }
        loop {
            // Nothing authenticates this head: its numbers may be anybody's, and what
            // is removed is what is there.
            let next = self.next_version(name, head.first).await?;
            let next = next.filter(|number| *number <= head.latest);
            let end = |next: u64| head.latest.min(next.saturating_add(PURGE_BATCH - 1));
            let last = next.map_or(head.latest, end);
            let mut batch = Batch::new().require(key.clone(), Precondition::At(revision));
            for number in next.into_iter().flat_map(|next| next..=last) {
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

    /// The first number from `from` on that has a record.
    async fn next_version(&self, name: &SecretName, from: u64) -> Result<Option<u64>> {
        let prefix = keys::versions(name);
        let mut after = from.checked_sub(1).map(|before| keys::version(name, before));
        loop {
            let page = self.records.scan(&prefix, after.as_deref(), ONE).await?;
            let Some((key, _)) = page.entries.into_iter().next() else { return Ok(None) };
            if let Ok((_, number)) = keys::parse_version(&key) {
                return Ok(Some(number));
            }
            // A stranger's.
            after = Some(key);
        }
    }

    pub(super) fn check_length(&self, value: &SecretBytes) -> Result<()> {
        let (bytes, limit) = (value.len(), self.capabilities().max_value_bytes);
        if bytes > limit {
            let message = format!("the value has {bytes} bytes: this store takes {limit}");
            return Err(Error::limit_exceeded(message));
        }
        Ok(())
    }
}

fn too_many_writers() -> Error {
    Error::conflict("too many others write this secret: try again").retryable(true)
}

fn precondition(current: Option<&StoredHead>) -> Precondition {
    current.map_or(Precondition::Absent, |stored| Precondition::At(stored.revision))
}
