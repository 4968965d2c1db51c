//! The embedded record stores: one directory, one process, on `sled` or on
//! `redb`. Both put every waiting commit into one group that costs one sync.
//!
//! ```text
//! DIR/lock            locked by the process that has the store open; holds its pid
//! DIR/records.redb    a redb store (a file), or
//! DIR/records.sled/   a sled store (a directory)
//! ```

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use strongroom_core::{Error, RecordStore, Result};

mod commit_queue;
mod directory;
mod disk_space;
mod lock;
mod redb;
mod sled;
mod sled_layout;

pub use self::redb::RedbRecords;
pub use self::sled::SledRecords;
pub use commit_queue::CommitStats;

/// The longest value that redb takes, in bytes; sled takes
/// [less](SledRecords::MAX_VALUE_BYTES). A commit holds its values in memory, so
/// this also bounds what one commit costs.
pub const MAX_VALUE_BYTES: usize = 16 << 20;

/// The engine under an embedded record store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RecordStoreKind {
    /// `sled`: a log-structured store of many files.
    Sled,
    /// `redb`: a copy-on-write B-tree in one file.
    Redb,
}

impl RecordStoreKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Sled, Self::Redb];

    /// The name used in configuration files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sled => "sled",
            Self::Redb => "redb",
        }
    }

    /// What the kind's data is called inside the store's directory.
    fn data_name(self) -> &'static str {
        match self {
            Self::Sled => "records.sled",
            Self::Redb => "records.redb",
        }
    }
}

impl fmt::Display for RecordStoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for RecordStoreKind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name).ok_or_else(|| {
            Error::configuration(format!("no record store is called {name}: use sled or redb"))
        })
    }
}

/// How to open an embedded record store.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RecordOptions {
    /// The most memory that the engine may use to cache what is on disk, in
    /// bytes. The engines' own default is 1 GiB, too much beside a program
    /// that does something else; ours is 32 MiB.
    pub cache_bytes: usize,
}

impl RecordOptions {
    /// The same options with another cache size, in bytes.
    #[must_use]
    pub fn with_cache_bytes(mut self, cache_bytes: usize) -> Self {
        self.cache_bytes = cache_bytes;
        self
    }
}

impl Default for RecordOptions {
    fn default() -> Self {
        Self { cache_bytes: 32 << 20 }
    }
}

/// Opens the store of `kind` in the directory `dir`, and creates it when there
/// is none.
///
/// # Errors
/// - `Unavailable`: another process (or this one) has the store open; the disk
///   is full; the directory does not answer.
/// - `Configuration`: `dir` holds a store of another kind, or may not be
///   written.
/// - `Tampered`: the engine's own checks failed.
pub fn open_records(
    kind: RecordStoreKind,
    dir: &Path,
    options: &RecordOptions,
) -> Result<Arc<dyn RecordStore>> {
    Ok(match kind {
        RecordStoreKind::Sled => Arc::new(SledRecords::open(dir, options)?),
        RecordStoreKind::Redb => Arc::new(RedbRecords::open(dir, options)?),
    })
}
