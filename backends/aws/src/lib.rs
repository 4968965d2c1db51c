//! The AWS backend: credentials and connections that everything on AWS shares, a key
//! wrapper on AWS KMS, a secret store on AWS Secrets Manager, and the documents that a
//! role on AWS needs ([`policy`]).
//!
//! [`Backoff`] says when a failed call is made again, [`Failure`] for what, and
//! [`Retry`] makes the SDK's clients do so.
//!
//! AWS's client library needs tokio. What works on AWS has a small runtime of its
//! own, so that the engine's futures still run on any executor.

mod backoff;
mod caller_identity;
mod check;
mod connection;
mod credentials;
mod error;
mod failure;
mod kms;
mod kubeconfig;
pub mod policy;
mod region;
mod retry;
mod secrets_manager;
mod signing;

pub use self::backoff::Backoff;
pub use self::caller_identity::SignedCallerIdentity;
pub use self::check::{Caller, Probe};
pub use self::connection::{Aws, AwsSettings};
pub use self::credentials::{AccessKey, AssumeRole, Credential, Token, TokenSource, WebIdentity};
pub use self::failure::Failure;
pub use self::kms::{AwsKms, KmsOptions, Replica};
pub use self::kubeconfig::{EksCluster, Kubeconfig};
pub use self::retry::Retry;
pub use self::secrets_manager::{
    AwsExternalSecrets, AwsSecretsManager, SecretsManagerOptions, UpdateBy,
};
