//! One process at a time: an exclusive lock on a file beside the data.

use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use strongroom_core::{Error, Result};

use super::directory::{io_error, open_private};

/// Holds the lock until it is dropped. The kernel lets go of it when the
/// process dies, so a file that is left behind never keeps anybody out.
#[derive(Debug)]
pub(super) struct StoreLock {
    file: File,
    pid: u32,
}

impl Drop for StoreLock {
    /// A child that another thread is just starting has a copy of the
    /// descriptor until it calls exec(2), and with it the lock: closing ours
    /// is not enough. A forked child, however, must leave its parent's lock be.
    fn drop(&mut self) {
        if self.pid == std::process::id() {
            let _ = self.file.unlock();
        }
    }
}

impl StoreLock {
    /// Locks the store in `dir`; `Unavailable`, naming the holder's pid, when
    /// somebody has it.
    pub(super) fn acquire(dir: &Path, describe: &str) -> Result<Self> {
        let path = dir.join("lock");
        let mut file = open_private(&path, describe)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use(&mut file, dir)),
            Err(TryLockError::Error(error)) => {
                return Err(io_error(error, "lock", &path).in_store(describe));
            }
        }
        // The pid only serves the message above: on a full disk the store
        // still opens, so that something can be deleted.
        let pid = std::process::id();
        let _ = file.set_permissions(PermissionsExt::from_mode(0o600));
        let _ = file.set_len(0).and_then(|()| file.write_all(format!("{pid}\n").as_bytes()));
        Ok(Self { file, pid })
    }
}

fn in_use(file: &mut File, dir: &Path) -> Error {
    let mut holder = String::new();
    let _ = file.take(32).read_to_string(&mut holder);
    let by = match holder.trim().parse::<u32>() {
        Ok(pid) if pid == std::process::id() => format!("this process already (pid {pid})"),
        Ok(pid) => format!("another process (pid {pid})"),
        Err(_) => "another process".to_owned(),
    };
    Error::unavailable(format!(
        "the store at {} is in use by {by}: an embedded store serves one process at a time; \
         stop the other one, or go through it",
        dir.display()
    ))
}
