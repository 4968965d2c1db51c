//! Masking against a slow and simple twin, and each form against what other
//! programs write.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn masker(values: &[&str]) -> Masker {
    Masker::new(values.iter().map(|value| ("a-name", value.as_bytes()))).expect("memory")
}

fn masked(values: &[&str], text: &str) -> String {
    String::from_utf8(masker(values).mask(text.as_bytes())).expect("UTF-8")
}

/// What each program wrote for a value: (value, what writes so, the form).
const WRITTEN: &[(&str, &str, &str)] = &[
    ("s3cret-value", "as it is", "s3cret-value"),
    ("s3cret-value", "hex", "7333637265742d76616c7565"),
    ("s3cret-value", "HEX", "7333637265742D76616C7565"),
    ("s3cret-value", "base64", "czNjcmV0LXZhbHVl"),
    ("s3cret-valu", "base64 with padding", "czNjcmV0LXZhbHU="),
    ("s3cret-val", "base64 with more padding", "czNjcmV0LXZhbA=="),
    ("s3cret-val", "base64 without padding", "czNjcmV0LXZhbA"),
    (">>>???", "base64url", "Pj4-Pz8_"),
    (">>>???", "base64", "Pj4+Pz8/"),
    ("pa/ss +wörd'", "encodeURIComponent", "pa%2Fss%20%2Bw%C3%B6rd'"),
    ("pa/ss +wörd'", "encodeURI", "pa/ss%20+w%C3%B6rd'"),
    ("pa/ss +wörd'", "RFC 3986", "pa%2Fss%20%2Bw%C3%B6rd%27"),
    ("pa/ss +wörd'", "RFC 3986, lower case", "pa%2fss%20%2bw%c3%b6rd%27"),
    ("pa/ss +wörd'", "a form", "pa%2Fss+%2Bw%C3%B6rd%27"),
    ("pa/ss +wörd'", "Python's quote", "pa/ss%20%2Bw%C3%B6rd%27"),
    ("pa/ss +wörd'", "JSON", "pa/ss +wörd'"),
    ("pa/ss +wörd'", "JSON of PHP", "pa\\/ss +w\\u00f6rd'"),
    ("pa/ss +wörd'", "JSON of .NET", "pa/ss \\u002Bw\\u00F6rd\\u0027"),
    ("q\"b\\n\nt\te\u{1b}<😀", "JSON", "q\\\"b\\\\n\\nt\\te\\u001b<😀"),
    ("q\"b\\n\nt\te\u{1b}<😀", "JSON of Python", "q\\\"b\\\\n\\nt\\te\\u001b<\\ud83d\\ude00"),
    ("q\"b\\n\nt\te\u{1b}<😀", "JSON of Go", "q\\\"b\\\\n\\nt\\te\\u001b\\u003c😀"),
    ("q\"b\\n\nt\te\u{1b}<😀", "$'…' of bash", "q\"b\\\\n\\nt\\te\\E<😀"),
    ("q\"b\\n\nt\te\u{1b}<😀", "$'…' of bash in C", "q\"b\\\\n\\nt\\te\\E<\\360\\237\\230\\200"),
    ("it's $5 `x` \"y\"", "'…'", "it'\\''s $5 `x` \"y\""),
    ("it's $5 `x` \"y\"", "'…' of Python", "it'\"'\"'s $5 `x` \"y\""),
    ("it's $5 `x` \"y\"", "\"…\"", "it's \\$5 \\`x\\` \\\"y\\\""),
    ("it's $5 `x` \"y\"", "printf %q", "it\\'s\\ \\$5\\ \\`x\\`\\ \\\"y\\\""),
    (" \ts3cret\r\n", "without the blanks", "s3cret"),
];

#[test]
fn each_form_is_found() {
    for (value, writer, form) in WRITTEN {
        let text = format!("before:{form}:after");
        assert_eq!(masked(&[value], &text), "before:[masked]:after", "{writer}");
    }
}

