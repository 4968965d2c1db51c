//! The audit log: one JSON line for each operation, each chained to the line
//! before it by a hash. Never a value.
//!
//! With a key the chain is HMAC-SHA256: who can rewrite the file but has not
//! the key cannot alter, remove, insert or move a line unnoticed. Without a key
//! it is SHA-256, and shows accidents and careless edits only, since anybody
//! can compute the chain anew. Neither shows by itself that lines were cut off
//! at the end: note the [`Head`] elsewhere and give it to [`verify`].
//!
//! # What a caller does
//! A mutation writes two lines: an intent before the store is touched, and
//! after it how it ended. A read writes one, before the answer leaves. Where
//! [`AuditLog::append`] fails, the operation does not answer.
//!
//! # After a power cut
//! A line is with the kernel when `append` returns, on the disk only with
//! [`AuditLog::synced`]. A line torn by a power cut stays where it is: opening
//! the log closes it with a newline and a line `recovered` with its length and
//! hash, chained to the last whole line. Without `synced` a cut may also leave
//! a hole before a later line; [`verify`] cannot tell that from an attack.

mod chain;
mod line;
mod tail;
#[cfg(test)]
mod tests;
mod verify;

use std::fmt;
use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use strongroom_guard::{SecretBytes, fork_generation};

use self::chain::Chain;
pub use self::chain::{HASH_BYTES, Head};
use self::line::write_hash;
pub use self::line::{Actor, Event, Fragment, Line, MAX_LINE_BYTES, Parsed, Phase, parse_line};
use self::tail::Source;
pub use self::verify::{Filter, Lines, Problem, ProblemKind, Report, read, verify};
use crate::clock::Clock;
use crate::error::{Error, Result};

/// An audit log that is open for appending.
///
/// Several threads and several processes may append to one log; a file lock
/// (flock(2)) puts their lines into one chain.
pub struct AuditLog {
    path: PathBuf,
    file: File,
    key: Option<SecretBytes>,
    clock: Arc<dyn Clock>,
    sync: bool,
    generation: u64,
    state: Mutex<State>,
}

struct State {
    head: Head,
    /// The file's length after the last line; another length means that
    /// somebody else has written. `None`: look again.
    size: Option<u64>,
    /// What stopped this log for good.
    broken: Option<Error>,
    buffer: Vec<u8>,
    #[cfg(test)]
    faults: tests::Faults,
}

impl AuditLog {
    /// Opens the log at `path`, and creates it, readable by its owner only,
    /// with its directory if need be.
    ///
    /// A `key` has at least 32 bytes; a log keeps the key that it began with.
    ///
    /// # Errors
    /// `Tampered` if the last line does not fit its chain, or was written under
    /// another key; `Unavailable` if the file cannot be used.
    pub fn open(
        path: impl Into<PathBuf>,
        key: Option<SecretBytes>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let path = path.into();
        Chain(key.as_ref()).check_key()?;
        let file = open_file(&path)?;
        Self::with_file(path, file, key, clock)
    }

    fn with_file(
        path: PathBuf,
        file: File,
        key: Option<SecretBytes>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let state = State {
            head: Chain(key.as_ref()).genesis()?,
            size: None,
            broken: None,
            buffer: Vec::with_capacity(1024),
            #[cfg(test)]
            faults: tests::Faults::default(),
        };
        let generation = fork_generation();
        let (sync, state) = (false, Mutex::new(state));
        let log = Self { path, file, key, clock, sync, generation, state };
        {
            let mut state = log.state();
            let _lock = log.lock()?;
            log.catch_up(&mut state)?;
        }
        Ok(log)
    }

    /// Brings every line to the disk (fdatasync(2)) before `append` returns. It
    /// costs what the disk's flush costs.
    #[must_use]
    pub fn synced(self, sync: bool) -> Self {
        Self { sync, ..self }
    }

    /// Where the log is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `event` as the next line; the whole line is with the kernel when
    /// this returns. It waits for other processes that are appending.
    ///
    /// # Errors
    /// Whatever the error, the operation that was to be recorded must not
    /// answer. `Unavailable` if the line cannot be written: a part of it that
    /// was written is taken back. `Tampered` if the log was cut, or its last
    /// line is not the one that should be there. `LimitExceeded` if the line
    /// would be longer than [`MAX_LINE_BYTES`].
    pub fn append(&self, event: &Event<'_>) -> Result<()> {
        // A forked child shares the parent's open file, and with it its lock.
        if self.generation != fork_generation() {
            return Err(Error::unavailable("the audit log was opened before a fork: open it anew")
                .retryable(false));
        }
        let mut state = self.state();
        if let Some(error) = &state.broken {
            return Err(error.clone());
        }
        let _lock = self.lock()?;
        self.catch_up(&mut state)?;
        state.buffer.clear();
        let line = event.to_line(state.head.seq + 1, self.clock.now());
        self.write_line(&mut state, &line)
    }

