//! Disk space, allocated before an engine needs it: a full disk then refuses
//! a commit that has not begun, and the store goes on. Once an engine runs
//! into a full disk in the middle of a write, only reopening it helps.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use strongroom_core::{Error, Result};

use super::directory::io_error;

/// Space is taken in steps of this many bytes, so that most commits need no
/// system call for it.
const STEP_BYTES: u64 = 1 << 20;

/// Allocates blocks for a file and beyond its end, without changing its size.
#[derive(Debug)]
pub(super) struct Reserve {
    file: File,
    length: u64,
    allocated: u64,
    supported: bool,
}

impl Reserve {
    pub(super) fn new(file: File) -> Self {
        Self { file, length: 0, allocated: 0, supported: true }
    }

    /// Makes sure that the file can be rewritten and grow by `ahead` bytes.
    ///
    /// # Errors
    /// `Unavailable` when the disk is full; the file is as it was.
    pub(super) fn ensure(&mut self, ahead: u64, path: &Path) -> Result<()> {
        if !self.supported {
            return Ok(());
        }
        let refused = |error: io::Error| -> Error { io_error(error, "reserve space for", path) };
        let length = self.file.metadata().map_err(refused)?.len();
        if length < self.length {
            // Truncated: what was allocated behind the new end is gone.
            self.allocated = self.allocated.min(length);
        }
        self.length = length;
        if length + ahead <= self.allocated {
            return Ok(());
        }
        let wanted = (length + ahead).next_multiple_of(STEP_BYTES);
        let (from, bytes) = (self.allocated, wanted - self.allocated);
        match fallocate(&self.file, FallocateFlags::KEEP_SIZE, from, bytes) {
            Ok(()) => self.allocated = wanted,
            // Not every file system can; there the engine finds out itself.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.supported = false,
            Err(error) => return Err(refused(error.into())),
        }
        Ok(())
    }
}
