//! What is to be recorded of an operation, and how it becomes a line: written
//! straight from what the caller holds, without a copy of a name.

use jiff::Timestamp as Civil;

use super::line::{Actor, Fragment, MAX_LINE_BYTES, Phase, SUFFIX_BYTES};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::name::{Scope, SecretName};
use crate::secret::Version;

/// The longest body: with the longest number and time before it and the hash
/// behind it, the line keeps to its limit.
const MAX_BODY_BYTES: usize = MAX_LINE_BYTES - SUFFIX_BYTES - 64;

/// What is to be recorded.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    operation: &'a str,
    scope: Option<&'a Scope>,
    name: Option<&'a SecretName>,
    version: Option<&'a Version>,
    secrets: &'a [Read<'a>],
    phase: Phase,
    outcome: Option<&'static str>,
    fragment: Option<&'a Fragment>,
    actor: &'a Actor,
}

/// A read of one secret among others.
#[derive(Clone, Debug)]
pub struct Read<'a> {
    /// The secret.
    pub name: &'a SecretName,
    /// The version that was read, or the kind of the error.
    pub outcome: std::result::Result<&'a Version, ErrorKind>,
}

/// So many of the longest names and versions are within a line's limit.
const MAX_READS: usize = 64;

impl<'a> Event<'a> {
    /// A mutation is about to touch the store.
    #[must_use]
    pub fn intent(operation: &'a str, actor: &'a Actor) -> Self {
        Self {
            operation,
            scope: None,
            name: None,
            version: None,
            secrets: &[],
            phase: Phase::Intent,
            outcome: None,
            fragment: None,
            actor,
        }
    }

    /// An operation has ended; well, unless [`failed`](Self::failed) follows.
    #[must_use]
    pub fn done(operation: &'a str, actor: &'a Actor) -> Self {
        Self { phase: Phase::Done, outcome: Some("ok"), ..Self::intent(operation, actor) }
    }

