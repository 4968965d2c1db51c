//! The key file on disk: who may own it, and how it is replaced so that neither
//! a crash nor a full disk nor another process loses a key.

use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, OFlags, RenameFlags};
use rustix::io::Errno;
use strongroom_core::guard::{ReadError, SecretBuffer};
use strongroom_core::{Error, ErrorKind, Result, SecretBytes};

use super::format::MAX_FILE_BYTES;

/// A key file's path and the files beside it.
#[derive(Debug)]
pub(super) struct KeyFile {
    path: PathBuf,
    /// `PATH.lock`, held by whoever writes. It is a file of its own because the
    /// key file is replaced, and stays, because removing it lets two in.
    lock_path: PathBuf,
    /// `PATH.new`, which becomes the key file. Only the lock's holder touches
    /// it, so that what a crash left there is overwritten by the next writer.
    new_path: PathBuf,
}

/// The lock on writing a key file, held until dropped.
#[derive(Debug)]
pub(super) struct WriteLock {
    _file: File,
}

/// Tells one state of the key file from the next without reading it. A rename
/// changes the inode, and a rotation the size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl From<&Metadata> for Stamp {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

impl KeyFile {
    /// The key file at `path`, which need not exist yet.
    pub(super) fn new(path: &Path) -> Result<Self> {
        // A later change of directory must not make us write another file.
        let path = std::path::absolute(path)
            .map_err(|e| describe(path, "the path of the key file cannot be resolved", e))?;
        if path.file_name().is_none() {
            return Err(Error::configuration(format!("{} names no file", path.display())));
        }
        let beside = |suffix: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        Ok(Self { lock_path: beside(".lock"), new_path: beside(".new"), path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The state of the file now.
    pub(super) fn stamp(&self) -> Result<Stamp> {
        let metadata = fs::symlink_metadata(&self.path);
        metadata.map(|metadata| Stamp::from(&metadata)).map_err(|e| self.unreadable(e))
    }

    /// Reads the file into guarded memory, after checking who else could have
    /// read or written it.
    pub(super) fn read(&self) -> Result<(SecretBytes, Stamp)> {
        // NONBLOCK, because opening a FIFO would wait for a writer.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mut file = File::options()
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(&self.path)
            .map_err(|e| self.unreadable(e))?;
        let metadata = file.metadata().map_err(|e| self.unreadable(e))?;
        let facts = Facts {
            regular: metadata.is_file(),
            mode: metadata.mode(),
            owner: metadata.uid(),
            us: rustix::process::geteuid().as_raw(),
        };
        if let Some(problem) = facts.problem(&self.path) {
            return Err(Error::configuration(problem));
        }
        self.check_directory()?;
        let bytes = SecretBuffer::read_to_end(&mut file, MAX_FILE_BYTES).map_err(|e| {
            let message = format!("the key file {} cannot be read: {e}", self.path.display());
            match e {
                ReadError::Guard(e) => e.into(),
                ReadError::TooLarge { .. } => Error::tampered(message).with_source(e),
                _ => Error::unavailable(message).with_source(e),
            }
        })?;
        Ok((bytes, Stamp::from(&metadata)))
    }

    /// Waits until no other process writes, and keeps them out.
    pub(super) fn lock(&self) -> Result<WriteLock> {
        let flags = OFlags::NOFOLLOW.bits().cast_signed();
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(flags)
            .open(&self.lock_path)
            .map_err(|e| self.unwritable(e))?;
        loop {
            match file.lock() {
                Ok(()) => return Ok(WriteLock { _file: file }),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.unwritable(e)),
            }
        }
    }

    /// Makes the directory, if there is none, readable by us alone, and makes
    /// sure that a power cut does not take it away with the new file in it.
    pub(super) fn create_directory(&self) -> Result<()> {
        let failed = |e| describe(self.directory(), "the key file's directory cannot be made", e);
        let missing: Vec<&Path> =
            self.directory().ancestors().take_while(|ancestor| !ancestor.exists()).collect();
        let created = DirBuilder::new().recursive(true).mode(0o700).create(self.directory());
        created.map_err(failed)?;
        for directory in missing {
            sync_directory(directory.parent().unwrap_or(directory)).map_err(failed)?;
        }
        Ok(())
    }

    /// Writes the first state of the file. A file that exists is never touched.
    pub(super) fn create(&self, _lock: &WriteLock, bytes: &SecretBytes) -> Result<Stamp> {
        self.check_directory()?;
        self.write(bytes, |new, path| {
            match rustix::fs::renameat_with(CWD, new, CWD, path, RenameFlags::NOREPLACE) {
                // A file system that does not know the flag: a link does not
                // replace either.
                Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                    fs::hard_link(new, path)?;
                    fs::remove_file(new)
                }
                other => Ok(other?),
            }
        })
        .map_err(|e| {
            if e.kind() == io::ErrorKind::AlreadyExists {
                return self.exists();
            }
            self.unwritable(e)
        })
    }

    /// The error of creating a key file where there is one.
    pub(super) fn exists(&self) -> Error {
        let path = self.path.display();
        let message = format!("{path} exists already; it is left as it is");
        Error::new(ErrorKind::AlreadyExists, message)
    }

    /// Replaces the file. On an error it stands as it was, or, where only the
    /// last step failed, as it should be; never in between.
    pub(super) fn replace(&self, _lock: &WriteLock, bytes: &SecretBytes) -> Result<Stamp> {
        self.write(bytes, |new, path| fs::rename(new, path)).map_err(|e| self.unwritable(e))
    }

    /// The steps that make a replacement atomic and durable: everything is on
    /// disk under another name before the name changes, in one step, and the
    /// change of the name is on disk before anybody relies on it.
    fn write(
        &self,
        bytes: &SecretBytes,
        publish: impl FnOnce(&Path, &Path) -> io::Result<()>,
    ) -> io::Result<Stamp> {
        let written = self.write_new(bytes).and_then(|stamp| {
            fault::at(fault::Step::Publish)?;
            publish(&self.new_path, &self.path)?;
            Ok(stamp)
        });
        let stamp = written.inspect_err(|_| {
            if !fault::crashed() {
                // It holds keys; if this fails too, the next writer does it.
                let _ = fs::remove_file(&self.new_path);
            }
        })?;
        fault::at(fault::Step::SyncDirectory)?;
        sync_directory(self.directory())?;
        Ok(stamp)
    }

    fn write_new(&self, bytes: &SecretBytes) -> io::Result<Stamp> {
        match fs::remove_file(&self.new_path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        fault::at(fault::Step::Create)?;
        let mut file =
            File::options().write(true).create_new(true).mode(0o600).open(&self.new_path)?;
        let (first_half, second_half) = bytes.expose().split_at(bytes.len() / 2);
        file.write_all(first_half)?;
        fault::at(fault::Step::Write)?;
        file.write_all(second_half)?;
        fault::at(fault::Step::SyncFile)?;
        file.sync_all()?;
        Ok(Stamp::from(&file.metadata()?))
    }

    /// Refuses a directory in which everybody may replace files, unless only a
    /// file's owner may (the sticky bit of `/tmp`).
    fn check_directory(&self) -> Result<()> {
        let directory = self.directory();
        let mode = fs::metadata(directory).map_err(|e| self.unreadable(e))?.mode();
        if mode & 0o002 != 0 && mode & 0o1000 == 0 {
            let path = directory.display();
            return Err(Error::configuration(format!(
                "everybody may replace the key file in {path}; run: chmod o-w {path}"
            )));
        }
        Ok(())
    }

    fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    fn unreadable(&self, source: io::Error) -> Error {
        let path = self.path.display();
        let (kind, message) = match source.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOENT | Errno::NOTDIR) => {
                (ErrorKind::KeyUnavailable, format!("there is no key file at {path}"))
            }
            Some(Errno::LOOP) => (
                ErrorKind::Configuration,
                format!("{path} is a symbolic link; name the key file itself"),
            ),
            Some(Errno::ACCESS | Errno::PERM) => (
                ErrorKind::Configuration,
                format!("we may not read the key file {path}; it must belong to this user"),
            ),
            _ => (ErrorKind::Internal, format!("the key file {path} cannot be read: {source}")),
        };
        Error::new(kind, message).with_source(source)
    }

