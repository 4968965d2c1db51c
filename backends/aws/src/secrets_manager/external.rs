//! [`AwsExternalSecrets`]: secrets of AWS that others look after, as references lead
//! to them.

use std::fmt;

use async_trait::async_trait;
use strongroom_core::{Error, ErrorKind, ExternalStore, ExternalValue, Result};

use super::api::{Api, CURRENT, Found, Which};
use super::version;
use crate::connection::Aws;

/// Every secret in AWS Secrets Manager that the credential may read.
///
/// A path is a secret's name or its complete ARN; behind it, `?stage=LABEL` or
/// `?version=ID` (names have no question mark). Without them it is the current
/// version. A text is of kind text, bytes are a file; what an
/// [`AwsSecretsManager`](super::AwsSecretsManager) wrote keeps its kind.
pub struct AwsExternalSecrets {
    api: Api,
    only_below: Option<String>,
    never_below: Vec<String>,
    description: String,
}

impl AwsExternalSecrets {
    /// What can be reached at `aws`.
    #[must_use]
    pub fn new(aws: &Aws) -> Self {
        let api = Api::new(aws);
        let description = format!("AWS Secrets Manager in {}", api.region());
        Self { api, only_below: None, never_below: Vec::new(), description }
    }

    /// Only secrets whose names begin with `prefix`.
    #[must_use]
    pub fn only_below(self, prefix: &str) -> Self {
        Self { only_below: Some(prefix.to_owned()), ..self }
    }

    /// No secrets whose names begin with `prefix`: those of a store of ours, since a
    /// reference to its secrets would see what is not visible from its scope.
    #[must_use]
    pub fn never_below(mut self, prefix: &str) -> Self {
        self.never_below.push(prefix.to_owned());
        self
    }

    async fn read_path(&self, path: &str) -> Result<ExternalValue> {
        let (id, which) = parse(path)?;
        let is_arn = id.starts_with("arn:");
        if !is_arn {
            self.allows(id)?;
        }
        let found = match self.api.value(id, &which).await {
            // Of a secret that is deleted AWS says that its state is wrong.
            Err(error) if error.kind() == ErrorKind::Conflict => {
                let deleted = Error::not_found("it is deleted, or cannot be read as it is now");
                return Err(deleted.with_source(error));
            }
            found => found?,
        };
        let Found { arn, name, .. } = &found;
        if is_arn {
            self.allows(name)?;
        }
        // A part of an ARN may lead to another secret than the one that was meant.
        if id != if is_arn { arn } else { name } {
            return Err(Error::invalid_name(format!(
                "AWS has found another secret than {id}: write its name or its complete ARN"
            )));
        }
        let (value, kind, _) = found.value.of_version(&found.version, found.created)?;
        Ok(ExternalValue::new(value, kind))
    }

    fn allows(&self, name: &str) -> Result<()> {
        let is_outside = self.only_below.as_ref().is_some_and(|prefix| !name.starts_with(prefix));
        let is_hidden = self.never_below.iter().any(|prefix| name.starts_with(prefix));
        if is_outside || is_hidden {
            let what = "references to secrets of this name are not allowed here";
            return Err(Error::access_denied(what));
        }
        Ok(())
    }
}

#[async_trait]
impl ExternalStore for AwsExternalSecrets {
    fn describe(&self) -> &str {
        &self.description
    }

    async fn read(&self, path: &str) -> Result<ExternalValue> {
        self.read_path(path).await.map_err(|error| error.in_store(&self.description))
    }
}

/// Name or ARN, and which version.
fn parse(path: &str) -> Result<(&str, Which)> {
    let (id, query) = match path.split_once('?') {
        Some((id, query)) => (id, Some(query)),
        None => (path, None),
    };
    let which = match query.map(|query| query.split_once('=').unwrap_or((query, ""))) {
        None => Which::Stage(CURRENT.to_owned()),
        Some(("stage", stage)) if (1..=256).contains(&stage.len()) => {
            Which::Stage(stage.to_owned())
        }
        Some(("version", version)) if version::is_possible(version) => {
            Which::Version(version.to_owned())
        }
        Some(_) => {
            return Err(Error::invalid_name(
                "a secret of AWS is written NAME, NAME?stage=LABEL or NAME?version=ID",
            ));
        }
    };
    if id.is_empty() {
        return Err(Error::invalid_name("a secret of AWS has a name"));
    }
    Ok((id, which))
}

impl fmt::Debug for AwsExternalSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("AwsExternalSecrets");
        out.field("store", &self.description).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_name_and_perhaps_a_version() {
        let id = "EXAMPLE1-90ab-cdef-fedc-ba987SECRET1";
        let stage = |path: &str, expected: &str| {
            let (name, which) = parse(path).expect(path);
            assert_eq!(name, "prod/db");
            assert!(matches!(which, Which::Stage(stage) if stage == expected), "{path}");
        };
        stage("prod/db", "AWSCURRENT");
        stage("prod/db?stage=AWSPREVIOUS", "AWSPREVIOUS");
        let path = format!("prod/db?version={id}");
        assert!(matches!(parse(&path), Ok(("prod/db", Which::Version(version))) if version == id));
        for bad in ["", "?stage=x", "a?", "a?stage=", "a?stage", "a?version=1", "a?b=c"] {
            assert_eq!(parse(bad).expect_err(bad).kind(), ErrorKind::InvalidName);
        }
    }
}