    /// Reads that were made together: as few lines as their scopes and the limit of
    /// a line allow, in their order. A line for each would cost several times what
    /// it takes to answer from a cache.
    pub fn reads(
        operation: &'a str,
        actor: &'a Actor,
        reads: &'a [Read<'a>],
    ) -> impl Iterator<Item = Self> {
        let of_scopes = reads.chunk_by(|one, next| one.name.scope() == next.name.scope());
        of_scopes.flat_map(|of_scope| of_scope.chunks(MAX_READS)).map(move |reads| {
            let done = Self::done(operation, actor);
            match reads {
                [Read { name, outcome: Ok(version) }] => done.about(name).of_version(version),
                [Read { name, outcome: Err(kind) }] => done.about(name).failed(*kind),
                _ => {
                    let scope = reads.first().map(|read| read.name.scope());
                    Self { scope, secrets: reads, outcome: None, ..done }
                }
            }
        })
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

    /// A torn line is closed.
    pub(super) fn recovered(fragment: &'a Fragment, actor: &'a Actor) -> Self {
        Self { fragment: Some(fragment), ..Self::done("recovered", actor) }
    }

    /// Appends what follows a line's number and time, up to the hash. When the
    /// line would be too long, `out` is as it was.
    ///
    /// It spells out what serde makes of a [`Line`](super::Line), whose order of
    /// fields is the order here; [`parse_line`](super::parse_line) compares the
    /// two byte for byte.
    pub(super) fn write_body(&self, out: &mut Vec<u8>) -> Result<()> {
        let begin = out.len();
        let written = self.write_fields(out).map_err(unwritten);
        let bytes = out.len() - begin;
        let checked = written.and_then(|()| {
            let long = || Error::limit_exceeded("the audit line would be longer than 64 KiB");
            if bytes > MAX_BODY_BYTES { Err(long()) } else { Ok(()) }
        });
        checked.inspect_err(|_| out.truncate(begin))
    }

    fn write_fields(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        out.extend_from_slice(b",\"operation\":");
        serde_json::to_writer(&mut *out, self.operation)?;
        if let Some(scope) = self.scope {
            // Identifiers hold nothing that JSON escapes.
            out.extend_from_slice(b",\"scope\":\"");
            for (place, id) in scope.identifiers().enumerate() {
                out.extend_from_slice(if place == 0 { b"" } else { b"/" });
                out.extend_from_slice(id.as_bytes());
            }
            out.push(b'"');
        }
        if let Some(name) = self.name {
            out.extend_from_slice(b",\"name\":\"");
            out.extend_from_slice(name.id().as_bytes());
            out.push(b'"');
        }
        if let Some(version) = self.version {
            out.extend_from_slice(b",\"version\":");
            serde_json::to_writer(&mut *out, version.as_str())?;
        }
        for (place, read) in self.secrets.iter().enumerate() {
            let begin: &[u8] =
                if place == 0 { b",\"secrets\":[{\"name\":\"" } else { b",{\"name\":\"" };
            out.extend_from_slice(begin);
            out.extend_from_slice(read.name.id().as_bytes());
            out.push(b'"');
            let outcome = match read.outcome {
                Ok(version) => {
                    out.extend_from_slice(b",\"version\":");
                    serde_json::to_writer(&mut *out, version.as_str())?;
                    "ok"
                }
                Err(kind) => kind.as_str(),
            };
            out.extend_from_slice(b",\"outcome\":\"");
            out.extend_from_slice(outcome.as_bytes());
            out.extend_from_slice(b"\"}");
        }
        if !self.secrets.is_empty() {
            out.push(b']');
        }
        out.extend_from_slice(match self.phase {
            Phase::Intent => b",\"phase\":\"intent\"",
            Phase::Done => b",\"phase\":\"done\"",
        });
        if let Some(outcome) = self.outcome {
            out.extend_from_slice(b",\"outcome\":\"");
            out.extend_from_slice(outcome.as_bytes());
            out.push(b'"');
        }
        if let Some(fragment) = self.fragment {
            out.extend_from_slice(b",\"fragment\":");
            serde_json::to_writer(&mut *out, fragment)?;
        }
        out.extend_from_slice(b",\"actor\":");
        serde_json::to_writer(out, self.actor)
    }
}

/// Writes the begin of lines, and asks the calendar once a second.
#[derive(Default)]
pub(super) struct Stamps {
    second: Option<u64>,
    /// `2023-11-14T22:13:20.`
    text: String,
}

impl Stamps {
    /// Appends a line's first two fields: its number, and when, in RFC 3339,
    /// UTC, with milliseconds.
    pub(super) fn write(&mut self, out: &mut Vec<u8>, seq: u64, time: Timestamp) -> Result<()> {
        let second = time.0 / 1000;
        if self.second != Some(second) {
            self.text = rfc3339(time);
            // A time that no calendar has is clamped to one that may end in
            // any milliseconds: nothing of it is kept.
            let usual = i64::try_from(time.0).is_ok_and(|t| t <= Civil::MAX.as_millisecond());
            self.second = usual.then_some(second);
            self.text.truncate(if usual { self.text.len() - 4 } else { self.text.len() });
        }
        out.extend_from_slice(b"{\"seq\":");
        serde_json::to_writer(&mut *out, &seq).map_err(unwritten)?;
        out.extend_from_slice(b",\"time\":\"");
        out.extend_from_slice(self.text.as_bytes());
        if self.second.is_some() {
            let digit = |unit| b'0' + (time.0 / unit % 10) as u8;
            out.extend_from_slice(&[digit(100), digit(10), digit(1), b'Z']);
        }
        out.push(b'"');
        Ok(())
    }
}

fn unwritten(source: serde_json::Error) -> Error {
    Error::internal("an audit line cannot be written").with_source(source)
}