    fn unwritable(&self, source: io::Error) -> Error {
        let path = self.path.display();
        let (kind, what) = match source.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::ROFS | Errno::ACCESS | Errno::PERM) => (
                ErrorKind::Configuration,
                "is read-only for us, so no wrap can be counted and none is made; what was \
                 wrapped can still be unwrapped. Make its directory writable",
            ),
            Some(Errno::NOSPC | Errno::DQUOT) => {
                (ErrorKind::Unavailable, "cannot be written: the disk is full")
            }
            Some(Errno::NOENT | Errno::NOTDIR) => {
                (ErrorKind::KeyUnavailable, "cannot be written: its directory is gone")
            }
            _ => (ErrorKind::Internal, "cannot be written"),
        };
        Error::new(kind, format!("the key file {path} {what} ({source})")).with_source(source)
    }
}

/// What decides whether a key file may be trusted.
struct Facts {
    regular: bool,
    mode: u32,
    owner: u32,
    us: u32,
}

impl Facts {
    /// What is wrong, with the command that mends it.
    fn problem(&self, path: &Path) -> Option<String> {
        let path = path.display();
        if !self.regular {
            return Some(format!("{path} is not a regular file"));
        }
        if self.owner != self.us && self.owner != 0 {
            return Some(format!(
                "the key file {path} belongs to user {}, and we run as user {}; if it is ours, \
                 run: chown {} {path}",
                self.owner, self.us, self.us
            ));
        }
        if self.mode & 0o077 != 0 {
            return Some(format!(
                "others may access the key file {path} (mode {:04o}); run: chmod 600 {path}, and \
                 rotate the KEK if somebody may have read it",
                self.mode & 0o7777
            ));
        }
        None
    }
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn describe(path: &Path, what: &str, source: io::Error) -> Error {
    let message =
        format!("{what}: {} ({source})", String::from_utf8_lossy(path.as_os_str().as_bytes()));
    Error::configuration(message).with_source(source)
}

/// Failures that a test injects into [`KeyFile::write`].
pub(super) mod fault {
    #[cfg(not(test))]
    use std::io;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(in super::super) enum Step {
        Create,
        Write,
        SyncFile,
        Publish,
        SyncDirectory,
    }

