//! Reading versions.

use strongroom_core::{Error, ErrorKind, Result, Secret, SecretName, Select, Version};

use super::AwsSecretsManager;
use super::api::{CURRENT, Found, Which, same};
use super::version;

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