fn rfc3339(time: Timestamp) -> String {
    let millis = i64::try_from(time.0).unwrap_or(i64::MAX);
    let civil = Civil::from_millisecond(millis).unwrap_or(Civil::MAX);
    format!("{civil:.3}")
}

#[cfg(test)]
mod tests {
    use super::super::chain::HASH_BYTES;
    use super::super::line::{Line, parse_line, write_hash};
    use super::*;

    fn written(event: &Event<'_>, seq: u64, time: Timestamp) -> Vec<u8> {
        let mut out = Vec::new();
        Stamps::default().write(&mut out, seq, time).expect("a number and a time");
        event.write_body(&mut out).expect("a body");
        write_hash(&mut out, &[0xab; HASH_BYTES]);
        out.pop();
        out
    }

    #[test]
    fn a_line_has_its_fields_in_a_fixed_order_and_its_hash_last() {
        let name = SecretName::new("acme/ops".parse().expect("a scope"), "db").expect("a name");
        let actor = Actor {
            uid: Some(0),
            pid: Some(7),
            user: Some("a\"\n\u{1b}b".into()),
            executable: None,
        };
        let version = Version::new("3").expect("a version");
        let event = Event::done("put", &actor).about(&name).of_version(&version);
        let event = event.failed(ErrorKind::Conflict);
        let expected = format!(
            "{{\"seq\":9,\"time\":\"2023-11-14T22:13:20.007Z\",\"operation\":\"put\",\
             \"scope\":\"acme/ops\",\"name\":\"db\",\"version\":\"3\",\"phase\":\"done\",\
             \"outcome\":\"conflict\",\"actor\":{{\"uid\":0,\"pid\":7,\
             \"user\":\"a\\\"\\n\\u001bb\"}},\"hash\":\"{}\"}}",
            "ab".repeat(32)
        );
        let bytes = written(&event, 9, Timestamp(1_700_000_000_007));
        assert_eq!(String::from_utf8_lossy(&bytes), expected);
        let line = parse_line(&bytes).expect("our own line").line;
        assert_eq!((line.seq, line.name.as_deref()), (9, Some("db")));
        assert_eq!(line.timestamp(), Timestamp(1_700_000_000_007));
    }

    /// What a field may hold at worst is read back as it was.
    #[test]
    fn every_event_is_read_back() {
        let scopes = ["a", "a/b", "a.$-_9/b/c"].map(|text| text.parse::<Scope>().expect("a scope"));
        let texts = ["", "get", "\"\\/\u{8}\u{c}\n\r\t\0\u{1f}\u{7f}", "é\u{2028}\u{1f512}"];
        let version = Version::new("\"\\/!~").expect("a version");
        let fragment = Fragment { bytes: u64::MAX, sha256: "\"x\\".into() };
        for scope in &scopes {
            let name = SecretName::new(scope.clone(), "_$.-Z").expect("a name");
            for text in texts {
                let text = text.to_owned();
                let (user, executable) = (Some(text.clone()), Some(text.clone()));
                let actor = Actor { uid: Some(u32::MAX), pid: Some(0), user, executable };
                let text = text.as_str();
                let events = [
                    Event::intent(text, &actor).about(&name),
                    Event::done(text, &actor).about(&name).of_version(&version),
                    Event::done(text, &actor).within(scope).failed(ErrorKind::KeyUnavailable),
                    Event::recovered(&fragment, &actor),
                ];
                for event in events {
                    let bytes = written(&event, u64::MAX, Timestamp(1));
                    let line = parse_line(&bytes).expect("our own line").line;
                    assert_eq!(line.operation, event.operation);
                    assert_eq!(line.scope, event.scope.map(ToString::to_string));
                    assert_eq!(line.name.as_deref(), event.name.map(SecretName::id));
                    assert_eq!(line.version.as_deref(), event.version.map(Version::as_str));
                    assert_eq!((line.phase, line.outcome.as_deref()), (event.phase, event.outcome));
                    assert_eq!((line.fragment.as_ref(), &line.actor), (event.fragment, &actor));
                }
            }
        }
    }

