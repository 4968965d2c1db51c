//! A full disk, noticed before a commit begins. Once an engine runs into a
//! full disk in the middle of a write, only reopening it helps; a commit that
//! was refused in front of it costs nothing, and the store goes on.

use std::fs::File;
use std::path::Path;

use rustix::fs::fstatvfs;
use strongroom_core::Result;

use super::directory::io_error;

/// Demands that `bytes` can still be written beside `file`. Another process
/// may take them in between: then the engine fails, and the store has to be
/// reopened, but nothing that was acknowledged is lost.
///
/// # Errors
/// `Unavailable` when the disk is that full.
pub(super) fn require_space(file: &File, bytes: u64, path: &Path) -> Result<()> {
    // One system call of half a microsecond, in front of a sync.
    let disk = fstatvfs(file).map_err(|e| io_error(e.into(), "ask for the space at", path))?;
    if disk.f_bavail.saturating_mul(disk.f_frsize) < bytes {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        return Err(io_error(full, "write to", path));
    }
    Ok(())
}
