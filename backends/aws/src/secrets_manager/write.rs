//! Puts, swaps, metadata, deletion.

use aws_sdk_secretsmanager::operation::describe_secret::DescribeSecretOutput;
use strongroom_core::{
    Error, ErrorKind, Expect, Metadata, MetadataChange, PutOptions, Result, SecretBytes,
    SecretName, Version, VersionInfo,
};

use super::AwsSecretsManager;
use super::api::{CURRENT, PREVIOUS, Stages, at_stage};
use super::metadata::{check, difference, given, tags};
use super::options::UpdateBy;
use super::read::{is_deleted, no_secret};
use super::value::{self, Sent};
use super::version::{self, Written};

/// The labels of versions that are written and not current yet. There are so few since
/// a secret has 20 labels, and AWS needs three; a label that is given again leaves the
/// version that had it.
const PRIVATE: [&str; 8] = [
    "strongroom-swap-0",
    "strongroom-swap-1",
    "strongroom-swap-2",
    "strongroom-swap-3",
    "strongroom-swap-4",
    "strongroom-swap-5",
    "strongroom-swap-6",
    "strongroom-swap-7",
];

/// How often a put looks again at a secret that others make and delete meanwhile.
const ATTEMPTS: usize = 3;

pub(super) fn is_private(stage: &str) -> bool {
    PRIVATE.contains(&stage)
}

/// A version that is to be written.
struct New<'a> {
    id: String,
    version: Version,
    value: Sent,
    metadata: Option<&'a Metadata>,
}

