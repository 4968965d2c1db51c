//! The socket: bound so that nobody else can listen in its place, and handed
//! over by systemd where it is activated by that.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use strongroom::{Error, Result};

/// The longest path that a Unix socket address holds (unix(7)).
const MAX_PATH_BYTES: usize = 107;

/// A socket that is listened on. Dropping it removes what it has made.
#[derive(Debug)]
pub struct Socket {
    /// Until it is served.
    listener: Mutex<Option<UnixListener>>,
    path: PathBuf,
    /// What `bind` made; systemd's sockets are its own.
    made: Option<Made>,
}

#[derive(Debug)]
struct Made {
    inode: (u64, u64),
    /// Held for as long as the socket is ours.
    _lock: File,
}

impl Socket {
    /// Listens at `path`, with permissions `mode` whatever the umask. A socket
    /// that a dead process left is replaced; anything else that is in the way
    /// stays as it is.
    ///
    /// # Errors
    /// `Configuration` if something that is no socket is there, or others may
    /// write to the directory; `Unavailable` if another process listens there.
    pub fn bind(path: &Path, mode: u32) -> Result<Self> {
        let failed = |what: &str, source: io::Error| {
            let what = format!("the socket {} cannot be {what}: {source}", path.display());
            Error::unavailable(what).retryable(false).with_source(source)
        };
        let path_bytes = path.as_os_str().len();
        // The name that it is bound under at first is longer.
        if path_bytes + UNFINISHED.len() > MAX_PATH_BYTES {
            return Err(Error::configuration(format!(
                "the socket's path {} has {path_bytes} bytes: at most {} are possible, choose a \
                 shorter one under [sidecar] socket",
                path.display(),
                MAX_PATH_BYTES - UNFINISHED.len()
            )));
        }
        private_directory(path, mode)?;
        let lock = lock(path)?;
        check_place(path)?;
        // Bound under another name, given its permissions, and only then moved
        // into place: there is no moment with other permissions, and none in
        // which a dead socket was removed and the new one is not there.
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(UNFINISHED);
        let unfinished = PathBuf::from(unfinished);
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("bound", error));
            }
            _ => {}
        }
        let listener = UnixListener::bind(&unfinished).map_err(|e| failed("bound", e))?;
        let finish = || {
            fs::set_permissions(&unfinished, Permissions::from_mode(mode))?;
            let found = fs::symlink_metadata(&unfinished)?;
            fs::rename(&unfinished, path)?;
            listener.set_nonblocking(true)?;
            Ok((found.dev(), found.ino()))
        };
        let inode = finish().map_err(|e| {
            let _ = fs::remove_file(&unfinished);
            failed("made", e)
        })?;
        Ok(Self {
            listener: Mutex::new(Some(listener)),
            path: path.to_owned(),
            made: Some(Made { inode, _lock: lock }),
        })
    }

    /// The socket that systemd hands over (`sd_listen_fds(3)`), if it does.
    ///
    /// # Errors
    /// `Configuration` if what is handed over is not one listening Unix socket.
    pub fn from_systemd() -> Result<Option<Self>> {
        let mut handed = listenfd::ListenFd::from_env();
        let wrong = |what: String| {
            Err(Error::configuration(format!("systemd handed over {what}: see strongroom.socket")))
        };
        match handed.len() {
            0 => return Ok(None),
            1 => {}
            more => return wrong(format!("{more} sockets, and one is served")),
        }
        let listener = match handed.take_unix_listener(0) {
            Ok(Some(listener)) => listener,
            Ok(None) => return Ok(None),
            Err(error) => return wrong(format!("something that is no Unix socket ({error})")),
        };
        let path = listener.local_addr().ok();
        let path = path.and_then(|address| address.as_pathname().map(Path::to_owned));
        if let Err(error) = listener.set_nonblocking(true) {
            return wrong(format!("a socket that cannot be used ({error})"));
        }
        let listener = Mutex::new(Some(listener));
        Ok(Some(Self { listener, path: path.unwrap_or_default(), made: None }))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The listener, as tokio has it, once: it is the only one, so that callers are
    /// refused from its end on, and do not wait for a sidecar that does not take
    /// them any more. This is called within a runtime.
    pub(crate) fn listener(&self) -> io::Result<tokio::net::UnixListener> {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        let served = || io::Error::other("it has been served already");
        tokio::net::UnixListener::from_std(listener.ok_or_else(served)?)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let Some(made) = &self.made else { return };
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == made.inode);
        if ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

const UNFINISHED: &str = ".new";

/// Makes the directory, and looks who else may write to it: whoever may could
/// put a socket of his own in place of ours.
fn private_directory(path: &Path, mode: u32) -> Result<()> {
    let directory = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let shown = directory.display();
    let failed = |e: io::Error| {
        let what = format!("the socket's directory {shown} cannot be used: {e}");
        Error::configuration(what).with_source(e)
    };
    let private = if mode == 0o600 { 0o700 } else { 0o755 };
    if let Some(above) = directory.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(above).map_err(failed)?;
    }
    match DirBuilder::new().mode(private).create(directory) {
        // The umask would keep those out whom the socket's permissions let in.
        Ok(()) => {
            let permissions = Permissions::from_mode(private);
            fs::set_permissions(directory, permissions).map_err(failed)?;
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error)),
    }
    let found = fs::metadata(directory).map_err(failed)?;
    let own = rustix::process::geteuid().as_raw();
    if found.uid() != own && found.uid() != 0 {
        return Err(Error::configuration(format!(
            "the socket's directory {shown} belongs to user {}, who could put another socket in \
             its place: choose one of your own under [sidecar] socket",
            found.uid()
        )));
    }
    if found.mode() & 0o022 != 0 {
        return Err(Error::configuration(format!(
            "others may write to the socket's directory {shown} (mode {:04o}) and could put \
             another socket in its place: run chmod go-w {shown}, or choose another directory",
            found.mode() & 0o7777
        )));
    }
    Ok(())
}

