//! A text while it passes.

use std::fmt;

use strongroom_guard::SecretBytes;

use super::{Masker, REPLACEMENT};
use crate::error::Result;

/// A text that arrives in chunks, and leaves masked.
///
/// The answer is the same however the text is cut. Of what has arrived, only
/// those last bytes are held back with which one of the forms begins: at most one
/// byte less than its length. They wait in guarded memory.
pub struct MaskStream<'a> {
    masker: &'a Masker,
    /// What is held back, and room for as much again.
    held: SecretBytes,
    held_len: usize,
    /// How much of what is held back, or comes next, is masked already.
    covered: usize,
    /// Whether the last that was given is a replacement.
    is_after_mask: bool,
}

impl<'a> MaskStream<'a> {
    pub(super) fn new(masker: &'a Masker) -> Result<Self> {
        let held = SecretBytes::zeroed(2 * masker.longest())?;
        Ok(Self { masker, held, held_len: 0, covered: 0, is_after_mask: false })
    }

    /// Takes the next bytes, and appends to `masked` what is certain by now.
    pub fn push(&mut self, chunk: &[u8], masked: &mut Vec<u8>) {
        if self.masker.is_empty() {
            masked.extend_from_slice(chunk);
            return;
        }
        if self.held_len > 0 {
            let (before, room) = (self.held_len, self.held.len() - self.held_len);
            let taken = room.min(chunk.len());
            let joined = before + taken;
            self.held.expose_mut()[before..joined].copy_from_slice(&chunk[..taken]);
            let text = &self.held.expose()[..joined];
            // With all of the chunk, its own end decides; otherwise there is
            // enough of it to decide what is before it.
            let decided = if taken == chunk.len() { self.masker.decided(text) } else { before };
            let mut state = Emitted::of(self.covered, self.is_after_mask, masked);
            state.emit(self.masker, text, decided);
            (self.covered, self.is_after_mask) = (state.at - decided, state.is_after_mask);
            if taken == chunk.len() {
                self.hold_from(decided, joined);
                return;
            }
            self.hold_from(joined, joined);
        }
        let decided = self.masker.decided(chunk);
        let mut state = Emitted::of(self.covered, self.is_after_mask, masked);
        state.emit(self.masker, chunk, decided);
        (self.covered, self.is_after_mask) = (state.at - decided, state.is_after_mask);
        let left = &chunk[decided..];
        self.held.expose_mut()[..left.len()].copy_from_slice(left);
        self.held_len = left.len();
    }

    /// Ends the text: what is held back was no secret, and is given. The stream
    /// is then as new.
    pub fn finish(&mut self, masked: &mut Vec<u8>) {
        let text = &self.held.expose()[..self.held_len];
        let mut state = Emitted::of(self.covered, self.is_after_mask, masked);
        state.emit(self.masker, text, text.len());
        let end = self.held_len;
        self.hold_from(end, end);
        (self.covered, self.is_after_mask) = (0, false);
    }

    /// How many bytes are held back.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.held_len
    }

    /// Keeps the bytes from `from` to `to`, and wipes what was beside them.
    fn hold_from(&mut self, from: usize, to: usize) {
        let held = self.held.expose_mut();
        held.copy_within(from..to, 0);
        self.held_len = to - from;
        held[self.held_len..to].fill(0);
    }
}

impl fmt::Debug for MaskStream<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MaskStream").finish_non_exhaustive()
    }
}

/// Masks a text that is there as a whole.
pub(super) fn emit_all(masker: &Masker, text: &[u8], out: &mut Vec<u8>) {
    Emitted::of(0, false, out).emit(masker, text, text.len());
}

/// How far a text has been given.
struct Emitted<'a> {
    at: usize,
    is_after_mask: bool,
    masked: &'a mut Vec<u8>,
}

impl<'a> Emitted<'a> {
    fn of(at: usize, is_after_mask: bool, masked: &'a mut Vec<u8>) -> Self {
        Self { at, is_after_mask, masked }
    }

    /// Gives `text` to `decided`, and what is masked there to its end.
    fn emit(&mut self, masker: &Masker, text: &[u8], decided: usize) {
        for found in masker.find(text) {
            if found.end <= self.at {
                continue;
            }
            let start = found.start.max(self.at);
            if start > self.at && start >= decided {
                break;
            }
            self.give(text, start);
            if !self.is_after_mask {
                self.masked.extend_from_slice(REPLACEMENT.as_bytes());
                self.is_after_mask = true;
            }
            self.at = found.end;
        }
        self.give(text, decided);
    }

    fn give(&mut self, text: &[u8], to: usize) {
        if let Some(plain) = text.get(self.at..to).filter(|plain| !plain.is_empty()) {
            self.masked.extend_from_slice(plain);
            self.is_after_mask = false;
            self.at = to;
        }
    }
}
