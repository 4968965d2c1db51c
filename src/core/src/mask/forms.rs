//! The forms in which a value may be written, as patterns to look for.

use std::iter;

use super::base64::Digits;
use super::escape::{self, units};
use super::index::Patterns;
use super::{LONGEST_PATTERN_BYTES, SHORTEST_VALUE_BYTES};
use crate::error::Result;

/// Where what encodes base64 in lines breaks them: MIME (RFC 2045 §6.8) and the
/// command `base64`, and PEM (RFC 7468 §2).
const BASE64_LINES: [usize; 2] = [76, 64];

/// Adds every form of `value`, of what a shell's `$(…)` makes of it, and of each
/// of its lines.
pub(super) fn add_all(patterns: &mut Patterns, value: &[u8]) -> Result<()> {
    add(patterns, value)?;
    let trimmed = value.trim_ascii();
    for part in iter::once(trimmed).chain(value.split(|byte| *byte == b'\n')) {
        let part = part.trim_ascii();
        if part.len() >= SHORTEST_VALUE_BYTES && part != value {
            add(patterns, part)?;
        }
    }
    Ok(())
}

fn add(to: &mut Patterns, value: &[u8]) -> Result<()> {
    let mut add = |form: &mut dyn Iterator<Item = u8>| to.add(form, LONGEST_PATTERN_BYTES);
    add(&mut value.iter().copied())?;
    for upper in [false, true] {
        add(&mut value.iter().flat_map(|byte| hex(*byte, upper)))?;
    }
    for url in [false, true] {
        for before in 0..3 {
            let digits = Digits::new(value, before, url);
            if url && !digits.to_the_end().any(|digit| matches!(digit, b'-' | b'_')) {
                continue;
            }
            add(&mut digits.own())?;
            if digits.padding() > 0 {
                add(&mut digits.to_the_end())?;
                let padding = iter::repeat_n(b'=', digits.padding());
                add(&mut digits.to_the_end().chain(padding))?;
            }
        }
    }
    let digits = Digits::new(value, 0, false);
    let count = digits.own().count();
    for width in BASE64_LINES.into_iter().filter(|width| count > *width) {
        let starts = (0..count).step_by(width);
        // What is shorter is not worth looking for, and found everywhere.
        let lines = starts.filter(|from| count - from >= SHORTEST_VALUE_BYTES);
        for from in lines {
            add(&mut digits.own().skip(from).take(width))?;
        }
    }
    escape::each(|escape| {
        if units(value).all(|unit| escape(unit).is_none()) {
            return Ok(());
        }
        let written = |unit: escape::Unit| escape(unit).unwrap_or_else(|| unit.plain());
        add(&mut units(value).flat_map(|unit| written(unit).iter()))
    })
}

fn hex(byte: u8, upper: bool) -> [u8; 2] {
    let digit = |nibble: u8| {
        // Arithmetic, for the same reason as in base64.
        let letter = if upper { b'A' } else { b'a' } - b'0' - 10;
        let is_letter = ((9 - i16::from(nibble)) >> 8).to_le_bytes()[0];
        b'0' + nibble + (letter & is_letter)
    };
    [digit(byte >> 4), digit(byte & 0xf)]
}
