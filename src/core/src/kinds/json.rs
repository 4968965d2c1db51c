//! JSON (RFC 8259), read where it lies: what is found is copied into guarded
//! memory and nothing else. `serde_json` would decode escaped texts in a buffer of
//! its own. A document that is not well-formed as a whole gives nothing, and so does
//! one that has a wanted key twice: who wrote it may have meant either.

use serde::Serializer;
use strongroom_guard::{SecretBuffer, SecretBytes};

use crate::error::{Error, Result};

/// How deep arrays and objects may lie in each other.
const MAX_DEPTH: usize = 64;

/// What stands in `document` at `path`, a key for each level. A text is given as
/// what it stands for, anything else as it is written.
///
/// # Errors
/// `InvalidName` if this is no JSON, or a key stands there twice; `NotFound` if
/// there is no such key.
pub(crate) fn find(document: &[u8], path: &[String]) -> Result<SecretBytes> {
    let mut value = whole(document)?;
    for key in path {
        let no_object =
            || Error::not_found("there is no object where one of the keys has to stand");
        let members = members(value).ok_or_else(no_object)??;
        let mut found = members.into_iter().filter(|(name, _)| is(name, key));
        let missing = || Error::not_found("one of the keys is not there");
        value = found.next().ok_or_else(missing)?.1;
        if found.next().is_some() {
            return Err(Error::invalid_name("one of the keys stands there twice"));
        }
    }
    if value.starts_with(b"\"") { decoded(value) } else { Ok(SecretBytes::copy_from(value)?) }
}

/// The texts of an object that has these keys and no others.
pub(super) fn texts<const N: usize>(document: &[u8], keys: [&str; N]) -> Result<[SecretBytes; N]> {
    let no_object = || Error::invalid_name("this is no object");
    let members = members(whole(document)?).ok_or_else(no_object)??;
    if members.len() != N {
        return Err(Error::invalid_name("it has another number of members"));
    }
    let mut out = Vec::with_capacity(N);
    for key in keys {
        let found = members.iter().find(|(name, _)| is(name, key));
        let missing = || Error::invalid_name(format!("there is no {key}"));
        let (_, value) = found.ok_or_else(missing)?;
        if !value.starts_with(b"\"") {
            return Err(Error::invalid_name(format!("its {key} is no text")));
        }
        out.push(decoded(value)?);
    }
    out.try_into().map_err(|_| Error::internal("an object has as many texts as keys"))
}

/// The JSON of an object of texts.
pub(super) fn object(members: &[(&str, &SecretBytes)]) -> Result<SecretBytes> {
    let mut out = SecretBuffer::new();
    let texts = members.iter().map(|(key, value)| {
        let text = std::str::from_utf8(value.expose());
        text.map(|text| (*key, text)).map_err(|_| Error::invalid_name("a text is UTF-8"))
    });
    let texts = texts.collect::<Result<Vec<_>>>()?;
    // The serializer writes each piece of a borrowed text straight to its writer.
    serde_json::Serializer::new(&mut out).collect_map(texts).map_err(|error| {
        Error::limit_exceeded("there is no locked memory for it").with_source(error)
    })?;
    Ok(out.into_secret()?)
}

/// The one value of a document, without the blanks around it.
fn whole(document: &[u8]) -> Result<&[u8]> {
    if std::str::from_utf8(document).is_err() {
        return Err(malformed());
    }
    let mut scanner = Scanner { text: document, at: 0 };
    scanner.skip_blanks();
    let value = scanner.value(MAX_DEPTH)?;
    scanner.skip_blanks();
    if scanner.at < document.len() { Err(malformed()) } else { Ok(value) }
}

/// The members of an object, their keys and values as they are written; `None` of
/// any other value.
type Members<'a> = Vec<(&'a [u8], &'a [u8])>;

fn members(value: &[u8]) -> Option<Result<Members<'_>>> {
    value.starts_with(b"{").then(|| {
        let mut members = Vec::new();
        let mut scanner = Scanner { text: value, at: 0 };
        scanner.object(MAX_DEPTH, &mut |key, value| members.push((key, value)))?;
        Ok(members)
    })
}

/// Whether a text, as it is written, stands for `expected`.
fn is(written: &[u8], expected: &str) -> bool {
    let mut rest = expected.as_bytes();
    let mut same = true;
    let decoded = each_piece(written, |piece| match rest.strip_prefix(piece) {
        Some(behind) => rest = behind,
        None => same = false,
    });
    decoded.is_ok() && same && rest.is_empty()
}

