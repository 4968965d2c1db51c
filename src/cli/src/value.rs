//! The way of a secret's value in and out of this process. Nothing here goes
//! through a buffer outside of guarded memory.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;

use serde::Serialize;
use strongroom::guard::{ReadError, SecretBuffer};
use strongroom::{Error, SecretBytes};

use crate::failure::{Failure, Result};

/// Everything that stdin has, at most `max` bytes.
pub(crate) fn from_stdin(max: usize) -> Result<SecretBytes> {
    // Not `io::stdin()`: its buffer would keep a copy.
    let mut stdin = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    from_reader(&mut stdin, max, "stdin")
}

/// Everything that a file has, at most `max` bytes.
pub(crate) fn from_file(path: &Path, max: usize) -> Result<SecretBytes> {
    let mut file = File::open(path).map_err(|error| file_error(path, "read", error))?;
    from_reader(&mut file, max, &path.display().to_string())
}

fn from_reader(reader: &mut impl Read, max: usize, what: &str) -> Result<SecretBytes> {
    SecretBuffer::read_to_end(reader, max).map_err(|error| {
        Failure::Engine(match error {
            ReadError::TooLarge { max } => too_large(what, max),
            ReadError::Guard(error) => error.into(),
            error => Error::unavailable(format!("{what} cannot be read: {error}"))
                .retryable(false)
                .with_source(error),
        })
    })
}

fn too_large(what: &str, max: usize) -> Error {
    Error::limit_exceeded(format!("{what} has more than the {max} bytes of a value"))
}

/// Writes to stdout, past the buffer of `io::stdout()`, which would keep a copy.
pub(crate) fn to_stdout(bytes: &[u8]) -> Result {
    let mut stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    stdout.write_all(bytes)?;
    if io::stdout().is_terminal() && !bytes.ends_with(b"\n") {
        stdout.write_all(b"\n")?;
    }
    Ok(())
}

pub(crate) fn file_error(path: &Path, what: &str, error: io::Error) -> Error {
    let message = format!("{} cannot be {what}: {error}", path.display());
    Error::unavailable(message).retryable(false).with_source(error)
}

/// Whether a value can be shown on a terminal and does nothing but be seen:
/// UTF-8 without control characters other than newline and tab.
pub(crate) fn is_presentable(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes)
        .is_ok_and(|text| !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')))
}

/// A document with a value in it as a line of JSON, in guarded memory: the
/// serializer writes each piece of a borrowed value straight to its writer.
pub(crate) fn json(document: &impl Serialize) -> Result<SecretBytes> {
    let mut buffer = SecretBuffer::new();
    serde_json::to_writer(&mut buffer, document)
        .and_then(|()| buffer.write_all(b"\n").map_err(serde_json::Error::io))
        .map_err(|e| Error::limit_exceeded("there is no locked memory for it").with_source(e))?;
    Ok(buffer.into_secret()?)
}

/// Base64 with padding (RFC 4648 §4), in guarded memory.
pub(crate) fn base64(bytes: &[u8]) -> Result<SecretBytes> {
    let mut out = SecretBytes::zeroed(bytes.len().div_ceil(3) * 4)?;
    for (from, to) in bytes.chunks(3).zip(out.expose_mut().chunks_exact_mut(4)) {
        let byte = |at: usize| u32::from(from.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for (at, digit) in to.iter_mut().enumerate() {
            *digit = if at <= from.len() {
                base64_digit((bits >> (18 - 6 * at)) as u8 & 0x3f)
            } else {
                b'='
            };
        }
    }
    Ok(out)
}

/// The digit of six bits, by arithmetic: a table's cache lines would tell which
/// entries were read.
fn base64_digit(bits: u8) -> u8 {
    let bits = i16::from(bits);
    let mut digit = bits + i16::from(b'A');
    digit += ((25 - bits) >> 8) & 0x06;
    digit -= ((51 - bits) >> 8) & 0x4b;
    digit -= ((61 - bits) >> 8) & 0x0f;
    digit += ((62 - bits) >> 8) & 0x03;
    digit.to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_text_goes_to_a_terminal() {
        for good in ["", "s3cret", "zwei Zeilen\n\tñ\n"] {
            assert!(is_presentable(good.as_bytes()), "{good:?}");
        }
        let bad: [&[u8]; 5] = [b"\xff", b"a\0", b"\x1b[2J", b"a\rb", "\u{9b}2J".as_bytes()];
        for bad in bad {
            assert!(!is_presentable(bad), "{bad:?}");
        }
    }

    #[test]
    fn base64_is_that_of_rfc_4648() {
        let vectors = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (plain, expected) in vectors {
            assert!(base64(plain.as_bytes()).expect("memory").expose() == expected.as_bytes());
        }
        let digits: Vec<u8> = (0..64).map(base64_digit).collect();
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        assert_eq!(digits, alphabet);
    }
}