    /// The last line that this log has seen: what to note elsewhere.
    pub fn head(&self) -> Head {
        self.state().head
    }

    /// Takes in what others have written since, and closes what they, or a
    /// power cut, left torn.
    fn catch_up(&self, state: &mut State) -> Result<()> {
        let size = self.size()?;
        if state.size == Some(size) {
            return Ok(());
        }
        let chain = Chain(self.key.as_ref());
        let tail = Source { file: &self.file, path: &self.path }.tail(size, &chain)?;
        let (seen, found) = (&state.head, &tail.head);
        if found.seq < seen.seq || found.seq == seen.seq && found.hash != seen.hash {
            return Err(Error::tampered(format!(
                "the audit log {} was cut or replaced while it was open: it had {} entries",
                self.path.display(),
                seen.seq
            )));
        }
        (state.head, state.size) = (tail.head, Some(size));
        state.buffer.clear();
        if let Some(fragment) = tail.torn {
            let line = Line::recovered(state.head.seq + 1, self.clock.now(), fragment);
            if !tail.closed {
                state.buffer.push(b'\n');
            }
            self.write_line(state, &line)?;
        }
        Ok(())
    }

    /// Writes what the buffer holds and then `line`, in one write(2).
    fn write_line(&self, state: &mut State, line: &Line) -> Result<()> {
        let begin = state.buffer.len();
        line.write_hashed(&mut state.buffer)?;
        let hash = Chain(self.key.as_ref()).next(&state.head, &state.buffer[begin..])?;
        write_hash(&mut state.buffer, &hash);
        if state.buffer.len() - begin > MAX_LINE_BYTES {
            return Err(Error::limit_exceeded("the audit line would be longer than 64 KiB"));
        }
        self.write(state)?;
        state.head = Head { seq: line.seq, hash };
        Ok(())
    }

    fn write(&self, state: &mut State) -> Result<()> {
        let begin = state.size.take().unwrap_or_default();
        let mut written = 0;
        if let Err(source) = self.write_buffer(state, &mut written) {
            let error = unavailable(&self.path, "written", source);
            if written > 0 && self.take_back(state, begin).is_err() {
                state.broken = Some(error.clone());
            }
            return Err(error);
        }
        state.size = Some(begin + written as u64);
        if self.sync
            && let Err(source) = self.file.sync_data()
        {
            // After a failed fsync the kernel may have dropped the page: what the
            // disk holds is unknown, and a second fsync would not tell (Rebello
            // et al., USENIX ATC 2020).
            let error = unavailable(&self.path, "synced", source);
            state.broken = Some(error.clone());
            return Err(error);
        }
        Ok(())
    }

    fn write_buffer(&self, state: &State, written: &mut usize) -> io::Result<()> {
        while *written < state.buffer.len() {
            let rest = &state.buffer[*written..];
            #[cfg(test)]
            let rest = state.faults.limit(rest, *written)?;
            match (&self.file).write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => *written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Removes the part of a line that was written: nobody was told of it, and
    /// the lock keeps others from having written behind it.
    #[cfg_attr(not(test), expect(unused_variables, reason = "tests let it fail"))]
    fn take_back(&self, state: &State, size: u64) -> io::Result<()> {
        #[cfg(test)]
        state.faults.set_len()?;
        self.file.set_len(size)
    }

    fn size(&self) -> Result<u64> {
        let metadata = self.file.metadata().map_err(|e| unavailable(&self.path, "examined", e))?;
        if metadata.nlink() == 0 {
            // Lines would go to a file that nobody can read any more.
            return Err(Error::unavailable(format!(
                "the audit log {} was removed while it was open",
                self.path.display()
            ))
            .retryable(false));
        }
        Ok(metadata.len())
    }

    fn lock(&self) -> Result<Locked<'_>> {
        self.file.lock().map_err(|e| unavailable(&self.path, "locked", e))?;
        Ok(Locked(&self.file))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("AuditLog");
        out.field("path", &self.path).field("keyed", &self.key.is_some());
        out.field("sync", &self.sync).finish_non_exhaustive()
    }
}

/// The file lock, held until this is dropped.
struct Locked<'a>(&'a File);

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // It fails only for a descriptor that is not open.
        let _ = self.0.unlock();
    }
}

fn open_file(path: &Path) -> Result<File> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|e| unavailable(directory, "created", e))?;
    }
    let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path);
    let file = file.map_err(|e| unavailable(path, "opened", e))?;
    let regular = file.metadata().as_ref().is_ok_and(Metadata::is_file);
    if !regular {
        let path = path.display();
        return Err(Error::configuration(format!("the audit log {path} is not a regular file")));
    }
    Ok(file)
}

fn unavailable(path: &Path, what: &str, source: io::Error) -> Error {
    let path = path.display();
    Error::unavailable(format!("the audit log {path} cannot be {what}: {source}"))
        .with_source(source)
}
