//! Strongroom, an embeddable secrets-manager engine.
//!
//! This is the crate that a program adds. It gives the whole public interface
//! of the engine, and [`Config`], which turns one TOML file into an [`Engine`].
//!
//! # Manual
//! A configuration says where records, key and audit log are. [`Config::create`]
//! makes them, once; [`Config::open`] opens them from then on. Both return an
//! [`Engine`], which puts and gets secrets by the names that are written in its
//! scope: `account.NAME`, `org.NAME`, or `NAME` for a project.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let file = dir.path().join("strongroom.toml");
//! use strongroom::{Config, OpenOptions, PutOptions, SecretBytes, Select};
//!
//! # futures_executor::block_on(async {
//! std::fs::write(&file, "[scope]\naccount = \"acme\"\n")?;
//! let config = Config::load(&file)?;
//! let engine = config.create(OpenOptions::default()).await?;
//!
//! let value = SecretBytes::take(b"s3cret".to_vec())?;
//! engine.put("account.db", &value, &PutOptions::default()).await?;
//! drop(engine); // an embedded store serves one process at a time
//!
//! let engine = config.open(OpenOptions::default()).await?;
//! let secret = engine.get("account.db", &Select::Latest).await?;
//! assert!(secret.value.expose() == b"s3cret");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok(())
//! # }
//! ```
//!
//! # Where things are
//! Paths in a configuration are relative to its file. What it does not name lies
//! beside it: `keys/local.kek`, `records`, `audit/audit.log`. [`Home`] knows
//! where the command line keeps them.
//!
//! # Executors
//! The engine needs no async runtime; its futures run on any executor. `create`
//! and `open` read files, and a passphrase costs Argon2id a fraction of a second:
//! on an executor with few threads, call them from a thread of their own.
//!
//! # Guarded memory
//! The limits in `[memory]` count for the whole process, so `open` does not set
//! them: call [`Config::configure_memory`] before the first secret exists, and
//! [`guard::harden_process`] at the start of a program that is yours. What libraries
//! copy into buffers of their own is wiped when it is freed if the program runs on
//! [`guard::WipingAllocator`], as the command line does:
//! ```
//! #[global_allocator]
//! static ALLOCATOR: strongroom::guard::WipingAllocator = strongroom::guard::WipingAllocator;
//! # fn main() {}
//! ```
//!
//! # Features
//! - `local` (default): the embedded backend, a random-key KEK and record stores
//!   on sled and redb.
//! - `aws` (default): KEKs on AWS KMS, secrets in AWS Secrets Manager, and the
//!   documents that a role there needs.
//! - `vault` (default): KEKs in Transit and secrets in KV of `HashiCorp` Vault or
//!   `OpenBao`, and what their policies need.
//! - `aws-lc-rs`: seals and opens with AWS-LC; the same records.

pub mod config;
mod external;
mod home;
#[cfg(feature = "local")]
mod keks;
#[cfg(feature = "local")]
mod live;
#[cfg(feature = "local")]
mod moving;
#[cfg(feature = "local")]
mod open;
#[cfg(feature = "local")]
mod opened;
mod paths;
#[cfg(feature = "local")]
mod references;
#[cfg(all(feature = "aws", feature = "vault"))]
mod vault_identity;

pub use config::Config;
pub use home::Home;
#[cfg(feature = "local")]
pub use live::{BelowCache, Executor, Live};
#[cfg(feature = "local")]
pub use open::OpenOptions;
#[cfg(feature = "aws")]
pub use strongroom_aws as aws;
pub use strongroom_core::*;
#[cfg(feature = "local")]
pub use strongroom_local as local;
#[cfg(feature = "vault")]
pub use strongroom_vault as vault;
#[cfg(all(feature = "aws", feature = "vault"))]
pub use vault_identity::AwsIdentity;