#[test]
fn base64_of_a_longer_text_is_found_at_each_alignment() {
    // base64 of "user:s3cret/value!;", "xuser:…" and "xxuser:…"; what stays has no
    // bit of the value but those that a digit shares with a neighbour.
    for (text, rest) in [
        ("dXNlcjpzM2NyZXQvdmFsdWUhOw==", "dXNlcjp[masked]hOw=="),
        ("eHVzZXI6czNjcmV0L3ZhbHVlITs=", "eHVzZXI6[masked]ITs="),
        ("eHh1c2VyOnMzY3JldC92YWx1ZSE7", "eHh1c2VyOn[masked]SE7"),
    ] {
        assert_eq!(masked(&["s3cret/value"], text), rest);
    }
}

#[test]
fn lines_are_found_each_for_itself() {
    let key = "-----BEGIN KEY-----\r\nMIIEvQIBADANBg\r\n\r\n  ab\r\n-----END KEY-----\r\n";
    let text = "1: -----BEGIN KEY-----\n2: MIIEvQIBADANBg\n4:   ab\nTUlJRXZRSUJBREFOQmc=";
    let rest = "1: [masked]\n2: [masked]\n4:   ab\n[masked]";
    assert_eq!(masked(&[key], text), rest);
    assert_eq!(masked(&[key], &format!("<{key}>")), "<[masked]>");
}

#[test]
fn base64_in_lines_is_found() {
    let value: String = ('!'..='~').cycle().take(150).collect();
    let all: String = {
        let digits = base64::Digits::new(value.as_bytes(), 0, false);
        digits.to_the_end().map(char::from).collect()
    };
    for width in [64, 76] {
        let lines: Vec<&str> = (0..all.len())
            .step_by(width)
            .map(|from| &all[from..all.len().min(from + width)])
            .collect();
        let rest = masked(&[&value], &lines.join("\n"));
        assert_eq!(rest, vec!["[masked]"; lines.len()].join("\n"));
    }
}

#[test]
fn values_that_overlap_or_touch_are_masked_wholly() {
    // A match of one must not hide the rest of the other.
    assert_eq!(masked(&["abcdef", "defghi"], "-abcdefghi-"), "-[masked]-");
    assert_eq!(masked(&["abcdefgh", "cdef"], "-cdefgh abcdefgh-"), "-[masked]gh [masked]-");
    assert_eq!(masked(&["abcdabcd"], "-abcdabcdabcd-"), "-[masked]-");
    assert_eq!(masked(&["abcd", "efgh"], "-abcdefgh-"), "-[masked]-");
    let long = ["0123456789abcdefghij", "ghijk"];
    assert_eq!(masked(&long, "-0123456789abcdefghijk-"), "-[masked]-");
}

#[test]
fn short_values_are_left_alone_and_named() {
    let values = [("a", b"abc".as_slice()), ("b", b" abc\n"), ("c", b"    "), ("d", b"abcd")];
    let masker = Masker::new(values).expect("memory");
    assert_eq!(masker.too_short(), ["a", "b", "c"]);
    assert_eq!(masker.mask(b"abc     abcd"), b"abc     [masked]");
    let none = Masker::new([("a", b"abc".as_slice())]).expect("memory");
    assert!(none.is_empty());
    let (mut stream, mut out) = (none.stream().expect("memory"), Vec::new());
    stream.push(b"abc", &mut out);
    stream.finish(&mut out);
    assert_eq!(out, b"abc");
}

#[test]
fn a_long_value_is_masked_as_far_as_it_is_said() {
    let value: Vec<u8> = (0_u32..40_000).flat_map(u32::to_le_bytes).collect();
    let masker = Masker::new([("long", value.as_slice())]).expect("memory");
    assert_eq!(masker.too_long(), ["long"]);
    let rest = masker.mask(&value);
    assert!(rest.starts_with(REPLACEMENT.as_bytes()));
    assert!(rest[REPLACEMENT.len()..] == value[LONGEST_VALUE_BYTES..]);
}

