//! Masking and expressions, each beside a slow and simple twin of its own.

use std::fmt::Write;

use strongroom_core::expression::Template;
use strongroom_core::mask::{Masker, REPLACEMENT, SHORTEST_VALUE_BYTES};

use super::input::Input;

/// What the values are before, between and behind.
const FILLERS: [&str; 4] = ["", "A", "=/", "\0\u{e9}"];

/// The input is a list of values, and then a program that writes a text with forms of
/// them in it, and cuts it into chunks. No form of a value is left of it, nothing
/// else is missing, and the chunks make no difference.
///
/// # Panics
/// When they do.
pub fn mask(input: &[u8]) {
    let mut input = Input(input);
    let count = usize::from(input.byte() % 4) + 1;
    let values: Vec<Vec<u8>> = (0..count)
        .map(|_| {
            let len = usize::from(input.byte() % 48);
            input.bytes(len).to_vec()
        })
        .collect();
    let named = values.iter().map(|value| ("value", value.as_slice()));
    let masker = Masker::new(named).expect("memory");
    let (step, seed) = (usize::from(input.byte()) + 1, input.byte());

    // A text that the fuzzer writes, with forms where it says so.
    let mut text = Vec::new();
    let mut hidden = Vec::new();
    while let Some((&what, rest)) = input.0.split_first() {
        input.0 = rest;
        let value = &values[usize::from(what >> 4) % values.len()];
        if what & 0xf < FORMS {
            let form = form(what & 0xf, value);
            // What is cut off at its end is no form, but may be the beginning of one.
            let cut = if input.byte() & 7 == 7 { form.len() / 2 } else { form.len() };
            if cut == form.len() && value.trim_ascii().len() >= SHORTEST_VALUE_BYTES {
                hidden.push(text.len()..text.len() + cut);
            }
            text.extend_from_slice(&form[..cut]);
        } else {
            text.extend_from_slice(input.bytes(usize::from(what >> 4)));
        }
    }

    let whole = masker.mask(&text);
    let (mut stream, mut out) = (masker.stream().expect("memory"), Vec::new());
    let (mut rest, mut len) = (&text[..], usize::from(seed));
    while !rest.is_empty() {
        len = (len * 31 + 7) % step + 1;
        let (chunk, behind) = rest.split_at(len.min(rest.len()));
        stream.push(chunk, &mut out);
        assert!(stream.held_bytes() <= text.len() - behind.len());
        rest = behind;
    }
    stream.finish(&mut out);
    assert!(out == whole, "the chunks make a difference");
    assert_eq!(stream.held_bytes(), 0);

    // What is left of the text is in order between replacements, and has nothing of
    // what was to be hidden.
    assert!(covers(&text, &hidden, &whole), "a form of a value is left, or text is missing");
    let alone = |value: &Vec<u8>| value.trim_ascii().len() < SHORTEST_VALUE_BYTES;
    if values.iter().all(alone) {
        assert!(whole == text, "nothing was to be masked");
    }
}

/// Whether `masked` is `text` with replacements that have all of `hidden` in them.
///
/// Each piece between two replacements has to stand in the text, behind the piece
/// before it, and beside what is hidden: found by trying every place, since a
/// replacement does not say how long it is.
fn covers(text: &[u8], hidden: &[std::ops::Range<usize>], masked: &[u8]) -> bool {
    // The fuzzer may write a replacement itself: nothing can be told apart then.
    let contains =
        |bytes: &[u8]| bytes.windows(REPLACEMENT.len()).any(|part| part == REPLACEMENT.as_bytes());
    if contains(text) {
        return true;
    }
    let masked_at = |at: usize| hidden.iter().any(|range| range.contains(&at));
    // Places where the text may go on, behind what was told so far.
    let mut places = vec![0];
    let pieces = split(masked);
    for (number, piece) in pieces.iter().enumerate() {
        let is_first = number == 0;
        let is_last = number + 1 == pieces.len();
        let earliest = places.iter().copied().min().unwrap_or(0);
        let fits = |from: &usize| {
            let to = from + piece.len();
            text.get(*from..to) == Some(*piece)
                && (*from..to).all(|at| !masked_at(at))
                && (!is_last || to == text.len())
        };
        let starts = if is_first { 0..1 } else { earliest + 1..text.len() + 1 };
        places = starts.filter(fits).map(|from| from + piece.len()).collect();
        if places.is_empty() {
            return false;
        }
    }
    true
}

