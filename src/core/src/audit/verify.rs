//! Reading a log: all of it, in constant memory, with or without its chain.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Take};
use std::path::{Path, PathBuf};

use strongroom_guard::SecretBytes;

use super::chain::{Chain, Head};
use super::line::{Fragment, Line, MAX_LINE_BYTES, Parsed, parse_line};
use super::tail::{MAX_TORN_PIECES, Source};
use super::unavailable;
use crate::clock::Timestamp;
use crate::error::{Error, Result};

/// What [`verify`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The lines that are right, up to the first that is not.
    pub lines: u64,
    /// How many of them close a line torn by a power cut.
    pub recovered: u64,
    /// The last right line: what to note elsewhere.
    pub head: Head,
    /// Whether the chain was made with a key.
    pub keyed: bool,
    /// The first thing that is wrong.
    pub problem: Option<Problem>,
}

/// The first thing that is wrong with a log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The line in the file, from 1.
    pub line: u64,
    /// The byte where it begins, from 0.
    pub offset: u64,
    /// What is wrong.
    pub kind: ProblemKind,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProblemKind {
    /// The bytes are not an audit line, nor a torn one that was closed.
    Malformed,
    /// The line, or the hash before it, was altered, or another key wrote it.
    Altered,
    /// Lines before this one are gone or were moved behind it.
    Missing {
        /// The number that should stand here.
        expected: u64,
        /// The number that does.
        found: u64,
    },
    /// A line stands here again, was moved here or inserted.
    Repeated {
        /// The number that should stand here.
        expected: u64,
        /// The number that does.
        found: u64,
    },
    /// The last line has no end; opening the log closes it.
    Unfinished,
    /// The log ends before the line that was noted as its head.
    Truncated {
        /// The number that was noted.
        expected: u64,
    },
    /// The line that was noted as the head has another hash.
    OtherHead,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} (byte {}): ", self.line, self.offset)?;
        match self.kind {
            ProblemKind::Malformed => f.write_str("not an audit line"),
            ProblemKind::Altered => f.write_str("altered, or written under another key"),
            ProblemKind::Missing { expected, found } => {
                write!(f, "entry {expected} is missing: entry {found} stands here")
            }
            ProblemKind::Repeated { expected, found } => {
                write!(f, "entry {found} stands here again instead of entry {expected}")
            }
            ProblemKind::Unfinished => f.write_str("torn; the next opening of the log closes it"),
            ProblemKind::Truncated { expected } => {
                write!(f, "the log ends here, but it had {expected} entries: its end was cut off")
            }
            ProblemKind::OtherHead => f.write_str("this entry is not the one that was noted"),
        }
    }
}

/// Checks the log at `path` from its first line, and calls `visit` for each
/// line that is right, in order.
///
/// `noted` is a head of this log that was kept elsewhere; without it nobody can
/// tell that lines were cut off at the end. Lines that others append meanwhile
/// are not looked at.
///
/// # Errors
/// What is wrong with the log stands in the report; an error means that it
/// could not be read.
pub fn verify(
    path: &Path,
    key: Option<&SecretBytes>,
    noted: Option<&Head>,
    mut visit: impl FnMut(&Line),
) -> Result<Report> {
    let chain = Chain(key);
    chain.check_key()?;
    let mut pieces = Pieces::open(path)?;
    let head = chain.genesis()?;
    let (lines, recovered, keyed) = (0, 0, key.is_some());
    let mut report = Report { lines, recovered, head, keyed, problem: None };
    // Where a piece began that is no line, and how many there are since.
    let mut torn: Option<(Problem, usize)> = None;
    while let Some(piece) = pieces.next()? {
        let at = |kind| Problem { line: piece.line, offset: piece.offset, kind };
        if !piece.finished {
            report.problem = Some(torn.map_or(at(ProblemKind::Unfinished), |(first, _)| first));
            return Ok(report);
        }
        let Ok(parsed) = parse_line(&pieces.buffer) else {
            let (first, count) = torn.get_or_insert((at(ProblemKind::Malformed), 0));
            *count += 1;
            if *count > MAX_TORN_PIECES {
                report.problem = Some(first.clone());
                return Ok(report);
            }
            continue;
        };
        let fragment = parsed.line.fragment.as_ref();
        if !closes(&pieces, piece.offset, torn.as_ref().map(|(first, _)| first.offset), fragment)? {
            report.problem = Some(torn.map_or(at(ProblemKind::Malformed), |(first, _)| first));
            return Ok(report);
        }
        if let Some(kind) = wrong(&chain, &report.head, &parsed, noted)? {
            report.problem = Some(at(kind));
            return Ok(report);
        }
        torn = None;
        report.head = parsed.head();
        report.lines += 1;
        report.recovered += u64::from(fragment.is_some());
        visit(&parsed.line);
    }
    report.problem = torn.map(|(first, _)| first);
    if let Some(noted) = noted.filter(|noted| noted.seq > report.head.seq)
        && report.problem.is_none()
    {
        let kind = ProblemKind::Truncated { expected: noted.seq };
        report.problem = Some(Problem { line: pieces.line + 1, offset: pieces.offset, kind });
    }
    Ok(report)
}

/// Whether the line at `offset` closes exactly the torn pieces before it.
fn closes(
    pieces: &Pieces,
    offset: u64,
    torn: Option<u64>,
    fragment: Option<&Fragment>,
) -> Result<bool> {
    match (torn, fragment.filter(|fragment| fragment.bytes > 0)) {
        (None, None) => Ok(true),
        (Some(begin), Some(fragment)) if offset - begin == fragment.bytes.saturating_add(1) => {
            let source = Source { file: pieces.reader.get_ref().get_ref(), path: &pieces.path };
            Ok(source.fragment_start(offset, fragment)? == Some(begin))
        }
        _ => Ok(false),
    }
}

