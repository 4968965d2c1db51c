//! All patterns in order, in guarded memory: which of them stands at a place,
//! and whether one may.

use std::cmp::Ordering;
use std::io::Write;

use strongroom_guard::{SecretBuffer, SecretBytes};

use crate::error::{Error, Result};

/// No pattern.
const NONE: u32 = u32::MAX;

/// Patterns, sorted, each once.
pub(super) struct Index {
    text: SecretBytes,
    patterns: Vec<Pattern>,
    longest: usize,
}

#[derive(Clone, Copy)]
struct Pattern {
    from: u32,
    len: u32,
    /// The longest other pattern that this one begins with.
    shorter: u32,
}

impl Index {
    /// The `longest` bytes of a pattern.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    pub(super) fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// The patterns, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> + Clone {
        let text = self.text.expose();
        self.patterns.iter().map(|pattern| pattern.of(text))
    }

    /// The length of the longest pattern that `text` begins with.
    pub(super) fn longest_at(&self, text: &[u8]) -> Option<usize> {
        let all = self.text.expose();
        let after = self.patterns.partition_point(|pattern| pattern.of(all) <= text);
        // What is between a beginning of `text` and `text` in order begins with
        // it too: so the answer is the one before, or what that begins with.
        let mut last = self.patterns.get(after.checked_sub(1)?)?;
        while !text.starts_with(last.of(all)) {
            last = self.patterns.get(last.shorter as usize)?;
        }
        Some(last.len as usize)
    }

    /// Whether a pattern begins with `text` and goes on.
    pub(super) fn goes_on_after(&self, text: &[u8]) -> bool {
        let all = self.text.expose();
        let after = self.patterns.partition_point(|pattern| pattern.of(all) <= text);
        self.patterns.get(after).is_some_and(|pattern| pattern.of(all).starts_with(text))
    }
}

impl Pattern {
    #[inline]
    fn of(self, text: &[u8]) -> &[u8] {
        &text[self.from as usize..][..self.len as usize]
    }
}

/// Patterns while they are collected.
#[derive(Default)]
pub(super) struct Patterns {
    text: SecretBuffer,
    spans: Vec<(usize, usize)>,
}

impl Patterns {
    /// Adds `pattern`, in pieces of at most `longest` bytes of about the same
    /// length.
    pub(super) fn add(&mut self, pattern: impl Iterator<Item = u8>, longest: usize) -> Result<()> {
        let from = self.text.len();
        for byte in pattern {
            self.text.write_all(&[byte]).map_err(|error| {
                Error::limit_exceeded(format!("there is no locked memory for masking: {error}"))
                    .with_source(error)
            })?;
        }
        let len = self.text.len() - from;
        let pieces = len.div_ceil(longest);
        let cut = |piece: usize| from + len * piece / pieces;
        self.spans.extend((0..pieces).map(|piece| (cut(piece), cut(piece + 1))));
        Ok(())
    }

    /// Sorts them, and leaves out what is there twice.
    pub(super) fn into_index(self) -> Result<Index> {
        let (all, mut spans) = (self.text.into_secret()?, self.spans);
        let all = all.expose();
        let of = |span: &(usize, usize)| &all[span.0..span.1];
        spans.sort_unstable_by(|a, b| of(a).cmp(of(b)));
        spans.dedup_by(|a, b| of(a).cmp(of(b)) == Ordering::Equal);
        let total: usize = spans.iter().map(|(from, to)| to - from).sum();
        if u32::try_from(total).is_err() {
            return Err(Error::limit_exceeded("the values are too long to be masked together"));
        }
        let mut text = SecretBytes::zeroed(total)?;
        let mut patterns: Vec<Pattern> = Vec::with_capacity(spans.len());
        let mut rest = text.expose_mut();
        let (mut end, mut longest) = (0, 0);
        // Those that the last pattern begins with, shortest first, and itself.
        let mut around: Vec<(u32, (usize, usize))> = Vec::new();
        for (at, span) in spans.into_iter().enumerate() {
            let pattern = of(&span);
            let (to, behind) = rest.split_at_mut(pattern.len());
            to.copy_from_slice(pattern);
            rest = behind;
            while around.last().is_some_and(|(_, outer)| !pattern.starts_with(of(outer))) {
                around.pop();
            }
            let shorter = around.last().map_or(NONE, |(at, _)| *at);
            around.push((at as u32, span));
            patterns.push(Pattern { from: end, len: pattern.len() as u32, shorter });
            end += pattern.len() as u32;
            longest = longest.max(pattern.len());
        }
        Ok(Index { text, patterns, longest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_longest_pattern_at_a_place_and_what_may_follow() {
        let mut patterns = Patterns::default();
        for pattern in ["abc", "ab", "abcde", "abd", "x", "ab", "abca"] {
            patterns.add(pattern.bytes(), 100).expect("memory");
        }
        let index = patterns.into_index().expect("memory");
        assert_eq!((index.iter().count(), index.longest()), (6, 5));
        for (text, longest, goes_on) in [
            ("abcdx", Some(3), false),
            ("abcd", Some(3), true),
            ("abcde", Some(5), false),
            ("abcab", Some(4), false),
            ("ab", Some(2), true),
            ("abb", Some(2), false),
            ("abz", Some(2), false),
            ("a", None, true),
            ("b", None, false),
            ("xyz", Some(1), false),
            ("", None, true),
        ] {
            assert_eq!(index.longest_at(text.as_bytes()), longest, "{text}");
            assert_eq!(index.goes_on_after(text.as_bytes()), goes_on, "{text}");
        }
    }

    #[test]
    fn a_long_pattern_is_cut_into_pieces() {
        let mut patterns = Patterns::default();
        patterns.add((0..=250).cycle().take(2049), 1024).expect("memory");
        let index = patterns.into_index().expect("memory");
        let lengths: Vec<_> = index.iter().map(<[u8]>::len).collect();
        assert_eq!(lengths, [683, 683, 683]);
    }
}
