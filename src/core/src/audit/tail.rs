//! The end of a log, found by reading backwards: opening costs the same
//! whatever the log's length.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::chain::{Chain, Head, to_hex};
use super::line::{Fragment, MAX_LINE_BYTES, Parsed, looks_whole, parse_line};
use super::unavailable;
use crate::error::{Error, Result};

/// How many torn pieces may follow each other: a recovery can be cut as well.
pub(super) const MAX_TORN_PIECES: usize = 16;
const CHUNK_BYTES: usize = 64 << 10;

/// Where the log ends.
pub(super) struct Tail {
    /// The last whole line.
    pub(super) head: Head,
    /// What was torn after it.
    pub(super) torn: Option<Fragment>,
    /// Whether a newline is the last byte.
    pub(super) closed: bool,
}

/// Reads a file at places, and hashes parts of it in constant memory.
pub(super) struct Source<'a> {
    pub(super) file: &'a File,
    pub(super) path: &'a Path,
}

impl Source<'_> {
    /// The end of the first `size` bytes. A last line that is whole and does
    /// not fit its chain is `Tampered`.
    pub(super) fn tail(&self, size: u64, chain: &Chain<'_>) -> Result<Tail> {
        if size == 0 {
            return Ok(Tail { head: chain.genesis()?, torn: None, closed: true });
        }
        let closed = self.byte(size - 1)? == b'\n';
        let end = size - u64::from(closed);
        let start = self.line_start(end)?;
        if let Some(head) = self.checked(start, end, chain)? {
            let torn = if closed { None } else { Some(self.fragment(end, end)?) };
            return Ok(Tail { head, torn, closed });
        }
        // A recovery that was cut behind its newline leaves a closed fragment.
        if closed && (start == end || self.piece(start, end)?.is_some_and(|b| looks_whole(&b))) {
            return Err(self.tampered(start));
        }
        let (head, start) = self.before_torn(start, chain)?;
        Ok(Tail { head, torn: Some(self.fragment(start, end)?), closed })
    }

    /// The last whole line before the fragment at `torn`, and where the torn
    /// pieces begin. Fragments never read as lines; what does, and is not
    /// chained, is no accident, and `checked` refuses it.
    fn before_torn(&self, mut torn: u64, chain: &Chain<'_>) -> Result<(Head, u64)> {
        for _ in 0..MAX_TORN_PIECES {
            if torn == 0 {
                return Ok((chain.genesis()?, 0));
            }
            let start = self.line_start(torn - 1)?;
            if let Some(head) = self.checked(start, torn - 1, chain)? {
                return Ok((head, torn));
            }
            torn = start;
        }
        Err(self.tampered(torn))
    }

    /// The head that the piece `start..end` is; `None` if it is not a line.
    fn checked(&self, start: u64, end: u64, chain: &Chain<'_>) -> Result<Option<Head>> {
        let Some(bytes) = self.piece(start, end)? else { return Ok(None) };
        let Ok(parsed) = parse_line(&bytes) else { return Ok(None) };
        let previous = self.previous(start, &parsed, chain)?;
        let in_order = previous.seq.checked_add(1) == Some(parsed.line.seq);
        if in_order && chain.follows(&previous, parsed.hashed, &parsed.hash)? {
            return Ok(Some(parsed.head()));
        }
        Err(self.tampered(start))
    }

    /// The head before the line at `start`, behind the fragment that it closes.
    fn previous(&self, start: u64, parsed: &Parsed<'_>, chain: &Chain<'_>) -> Result<Head> {
        let mut end = start;
        if let Some(fragment) = parsed.line.fragment.as_ref().filter(|f| f.bytes > 0) {
            end = self.fragment_start(start, fragment)?.ok_or_else(|| self.tampered(start))?;
        }
        if end == 0 {
            return chain.genesis();
        }
        let start = self.line_start(end - 1)?;
        let bytes = self.piece(start, end - 1)?.ok_or_else(|| self.tampered(start))?;
        parse_line(&bytes).map(|parsed| parsed.head()).map_err(|_| self.tampered(start))
    }

    /// Where the fragment begins that the line at `start` closes; `None` if the
    /// bytes before the line are not that fragment.
    pub(super) fn fragment_start(&self, start: u64, fragment: &Fragment) -> Result<Option<u64>> {
        let Some(end) = start.checked_sub(1) else { return Ok(None) };
        let Some(begin) = end.checked_sub(fragment.bytes) else { return Ok(None) };
        Ok((self.fragment(begin, end)? == *fragment).then_some(begin))
    }

    fn fragment(&self, start: u64, end: u64) -> Result<Fragment> {
        let mut hash = Sha256::new();
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut at = start;
        while at < end {
            let len = CHUNK_BYTES.min((end - at) as usize);
            self.read(&mut chunk[..len], at)?;
            hash.update(&chunk[..len]);
            at += len as u64;
        }
        Ok(Fragment { bytes: end - start, sha256: to_hex(&hash.finalize()) })
    }

    /// Where the line begins whose bytes end before `end`.
    fn line_start(&self, end: u64) -> Result<u64> {
        // Nearly every line is shorter than this; only a fragment needs more.
        let mut step = 1024;
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut at = end;
        while at > 0 {
            let len = step.min(at as usize);
            at -= len as u64;
            self.read(&mut chunk[..len], at)?;
            if let Some(newline) = chunk[..len].iter().rposition(|&byte| byte == b'\n') {
                return Ok(at + newline as u64 + 1);
            }
            step = CHUNK_BYTES;
        }
        Ok(0)
    }

    /// The bytes from `start` to `end`, unless they are too many for a line.
    fn piece(&self, start: u64, end: u64) -> Result<Option<Vec<u8>>> {
        if end - start > MAX_LINE_BYTES as u64 {
            return Ok(None);
        }
        let mut bytes = vec![0; (end - start) as usize];
        self.read(&mut bytes, start)?;
        Ok(Some(bytes))
    }

    fn byte(&self, at: u64) -> Result<u8> {
        let mut byte = [0];
        self.read(&mut byte, at)?;
        Ok(byte[0])
    }

    fn read(&self, out: &mut [u8], at: u64) -> Result<()> {
        self.file.read_exact_at(out, at).map_err(|e| unavailable(self.path, "read", e))
    }

    fn tampered(&self, at: u64) -> Error {
        Error::tampered(format!(
            "the audit log {} does not end as it was written: the line at byte {at} was altered, \
             or another key wrote it; `audit verify` shows more",
            self.path.display()
        ))
    }
}
