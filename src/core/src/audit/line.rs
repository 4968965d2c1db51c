//! One line of the log: what is recorded of an operation, and the strict
//! reading of it. A line never has room for a secret's value.

use jiff::Timestamp as Civil;
use serde::{Deserialize, Serialize};

use super::chain::{HASH_BYTES, Head, from_hex, to_hex};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::name::{Scope, SecretName};
use crate::secret::Version;

/// The longest line, in bytes, without its newline. Ours have a few hundred;
/// the limit bounds what a reader of a hostile file holds in memory.
pub const MAX_LINE_BYTES: usize = 64 << 10;

const HASH_FIELD: &str = ",\"hash\":\"";
/// What follows the hashed part of a line: the field, 64 digits, `"}`.
const SUFFIX_BYTES: usize = HASH_FIELD.len() + 2 * HASH_BYTES + 2;

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

/// What is to be recorded.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    operation: &'a str,
    scope: Option<&'a Scope>,
    name: Option<&'a SecretName>,
    version: Option<&'a Version>,
    phase: Phase,
    outcome: Option<&'static str>,
    actor: &'a Actor,
}

impl<'a> Event<'a> {
    /// A mutation is about to touch the store.
    #[must_use]
    pub fn intent(operation: &'a str, actor: &'a Actor) -> Self {
        let (scope, name, version, outcome) = (None, None, None, None);
        Self { operation, scope, name, version, phase: Phase::Intent, outcome, actor }
    }

    /// An operation has ended; well, unless [`failed`](Self::failed) follows.
    #[must_use]
    pub fn done(operation: &'a str, actor: &'a Actor) -> Self {
        Self { phase: Phase::Done, outcome: Some("ok"), ..Self::intent(operation, actor) }
    }

    /// The secret concerned, and with it the scope.
    #[must_use]
    pub fn about(self, name: &'a SecretName) -> Self {
        Self { name: Some(name), scope: Some(name.scope()), ..self }
    }

    /// The scope concerned, where there is no single secret.
    #[must_use]
    pub fn within(self, scope: &'a Scope) -> Self {
        Self { scope: Some(scope), ..self }
    }

    /// The version that was read or written.
    #[must_use]
    pub fn of_version(self, version: &'a Version) -> Self {
        Self { version: Some(version), ..self }
    }

    /// The operation failed. Only the kind is recorded: a message may quote
    /// what a backend said.
    #[must_use]
    pub fn failed(self, kind: ErrorKind) -> Self {
        Self { outcome: Some(kind.as_str()), ..self }
    }

    pub(super) fn to_line(&self, seq: u64, time: Timestamp) -> Line {
        Line {
            seq,
            time: rfc3339(time),
            operation: self.operation.to_owned(),
            scope: self.scope.map(ToString::to_string),
            name: self.name.map(|name| name.id().to_owned()),
            version: self.version.map(|version| version.as_str().to_owned()),
            phase: self.phase,
            outcome: self.outcome.map(str::to_owned),
            fragment: None,
            actor: self.actor.clone(),
        }
    }
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
    /// Before or after.
    pub phase: Phase,
    /// `ok`, or the kind of the error; absent in an intent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// What a `recovered` line closes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fragment: Option<Fragment>,
    /// On whose behalf.
    pub actor: Actor,
}

impl Line {
    pub(super) fn recovered(seq: u64, time: Timestamp, fragment: Fragment) -> Self {
        let actor = Actor::default();
        let line = Event::done("recovered", &actor).to_line(seq, time);
        Self { fragment: Some(fragment), ..line }
    }

    /// When the line was written.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        let civil: Option<Civil> = self.time.parse().ok();
        Timestamp(civil.map_or(0, |civil| u64::try_from(civil.as_millisecond()).unwrap_or(0)))
    }

    /// Appends the part of the line that is hashed: everything but the hash
    /// field and the closing brace.
    pub(super) fn write_hashed(&self, out: &mut Vec<u8>) -> Result<()> {
        serde_json::to_writer(&mut *out, self)
            .map_err(|e| Error::internal("an audit line cannot be written").with_source(e))?;
        out.pop();
        Ok(())
    }
}

/// Appends the hash field and the newline.
pub(super) fn write_hash(out: &mut Vec<u8>, hash: &[u8; HASH_BYTES]) {
    out.extend_from_slice(HASH_FIELD.as_bytes());
    out.extend_from_slice(to_hex(hash).as_bytes());
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

fn rfc3339(time: Timestamp) -> String {
    let millis = i64::try_from(time.0).unwrap_or(i64::MAX);
    let civil = Civil::from_millisecond(millis).unwrap_or(Civil::MAX);
    format!("{civil:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(line: &Line) -> Vec<u8> {
        let mut out = Vec::new();
        line.write_hashed(&mut out).expect("a line");
        write_hash(&mut out, &[0xab; HASH_BYTES]);
        out.pop();
        out
    }

    #[test]
    fn a_line_has_its_fields_in_a_fixed_order_and_its_hash_last() {
        let name = SecretName::new("acme/ops".parse().expect("a scope"), "db").expect("a name");
        let actor = Actor { uid: Some(0), pid: Some(7), user: Some("a\"\n\u{1b}b".into()) };
        let version = Version::new("3").expect("a version");
        let event = Event::done("put", &actor).about(&name).of_version(&version);
        let line = event.failed(ErrorKind::Conflict).to_line(9, Timestamp(1_700_000_000_007));
        let expected = format!(
            "{{\"seq\":9,\"time\":\"2023-11-14T22:13:20.007Z\",\"operation\":\"put\",\
             \"scope\":\"acme/ops\",\"name\":\"db\",\"version\":\"3\",\"phase\":\"done\",\
             \"outcome\":\"conflict\",\"actor\":{{\"uid\":0,\"pid\":7,\
             \"user\":\"a\\\"\\n\\u001bb\"}},\"hash\":\"{}\"}}",
            "ab".repeat(32)
        );
        let bytes = written(&line);
        assert_eq!(String::from_utf8_lossy(&bytes), expected);
        let parsed = parse_line(&bytes).expect("our own line");
        assert_eq!(parsed.line, line);
        assert_eq!(parsed.line.timestamp(), Timestamp(1_700_000_000_007));
    }

    #[test]
    fn times_that_no_calendar_has_are_clamped() {
        assert_eq!(rfc3339(Timestamp(0)), "1970-01-01T00:00:00.000Z");
        assert!(rfc3339(Timestamp(u64::MAX)).starts_with("9999-12-30T"));
    }

    #[test]
    fn hostile_lines_are_refused() {
        let actor = Actor::default();
        let good = written(&Event::intent("put", &actor).to_line(1, Timestamp(0)));
        let good = String::from_utf8(good).expect("text");
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
