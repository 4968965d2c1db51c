//! Reading versions.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::stream::{self, StreamExt};
use strongroom_core::{Error, ErrorKind, Result, Secret, SecretName, Select, Version};

use super::AwsSecretsManager;
use super::api::{BATCH, CURRENT, Found, Which, same};
use super::version;

/// How many calls wait for AWS when many secrets are read.
const CONCURRENT_CALLS: usize = 16;

impl AwsSecretsManager {
    pub(super) async fn read(&self, name: &SecretName, select: &Select) -> Result<Secret> {
        let id = self.names.to_aws(name)?;
        let which = match select {
            // Whoever asks for no version gets this one; asking for it says so.
            Select::Latest => Which::Stage(CURRENT.to_owned()),
            Select::Version(version) if version::is_possible(version.as_str()) => {
                Which::Version(version.as_str().to_owned())
            }
            Select::Version(_) => return Err(no_version()),
        };
        let found = match self.api.value(&id, &which).await {
            Ok(found) => found,
            Err(error) => return Err(self.why_not(&id, error, select).await),
        };
        secret(&id, found, select)
    }

    /// Current versions are asked for in batches. What a batch does not give, for
    /// whatever reason, is asked for by itself, and so has the error that it would have
    /// alone; a credential may have no permission for batches at all.
    pub(super) async fn read_many(&self, wanted: &[(&SecretName, &Select)]) -> Vec<Result<Secret>> {
        let mut found = self.current_of(wanted).await;
        let mut each = Vec::with_capacity(wanted.len());
        for &(name, select) in wanted {
            let id = self.names.to_aws(name).ok().filter(|_| *select == Select::Latest);
            let found = id.and_then(|id| found.remove(&id));
            each.push(self.taken_or_read(name, select, found));
        }
        stream::iter(each).buffered(CONCURRENT_CALLS).collect().await
    }

    async fn taken_or_read(
        &self,
        name: &SecretName,
        select: &Select,
        found: Option<Found>,
    ) -> Result<Secret> {
        let secret = match found {
            Some(found) => secret(&self.names.to_aws(name)?, found, select),
            None => self.read(name, select).await,
        };
        secret.map_err(self.place("get", name))
    }

    /// What batches give of the current versions of these, by AWS's names.
    async fn current_of(&self, wanted: &[(&SecretName, &Select)]) -> BTreeMap<String, Found> {
        let mut ids = BTreeSet::new();
        for &(name, select) in wanted {
            let id = self.names.to_aws(name).ok();
            ids.extend(id.filter(|_| *select == Select::Latest));
        }
        let ids: Vec<_> = ids.into_iter().collect();
        let mut calls = Vec::new();
        // One by itself is one call as well, and needs no other permission.
        for batch in ids.chunks(BATCH).filter(|batch| batch.len() > 1) {
            calls.push(self.api.values(batch.to_vec()));
        }
        let answers: Vec<_> =
            stream::iter(calls).buffer_unordered(CONCURRENT_CALLS).collect().await;
        let found = answers.into_iter().flatten().flatten();
        let found = found.filter(|found| found.stages.iter().any(|stage| stage == CURRENT));
        found.map(|found| (found.name.clone(), found)).collect()
    }

    /// Why a secret cannot be read: AWS says of one that is deleted no more than that
    /// its state is wrong.
    async fn why_not(&self, id: &str, error: Error, select: &Select) -> Error {
        match (error.kind(), select) {
            (ErrorKind::NotFound, Select::Latest) => no_secret().with_source(error),
            (ErrorKind::NotFound, Select::Version(_)) => no_version().with_source(error),
            (ErrorKind::Conflict, _) => match self.api.describe(id).await {
                Ok(now) if now.deleted_date().is_none() => error,
                Ok(_) => is_deleted(),
                Err(other) if other.kind() == ErrorKind::NotFound => no_secret(),
                Err(other) => other,
            },
            _ => error,
        }
    }
}

/// What was found, if it is what was asked for.
pub(super) fn secret(id: &str, found: Found, select: &Select) -> Result<Secret> {
    same(Some(&found.name), id)?;
    if let Select::Version(version) = select {
        same(Some(&found.version), version.as_str())?;
    }
    let (value, kind, created) = found.value.of_version(&found.version, found.created)?;
    Ok(Secret::fresh(value, kind, Version::new(found.version)?, created))
}

pub(super) fn no_secret() -> Error {
    Error::not_found("no secret has this name")
}

fn no_version() -> Error {
    Error::not_found("the secret has no such version, or there is no such secret")
}

pub(super) fn is_deleted() -> Error {
    Error::not_found("the secret is deleted")
}
