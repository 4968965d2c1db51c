//! A file that is there wholly or not at all, whatever ends this process.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, open};
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use strongroom::{Error, ErrorKind};

use crate::failure::{Failure, Result};
use crate::value::file_error;

/// What becomes of a file that is there already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Existing {
    Replace,
    Keep,
}

/// Makes a file that only its owner may access, of what `write` writes: wholly or
/// not at all, and never through a symbolic link.
pub(crate) fn to_file<T>(path: &Path, write: impl FnOnce(&mut File) -> Result<T>) -> Result<T> {
    write_file(path, Existing::Replace, write)
}

fn write_file<T>(
    path: &Path,
    existing: Existing,
    write: impl FnOnce(&mut File) -> Result<T>,
) -> Result<T> {
    if path.symlink_metadata().is_ok_and(|found| !found.is_file()) {
        let what = format!("{} is not a regular file: it was left as it is", path.display());
        return Err(Failure::Usage(what));
    }
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists if existing == Existing::Keep => Failure::Engine(exists(path)),
        _ => Failure::Engine(file_error(path, "written", error)),
    };
    let mut unfinished = Unfinished::beside(path)?;
    let written = write(&mut unfinished.file)?;
    unfinished
        .file
        .sync_all()
        .and_then(|()| unfinished.become_file(path, existing))
        .map_err(failed)?;
    let synced = File::open(directory_of(path)).and_then(|directory| directory.sync_all());
    synced.map_err(|error| file_error(path, "synced", error))?;
    Ok(written)
}

/// The same of `bytes`.
pub(crate) fn bytes_to_file(path: &Path, bytes: &[u8]) -> Result {
    to_file(path, |file| {
        Ok(file.write_all(bytes).map_err(|error| file_error(path, "written", error))?)
    })
}

/// The same, if there is no such file yet.
pub(crate) fn bytes_to_new_file(path: &Path, bytes: &[u8]) -> Result {
    write_file(path, Existing::Keep, |file| {
        Ok(file.write_all(bytes).map_err(|error| file_error(path, "written", error))?)
    })
}

fn exists(path: &Path) -> Error {
    let what = format!("{} exists: it was left as it is", path.display());
    Error::new(ErrorKind::AlreadyExists, what).during("write a file")
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file that has no name yet, or one that nobody looks for.
struct Unfinished {
    file: File,
    named: Option<Named>,
}

impl Unfinished {
    fn beside(path: &Path) -> Result<Self> {
        // A file without a name is gone with the process that has it open, also
        // after SIGKILL (open(2), O_TMPFILE).
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        match open(directory_of(path), flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => Ok(Self { file: file.into(), named: None }),
            // Not every file system can do that.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => Self::named_beside(path),
            Err(error) => Err(Failure::Engine(file_error(path, "written", error.into()))),
        }
    }

    fn named_beside(path: &Path) -> Result<Self> {
        let named = Named::new(hidden_beside(path)?)?;
        // `create_new` follows no link (open(2), O_EXCL).
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&named.path);
        let file = made.map_err(|error| file_error(path, "written", error))?;
        Ok(Self { file, named: Some(named) })
    }

    /// Gives it its name.
    fn become_file(self, path: &Path, existing: Existing) -> io::Result<()> {
        let Self { file, named } = self;
        if let Some(named) = named {
            if existing == Existing::Keep {
                // link(2) replaces nothing; the other name goes with `named`.
                return fs::hard_link(&named.path, path);
            }
            fs::rename(&named.path, path)?;
            named.keep();
            return Ok(());
        }
        // linkat(2) names no file that is there: that one takes a second step.
        let open = format!("/proc/self/fd/{}", file.as_raw_fd());
        let link = |to: &Path| linkat(CWD, open.as_str(), CWD, to, AtFlags::SYMLINK_FOLLOW);
        match link(path) {
            Err(Errno::EXIST) if existing == Existing::Replace => {}
            linked => return Ok(linked?),
        }
        let hidden = hidden_beside(path).map_err(|_| io::ErrorKind::InvalidInput)?;
        let named = Named::new(hidden).map_err(|_| io::ErrorKind::Other)?;
        link(&named.path)?;
        fs::rename(&named.path, path)?;
        named.keep();
        Ok(())
    }
}

/// A name in the same directory that nobody can guess.
fn hidden_beside(path: &Path) -> Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| Failure::Usage(format!("{} does not name a file", path.display())))?;
    let random = u64::from_le_bytes(strongroom::random::array()?);
    let mut unfinished = std::ffi::OsString::from(".");
    unfinished.push(name);
    unfinished.push(format!(".{random:016x}"));
    Ok(path.with_file_name(unfinished))
}