    #[test]
    fn reads_made_together_share_lines_and_are_read_back_one_by_one() {
        let name = |scope: &str, id: &str| {
            SecretName::new(scope.parse().expect("a scope"), id).expect("a name")
        };
        let version = Version::new("\"\\".repeat(127)).expect("a version");
        let mut names: Vec<_> = (0..150).map(|n| name("a", &format!("{n:0>128}"))).collect();
        names.extend([name("a/b", "x"), name("a", "y"), name("a", "z")]);
        let outcome = |n: usize| if n % 3 == 2 { Err(ErrorKind::NotFound) } else { Ok(&version) };
        let reads = names.iter().enumerate();
        let reads: Vec<_> = reads.map(|(n, name)| Read { name, outcome: outcome(n) }).collect();
        let actor = Actor { user: Some("x".repeat(8 << 10)), ..Actor::default() };
        let lines: Vec<_> = Event::reads("get", &actor, &reads)
            .map(|event| parse_line(&written(&event, 1, Timestamp(1))).expect("our own line").line)
            .collect();
        let counts: Vec<_> = lines.iter().map(|line| line.secrets.len()).collect();
        assert_eq!(counts, [64, 64, 22, 0, 2]);
        let spread: Vec<_> = lines.into_iter().flat_map(Line::spread).collect();
        assert_eq!(spread.len(), names.len());
        for (line, (n, name)) in spread.iter().zip(names.iter().enumerate()) {
            assert_eq!(line.scope.as_deref(), Some(name.scope().to_string().as_str()));
            assert_eq!(line.name.as_deref(), Some(name.id()));
            let expected =
                if n % 3 == 2 { (None, "not_found") } else { (Some(version.as_str()), "ok") };
            assert_eq!(
                (line.version.as_deref(), line.outcome.as_deref()),
                (expected.0, Some(expected.1))
            );
            assert!(line.secrets.is_empty() && line.actor == actor && line.phase == Phase::Done);
        }
    }

    #[test]
    fn a_stamp_is_the_calendars_whatever_came_before() {
        let mut stamps = Stamps::default();
        let latest = u64::try_from(Civil::MAX.as_millisecond()).expect("after 1970");
        for time in [0, 999, 1_000, 1_007, 1_000, 951_782_400_000, latest, latest + 1, u64::MAX, 5]
        {
            let mut out = Vec::new();
            stamps.write(&mut out, 1, Timestamp(time)).expect("a stamp");
            let expected = format!("{{\"seq\":1,\"time\":\"{}\"", rfc3339(Timestamp(time)));
            assert_eq!(String::from_utf8_lossy(&out), expected, "{time}");
        }
        assert_eq!(rfc3339(Timestamp(0)), "1970-01-01T00:00:00.000Z");
        assert!(rfc3339(Timestamp(u64::MAX)).starts_with("9999-12-30T"));
    }

    #[test]
    fn a_line_of_any_number_and_time_keeps_to_the_limit() {
        let event = |bytes| Actor { user: Some("x".repeat(bytes)), ..Actor::default() };
        let mut bytes = MAX_LINE_BYTES;
        let longest = loop {
            bytes -= 1;
            let mut out = b"before".to_vec();
            match Event::done("get", &event(bytes)).write_body(&mut out) {
                Ok(()) => break event(bytes),
                Err(error) => assert_eq!(error.kind(), ErrorKind::LimitExceeded),
            }
            assert_eq!(out, b"before");
        };
        let line = written(&Event::done("get", &longest), u64::MAX, Timestamp(u64::MAX));
        assert!(line.len() <= MAX_LINE_BYTES && line.len() > MAX_LINE_BYTES - 64);
    }
}