fn wrong(
    chain: &Chain<'_>,
    previous: &Head,
    parsed: &Parsed<'_>,
    noted: Option<&Head>,
) -> Result<Option<ProblemKind>> {
    let (expected, found) = (previous.seq + 1, parsed.line.seq);
    if found > expected {
        return Ok(Some(ProblemKind::Missing { expected, found }));
    }
    if found < expected {
        return Ok(Some(ProblemKind::Repeated { expected, found }));
    }
    if !chain.follows(previous, parsed.hashed, &parsed.hash)? {
        return Ok(Some(ProblemKind::Altered));
    }
    let other = noted.is_some_and(|noted| noted.seq == found && noted.hash != parsed.hash);
    Ok(other.then_some(ProblemKind::OtherHead))
}

/// Which lines [`read`] gives. What is `None` does not matter.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The scope, as `account/org/project`.
    pub scope: Option<String>,
    /// The secret's identifier in its scope.
    pub name: Option<String>,
    /// The operation.
    pub operation: Option<String>,
    /// Not before this time.
    pub since: Option<Timestamp>,
    /// Not after this time.
    pub until: Option<Timestamp>,
    /// Only operations that failed.
    pub failed: bool,
}

impl Filter {
    fn passes(&self, line: &Line) -> bool {
        let same = |wanted: &Option<String>, is: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| Some(wanted) == is)
        };
        same(&self.scope, line.scope.as_deref())
            && same(&self.name, line.name.as_deref())
            && same(&self.operation, Some(&line.operation))
            && self.since.is_none_or(|since| line.timestamp() >= since)
            && self.until.is_none_or(|until| line.timestamp() <= until)
            && !(self.failed && line.outcome.as_deref().is_none_or(|outcome| outcome == "ok"))
    }
}

/// The lines of the log at `path` that pass `filter`, oldest first, without
/// checking the chain. A line about several secrets is given as one for each.
///
/// A piece that is not a line, and that no `recovered` line closes, gives
/// `Tampered`, and reading goes on behind it. A line that is still being
/// written is not given.
pub fn read(path: &Path, filter: Filter) -> Result<Lines> {
    let pieces = Pieces::open(path)?;
    Ok(Lines { pieces, filter, torn: None, waiting: VecDeque::new(), ended: false })
}

/// The iterator of [`read`].
#[derive(Debug)]
pub struct Lines {
    pieces: Pieces,
    filter: Filter,
    torn: Option<Error>,
    waiting: VecDeque<Line>,
    ended: bool,
}

impl Iterator for Lines {
    type Item = Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.waiting.is_empty() && !self.ended {
            let piece = match self.pieces.next() {
                Ok(Some(piece)) if piece.finished => piece,
                Ok(_) => {
                    self.ended = true;
                    return self.torn.take().map(Err);
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            };
            let Ok(parsed) = parse_line(&self.pieces.buffer) else {
                let path = self.pieces.path.display();
                let line = piece.line;
                let what = format!("line {line} of the audit log {path} is not an audit line");
                self.torn.get_or_insert_with(|| Error::tampered(what));
                continue;
            };
            let line = parsed.line;
            let torn = self.torn.take().filter(|_| line.fragment.is_none());
            let each = line.spread().into_iter();
            self.waiting.extend(each.filter(|line| self.filter.passes(line)));
            if let Some(error) = torn {
                return Some(Err(error));
            }
        }
        self.waiting.pop_front().map(Ok)
    }
}

/// The pieces between newlines, each in one buffer of at most a line's size.
#[derive(Debug)]
struct Pieces {
    reader: BufReader<Take<File>>,
    path: PathBuf,
    buffer: Vec<u8>,
    line: u64,
    offset: u64,
}

#[derive(Clone, Copy)]
struct Piece {
    line: u64,
    offset: u64,
    /// Whether a newline ends it.
    finished: bool,
}

impl Pieces {
    /// Looks at what is there now: a writer holds the lock until its line is
    /// whole.
    fn open(path: &Path) -> Result<Self> {
        let size = |file: &File| {
            file.lock_shared()?;
            let size = file.metadata().map(|metadata| metadata.len());
            file.unlock()?;
            size
        };
        let opened = File::open(path).and_then(|file| size(&file).map(|size| file.take(size)));
        let file = opened.map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => {
                let path = path.display();
                Error::not_found(format!("there is no audit log at {path}")).with_source(source)
            }
            _ => unavailable(path, "read", source),
        })?;
        let (reader, path) = (BufReader::with_capacity(128 << 10, file), path.to_owned());
        Ok(Self { reader, path, buffer: Vec::with_capacity(1024), line: 0, offset: 0 })
    }

    /// The next piece, its bytes in the buffer; of one that is too long only
    /// enough that it will not be taken for a line.
    fn next(&mut self) -> Result<Option<Piece>> {
        self.buffer.clear();
        let offset = self.offset;
        let finished = loop {
            let chunk = self.reader.fill_buf().map_err(|e| unavailable(&self.path, "read", e))?;
            if chunk.is_empty() {
                break false;
            }
            let newline = chunk.iter().position(|&byte| byte == b'\n');
            let bytes = &chunk[..newline.unwrap_or(chunk.len())];
            let room = (MAX_LINE_BYTES + 1).saturating_sub(self.buffer.len());
            self.buffer.extend_from_slice(&bytes[..bytes.len().min(room)]);
            let used = bytes.len() + usize::from(newline.is_some());
            self.offset += used as u64;
            self.reader.consume(used);
            if newline.is_some() {
                break true;
            }
        };
        if self.offset == offset {
            return Ok(None);
        }
        self.line += 1;
        Ok(Some(Piece { line: self.line, offset, finished }))
    }
}