#[test]
fn only_what_may_begin_a_value_is_held_back() {
    let masker = masker(&["password-of-the-db", "s3cret"]);
    let (mut stream, mut out) = (masker.stream().expect("memory"), Vec::new());
    for (chunk, given, held) in [
        ("Your name: ", "Your name: ", 0),
        ("s", "", 1),
        ("3", "", 2),
        (" ", "s3 ", 0),
        ("xx s3cre", "xx ", 5),
        ("t", "[masked]", 0),
        ("s3cret s3crets3c", " [masked]", 3),
        ("ret password-of-th", " ", 14),
        ("e-d", "", 17),
        ("a!", "password-of-the-da!", 0),
    ] {
        out.clear();
        stream.push(chunk.as_bytes(), &mut out);
        assert_eq!(String::from_utf8_lossy(&out), given, "after {chunk:?}");
        assert_eq!(stream.held_bytes(), held, "after {chunk:?}");
    }
}

#[test]
fn debug_shows_nothing() {
    let masker = masker(&["s3cret"]);
    let mut stream = masker.stream().expect("memory");
    stream.push(b"s3cre", &mut Vec::new());
    assert_eq!(format!("{masker:?} {stream:?}"), "Masker { .. } MaskStream { .. }");
}

/// Every place of every pattern, found without any of what makes it fast.
fn slow(masker: &Masker, text: &[u8]) -> Vec<u8> {
    let mut hidden = vec![false; text.len()];
    for pattern in masker.index.iter() {
        let starts = text.windows(pattern.len()).enumerate().filter(|(_, part)| *part == pattern);
        starts.for_each(|(at, _)| hidden[at..at + pattern.len()].fill(true));
    }
    let mut out = Vec::new();
    for (at, byte) in text.iter().enumerate() {
        match (hidden[at], at > 0 && hidden[at - 1]) {
            (false, _) => out.push(*byte),
            (true, false) => out.extend_from_slice(REPLACEMENT.as_bytes()),
            (true, true) => {}
        }
    }
    out
}

/// Few letters, so that values begin, overlap and repeat each other.
fn dense() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![8 => 0_u8..2, 1 => Just(b'\n'), 1 => Just(b'\'')], 0..24)
}

proptest! {
    #[test]
    fn the_fast_way_gives_what_the_slow_one_does(
        values in vec(dense(), 0..5),
        parts in vec(prop_oneof![
            3 => any::<prop::sample::Index>().prop_map(Err),
            1 => dense().prop_map(Ok),
        ], 0..12),
        cuts in vec(1_usize..40, 1..20),
    ) {
        let masker = Masker::new(values.iter().map(|value| ("v", value.as_slice())))
            .expect("memory");
        let patterns: Vec<&[u8]> = masker.index.iter().collect();
        let mut text = Vec::new();
        for part in &parts {
            match part {
                Ok(bytes) => text.extend_from_slice(bytes),
                Err(_) if patterns.is_empty() => {}
                // Part of a pattern, mostly all of it.
                Err(index) => {
                    let pattern = patterns[index.index(patterns.len())];
                    text.extend_from_slice(&pattern[index.index(pattern.len()) / 4..]);
                }
            }
        }
        let expected = slow(&masker, &text);
        prop_assert!(masker.mask(&text) == expected, "at once");
        let (mut stream, mut out) = (masker.stream().expect("memory"), Vec::new());
        let (mut rest, mut cut) = (&text[..], cuts.iter().cycle());
        while !rest.is_empty() {
            let (chunk, behind) = rest.split_at((*cut.next().expect("a cut")).min(rest.len()));
            stream.push(chunk, &mut out);
            rest = behind;
        }
        stream.finish(&mut out);
        prop_assert!(out == expected, "in chunks");
    }
}