    #[cfg(not(test))]
    #[expect(clippy::unnecessary_wraps, reason = "it fails in tests")]
    pub(super) fn at(_step: Step) -> io::Result<()> {
        Ok(())
    }

    #[cfg(not(test))]
    pub(super) fn crashed() -> bool {
        false
    }

    #[cfg(test)]
    pub(in super::super) use injected::*;

    #[cfg(test)]
    mod injected {
        use std::cell::Cell;
        use std::io;

        use super::Step;

        /// Where to fail, and as what. With `crash` nothing is tidied up, as if
        /// the process had died there.
        #[derive(Clone, Copy)]
        pub(in super::super::super) struct Fault {
            pub(in super::super::super) step: Step,
            pub(in super::super::super) errno: i32,
            pub(in super::super::super) crash: bool,
        }

        thread_local! {
            static FAULT: Cell<Option<Fault>> = const { Cell::new(None) };
        }

        /// From now on the writes of this thread fail.
        pub(in super::super::super) fn set(fault: Option<Fault>) {
            FAULT.set(fault);
        }

        pub(in super::super) fn at(step: Step) -> io::Result<()> {
            match FAULT.get() {
                Some(fault) if fault.step == step => Err(io::Error::from_raw_os_error(fault.errno)),
                _ => Ok(()),
            }
        }

        pub(in super::super) fn crashed() -> bool {
            FAULT.get().is_some_and(|fault| fault.crash)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What another program puts there between the look and the rename, which
    /// no lock of ours keeps out.
    #[test]
    fn a_creation_never_replaces() {
        let directory = tempfile::tempdir().unwrap();
        let file = KeyFile::new(&directory.path().join("kek")).unwrap();
        let lock = file.lock().unwrap();
        fs::write(file.path(), "theirs").unwrap();
        let error = file.create(&lock, &SecretBytes::copy_from(b"ours").unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(file.path()).unwrap(), b"theirs");
    }

    #[test]
    fn a_key_file_belongs_to_us_or_to_root() {
        let problem = |owner, mode, regular| {
            Facts { regular, mode, owner, us: 1000 }.problem(Path::new("/x/kek"))
        };
        assert_eq!(problem(1000, 0o100_600, true), None);
        assert_eq!(problem(0, 0o100_400, true), None);
        assert!(problem(1000, 0o100_600, false).unwrap().contains("regular"));
        assert!(problem(1001, 0o100_600, true).unwrap().contains("chown 1000 /x/kek"));
        for bit in [0o001, 0o002, 0o004, 0o010, 0o020, 0o040] {
            assert!(problem(1000, 0o100_600 | bit, true).unwrap().contains("chmod 600 /x/kek"));
        }
    }
}
