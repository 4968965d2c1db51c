//! Backups: a store as one file, every record sealed as it is, chained by MACs
//! under a key that only the store's KEK opens. `FORMAT.md` defines it.

mod chain;
mod create;
mod restore;
#[cfg(test)]
mod tests;

use std::io::Write;

use async_trait::async_trait;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::error::{Error, Result};

/// Takes the bytes of a backup, in order.
#[async_trait]
pub trait BackupSink: Send {
    /// Takes all of `bytes`. They are sealed: nothing of them is a secret.
    async fn write(&mut self, bytes: &[u8]) -> Result<()>;
}

/// Writes a backup to a [`Write`]. It keeps its thread while it writes.
#[derive(Debug)]
pub struct WriteSink<W>(pub W);

#[async_trait]
impl<W: Write + Send> BackupSink for WriteSink<W> {
    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.write_all(bytes).map_err(|error| {
            let message = format!("the backup cannot be written: {error}");
            Error::unavailable(message).retryable(false).with_source(error)
        })
    }
}

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackupInfo {
    /// When it was begun.
    pub created: Timestamp,
    /// How many names have an entry in it; of purged ones their last number.
    pub names: u64,
    /// How many records and segments.
    pub entries: u64,
    /// How many bytes the file has.
    pub bytes: u64,
    /// Whether all of it is of one moment. Otherwise each secret is of one.
    pub one_moment: bool,
}
