//! One line of the log as it is read, and the strict reading of it. A line never
//! has room for a secret's value.

use jiff::Timestamp as Civil;
use serde::{Deserialize, Serialize};

use super::chain::{HASH_BYTES, Head, from_hex, hex_digits};
use crate::clock::Timestamp;
use crate::error::{Error, Result};

/// The longest line, in bytes, without its newline. Ours have a few hundred;
/// the limit bounds what a reader of a hostile file holds in memory.
pub const MAX_LINE_BYTES: usize = 64 << 10;

const HASH_FIELD: &str = ",\"hash\":\"";
/// What follows the hashed part of a line: the field, 64 digits, `"}`.
pub(super) const SUFFIX_BYTES: usize = HASH_FIELD.len() + 2 * HASH_BYTES + 2;

/// On whose behalf an operation ran, as far as the caller knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// The user's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The process's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The user's name, or that of a remote caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The path of the program that asked, as far as it could be seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executable: Option<String>,
}

/// Whether a line was written before or after the store was touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Before a mutation: it may or may not have happened.
    Intent,
    /// After an operation: how it ended.
    Done,
}

/// The torn end of a line that a power cut or a full disk left behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fragment {
    /// Its length; 0 when only the newline was missing.
    pub bytes: u64,
    /// Its SHA-256, in hex.
    pub sha256: String,
}

/// One of several secrets that a line is about, and how it went with this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// The secret's identifier in the line's scope.
    pub name: String,
    /// The version that was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// `ok`, or the kind of the error.
    pub outcome: String,
}

/// A line as it was read, without its hash. The order of the fields is the
/// order in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Line {
    /// 1 for the first line, and one more for each.
    pub seq: u64,
    /// When, in RFC 3339, UTC, with milliseconds.
    pub time: String,
    /// What was done: `put`, `get`, …; `recovered` closes a torn line.
    pub operation: String,
    /// The scope, as `account/org/project`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The secret's identifier in its scope.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The version that was read or written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The secrets, where they are several; [`spread`](Self::spread) makes a line
    /// of each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Part>,
    /// Before or after.
    pub phase: Phase,
    /// `ok`, or the kind of the error; absent in an intent, and where each of
    /// several secrets has its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// What a `recovered` line closes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fragment: Option<Fragment>,
    /// On whose behalf.
    pub actor: Actor,
}

impl Line {
    /// When the line was written.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        let civil: Option<Civil> = self.time.parse().ok();
        Timestamp(civil.map_or(0, |civil| u64::try_from(civil.as_millisecond()).unwrap_or(0)))
    }

    /// The line as if each of its secrets had one of its own, with the same number.
    #[must_use]
    pub fn spread(mut self) -> Vec<Self> {
        if self.secrets.is_empty() {
            return vec![self];
        }
        let parts = std::mem::take(&mut self.secrets);
        let one = |part: Part| Self {
            name: Some(part.name),
            version: part.version,
            outcome: Some(part.outcome),
            ..self.clone()
        };
        parts.into_iter().map(one).collect()
    }

    /// Appends the part of the line that is hashed: everything but the hash
    /// field and the closing brace.
    fn write_hashed(&self, out: &mut Vec<u8>) -> Result<()> {
        serde_json::to_writer(&mut *out, self)
            .map_err(|e| Error::internal("an audit line cannot be written").with_source(e))?;
        out.pop();
        Ok(())
    }
}

/// Appends the hash field and the newline.
pub(super) fn write_hash(out: &mut Vec<u8>, hash: &[u8; HASH_BYTES]) {
    out.extend_from_slice(HASH_FIELD.as_bytes());
    for byte in hash {
        out.extend_from_slice(&hex_digits(*byte));
    }
    out.extend_from_slice(b"\"}\n");
}

/// A line with its hash and the bytes that the hash covers.
#[derive(Clone, Debug)]
pub struct Parsed<'a> {
    /// The line.
    pub line: Line,
    /// Its hash, as it stands there; [`parse_line`] does not check it.
    pub hash: [u8; HASH_BYTES],
    pub(super) hashed: &'a [u8],
}

