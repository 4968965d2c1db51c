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
//! after it how it ended. A read writes one, before the answer leaves; many reads
//! that are asked for together share lines ([`Event::reads`]). Where
//! [`AuditLog::record`] fails, the operation does not answer.
//!
//! # Many at once
//! [`AuditLog::record`] lets whatever else is ready on its executor queue a line
//! first; then whoever is polled next, or makes the group full, writes all of them,
//! with one lock and one write(2). Nobody leads: no caller depends on another one being polled.
//!
//! # After a power cut
//! A line is with the kernel when `record` returns, on the disk only with
//! [`AuditLog::synced`]. A line torn by a power cut stays where it is: opening
//! the log closes it with a newline and a line `recovered` with its length and
//! hash, chained to the last whole line. Without `synced` a cut may also leave
//! a hole before a later line; [`verify`] cannot tell that from an attack.

mod chain;
mod event;
mod line;
mod queue;
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
use self::event::Stamps;
pub use self::event::{Event, Read};
use self::line::write_hash;
pub use self::line::{Actor, Fragment, Line, MAX_LINE_BYTES, Parsed, Part, Phase, parse_line};
use self::queue::{Bodies, KEPT_BYTES, Queue};
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
    /// Locked after `state` where both are, and only for as long as it takes to
    /// put a line in.
    queue: Mutex<Queue>,
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
    stamps: Stamps,
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
            buffer: Vec::new(),
            stamps: Stamps::default(),
            #[cfg(test)]
            faults: tests::Faults::default(),
        };
        let generation = fork_generation();
        let (sync, queue, state) = (false, Mutex::default(), Mutex::new(state));
        let log = Self { path, file, key, clock, sync, generation, queue, state };
        {
            let mut state = log.state();
            let _lock = log.lock()?;
            log.catch_up(&mut state)?;
        }
        Ok(log)
    }

    /// Brings every line to the disk (fdatasync(2)) before `record` returns. It
    /// costs what the disk's flush costs, once for all that are recorded at once.
    #[must_use]
    pub fn synced(self, sync: bool) -> Self {
        Self { sync, ..self }
    }

    /// Whether every line waits for the disk.
    pub fn is_synced(&self) -> bool {
        self.sync
    }

    /// Where the log is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `events` as the next lines, all or none of them, in one write(2);
    /// they are with the kernel when this returns. It waits for other processes
    /// that are appending.
    ///
    /// # Errors
    /// Whatever the error, the operations that were to be recorded must not
    /// answer. `Unavailable` if the lines cannot be written: a part of them that
    /// was written is taken back. `Tampered` if the log was cut, or its last
    /// line is not the one that should be there. `LimitExceeded` if a line would
    /// be longer than [`MAX_LINE_BYTES`].
    pub fn append_all(&self, events: &[Event<'_>]) -> Result<()> {
        let mut bodies = Bodies::default();
        events.iter().try_for_each(|event| bodies.push(event))?;
        self.check_generation()?;
        self.write_bodies(&mut self.state(), &bodies)
    }

    fn check_generation(&self) -> Result<()> {
        // A forked child shares the parent's open file, and with it its lock; and
        // a mutex of ours may have been held when it forked.
        if self.generation == fork_generation() {
            return Ok(());
        }
        Err(Error::unavailable("the audit log was opened before a fork: open it anew")
            .retryable(false))
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
            let mut bodies = Bodies::default();
            bodies.push(&Event::recovered(&fragment, &Actor::default()))?;
            if !tail.closed {
                state.buffer.push(b'\n');
            }
            self.write_lines(state, &bodies)?;
        }
        Ok(())
    }

    /// Puts lines into the file, all or none of them.
    fn write_bodies(&self, state: &mut State, bodies: &Bodies) -> Result<()> {
        if let Some(error) = &state.broken {
            return Err(error.clone());
        }
        if bodies.is_empty() {
            return Ok(());
        }
        let _lock = self.lock()?;
        self.catch_up(state)?;
        state.buffer.clear();
        self.write_lines(state, bodies)
    }

    /// Writes what the buffer holds and then the lines, in one write(2).
    fn write_lines(&self, state: &mut State, bodies: &Bodies) -> Result<()> {
        let links = Chain(self.key.as_ref()).links()?;
        let time = self.clock.now();
        let mut head = state.head;
        for body in bodies.iter() {
            let begin = state.buffer.len();
            head.seq += 1;
            state.stamps.write(&mut state.buffer, head.seq, time)?;
            state.buffer.extend_from_slice(body);
            head.hash = links.next(&head, &state.buffer[begin..]);
            write_hash(&mut state.buffer, &head.hash);
        }
        self.write(state)?;
        state.head = head;
        state.buffer.clear();
        state.buffer.shrink_to(KEPT_BYTES);
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
        #[cfg(test)]
        if self.sync {
            state.faults.note("sync");
        }
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

    /// Removes the part of the lines that was written: nobody was told of it, and
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
