//! What streams in and out of this process: a piece at a time in guarded memory,
//! and people see how far it has got.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use strongroom::guard::SecretBuffer;
use strongroom::{Error, SecretBytes};

use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::value::file_error;

/// So much is read before anything else is done: whoever gives a value may need
/// the store first, as in `strongroom get a | strongroom put b`.
const HEAD_BYTES: usize = 1 << 20;
/// What takes less is over before anybody looks.
const SHOWN_BYTES: u64 = 16 << 20;
const PIECE_BYTES: usize = 16 << 10;

/// What a value or a file is read from.
pub(crate) struct Input {
    source: File,
    what: String,
    length: Option<u64>,
    head: SecretBytes,
    /// How much of `head` has been read again.
    taken: usize,
    ended: bool,
    total: u64,
    last: Option<u8>,
    progress: Progress,
}

impl Input {
    pub(crate) fn file(path: &Path, output: Output) -> Result<Self> {
        let failed = |error| file_error(path, "read", error);
        let source = File::open(path).map_err(failed)?;
        let found = source.metadata().map_err(failed)?;
        let length = found.is_file().then_some(found.len());
        Self::begin(source, path.display().to_string(), length, output)
    }

    pub(crate) fn stdin(output: Output) -> Result<Self> {
        // Not `io::stdin()`: its buffer would keep a copy.
        let source = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        Self::begin(source, "stdin".to_owned(), None, output)
    }

    fn begin(source: File, what: String, length: Option<u64>, output: Output) -> Result<Self> {
        let head = SecretBytes::zeroed(0)?;
        let progress = Progress::new(output, length);
        let (taken, ended, total, last) = (0, false, 0, None);
        let mut input = Self { source, what, length, head, taken, ended, total, last, progress };
        let mut head = SecretBuffer::with_limit(HEAD_BYTES);
        let mut piece = SecretBytes::zeroed(PIECE_BYTES)?;
        while !input.ended && head.len() < HEAD_BYTES {
            // No more than fits: a pipe may give any number of bytes at a time.
            let room = PIECE_BYTES.min(HEAD_BYTES - head.len());
            let read = input.read(&mut piece.expose_mut()[..room]);
            let read = read.map_err(|error| input.failure(error))?;
            input.ended = read == 0;
            head.write_all(&piece.expose()[..read]).map_err(|error| {
                let what = "there is no locked memory for the value";
                Failure::Engine(Error::limit_exceeded(what).with_source(error))
            })?;
        }
        input.head = head.into_secret()?;
        Ok(input)
    }

    /// All of it, if it is short.
    pub(crate) fn whole(&self) -> Option<&SecretBytes> {
        self.ended.then_some(&self.head)
    }

    /// How many bytes there are, where that is known.
    pub(crate) fn length(&self) -> Option<u64> {
        if self.ended { Some(self.head.len() as u64) } else { self.length }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.total == 0
    }

    pub(crate) fn ends_with_newline(&self) -> bool {
        self.last == Some(b'\n')
    }

    fn failure(&self, error: io::Error) -> Failure {
        let message = format!("{} cannot be read: {error}", self.what);
        Error::unavailable(message).retryable(false).with_source(error).into()
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let head = &self.head.expose()[self.taken..];
        if !head.is_empty() {
            let taken = head.len().min(buffer.len());
            buffer[..taken].copy_from_slice(&head[..taken]);
            self.taken += taken;
            self.progress.add(taken);
            return Ok(taken);
        }
        if self.ended {
            return Ok(0);
        }
        let read = self.source.read(buffer)?;
        self.total += read as u64;
        self.last = buffer[..read].last().copied().or(self.last);
        // While the head is read for the first time, nothing has been sent.
        if self.taken > 0 {
            self.progress.add(read);
        }
        Ok(read)
    }
}

/// Where a file is written to.
pub(crate) struct Sink<'a> {
    file: &'a mut File,
    progress: Progress,
}

impl<'a> Sink<'a> {
    pub(crate) fn new(file: &'a mut File, output: Output) -> Self {
        Self { file, progress: Progress::new(output, None) }
    }

    /// So many bytes will come.
    pub(crate) fn expect(&mut self, length: u64) {
        self.progress.length = Some(length);
    }
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.progress.add(written);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How far it has got, on stderr: only on a terminal, only for what takes long,
/// and not with `--json`.
struct Progress {
    bar: Option<ProgressBar>,
    shown: bool,
    length: Option<u64>,
    done: u64,
}

impl Progress {
    fn new(output: Output, length: Option<u64>) -> Self {
        Self { bar: None, shown: !output.json, length, done: 0 }
    }

    fn add(&mut self, bytes: usize) {
        self.done += bytes as u64;
        if self.bar.is_none() && self.shown && self.length.unwrap_or(self.done) >= SHOWN_BYTES {
            // Draws nothing where stderr is no terminal.
            let target = ProgressDrawTarget::stderr_with_hz(4);
            let bar = ProgressBar::with_draw_target(self.length, target);
            let template = match self.length {
                Some(_) => "{bytes} of {total_bytes}  {wide_bar}  {bytes_per_sec}, {eta} left",
                None => "{bytes}  {bytes_per_sec}",
            };
            bar.set_style(
                ProgressStyle::with_template(template)
                    .unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            self.bar = Some(bar);
        }
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