/// What a text stands for.
fn decoded(written: &[u8]) -> Result<SecretBytes> {
    // No escape is shorter than what it stands for.
    let mut out = SecretBytes::zeroed(written.len())?;
    let mut length = 0;
    each_piece(written, |piece| {
        out.expose_mut()[length..length + piece.len()].copy_from_slice(piece);
        length += piece.len();
    })?;
    out.truncate(length);
    Ok(out)
}

/// The pieces of a text that is written in quotes, decoded.
fn each_piece(written: &[u8], mut piece: impl FnMut(&[u8])) -> Result<()> {
    let inner = written.get(1..written.len().saturating_sub(1)).ok_or_else(malformed)?;
    let mut at = 0;
    while at < inner.len() {
        let plain = inner[at..].iter().take_while(|byte| **byte != b'\\').count();
        piece(&inner[at..at + plain]);
        at += plain;
        if at == inner.len() {
            break;
        }
        let letter = *inner.get(at + 1).ok_or_else(malformed)?;
        at += 2;
        let character = match letter {
            b'"' | b'\\' | b'/' => char::from(letter),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = unit(inner, at)?;
                at += 4;
                // A pair of surrogates is one character; one alone is none.
                let code = if (0xd800..0xdc00).contains(&first) {
                    if inner.get(at..at + 2) != Some(b"\\u") {
                        return Err(malformed());
                    }
                    let second = unit(inner, at + 2)?;
                    at += 6;
                    let low = second.checked_sub(0xdc00).filter(|low| *low < 0x400);
                    0x1_0000 + ((first - 0xd800) << 10) + low.ok_or_else(malformed)?
                } else {
                    first
                };
                char::from_u32(code).ok_or_else(malformed)?
            }
            _ => return Err(malformed()),
        };
        let mut buffer = [0; 4];
        piece(character.encode_utf8(&mut buffer).as_bytes());
        // A character of a secret does not stay on the stack.
        std::hint::black_box(&mut buffer).fill(0);
    }
    Ok(())
}

fn unit(text: &[u8], at: usize) -> Result<u32> {
    let digits = text.get(at..at + 4).ok_or_else(malformed)?;
    digits.iter().try_fold(0, |unit, digit| {
        let value = char::from(*digit).to_digit(16).ok_or_else(malformed)?;
        Ok(unit << 4 | value)
    })
}

/// Walks over a document without decoding anything.
struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<()> {
        if self.peek() != Some(byte) {
            return Err(malformed());
        }
        self.at += 1;
        Ok(())
    }

    /// The value that begins here.
    fn value(&mut self, depth: usize) -> Result<&'a [u8]> {
        let from = self.at;
        match self.peek().ok_or_else(malformed)? {
            b'"' => self.string()?,
            b'{' => self.object(depth, &mut |_, _| {})?,
            b'[' => self.array(depth)?,
            b'-' | b'0'..=b'9' => self.number()?,
            _ => self.word()?,
        }
        Ok(&self.text[from..self.at])
    }

    fn object(&mut self, depth: usize, member: &mut dyn FnMut(&'a [u8], &'a [u8])) -> Result<()> {
        let depth = depth.checked_sub(1).ok_or_else(too_deep)?;
        self.expect(b'{')?;
        self.skip_blanks();
        if self.peek() == Some(b'}') {
            return self.expect(b'}');
        }
        loop {
            self.skip_blanks();
            let from = self.at;
            self.string()?;
            let key = &self.text[from..self.at];
            self.skip_blanks();
            self.expect(b':')?;
            self.skip_blanks();
            let value = self.value(depth)?;
            member(key, value);
            self.skip_blanks();
            if self.peek() == Some(b'}') {
                return self.expect(b'}');
            }
            self.expect(b',')?;
        }
    }

    fn array(&mut self, depth: usize) -> Result<()> {
        let depth = depth.checked_sub(1).ok_or_else(too_deep)?;
        self.expect(b'[')?;
        self.skip_blanks();
        if self.peek() == Some(b']') {
            return self.expect(b']');
        }
        loop {
            self.skip_blanks();
            self.value(depth)?;
            self.skip_blanks();
            if self.peek() == Some(b']') {
                return self.expect(b']');
            }
            self.expect(b',')?;
        }
    }

    fn string(&mut self) -> Result<()> {
        let from = self.at;
        self.expect(b'"')?;
        loop {
            match self.peek().ok_or_else(malformed)? {
                b'"' => break,
                b'\\' => self.at += 2,
                0..0x20 => return Err(malformed()),
                _ => self.at += 1,
            }
        }
        self.at += 1;
        each_piece(&self.text[from..self.at], |_| {})
    }

    fn number(&mut self) -> Result<()> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<()> {
        let count = self.text[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        if count == 0 { Err(malformed()) } else { Ok(()) }
    }

    fn word(&mut self) -> Result<()> {
        let rest = &self.text[self.at..];
        let word = ["true", "false", "null"].iter().find(|word| rest.starts_with(word.as_bytes()));
        self.at += word.ok_or_else(malformed)?.len();
        Ok(())
    }
}

