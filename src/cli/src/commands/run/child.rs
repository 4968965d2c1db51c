//! The command while it runs: its output, and how it ends.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rustix::process::Pid;
use strongroom::mask::Masker;
use strongroom::{Error, SecretBytes};

use super::directory::PrivateDirectory;
use super::signals::Signals;
use crate::exit;
use crate::failure::{Failure, Result};

/// How much of the command's output is read at once; it is in guarded memory, as
/// long as it is not masked.
const CHUNK_BYTES: usize = 16 << 10;

/// Runs `command` to its end. The error is how it ended, if not with 0.
pub(super) fn run(
    mut command: Command,
    masker: Option<Arc<Masker>>,
    mut signals: Signals,
    directory: Option<PrivateDirectory>,
) -> Result {
    if masker.is_some() {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
    }
    let mut child = command.spawn().map_err(|error| not_run(&command, &error))?;
    // It holds a copy of the values.
    drop(command);
    let pumps = masker.map(|masker| start_pumps(&mut child, &masker)).transpose()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| Error::internal("the command has no process id"))?;
    let lost = |error| Error::internal("the command cannot be waited for").with_source(error);
    let status = signals.pass_on(pid, || child.try_wait()).map_err(lost)?;
    // Now, also if what the command left behind goes on writing.
    drop(directory);
    if let Some(pumps) = pumps {
        let handle = signals.handle();
        let ending = thread::Builder::new().spawn(move || {
            let ended = pumps.into_iter().map(JoinHandle::join);
            let ended = ended.collect::<Vec<_>>();
            handle.close();
            ended
        })?;
        if let Some(signal) = signals.wait_for_close() {
            return Err(Failure::Ended(exit::signalled(signal)));
        }
        for pump in ending.join().unwrap_or_default() {
            pump.unwrap_or_else(|_| Err(io::Error::other("masking has failed")))?;
        }
    }
    match code_of(status) {
        0 => Ok(()),
        code => Err(Failure::Ended(code)),
    }
}

/// What a shell would show.
fn code_of(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => u8::try_from(code & 0xff).unwrap_or(exit::INTERNAL),
        (None, Some(signal)) => exit::signalled(signal),
        (None, None) => exit::INTERNAL,
    }
}

fn not_run(command: &Command, error: &io::Error) -> Failure {
    let program = command.get_program().display();
    let (code, what) = match error.kind() {
        ErrorKind::NotFound => (exit::NOT_FOUND, "is not found".to_owned()),
        ErrorKind::ArgumentListTooLong => (
            exit::NOT_RUN,
            "cannot be run: its arguments and variables are too long together; give long values \
             with --file"
                .to_owned(),
        ),
        _ => (exit::NOT_RUN, format!("cannot be run: {error}")),
    };
    Failure::NotRun { code, message: format!("{program} {what}") }
}

type Pump = JoinHandle<io::Result<()>>;

fn start_pumps(child: &mut Child, masker: &Arc<Masker>) -> io::Result<Vec<Pump>> {
    let mut pumps = Vec::new();
    let stdout = child.stdout.take().map(OwnedFd::from);
    let stderr = child.stderr.take().map(OwnedFd::from);
    let ends = [
        (stdout, io::stdout().as_fd().try_clone_to_owned()?),
        (stderr, io::stderr().as_fd().try_clone_to_owned()?),
    ];
    for (from, to) in ends {
        let Some(from) = from else { continue };
        let masker = Arc::clone(masker);
        let pump = move || pump(File::from(from), File::from(to), &masker);
        pumps.push(thread::Builder::new().spawn(pump)?);
    }
    Ok(pumps)
}

/// Writes what comes, masked and at once: a prompt has no end of a line.
fn pump(mut from: File, mut to: File, masker: &Masker) -> io::Result<()> {
    let mut stream = masker.stream().map_err(io::Error::other)?;
    let mut chunk = SecretBytes::zeroed(CHUNK_BYTES).map_err(io::Error::other)?;
    let mut out = Vec::with_capacity(2 * CHUNK_BYTES);
    loop {
        let read = match from.read(chunk.expose_mut()) {
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        out.clear();
        match read {
            0 => stream.finish(&mut out),
            _ => stream.push(&chunk.expose()[..read], &mut out),
        }
        match to.write_all(&out) {
            // Nobody reads: with our end closed, the command finds out as it would
            // without us.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            written => written?,
        }
        if read == 0 {
            return Ok(());
        }
    }
}