impl Parsed<'_> {
    /// What the next line is chained to.
    #[must_use]
    pub fn head(&self) -> Head {
        Head { seq: self.line.seq, hash: self.hash }
    }
}

/// Reads one line, without its newline, and accepts only what this module
/// writes, byte for byte: fixed field order, no unknown or repeated field, no
/// spaces. It does not check the hash.
///
/// Anything else is `Tampered`.
pub fn parse_line(bytes: &[u8]) -> Result<Parsed<'_>> {
    let bad = |why: &'static str| Error::tampered(why);
    if bytes.len() > MAX_LINE_BYTES {
        return Err(bad("the line is longer than 64 KiB"));
    }
    let split =
        bytes.len().checked_sub(SUFFIX_BYTES).ok_or_else(|| bad("the line is too short"))?;
    let (hashed, suffix) = bytes.split_at(split);
    let hash = suffix
        .strip_prefix(HASH_FIELD.as_bytes())
        .and_then(|rest| rest.strip_suffix(b"\"}"))
        .and_then(from_hex)
        .ok_or_else(|| bad("the line does not end with its hash"))?;
    let mut text = Vec::with_capacity(split + 1);
    text.extend_from_slice(hashed);
    text.push(b'}');
    // The parser's own message would quote the file; it may be anything.
    let line: Line =
        serde_json::from_slice(&text).map_err(|_| bad("the line is not an audit line"))?;
    let mut written = Vec::with_capacity(text.len());
    line.write_hashed(&mut written)?;
    if written != hashed {
        return Err(bad("the line is not written as an audit line is"));
    }
    Ok(Parsed { line, hash, hashed })
}

/// Whether this may once have been a whole line: a torn one has neither the
/// end of a line nor as much behind its hash field, and no single altered byte
/// takes both from a whole one.
pub(super) fn looks_whole(bytes: &[u8]) -> bool {
    let field = HASH_FIELD.as_bytes();
    let hash = bytes.windows(field.len()).rposition(|window| window == field);
    bytes.ends_with(b"\"}") || hash.is_some_and(|at| bytes.len() - at >= SUFFIX_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_lines_are_refused() {
        let good = format!(
            "{{\"seq\":1,\"time\":\"1970-01-01T00:00:00.000Z\",\"operation\":\"put\",\
             \"phase\":\"intent\",\"actor\":{{}},\"hash\":\"{}\"}}",
            "ab".repeat(32)
        );
        assert!(parse_line(good.as_bytes()).is_ok());
        let bad = [
            String::new(),
            "{}".into(),
            good.replace(",\"phase\"", ", \"phase\""),
            good.replace("{\"seq\":1,", "{\"seq\":1,\"seq\":1,"),
            good.replace("\"seq\":1", "\"seq\":01"),
            good.replace("\"seq\":1", "\"seq\":1.0"),
            good.replace("\"seq\":1", "\"seq\":-1"),
            good.replace("\"seq\":1", "\"seq\":99999999999999999999"),
            good.replace("\"actor\":{}", "\"actor\":{\"uid\":null}"),
            good.replace("\"actor\":{}", "\"value\":\"x\",\"actor\":{}"),
            good.replace("\"actor\":{}", &"[".repeat(9_000)),
            good.replace("put", "p\\u0075t"),
            good.replace("\"abab", "\"ABab"),
            format!("{good} "),
            good.replace("put", &"x".repeat(MAX_LINE_BYTES)),
        ];
        for line in bad {
            assert!(parse_line(line.as_bytes()).is_err(), "{line:.200}");
        }
        let mut binary = good.clone().into_bytes();
        binary[good.find("put").expect("there")] = 0xff;
        assert!(parse_line(&binary).is_err());
        for end in 0..good.len() {
            assert!(parse_line(&good.as_bytes()[..end]).is_err(), "cut at {end}");
        }
    }
}
