//! Runs workloads under strace.

use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use tempfile::TempDir;

use super::program::Program;
use super::strace::{MAX_STRING_BYTES, TRACED};
use super::trace::Trace;

/// A workload that writes more takes minutes to sweep and finds nothing new.
const MAX_WRITTEN_BYTES: usize = 256 << 20;

/// Records what programs do to one directory.
#[derive(Debug)]
pub struct Recorder {
    scratch: TempDir,
    dir: PathBuf,
    trace: Trace,
    runs: usize,
}

impl Recorder {
    /// A recorder of an empty directory of its own.
    pub fn new() -> io::Result<Self> {
        let scratch = scratch("powercut-record-")?;
        let dir = fs::canonicalize(scratch.path())?.join("disk");
        fs::create_dir(&dir)?;
        let trace = Trace::new(dir.clone());
        Ok(Self { scratch, dir, trace, runs: 0 })
    }

    /// A recorder of a directory that holds a copy of `from`, all durable: what
    /// a first power cut left. So a cut during recovery is recorded.
    pub fn starting_from(from: &Path) -> io::Result<Self> {
        let mut recorder = Self::new()?;
        copy(from, &recorder.dir)?;
        let dir = recorder.dir.clone();
        recorder.trace.start_with(&dir)?;
        Ok(recorder)
    }

    /// The recorded directory, which stands for the whole disk: the store's own
    /// directory belongs below it, so that its creation is recorded too.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Runs a program to its end. Several runs follow each other without a
    /// power cut: what one has not synced, the next one sees, still pending.
    ///
    /// # Errors
    /// If the program fails, or does what the model does not know.
    pub fn run(&mut self, program: &Command) -> io::Result<()> {
        let (status, errors) = self.trace_one(program)?;
        if status.success() {
            return Ok(());
        }
        Err(io::Error::other(format!("the workload failed ({status}): {errors}")))
    }

    /// As [`run`](Self::run), for a program that kills itself: a crash of the
    /// process, but not of the machine.
    pub fn run_until_killed(&mut self, program: &Command) -> io::Result<()> {
        match self.trace_one(program)? {
            (status, _) if status.signal().is_some() => Ok(()),
            (status, errors) => {
                Err(io::Error::other(format!("the workload was not killed ({status}): {errors}")))
            }
        }
    }

    /// The trace of all runs.
    ///
    /// # Errors
    /// If nothing was recorded: strace then works differently than expected,
    /// and a sweep would prove nothing.
    pub fn finish(self) -> io::Result<Trace> {
        if self.trace.changes.is_empty() {
            return Err(io::Error::other("the workload changed nothing"));
        }
        Ok(self.trace)
    }

    fn trace_one(&mut self, program: &Command) -> io::Result<(ExitStatus, String)> {
        self.runs += 1;
        let log = self.scratch.path().join(format!("strace-{}", self.runs));
        let errors = self.scratch.path().join(format!("stderr-{}", self.runs));
        let mut strace = Command::new("strace");
        strace
            .args(["-f", "-qq", "--seccomp-bpf", "-xx", "-y", "-a", "1", "-e", "signal=none"])
            .args(["-s", &MAX_STRING_BYTES.to_string(), "-e", TRACED, "-o"])
            .arg(&log)
            .arg("--")
            .arg(program.get_program())
            .args(program.get_args())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&errors)?);
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => strace.env(name, value),
                None => strace.env_remove(name),
            };
        }
        let status = strace.status().map_err(|error| {
            io::Error::other(format!("strace does not start (Debian package strace): {error}"))
        })?;
        let log_text = fs::read_to_string(&log)?;
        let errors = fs::read_to_string(&errors)?;
        Program::new(&mut self.trace).follow(&log_text).map_err(|why| {
            io::Error::other(format!("{why}; the workload ended with {status}: {errors}"))
        })?;
        fs::remove_file(&log)?;
        if self.trace.written_bytes() > MAX_WRITTEN_BYTES {
            return Err(io::Error::other("the workload writes more than a sweep can take"));
        }
        Ok((status, errors))
    }
}

/// A temporary directory, in memory where the system has one: a sweep writes
/// every state in full, and nobody needs it on a disk.
pub(super) fn scratch(prefix: &str) -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix);
    builder.tempdir_in("/dev/shm").or_else(|_| builder.tempdir())
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir(&target)?;
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