fn malformed() -> Error {
    Error::invalid_name("the value is not well-formed JSON")
}

fn too_deep() -> Error {
    Error::limit_exceeded(format!("the JSON is more than {MAX_DEPTH} levels deep"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::ErrorKind;

    fn found(document: &str, path: &[&str]) -> Result<String> {
        let path: Vec<_> = path.iter().map(|key| (*key).to_owned()).collect();
        let value = find(document.as_bytes(), &path)?;
        Ok(String::from_utf8(value.expose().to_vec()).expect("UTF-8"))
    }

    #[test]
    fn keys_lead_to_values() {
        let document = r#" { "a": {"b.c": "x\u00e4\ud83d\udd12\"\n", "n": -1.5e+3 },
            "l": [1, {"a": 2}], "\u0061b": true, "": null } "#;
        for (path, expected) in [
            (&["a", "b.c"][..], "xä\u{1f512}\"\n"),
            (&["a", "n"], "-1.5e+3"),
            (&["l"], r#"[1, {"a": 2}]"#),
            (&["ab"], "true"),
            (&[""], "null"),
        ] {
            assert_eq!(found(document, path).expect("there"), expected);
        }
        assert_eq!(found(" \"x\" ", &[]).expect("there"), "x");
        for path in [&["b"][..], &["a", "b"], &["l", "0"], &["ab", "c"], &["a", "b.c", "d"]] {
            assert_eq!(found(document, path).expect_err("none").kind(), ErrorKind::NotFound);
        }
    }

    #[test]
    fn a_key_that_stands_twice_and_what_is_no_json_give_nothing() {
        let twice = r#"{"a": "canary", "\u0061": "canary"}"#;
        let cut = r#"{"a": "canary", "b": "#;
        for bad in
            [twice, cut, "{\"a\":\"canary\n\"}", "{\"a\":\"canary\"}x", "{\"a\":\"\\ud800\"}"]
        {
            let error = found(bad, &["a"]).expect_err("nothing");
            assert_eq!(error.kind(), ErrorKind::InvalidName);
            assert!(!format!("{error:?}").contains("canary"), "a value is quoted");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(found(&deep, &[]).expect_err("deep").kind(), ErrorKind::LimitExceeded);
    }

    proptest! {
        /// Another reader agrees on what is JSON and on what a key leads to.
        #[test]
        fn serde_json_says_the_same(parts in proptest::collection::vec(prop_oneof![
            Just("{"), Just("}"), Just("["), Just("]"), Just(","), Just(":"), Just("\"a\""),
            Just("\"b\\n\""), Just("\"\\u00e9\""), Just("\""), Just("\\"), Just("\\ud83d\\udd12"),
            Just("0"), Just("-1"), Just("01"), Just("1.5"), Just("2e9"), Just("1."), Just("true"),
            Just("null"), Just("nul"), Just(" "), Just("\n"), Just("é"), Just("{\"a\":"),
        ], 0..14)) {
            let text = parts.concat();
            let theirs = serde_json::from_str::<Value>(&text);
            // It has no place for the number; we need none.
            if theirs.as_ref().is_err_and(|error| error.to_string().contains("out of range")) {
                return Ok(());
            }
            let ours = found(&text, &[]);
            prop_assert_eq!(theirs.is_ok(), ours.is_ok(), "{}", text);
            if let (Ok(Value::Object(object)), Ok(under_a)) = (theirs, found(&text, &["a"])) {
                match &object["a"] {
                    Value::String(text) => prop_assert_eq!(text, &under_a),
                    value => {
                        let again: Value = serde_json::from_str(&under_a).expect("JSON");
                        prop_assert_eq!(value, &again);
                    }
                }
            }
        }
    }
}