/// A file that is removed when this is dropped or a signal ends the process.
struct Named {
    path: PathBuf,
    kept: Arc<AtomicBool>,
}

impl Named {
    fn new(path: PathBuf) -> Result<Self> {
        let kept = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] {
            let (mut ours, theirs) = UnixStream::pair()?;
            signal_hook::low_level::pipe::register(signal, theirs)?;
            let (path, kept) = (path.clone(), Arc::clone(&kept));
            let wait = move || {
                if ours.read_exact(&mut [0]).is_ok() {
                    if !kept.load(Ordering::SeqCst) {
                        let _ = fs::remove_file(path);
                    }
                    let _ = signal_hook::low_level::emulate_default_handler(signal);
                }
            };
            thread::Builder::new().name("strongroom-signal".to_owned()).spawn(wait)?;
        }
        Ok(Self { path, kept })
    }

    /// It has its final name.
    fn keep(&self) {
        self.kept.store(true, Ordering::SeqCst);
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        if !self.kept.swap(true, Ordering::SeqCst) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().expect("there").permissions().mode() & 0o7777
    }

    fn count(dir: &Path) -> usize {
        fs::read_dir(dir).expect("listed").count()
    }

    fn all_to(file: &mut File, bytes: &[u8]) -> Result {
        Ok(file.write_all(bytes)?)
    }

    #[test]
    fn a_file_is_private_whole_and_never_a_link() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("out");
        fs::write(&path, "old").expect("written");
        fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).expect("chmod");
        let write = |path: &Path| to_file(path, |file| all_to(file, b"new"));
        write(&path).expect("replaced");
        assert_eq!(fs::read(&path).expect("read"), b"new");
        assert_eq!(mode(&path), 0o600);

        let (link, target) = (dir.path().join("link"), dir.path().join("target"));
        std::os::unix::fs::symlink(&target, &link).expect("a link");
        assert!(matches!(write(&link), Err(Failure::Usage(_))));
        assert!(!target.exists());
        assert!(write(&dir.path().join("none/out")).is_err());
        let broken = to_file(&path, |file| {
            all_to(file, b"half")?;
            Err::<(), _>(Failure::BrokenPipe)
        });
        assert!(broken.is_err() && fs::read(&path).expect("read") == b"new");
        assert_eq!(count(dir.path()), 2, "nothing is left over");

        let fresh = dir.path().join("fresh");
        write(&fresh).expect("made");
        assert_eq!(
            (fs::read(&fresh).expect("read").as_slice(), mode(&fresh)),
            (&b"new"[..], 0o600)
        );
        assert_eq!(count(dir.path()), 3, "nothing is left over");
    }

    /// While it is written there is no name by which a part could be found.
    #[test]
    fn an_unfinished_file_has_no_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("out");
        to_file(&path, |file| {
            all_to(file, b"half")?;
            assert_eq!(count(dir.path()), 0);
            Ok(())
        })
        .expect("written");
        assert_eq!(count(dir.path()), 1);
    }

    #[test]
    fn where_files_need_names_an_unfinished_one_is_removed_or_renamed() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("out");
        let mut dropped = Unfinished::named_beside(&path).expect("made");
        dropped.file.write_all(b"half").expect("written");
        assert_eq!(count(dir.path()), 1);
        drop(dropped);
        assert_eq!(count(dir.path()), 0);
        let mut whole = Unfinished::named_beside(&path).expect("made");
        whole.file.write_all(b"whole").expect("written");
        whole.become_file(&path, Existing::Replace).expect("renamed");
        assert_eq!(
            (fs::read(&path).expect("read").as_slice(), mode(&path)),
            (&b"whole"[..], 0o600)
        );
        assert_eq!(count(dir.path()), 1);
        let mut other = Unfinished::named_beside(&path).expect("made");
        other.file.write_all(b"other").expect("written");
        let refused = other.become_file(&path, Existing::Keep).expect_err("it exists");
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).expect("read"), b"whole");
        let fresh = dir.path().join("fresh");
        let unfinished = Unfinished::named_beside(&fresh).expect("made");
        unfinished.become_file(&fresh, Existing::Keep).expect("linked");
        assert_eq!(count(dir.path()), 2, "nothing is left over");
    }

    #[test]
    fn a_new_file_replaces_none() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("out");
        bytes_to_new_file(&path, b"one").expect("made");
        assert_eq!((fs::read(&path).expect("read").as_slice(), mode(&path)), (&b"one"[..], 0o600));
        let refused = bytes_to_new_file(&path, b"two");
        assert!(
            matches!(refused, Err(Failure::Engine(error)) if error.message().contains("exists"))
        );
        assert_eq!(fs::read(&path).expect("read"), b"one");
        assert_eq!(count(dir.path()), 1, "nothing is left over");
    }
}
