//! The AWS backend: credentials and connections that everything on AWS shares, and
//! a key wrapper on AWS KMS; and the documents that a role on AWS needs ([`policy`]).
//!
//! [`Backoff`] says when a failed call is made again, [`Failure`] for what, and
//! [`Retry`] makes the SDK's clients do so.
//!
//! AWS's client library needs tokio. What works on AWS has a small runtime of its
//! own, so that the engine's futures still run on any executor.

mod backoff;
mod connection;
mod credentials;
mod error;
mod failure;
mod kms;
mod kubeconfig;
pub mod policy;
mod retry;
mod runtime;

pub use self::backoff::Backoff;
pub use self::connection::{Aws, AwsSettings};
pub use self::credentials::{AssumeRole, Credential};
pub use self::failure::Failure;
pub use self::kms::AwsKms;
pub use self::kubeconfig::{EksCluster, Kubeconfig};
pub use self::retry::Retry;
