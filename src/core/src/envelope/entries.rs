//! What the entries of an envelope store say: the numbers of versions, the lines
//! of lists, and whether a put's expectation holds.

use super::Record;
use super::head::{Head, State};
use crate::context::EncryptionContext;
use crate::error::{Error, Result};
use crate::name::{Scope, SecretName};
use crate::secret::{Kind, Listing, Version, VersionInfo};
use crate::store::Expect;
use crate::transfer::Place;

/// The latest version's number, zero if there is none, when the expectation
/// holds.
pub(super) fn check_expectation(head: Option<&Head>, expect: &Expect) -> Result<u64> {
    let state = head.map(|head| &head.state);
    match state {
        Some(State::Deleted { .. }) => {
            return Err(Error::already_exists(
                "a deleted secret of this name can still be restored: restore or purge it first",
            ));
        }
        Some(State::Moved { to, .. }) => {
            return Err(Error::conflict(format!("the secret was moved to {to}: write it there")));
        }
        Some(State::Incoming { from }) => return Err(incoming(from)),
        _ => {}
    }
    let latest = head.map_or(0, |head| head.latest);
    match (expect, state) {
        (Expect::Any, _) | (Expect::Absent, None | Some(State::Purged)) => Ok(latest),
        (Expect::Absent, _) => Err(Error::already_exists("a secret of this name exists already")),
        (Expect::Latest(expected), Some(State::Live)) => {
            if number(expected).is_ok_and(|expected| expected == latest) {
                Ok(latest)
            } else {
                Err(Error::conflict(format!("the latest version is {latest}, not {expected}")))
            }
        }
        (Expect::Latest(_), _) => Err(Error::not_found("there is no such secret")),
    }
}

/// Why there is no secret under a head, or under none.
pub(super) fn no_secret(head: Option<&Head>) -> Error {
    match head.map(|head| &head.state) {
        Some(State::Moved { to, .. }) => {
            Error::not_found(format!("the secret was moved to {to}: it is there now"))
        }
        Some(State::Incoming { from }) => incoming(from),
        _ => Error::not_found("there is no such secret"),
    }
}

fn incoming(from: &Place) -> Error {
    Error::unavailable(format!(
        "the secret is being moved here from {from}: until that is done it is there, and if the \
         migration was interrupted, it has to be resumed"
    ))
}

pub(super) fn context(name: &SecretName, number: u64, kind: Kind) -> Result<EncryptionContext> {
    Ok(EncryptionContext::new(name, &version(number)?, kind))
}

pub(super) fn version(number: u64) -> Result<Version> {
    Version::new(number.to_string())
}

/// The number that we wrote as this version. Other spellings of it (`+1`, `01`)
/// are no versions of ours.
pub(super) fn number(version: &Version) -> Result<u64> {
    let number = version.as_str().parse::<u64>().ok();
    let number = number.filter(|number| number.to_string() == version.as_str());
    number.ok_or_else(|| no_such_version(version))
}

pub(super) fn no_such_version(version: impl std::fmt::Display) -> Error {
    Error::not_found(format!("there is no version {version}"))
}

pub(super) fn missing_record() -> Error {
    Error::tampered("the record that the secret's head names is missing")
}

pub(super) fn version_info(prefix: &[u8], key: &[u8], bytes: &[u8]) -> Result<VersionInfo> {
    let number = key.strip_prefix(prefix).and_then(|number| number.try_into().ok());
    let number = number.map(u64::from_be_bytes).ok_or_else(misplaced)?;
    let header = *Record::parse(bytes)?.header();
    Ok(VersionInfo::new(version(number)?, header.kind, header.created))
}

pub(super) fn listing(
    scope: &Scope,
    prefix: &[u8],
    key: &[u8],
    bytes: &[u8],
) -> Result<Option<(Listing, Head)>> {
    let id = key.strip_prefix(prefix).and_then(|id| std::str::from_utf8(id).ok());
    let name = SecretName::new(scope.clone(), id.ok_or_else(misplaced)?)?;
    let head = Head::parse(bytes).map_err(|error| error.about(&name))?;
    if head.latest == 0 {
        return Ok(None);
    }
    let deleted = match head.state {
        State::Deleted { since, .. } => Some(since),
        _ => None,
    };
    let (kind, updated, metadata) = (head.kind, head.updated, head.metadata.clone());
    let listing = Listing { name, latest: version(head.latest)?, kind, updated, metadata, deleted };
    Ok(Some((listing, head)))
}

pub(super) fn misplaced() -> Error {
    Error::tampered("the record store holds an entry that the engine did not write")
}
