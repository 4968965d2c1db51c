//! Why a document cannot be made.

use std::fmt;

use strongroom_core::{Error, ErrorKind};

use super::PolicyFor;

/// The result of making a document.
pub type PolicyResult<T = ()> = std::result::Result<T, PolicyError>;

/// Why a document cannot be made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PolicyError {
    /// A purpose needs to know what it is about.
    Missing {
        /// The purpose.
        purpose: PolicyFor,
        /// What was not given.
        input: Input,
    },
    /// Something is not of its form.
    Invalid {
        /// What it should be.
        what: &'static str,
        /// What it is, with control characters written out.
        value: String,
        /// What is expected.
        expected: &'static str,
    },
    /// Something has to be given.
    NotGiven {
        /// What.
        what: &'static str,
        /// What is expected.
        expected: &'static str,
    },
    /// Two things are of different partitions.
    Partitions(&'static str, &'static str),
    /// The document has more characters than IAM takes.
    TooLarge {
        /// How many it has, without white space.
        characters: usize,
        /// How many it may have.
        limit: usize,
    },
}

/// What a purpose may have to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Input {
    /// A region.
    Region,
    /// The number of the AWS account.
    Account,
    /// A KMS key.
    KmsKey,
    /// The prefix of names in Secrets Manager.
    SecretPrefix,
    /// An S3 bucket.
    Bucket,
    /// An ECR repository.
    Repository,
    /// A cluster of EKS or ECS.
    Cluster,
    /// The prefix of what is created: stacks, functions, groups, task definitions.
    NamePrefix,
}

impl Input {
    /// In words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Region => "a region",
            Self::Account => "the AWS account",
            Self::KmsKey => "a KMS key",
            Self::SecretPrefix => "the prefix of secrets",
            Self::Bucket => "a bucket",
            Self::Repository => "a repository",
            Self::Cluster => "a cluster",
            Self::NamePrefix => "the prefix of what is created",
        }
    }
}

pub(crate) fn invalid(what: &'static str, value: &str, expected: &'static str) -> PolicyError {
    let value = value.chars().take(80).flat_map(char::escape_debug).collect();
    PolicyError::Invalid { what, value, expected }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { purpose, input } => {
                write!(f, "the policy for {purpose} needs {}", input.as_str())
            }
            Self::Invalid { what, value, expected } => {
                write!(f, "`{value}` is not {what}: {expected}")
            }
            Self::NotGiven { what, expected } => write!(f, "there is no {what}: {expected}"),
            Self::Partitions(one, other) => {
                write!(f, "one document is for one partition, and this is of {one} and of {other}")
            }
            Self::TooLarge { characters, limit } => write!(
                f,
                "the document has {characters} characters, and IAM takes {limit} (white space \
                 is not counted)"
            ),
        }
    }
}

impl std::error::Error for PolicyError {}

impl From<PolicyError> for Error {
    fn from(error: PolicyError) -> Self {
        let kind = match &error {
            PolicyError::TooLarge { .. } => ErrorKind::LimitExceeded,
            _ => ErrorKind::Configuration,
        };
        Self::new(kind, error.to_string()).with_source(error)
    }
}