/// One process at a time may have the socket: of two that start together, only
/// one finds it dead.
fn lock(path: &Path) -> Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let failed = |e: io::Error| {
        let what = format!("the lock file {} cannot be used: {e}", name.display());
        Error::unavailable(what).retryable(false).with_source(e)
    };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let nofollow = rustix::fs::OFlags::NOFOLLOW.bits();
    options.custom_flags(nofollow.cast_signed());
    let mut file = options.open(&name).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let _ = (&file).take(32).read_to_string(&mut pid);
            let known = pid.trim().parse::<u32>().map(|pid| format!(" (pid {pid})"));
            return Err(Error::unavailable(format!(
                "the socket {} is in use by another sidecar{}",
                path.display(),
                known.unwrap_or_default()
            ))
            .retryable(false));
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    // For people and for the message above; nothing depends on it.
    let note = |file: &mut File| {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())
    };
    note(&mut file).map_err(failed)?;
    Ok(file)
}

/// Only a socket that nobody listens on may be replaced.
fn check_place(path: &Path) -> Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            let what = format!("{} cannot be examined: {error}", path.display());
            return Err(Error::configuration(what).with_source(error));
        }
    };
    if !found.file_type().is_socket() {
        let what = if found.is_symlink() { "a symbolic link" } else { "something else" };
        return Err(Error::configuration(format!(
            "where the socket should be, at {}, is {what}: remove it, or choose another place \
             under [sidecar] socket",
            path.display()
        )));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Ok(_) => Err(Error::unavailable(format!(
            "another process listens on the socket {}",
            path.display()
        ))
        .retryable(false)),
        Err(error) => Err(Error::unavailable(format!(
            "whether the socket {} is alive cannot be told: {error}",
            path.display()
        ))
        .retryable(false)
        .with_source(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use strongroom::ErrorKind;

    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("run/s.sock");
        (dir, path)
    }

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).expect("there").mode() & 0o7777
    }

    fn error(path: &Path) -> Error {
        Socket::bind(path, 0o600).expect_err("refused")
    }

    #[test]
    fn the_modes_are_those_asked_for_and_the_socket_goes_with_its_owner() {
        for (asked, directory) in [(0o600, 0o700), (0o660, 0o755), (0o666, 0o755)] {
            let (_dir, path) = place();
            let socket = Socket::bind(&path, asked).expect("bound");
            assert_eq!(mode(&path), asked);
            assert_eq!(mode(path.parent().expect("a parent")), directory);
            UnixStream::connect(&path).expect("alive");
            drop(socket);
            assert!(!path.exists());
        }
    }

    #[test]
    fn a_dead_socket_is_replaced_and_a_live_one_stays() {
        let (_dir, path) = place();
        drop(Socket::bind(&path, 0o600).expect("bound"));
        drop(UnixListener::bind(&path).expect("bound by hand"));
        assert!(path.exists(), "a dead socket stays behind");
        let socket = Socket::bind(&path, 0o600).expect("taken over");
        let refused = error(&path);
        assert_eq!(refused.kind(), ErrorKind::Unavailable);
        assert!(refused.to_string().contains(&std::process::id().to_string()), "{refused}");
        UnixStream::connect(&path).expect("the first is alive still");
        drop(socket);
        let other = UnixListener::bind(&path).expect("another program's");
        assert!(error(&path).to_string().contains("another process listens"));
        drop(other);
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let (dir, path) = place();
        fs::create_dir(path.parent().expect("a parent")).expect("made");
        let victim = dir.path().join("victim");
        fs::write(&victim, "precious").expect("written");
        symlink(&victim, &path).expect("linked");
        assert!(error(&path).to_string().contains("symbolic link"));
        fs::remove_file(&path).expect("removed");
        fs::write(&path, "precious").expect("written");
        assert_eq!(error(&path).kind(), ErrorKind::Configuration);
        assert_eq!(fs::read(&path).expect("there"), b"precious");
        assert_eq!(fs::read(&victim).expect("there"), b"precious");
        fs::remove_file(&path).expect("removed");
        let lock = path.with_extension("sock.lock");
        let _ = fs::remove_file(&lock);
        symlink(&victim, &lock).expect("linked");
        assert!(error(&path).to_string().contains("lock file"));
        assert_eq!(fs::read(&victim).expect("there"), b"precious");
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_refused() {
        let (_dir, path) = place();
        let directory = path.parent().expect("a parent");
        fs::create_dir(directory).expect("made");
        for open in [0o770, 0o707, 0o1777] {
            fs::set_permissions(directory, Permissions::from_mode(open)).expect("chmod");
            assert!(error(&path).to_string().contains("chmod go-w"), "{open:o}");
        }
    }

    #[test]
    fn a_path_that_is_too_long_is_refused_by_its_length() {
        let (dir, _) = place();
        let path = dir.path().join("x".repeat(110));
        assert!(error(&path).to_string().contains("bytes"));
        assert!(!dir.path().join("x").exists());
    }

    #[test]
    fn a_socket_that_somebody_else_put_there_is_not_removed() {
        let (_dir, path) = place();
        let socket = Socket::bind(&path, 0o600).expect("bound");
        fs::remove_file(&path).expect("removed");
        let other = UnixListener::bind(&path).expect("another program's");
        drop(socket);
        assert!(path.exists());
        drop(other);
    }
}