impl AwsSecretsManager {
    pub(super) async fn put_version(
        &self,
        name: &SecretName,
        value: &SecretBytes,
        options: &PutOptions,
    ) -> Result<VersionInfo> {
        let id = self.names.to_aws(name)?;
        let (kind, metadata) = (options.kind, options.metadata.as_ref());
        check(&metadata.map(tags).unwrap_or_default())?;
        let (value, version) = (value::sent(kind, value)?, version::new(kind, value.is_empty())?);
        let Written::ByUs(own) = version::read(version.as_str())? else {
            return Err(Error::internal("a new version has no id of ours"));
        };
        let info = VersionInfo::new(version.clone(), kind, own.created());
        let new = New { id, version, value, metadata };
        match &options.expect {
            Expect::Any => self.put_any(name, new).await?,
            Expect::Absent => match self.create(&new).await {
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    return Err(self.why_not_created(&new.id, error).await);
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    return Err(
                        Error::already_exists("there is a secret of this name").with_source(error)
                    );
                }
                created => created?,
            },
            Expect::Latest(expected) => {
                let _turn = self.lock(name).await;
                self.swap(&new, expected.as_str()).await?;
                if new.metadata.is_some() {
                    self.describe_as(&new).await?;
                }
            }
        }
        Ok(info)
    }

    /// AWS makes a version the current one, or a secret with it, in one call; only not
    /// whichever it has to be.
    async fn put_any(&self, name: &SecretName, new: New<'_>) -> Result<()> {
        let unsettled = || Error::conflict("others make and delete the secret all the time");
        let mut last = unsettled();
        for _ in 0..ATTEMPTS {
            let (id, version, value) = (&new.id, new.version.as_str(), new.value.clone());
            let put = match self.options.update_by {
                UpdateBy::PutSecretValue => self.api.put(id, version, value, CURRENT).await,
                UpdateBy::UpdateSecret => self.api.update(id, version, value).await,
            };
            let refused = match put {
                Ok(()) if new.metadata.is_some() => {
                    let _turn = self.lock(name).await;
                    return self.describe_as(&new).await;
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    match self.create(&new).await {
                        Err(error) if error.kind() == ErrorKind::AlreadyExists => error,
                        Err(error) if error.kind() == ErrorKind::Conflict => {
                            return Err(self.why_not_created(id, error).await);
                        }
                        created => return created,
                    }
                }
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    match self.refuse_deleted(id).await {
                        Err(refused) if refused.kind() != ErrorKind::NotFound => {
                            return Err(refused);
                        }
                        _ => error,
                    }
                }
                put => return put,
            };
            last = unsettled().with_source(refused);
        }
        Err(last)
    }

    async fn create(&self, new: &New<'_>) -> Result<()> {
        let kms_key_id = self.options.kms_key_id.as_deref();
        let (version, value) = (new.version.as_str(), new.value.clone());
        self.api.create(&new.id, version, value, new.metadata, kms_key_id).await
    }

    /// Why AWS does not make a secret, and says no more than that the state is wrong.
    async fn why_not_created(&self, id: &str, error: Error) -> Error {
        match self.refuse_deleted(id).await {
            Err(refused) if refused.kind() == ErrorKind::NotFound => {
                Error::unavailable("the secret was purged, and AWS is not done with it")
                    .with_source(error)
            }
            Err(refused) => refused,
            Ok(_) => Error::already_exists("there is a secret of this name").with_source(error),
        }
    }

    /// `AlreadyExists` for a secret that is deleted, `NotFound` for one that is not there.
    async fn refuse_deleted(&self, id: &str) -> Result<DescribeSecretOutput> {
        let known = self.known(id).await?;
        if known.deleted_date().is_some() {
            return Err(Error::already_exists(
                "a deleted secret of this name can still be restored: restore or purge it first",
            ));
        }
        Ok(known)
    }

    /// Writes the version under a label of ours, and moves `AWSCURRENT` to it from the
    /// version that is expected: AWS does that only if the label is there, so that one
    /// of many wins, also among processes.
    async fn swap(&self, new: &New<'_>, expected: &str) -> Result<()> {
        let New { id, version, .. } = new;
        let known = self.refuse_deleted(id).await?;
        let stages = known.version_ids_to_stages();
        if at_stage(stages, CURRENT) != Some(expected) {
            return Err(Error::conflict("the latest version is another one"));
        }
        // Of a swap that won and was killed before it had cleaned up.
        for stage in PRIVATE.iter().filter(|stage| at_stage(stages, stage) == Some(expected)) {
            self.api.move_stage(id, stage, Some(expected), None).await?;
        }
        let [stage, ..] = labels(stages, version);
        let put = self.api.put(id, version.as_str(), new.value.clone(), stage).await;
        if let Err(error) = put {
            return Err(match error.kind() {
                ErrorKind::Conflict => self.refuse_deleted(id).await.err().unwrap_or(error),
                _ => error,
            });
        }
        let moved = self.api.move_stage(id, CURRENT, Some(expected), Some(version.as_str())).await;
        if let Err(error) = moved {
            self.has_won(new, error).await?;
        }
        // If this fails, the next swap does it; or another one has taken the label.
        let _ = self.api.move_stage(id, stage, Some(version.as_str()), None).await;
        Ok(())
    }

    /// Whether a version is, or was, the current one, although AWS refused to make it
    /// that: perhaps it had done so when it was asked before, and nobody heard it.
    async fn has_won(&self, new: &New<'_>, refused: Error) -> Result<()> {
        if refused.is_retryable() {
            return Err(refused);
        }
        let known = self.refuse_deleted(&new.id).await?;
        let stages = known.version_ids_to_stages();
        let is_at = |stage: &str| at_stage(stages, stage) == Some(new.version.as_str());
        if is_at(CURRENT) || is_at(PREVIOUS) {
            return Ok(());
        }
        if !PRIVATE.iter().any(|stage| is_at(stage)) {
            self.hide(new, stages).await;
        }
        match refused.kind() {
            ErrorKind::AccessDenied | ErrorKind::Unauthenticated => Err(refused),
            _ => Err(Error::conflict("the latest version is another one").with_source(refused)),
        }
    }

    /// Gives a version that lost a label again, which another swap has taken at the same
    /// time. What is left without one is listed among the versions, and no worse.
    async fn hide(&self, new: &New<'_>, stages: Option<&Stages>) {
        for stage in labels(stages, &new.version) {
            let version = Some(new.version.as_str());
            if self.api.move_stage(&new.id, stage, at_stage(stages, stage), version).await.is_ok() {
                break;
            }
        }
    }

    /// Gives the secret the metadata that a put has with it.
    async fn describe_as(&self, new: &New<'_>) -> Result<()> {
        let (Some(metadata), known) = (new.metadata, self.known(&new.id).await?) else {
            return Ok(());
        };
        let old = given(known.description(), known.tags.as_deref());
        self.api.change_metadata(&new.id, difference(&old, metadata)).await
    }

    pub(super) async fn redescribe(
        &self,
        name: &SecretName,
        change: &MetadataChange,
    ) -> Result<Metadata> {
        let id = self.names.to_aws(name)?;
        let _turn = self.lock(name).await;
        let known = self.live(&id).await?;
        let old = given(known.description(), known.tags.as_deref());
        let new = change.apply(&old)?;
        let difference = difference(&old, &new);
        check(&difference.set)?;
        self.api.change_metadata(&id, difference).await?;
        Ok(new)
    }

    pub(super) async fn delete_secret(&self, name: &SecretName) -> Result<()> {
        let id = self.names.to_aws(name)?;
        self.live(&id).await?;
        match self.api.delete(&id, self.options.window_days()).await {
            Err(error) if error.kind() == ErrorKind::Conflict => {
                self.live(&id).await?;
                Err(error)
            }
            deleted => deleted,
        }
    }

    pub(super) async fn restore_secret(&self, name: &SecretName) -> Result<()> {
        let id = self.names.to_aws(name)?;
        if self.options.window_days().is_none() {
            return Err(Error::unsupported("this store deletes without recovery"));
        }
        if self.known(&id).await?.deleted_date().is_none() {
            return Err(Error::conflict("the secret is not deleted"));
        }
        self.api.restore(&id).await
    }

    /// A forced deletion of what is not there succeeds in AWS.
    pub(super) async fn purge_secret(&self, name: &SecretName) -> Result<()> {
        let id = self.names.to_aws(name)?;
        self.known(&id).await?;
        self.api.delete(&id, None).await
    }

    /// A secret that exists, deleted or not.
    async fn known(&self, id: &str) -> Result<DescribeSecretOutput> {
        self.api.describe(id).await.map_err(|error| match error.kind() {
            ErrorKind::NotFound => no_secret().with_source(error),
            _ => error,
        })
    }

    /// A secret that exists and is not deleted.
    async fn live(&self, id: &str) -> Result<DescribeSecretOutput> {
        let known = self.known(id).await?;
        if known.deleted_date().is_some() { Err(is_deleted()) } else { Ok(known) }
    }
}

/// The labels for a version: those that none has, then the one of the oldest. Two swaps
/// at the same time seldom begin with the same.
fn labels(stages: Option<&Stages>, version: &Version) -> [&'static str; PRIVATE.len()] {
    let mut labels = PRIVATE;
    let random_end = version.as_str().as_bytes().last().copied().unwrap_or_default();
    labels.rotate_left(usize::from(random_end) % PRIVATE.len());
    labels.sort_by_key(|stage| at_stage(stages, stage).map(version::ticks));
    labels
}
