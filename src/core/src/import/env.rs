//! `NAME=value` lines, as the dotenv tools agree on them: comments, `export`,
//! single quotes that mean what they hold, and double quotes with escapes. Nothing
//! is expanded.

use std::io::Write;

use strongroom_guard::{SecretBuffer, SecretBytes};

use super::Item;
use crate::error::{Error, Result};

pub(super) fn parse(text: &[u8]) -> Result<Vec<Item>> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let (mut items, mut at) = (Vec::new(), 0);
    while at < text.len() {
        let end = line_end(text, at);
        let line = text[at..end].trim_ascii_start();
        if line.is_empty() || line[0] == b'#' {
            at = end + 1;
            continue;
        }
        let wrong = || wrong_line(text, at);
        let rest = line.strip_prefix(b"export ").unwrap_or(line).trim_ascii_start();
        let equals = rest.iter().position(|byte| *byte == b'=').ok_or_else(wrong)?;
        let key = rest[..equals].trim_ascii_end();
        let is_key = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.".contains(byte);
        if key.is_empty() || !key.iter().all(is_key) {
            return Err(wrong());
        }
        let key = String::from_utf8(key.to_vec()).map_err(|_| wrong())?;
        let mut begin = end - rest.len() + equals + 1;
        while begin < end && matches!(text[begin], b' ' | b'\t') {
            begin += 1;
        }
        let (value, next) = value(text, begin, end)?.ok_or_else(wrong)?;
        items.push(Item { key, value });
        at = next;
    }
    Ok(items)
}

/// The value that begins at `begin`, and where the next line does. A quoted one
/// may go over several lines.
fn value(text: &[u8], begin: usize, end: usize) -> Result<Option<(SecretBytes, usize)>> {
    let quote = match text.get(begin) {
        Some(quote @ (b'"' | b'\'')) if begin < end => *quote,
        _ => {
            let bare = &text[begin..end];
            let comment = bare.windows(2).position(|two| matches!(two, b" #" | b"\t#"));
            let bare =
                if bare.starts_with(b"#") { b"" } else { &bare[..comment.unwrap_or(bare.len())] };
            return Ok(Some((SecretBytes::copy_from(bare.trim_ascii_end())?, end + 1)));
        }
    };
    let mut out = SecretBuffer::new();
    let mut at = begin + 1;
    loop {
        let piece = match text.get(at) {
            None => return Ok(None),
            Some(byte) if *byte == quote => break,
            Some(b'\\') if quote == b'"' => {
                at += 1;
                match text.get(at) {
                    Some(b'n') => b"\n",
                    Some(b'r') => b"\r",
                    Some(b't') => b"\t",
                    Some(b'"') => b"\"",
                    Some(b'\'') => b"'",
                    Some(b'\\') => b"\\",
                    Some(b'$') => b"$",
                    Some(b'`') => b"`",
                    // A line that goes on.
                    Some(b'\n') => &b""[..],
                    _ => return Ok(None),
                }
            }
            Some(_) => &text[at..=at],
        };
        push(&mut out, piece)?;
        at += 1;
    }
    let after = line_end(text, at + 1);
    let rest = text[at + 1..after].trim_ascii();
    let is_end = rest.is_empty() || rest[0] == b'#';
    Ok(is_end.then_some((out.into_secret()?, after + 1)))
}

pub(super) fn push(out: &mut SecretBuffer, bytes: &[u8]) -> Result<()> {
    out.write_all(bytes)
        .map_err(|e| Error::limit_exceeded("there is no locked memory for it").with_source(e))
}

fn line_end(text: &[u8], from: usize) -> usize {
    let from = from.min(text.len());
    text[from..].iter().position(|byte| *byte == b'\n').map_or(text.len(), |at| from + at)
}

/// The line's number, and never what stands in it.
fn wrong_line(text: &[u8], at: usize) -> Error {
    let number = text[..at].split(|byte| *byte == b'\n').count();
    Error::configuration(format!("line {number} is not NAME=value"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<(String, String)>> {
        let text_of = |item: Item| {
            (item.key, String::from_utf8(item.value.expose().to_vec()).expect("text of a test"))
        };
        Ok(parse(text.as_bytes())?.into_iter().map(text_of).collect())
    }

    #[test]
    fn lines_are_read_as_dotenv_has_them() {
        let text = "# a comment\n\
            A=plain\n\
            export B = spaced out  # and why\n\
            \n\
            C='it''\n";
        assert!(parsed(text).is_err(), "something follows a quote");
        let text = "\u{feff}# a comment\r\n\
            A=plain\r\n\
            export B = spaced out  # and why\n\
            C='li#t\\n$x'  # literal\n\
            D=\"a\\nb\\t\\\"q\\\" \\$x\\\\\"\n\
            E=\n\
            F=\"two\nlines\"\n\
            G=a#b=c\n\
            H='multi\nline'\n\
            I=#nothing\n\
            J=last";
        let expected = [
            ("A", "plain"),
            ("B", "spaced out"),
            ("C", "li#t\\n$x"),
            ("D", "a\nb\t\"q\" $x\\"),
            ("E", ""),
            ("F", "two\nlines"),
            ("G", "a#b=c"),
            ("H", "multi\nline"),
            ("I", ""),
            ("J", "last"),
        ];
        let found = parsed(text).expect("parsed");
        let found: Vec<_> = found.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_wrong_is_named_by_its_line_and_never_quoted() {
        let canary = "s3cret-canary";
        for (text, line) in [
            (format!("A=1\n{canary}\n"), 2),
            (format!("={canary}"), 1),
            (format!("A=1\n\nB=\"{canary}"), 3),
            (format!("A='{canary}' more"), 1),
            (format!("A b={canary}"), 1),
            (format!("A=\"\\q{canary}\""), 1),
        ] {
            let error = parsed(&text).expect_err("wrong").to_string();
            assert!(error.contains(&format!("line {line} ")), "{error}");
            assert!(!error.contains(canary));
        }
    }
}
