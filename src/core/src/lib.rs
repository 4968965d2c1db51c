//! The Strongroom engine: names and scopes, envelope encryption, the three
//! seams ([`SecretStore`], [`KeyWrapper`], [`RecordStore`]), cache and audit.
//!
//! This crate has no network, no TLS, no cloud SDK and no async runtime: its
//! futures run on whichever executor polls them.

pub mod audit;
mod batch;
pub mod cache;
pub mod clock;
pub mod context;
pub mod engine;
pub mod envelope;
pub mod error;
pub mod expression;
pub mod file;
pub mod import;
pub mod kinds;
pub mod mask;
pub mod memory;
pub mod metadata;
pub mod migrate;
pub mod name;
pub mod random;
pub mod record;
pub mod reference;
pub mod rollback;
pub mod secret;
pub mod store;
pub mod transfer;
pub mod upkeep;
pub mod wrapper;

pub use cache::{CacheOptions, CachedStore};
pub use clock::{Clock, SystemClock, Timestamp};
pub use context::{CallerContext, EncryptionContext};
pub use engine::{Engine, Named};
pub use envelope::{EnvelopeOptions, EnvelopeStore, Suite};
pub use error::{Error, ErrorKind, Result};
pub use file::{FileInfo, FileReader, FileSource, ReadSource};
pub use metadata::{Metadata, MetadataChange};
pub use migrate::{Migrate, Migrated, Migrating};
pub use name::{Scope, SecretName};
pub use record::{
    Batch, PageLimit, Precondition, RecordPage, RecordStore, Revision, Snapshot, Stored,
};
pub use reference::{ExternalStore, ExternalValue, Reference, ReferencingStore};
pub use secret::{Kind, Listing, Secret, Version, VersionInfo};
pub use store::{Capabilities, Expect, Page, PageRequest, PutOptions, SecretStore, Select};
pub use strongroom_guard as guard;
pub use strongroom_guard::SecretBytes;
pub use transfer::Transfer;
pub use upkeep::{Progress, Upkeep};
pub use wrapper::{BranchKeys, CachedKeys, Dek, KeyWrapper, Keyring, WrappedDek};
