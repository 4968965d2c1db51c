//! The store's directory: private to its owner, and durable before anything
//! is acknowledged inside of it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use strongroom_core::{Error, ErrorKind, Result};

use super::RecordStoreKind;
use super::lock::StoreLock;

/// A locked directory, and where in it the data of one kind belongs.
#[derive(Debug)]
pub(super) struct StoreDirectory {
    /// Names the store in errors.
    pub(super) describe: String,
    /// The engine's file or directory.
    pub(super) data: PathBuf,
    dir: PathBuf,
    _lock: StoreLock,
}

impl StoreDirectory {
    /// Makes `dir` if need be, locks it, and refuses data of another kind.
    pub(super) fn open(kind: RecordStoreKind, dir: &Path) -> Result<Self> {
        let describe = format!("{kind} store at {}", dir.display());
        create_private(dir).map_err(|error| error.in_store(&describe))?;
        let lock = StoreLock::acquire(dir, &describe)?;
        for other in RecordStoreKind::ALL {
            if other != kind && dir.join(other.data_name()).exists() {
                return Err(Error::configuration(format!(
                    "{} holds a {other} store and was opened as {kind}: configure {other}, or \
                     another directory",
                    dir.display()
                )));
            }
        }
        Ok(Self { describe, data: dir.join(kind.data_name()), dir: dir.to_owned(), _lock: lock })
    }

    /// Runs `create` on a path beside the final one, syncs what it left there
    /// and renames it: after a cut of power the store is there wholly or not
    /// at all, and it is there when this returns. Nothing happens when the
    /// data exists.
    pub(super) fn create_once(&self, create: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        if self.data.exists() {
            return Ok(());
        }
        let mut unfinished = self.data.clone().into_os_string();
        unfinished.push(".new");
        let unfinished = PathBuf::from(unfinished);
        // Left by a process that died here: no store was ever opened in it.
        remove(&unfinished).map_err(|e| io_error(e, "remove", &unfinished))?;
        create(&unfinished)?;
        sync_tree(&unfinished).map_err(|e| io_error(e, "sync", &unfinished))?;
        fs::rename(&unfinished, &self.data).map_err(|e| io_error(e, "create", &self.data))?;
        sync_entry(&self.dir)
    }
}

/// Opens a file for reading and writing, and creates it with mode 0600.
pub(super) fn open_private(path: &Path, describe: &str) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|error| io_error(error, "open", path).in_store(describe))
}

/// Takes from group and others what an engine that follows the umask gave.
pub(super) fn make_private(path: &Path) -> io::Result<()> {
    let kind = fs::symlink_metadata(path)?.file_type();
    if kind.is_dir() {
        fs::set_permissions(path, PermissionsExt::from_mode(0o700))?;
        for entry in fs::read_dir(path)? {
            make_private(&entry?.path())?;
        }
    } else if kind.is_file() {
        fs::set_permissions(path, PermissionsExt::from_mode(0o600))?;
    }
    Ok(())
}

/// Makes a directory's entries durable: fsync(2) of a file does not cover its
/// name.
pub(super) fn sync_entry(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|e| io_error(e, "sync", dir))
}

/// The one mapping of what the file system answers.
pub(super) fn io_error(error: io::Error, operation: &str, path: &Path) -> Error {
    let path = path.display();
    let (kind, message) = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => (
            ErrorKind::Unavailable,
            format!("the disk is full: cannot {operation} {path}; nothing acknowledged is lost"),
        ),
        io::ErrorKind::ReadOnlyFilesystem => (
            ErrorKind::Configuration,
            format!("cannot {operation} {path}: its file system is read-only"),
        ),
        io::ErrorKind::PermissionDenied => (
            ErrorKind::Configuration,
            format!("cannot {operation} {path}: this user may not; check owner and mode"),
        ),
        io::ErrorKind::NotADirectory => {
            (ErrorKind::Configuration, format!("cannot {operation} {path}: not a directory"))
        }
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            (ErrorKind::Tampered, format!("{path} is damaged: {error}"))
        }
        _ => (ErrorKind::Unavailable, format!("cannot {operation} {path}: {error}")),
    };
    Error::new(kind, message).with_source(error)
}

/// mkdir -p with mode 0700 for what is new; each new name is synced.
fn create_private(dir: &Path) -> Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_private(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
        Err(error) => return Err(io_error(error, "create", dir)),
    }
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_entry(parent),
        _ => sync_entry(Path::new(".")),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn sync_tree(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            sync_tree(&entry?.path())?;
        }
    }
    File::open(path)?.sync_all()
}
