//! Masking: a text without the values that must not be seen in it.
//!
//! A [`Masker`] knows values, and replaces them in any text by [`REPLACEMENT`], at
//! once or in a stream. It finds a value
//!
//! - as it is, and without the blanks around it;
//! - in base64, also of a longer text that the value is a part of, with the
//!   alphabets of RFC 4648 §4 and §5, with and without padding, and broken into
//!   lines of 64 or 76;
//! - in hexadecimal, in lower or in upper case;
//! - percent-encoded, by each of the rules that are in use for what stays as it is;
//! - escaped for JSON, as the usual writers do it;
//! - quoted for a shell: within `'…'`, `"…"` and `$'…'`, and with backslashes;
//! - line by line, each line without the blanks around it, in each of these forms.
//!
//! Where two forms overlap or touch, all of both is replaced, by one replacement.
//!
//! # What is not found
//! - Values of [`SHORTEST_VALUE_BYTES`] - 1 bytes and less, without the blanks around
//!   them: they would be found everywhere. [`Masker::too_short`] names them. So it
//!   is with single lines that are as short.
//! - What is beyond the first [`LONGEST_VALUE_BYTES`] of a value, in any form;
//!   [`Masker::too_long`] names those.
//! - What a program makes of a value by any other way: encrypted, compressed,
//!   reversed, cut into parts, or encoded twice. Masking stops accidents. It does
//!   not stop a program that wants to tell.
//! - Of a longer text's base64, the digit on either side of the value, which has 2
//!   or 4 bits of it.
//!
//! # Memory
//! The forms are in guarded memory, about thirty times as long as the values. What is
//! derived from them to find them fast, a bit for each of their beginnings, is
//! wiped when the masker is dropped. What a text had before it was masked is the
//! caller's, buffers included.

mod base64;
mod escape;
mod filter;
mod forms;
mod index;
mod stream;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;

pub use self::stream::MaskStream;

use self::filter::Filter;
use self::index::{Index, Patterns};
use crate::error::Result;

/// What stands in the place of a value.
pub const REPLACEMENT: &str = "[masked]";
/// The shortest value that is masked, in bytes.
pub const SHORTEST_VALUE_BYTES: usize = 4;
/// How much of a value is masked, in bytes.
pub const LONGEST_VALUE_BYTES: usize = 32 << 10;

/// The longest pattern, in bytes: longer forms are looked for in pieces, so that
/// little of a text is held back.
const LONGEST_PATTERN_BYTES: usize = 1024;
/// From so many bytes on, a pattern is looked for by eight of them at a time.
const LONG_BYTES: usize = 16;

/// Replaces values in texts, in all their forms.
///
/// ```
/// use strongroom_core::mask::Masker;
///
/// # fn main() -> strongroom_core::Result<()> {
/// let masker = Masker::new([("account.db", b"s3cret/".as_slice())])?;
/// assert_eq!(masker.mask(b"url=db:s3cret%2F@host"), b"url=db:[masked]@host");
///
/// let (mut stream, mut out) = (masker.stream()?, Vec::new());
/// stream.push(b"password? s3c", &mut out);
/// assert_eq!(out, b"password? ");
/// stream.push(b"ret/!", &mut out);
/// stream.finish(&mut out);
/// assert_eq!(out, b"password? [masked]!");
/// # Ok(())
/// # }
/// ```
pub struct Masker {
    index: Index,
    /// Finds patterns of fewer than `LONG_BYTES`, and the others.
    short: Option<Filter<4>>,
    long: Option<Filter<8>>,
    too_short: Vec<String>,
    too_long: Vec<String>,
}

impl Masker {
    /// A masker of `values`, each with a name that tells which it is.
    ///
    /// # Errors
    /// `LimitExceeded` if there is no guarded memory for the forms.
    pub fn new<'a>(values: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Result<Self> {
        let (mut too_short, mut too_long) = (Vec::new(), Vec::new());
        let mut patterns = Patterns::default();
        for (name, value) in values {
            if value.trim_ascii().len() < SHORTEST_VALUE_BYTES {
                too_short.push(name.to_owned());
                continue;
            }
            if value.len() > LONGEST_VALUE_BYTES {
                too_long.push(name.to_owned());
            }
            forms::add_all(&mut patterns, &value[..value.len().min(LONGEST_VALUE_BYTES)])?;
        }
        let index = patterns.into_index()?;
        let is_long = |pattern: &&[u8]| pattern.len() >= LONG_BYTES;
        let short = Filter::new(index.iter().filter(|pattern| !is_long(pattern)));
        let long = Filter::new(index.iter().filter(is_long));
        Ok(Self { index, short, long, too_short, too_long })
    }

    /// The names of the values that are left alone, since they are too short.
    #[must_use]
    pub fn too_short(&self) -> &[String] {
        &self.too_short
    }

    /// The names of the values of which only the beginning is masked.
    #[must_use]
    pub fn too_long(&self) -> &[String] {
        &self.too_long
    }

    /// Whether there is nothing to mask.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The text, masked.
    #[must_use]
    pub fn mask(&self, text: &[u8]) -> Vec<u8> {
        let mut masked = Vec::with_capacity(text.len());
        stream::emit_all(self, text, &mut masked);
        masked
    }

    /// Masks a text that arrives in chunks.
    ///
    /// # Errors
    /// `LimitExceeded` if there is no guarded memory for what is held back.
    pub fn stream(&self) -> Result<MaskStream<'_>> {
        MaskStream::new(self)
    }

    fn longest(&self) -> usize {
        self.index.longest()
    }

    /// Where forms stand that are wholly in `text`: in order, apart from each other.
    fn find(&self, text: &[u8]) -> Vec<Range<usize>> {
        let (mut short, mut long) = (Vec::new(), Vec::new());
        if let Some(filter) = &self.short {
            filter.each(text, |at| self.take(text, at, &mut short));
        }
        if let Some(filter) = &self.long {
            filter.each(text, |at| self.take(text, at, &mut long));
        }
        if short.is_empty() || long.is_empty() {
            return if short.is_empty() { long } else { short };
        }
        short.append(&mut long);
        short.sort_unstable_by_key(|found| found.start);
        let mut merged = Vec::with_capacity(short.len());
        for found in short {
            push(&mut merged, found);
        }
        merged
    }

    fn take(&self, text: &[u8], at: usize, found: &mut Vec<Range<usize>>) {
        if let Some(len) = self.index.longest_at(&text[at..]) {
            push(found, at..at + len);
        }
    }

    /// The first place from which on a form may stand that is not wholly in `text`.
    fn decided(&self, text: &[u8]) -> usize {
        let from = (text.len() + 1).saturating_sub(self.longest());
        let may_begin = |at: usize| {
            text.len() - at < 8
                || self.short.as_ref().is_some_and(|filter| filter.may_begin(text, at))
                || self.long.as_ref().is_some_and(|filter| filter.may_begin(text, at))
        };
        let goes_on = |at: &usize| may_begin(*at) && self.index.goes_on_after(&text[*at..]);
        (from..text.len()).find(goes_on).unwrap_or(text.len())
    }
}

/// Adds a range that begins no earlier than those before it.
fn push(found: &mut Vec<Range<usize>>, range: Range<usize>) {
    match found.last_mut() {
        Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
        _ => found.push(range),
    }
}

impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Masker").finish_non_exhaustive()
    }
}
