//! A directory in memory that only this user may enter, and that is gone with the
//! command.
//!
//! It is made on a tmpfs that is there already. A mount of our own would need a user
//! namespace where we are not root, and within one the command would find the
//! owner of every other user's files changed (ssh refuses its configuration then),
//! and no setuid program would work.
//!
//! When this process ends, it removes the directory. When it is killed, a process
//! of its own does, which waits for nothing else. When that is killed too, the
//! next `strongroom run` does: the directory's lock (flock(2)) tells that its owner
//! is dead.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::fs::{FlockOperation, OFlags, flock, fstatfs};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use strongroom::Error;

use crate::failure::{Failure, Result};

/// What the names of our directories begin with.
const PREFIX: &str = "strongroom-run-";
/// What statfs(2) says of memory: `TMPFS_MAGIC` and `RAMFS_MAGIC`.
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// A private directory; removed when this is dropped.
pub(super) struct PrivateDirectory {
    path: PathBuf,
    /// Removes the directory when its stdin ends.
    watcher: Child,
    _lock: File,
}

impl PrivateDirectory {
    pub(super) fn create() -> Result<Self> {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let bases = runtime.filter(|path| path.is_absolute());
        let mut reasons = Vec::new();
        for base in bases.into_iter().chain([PathBuf::from("/dev/shm")]) {
            match create_in(&base) {
                Ok(directory) => return Ok(directory),
                Err(why) => reasons.push(format!("{}: {why}", base.display())),
            }
        }
        Err(Failure::Engine(Error::configuration(format!(
            "there is no directory in memory for the files ({}): set XDG_RUNTIME_DIR to a \
             directory of yours on a tmpfs",
            reasons.join("; ")
        ))))
    }

    /// Puts `value` into a new file; gives its path.
    pub(super) fn put(&self, name: &str, value: &[u8]) -> Result<PathBuf> {
        let path = self.path.join(name);
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        made.and_then(|mut file| file.write_all(value)).map_err(|error| {
            let what = format!("{} cannot be written: {error}", path.display());
            Error::unavailable(what).retryable(false).with_source(error)
        })?;
        Ok(path)
    }
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        // The watcher does what this does not.
        let _ = fs::remove_dir_all(&self.path);
        drop(self.watcher.stdin.take());
        let _ = self.watcher.wait();
    }
}

fn create_in(base: &Path) -> io::Result<PrivateDirectory> {
    let opened = open_directory(base)?;
    if !IN_MEMORY.contains(&fstatfs(&opened)?.f_type.cast_unsigned()) {
        return Err(io::Error::other("it is not on a tmpfs"));
    }
    sweep(base);
    loop {
        let random = strongroom::random::array().map_err(io::Error::other)?;
        let path = base.join(format!("{PREFIX}{:016x}", u64::from_le_bytes(random)));
        DirBuilder::new().mode(0o700).create(&path)?;
        let lock = open_directory(&path)?;
        flock(&lock, FlockOperation::LockExclusive)?;
        let found = lock.metadata()?;
        // Somebody's sweep may have been faster than our lock.
        if !path.symlink_metadata().is_ok_and(|there| there.ino() == found.ino()) {
            continue;
        }
        if found.uid() != rustix::process::geteuid().as_raw() || found.mode() & 0o77 != 0 {
            return Err(io::Error::other("what was made there is not ours alone"));
        }
        let watcher = watch(&path).inspect_err(|_| {
            let _ = fs::remove_dir(&path);
        })?;
        return Ok(PrivateDirectory { path, watcher, _lock: lock });
    }
}

fn open_directory(path: &Path) -> io::Result<File> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

/// Starts the process that removes `path` when this one has gone, however it went,
/// and waits until it would.
fn watch(path: &Path) -> io::Result<Child> {
    let mut watcher = Command::new("/proc/self/exe")
        .args(["vanish".as_ref(), path.as_os_str()])
        .env_clear()
        .current_dir("/")
        // What a terminal sends to our group is not for it.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let told = watcher.stdout.take().map(|mut stdout| stdout.read_exact(&mut [0]));
    told.unwrap_or_else(|| Err(io::Error::other("the watching process says nothing")))?;
    Ok(watcher)
}

/// Removes what dead processes of this user left in `base`.
fn sweep(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        let Ok(directory) = open_directory(&entry.path()) else { continue };
        let user = rustix::process::geteuid().as_raw();
        let is_ours = is_ours && directory.metadata().is_ok_and(|found| found.uid() == user);
        if is_ours && flock(directory.as_fd(), FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Remove a directory of `strongroom run` when stdin ends
#[derive(Debug, clap::Args)]
pub(crate) struct Vanish {
    directory: PathBuf,
}

impl Vanish {
    pub(crate) fn run(self) -> Result {
        let name = self.directory.file_name().and_then(|name| name.to_str());
        if !name.is_some_and(|name| name.starts_with(PREFIX)) {
            return Err(Failure::Usage("this is no directory of strongroom run".to_owned()));
        }
        // Whoever ends the run may end all of us at once; this has work left then.
        for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
        }
        let mut stdout = io::stdout().lock();
        stdout.write_all(b"\n")?;
        stdout.flush()?;
        let _ = io::stdin().lock().read_to_end(&mut Vec::new());
        let _ = fs::remove_dir_all(&self.directory);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_directory_in_memory_is_taken() {
        let error = create_in(Path::new("/proc")).err().expect("not memory");
        assert_eq!(error.to_string(), "it is not on a tmpfs");
    }

    #[test]
    fn a_sweep_removes_what_the_dead_left_and_nothing_else() {
        let base = tempfile::tempdir().expect("a directory");
        let make = |name: &str| {
            let path = base.path().join(name);
            fs::create_dir(&path).expect("made");
            fs::write(path.join("file"), "x").expect("written");
            path
        };
        let dead = make("strongroom-run-1");
        let (alive, other) = (make("strongroom-run-2"), make("other"));
        let lock = open_directory(&alive).expect("opened");
        flock(&lock, FlockOperation::LockExclusive).expect("locked");
        sweep(base.path());
        assert!(!dead.exists() && alive.exists() && other.exists());
    }
}