fn split(masked: &[u8]) -> Vec<&[u8]> {
    let (mut pieces, mut from, mut at) = (Vec::new(), 0, 0);
    while at < masked.len() {
        if masked[at..].starts_with(REPLACEMENT.as_bytes()) {
            pieces.push(&masked[from..at]);
            at += REPLACEMENT.len();
            from = at;
        } else {
            at += 1;
        }
    }
    pieces.push(&masked[from..]);
    pieces
}

const FORMS: u8 = 11;

/// The value as others write it; by code of its own.
fn form(number: u8, value: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(value);
    match number {
        0 => value.to_vec(),
        1 => value.iter().fold(String::new(), |s, b| s + &format!("{b:02x}")).into_bytes(),
        2 => value.iter().fold(String::new(), |s, b| s + &format!("{b:02X}")).into_bytes(),
        3..=5 => base64(value, usize::from(number - 3), *b"+/"),
        6 => base64(value, 0, *b"-_"),
        7 => percent(value),
        8 => text.map_or_else(
            |_| value.to_vec(),
            |text| {
                let json = serde_json::to_string(text).expect("JSON");
                json.as_bytes()[1..json.len() - 1].to_vec()
            },
        ),
        9 => value.iter().fold(Vec::new(), |mut quoted, byte| {
            match byte {
                b'\'' => quoted.extend_from_slice(b"'\\''"),
                byte => quoted.push(*byte),
            }
            quoted
        }),
        _ => value.trim_ascii().to_vec(),
    }
}

fn percent(value: &[u8]) -> Vec<u8> {
    let mut out = String::new();
    for byte in value {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(byte) {
            out.push(char::from(*byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out.into_bytes()
}

/// The digits of base64 that depend on the value alone, bit by bit.
fn base64(value: &[u8], before: usize, last: [u8; 2]) -> Vec<u8> {
    let alphabet: Vec<u8> =
        (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').chain(last).collect();
    let filler = vec![0; before];
    let bits: Vec<u8> = filler
        .iter()
        .chain(value)
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1))
        .collect();
    let digits = bits.chunks_exact(6).map(|six| six.iter().fold(0, |n, bit| n << 1 | bit));
    digits.map(|n: u8| alphabet[usize::from(n)]).skip((8 * before).div_ceil(6)).collect()
}

/// A template is read or refused with a place that is in it. What is read is put
/// together again from its pieces, and expands to them.
///
/// # Panics
/// When it is not.
pub fn expression(input: &[u8]) {
    let lines = input.split(|byte| *byte == b'\n').count();
    let template = match Template::parse(input) {
        Ok(template) => template,
        Err(error) => {
            let place = error.message().strip_prefix("line ").and_then(|rest| rest.split_once(','));
            let line: usize = place.expect("a place").0.parse().expect("a number");
            assert!((1..=lines).contains(&line));
            return;
        }
    };
    let mut end = 0;
    let mut expected = Vec::new();
    for expression in template.expressions() {
        let range = expression.range.clone();
        assert!(end <= range.start && range.end <= input.len());
        let written = &input[range.clone()];
        assert!(written.starts_with(b"<+") && written.ends_with(b">"));
        let name = template.names()[expression.name].as_bytes();
        assert!(written.windows(name.len().max(1)).any(|part| part == name) || name.is_empty());
        expected.extend_from_slice(&input[end..range.start]);
        expected.extend_from_slice(FILLERS[expression.name % FILLERS.len()].as_bytes());
        end = range.end;
    }
    expected.extend_from_slice(&input[end..]);
    let values = (0..template.names().len()).map(|at| FILLERS[at % FILLERS.len()].as_bytes());
    let expanded = template.expand(&values.collect::<Vec<_>>()).expect("memory");
    assert!(expanded.expose() == expected, "it expands to something else");
}
