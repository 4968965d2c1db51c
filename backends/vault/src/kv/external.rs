//! [`VaultExternalSecrets`]: secrets in KV engines that others look after, as references
//! lead to them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use strongroom_core::{Error, ErrorKind, ExternalStore, ExternalValue, Kind, Result};

use super::data::{self, Fields, Marks};
use super::engine::{is_deleted, no_secret, no_version};
use super::mounts::{Mount, Mounted, mount_of};
use super::one::One;
use super::options::{KvVersion, check_value_key};
use super::two::{Calls, Gone};
use crate::connection::Vault;
use crate::guarded;

/// Every secret in a KV engine that the session may read.
///
/// A path is that of the mount and that of the secret in it, as `vault kv get` takes it:
/// `secret/team/db`; behind it, in KV 2, `?version=N`. Which engine a mount is, Vault is
/// asked once. The value is what is kept there as an object of JSON, so that a reference
/// leads to a key of it with `#key` (`secret/team/db#password`), and to one below with
/// `#key.nested`.
///
/// What a [`VaultKv`](super::VaultKv) wrote of another kind than text, or as bytes, is
/// that value itself. A text of it is an object as everybody's: `#value` leads to it.
pub struct VaultExternalSecrets {
    vault: Vault,
    mounts: Mutex<BTreeMap<String, Mounted>>,
    value_key: String,
    only_below: Option<String>,
    never_below: Vec<String>,
    description: String,
}

impl VaultExternalSecrets {
    /// What can be reached at `vault`.
    #[must_use]
    pub fn new(vault: &Vault) -> Self {
        let description = format!("KV of Vault at {}", vault.address());
        let (value_key, never_below) = ("value".to_owned(), Vec::new());
        let mounts = Mutex::default();
        Self { vault: vault.clone(), mounts, value_key, only_below: None, never_below, description }
    }

    /// Only what is at paths that begin with `prefix`.
    #[must_use]
    pub fn only_below(self, prefix: &str) -> Self {
        Self { only_below: Some(prefix.to_owned()), ..self }
    }

    /// Nothing at paths that begin with `prefix`: those of a store of ours, since a
    /// reference to its secrets would see what is not visible from its scope.
    #[must_use]
    pub fn never_below(mut self, prefix: &str) -> Self {
        self.never_below.push(prefix.to_owned());
        self
    }

    /// The key of values of ours, if it is not `value`.
    ///
    /// # Errors
    /// `Configuration` if values cannot be kept under this key.
    pub fn value_key(self, key: &str) -> Result<Self> {
        check_value_key(key)?;
        Ok(Self { value_key: key.to_owned(), ..self })
    }

    async fn read_path(&self, path: &str) -> Result<ExternalValue> {
        let (path, version) = parse(path)?;
        self.allows(path)?;
        let mount = self.mount(path).await?;
        let within = path.strip_prefix(&mount.path).and_then(|rest| rest.strip_prefix('/'));
        let within = within.filter(|within| !within.is_empty());
        let within = within.ok_or_else(|| Error::invalid_name("this is a mount, and no secret"))?;
        let found = match mount.engine {
            Mounted::Kv(KvVersion::One) => self.read_one(&mount.path, within, version).await,
            Mounted::Kv(KvVersion::Two) => self.read_two(&mount.path, within, version).await,
            Mounted::Other(engine) => {
                return Err(Error::unsupported(format!(
                    "the engine at {} is of type {engine}: references lead to secrets in kv",
                    mount.path
                )));
            }
        };
        let is_other =
            |error: &Error| matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Configuration);
        if found.as_ref().err().is_some_and(is_other) {
            // Perhaps since it has become another engine.
            self.known().remove(&mount.path);
        }
        found
    }

    async fn read_one(
        &self,
        mount: &str,
        path: &str,
        version: Option<u64>,
    ) -> Result<ExternalValue> {
        if version.is_some() {
            let what = format!("the engine at {mount} is KV version 1, which has no versions");
            return Err(Error::unsupported(what));
        }
        let kv = One::new(self.vault.clone(), mount, &self.value_key, 0);
        kv.read(path, |fields| self.value(fields)).await?.ok_or_else(no_secret)
    }

    async fn read_two(
        &self,
        mount: &str,
        path: &str,
        version: Option<u64>,
    ) -> Result<ExternalValue> {
        let kv = Calls { vault: self.vault.clone(), mount: mount.to_owned() };
        let found = kv.read(path, version, |fields| self.value(fields)).await?;
        let (value, _, _) = found.map_err(|gone| match gone {
            Gone::Deleted => is_deleted(),
            _ if version.is_some() => no_version(),
            Gone::Absent | Gone::Destroyed => no_secret(),
        })?;
        Ok(value)
    }

    fn value(&self, fields: &Fields<'_>) -> Result<ExternalValue> {
        if Marks::of(fields.keys())?.is_ours() {
            let (value, marks) = data::value(fields, &self.value_key)?;
            return Ok(ExternalValue { value, kind: marks.kind(), valid_for: None });
        }
        // All fields, as one object.
        Ok(ExternalValue { value: guarded::json(fields)?, kind: Kind::Text, valid_for: None })
    }

    async fn mount(&self, path: &str) -> Result<Mount> {
        let is_in = |mount: &str| {
            path.strip_prefix(mount).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        // No mount is within another one.
        let known = self
            .known()
            .iter()
            .find(|(mount, _)| is_in(mount))
            .map(|(mount, engine)| Mount { path: mount.clone(), engine: engine.clone() });
        if let Some(known) = known {
            return Ok(known);
        }
        let mount = mount_of(&self.vault, path).await?;
        self.known().insert(mount.path.clone(), mount.engine.clone());
        Ok(mount)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Mounted>> {
        self.mounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn allows(&self, path: &str) -> Result<()> {
        let is_outside = self.only_below.as_ref().is_some_and(|prefix| !path.starts_with(prefix));
        let is_hidden = self.never_below.iter().any(|prefix| path.starts_with(prefix));
        if is_outside || is_hidden {
            let what = "references to secrets at this path are not allowed here";
            return Err(Error::access_denied(what));
        }
        Ok(())
    }
}

#[async_trait]
impl ExternalStore for VaultExternalSecrets {
    fn describe(&self) -> &str {
        &self.description
    }

    async fn read(&self, path: &str) -> Result<ExternalValue> {
        self.read_path(path).await.map_err(|error| error.in_store(&self.description))
    }
}

/// The path, and which version. A path with `..` in it would lead elsewhere than it
/// says.
fn parse(text: &str) -> Result<(&str, Option<u64>)> {
    let (path, query) = match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (text, None),
    };
    let version = match query.map(|query| query.strip_prefix("version=").unwrap_or_default()) {
        None => None,
        Some(version) => {
            let number = version.parse().ok().filter(|number: &u64| *number > 0);
            let number = number.filter(|number| number.to_string() == version);
            Some(number.ok_or_else(|| {
                Error::invalid_name("a secret of Vault is written PATH or PATH?version=NUMBER")
            })?)
        }
    };
    let good = |part: &str| !matches!(part, "" | "." | "..") && !part.chars().any(char::is_control);
    if !path.split('/').all(good) {
        return Err(Error::invalid_name(
            "a path of Vault has parts with a slash between them, none of them empty, `.` or `..`",
        ));
    }
    Ok((path, version))
}

impl fmt::Debug for VaultExternalSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("VaultExternalSecrets");
        out.field("store", &self.description).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_and_perhaps_a_version() {
        assert_eq!(parse("secret/a b/ü").expect("good"), ("secret/a b/ü", None));
        assert_eq!(parse("secret/a?version=12").expect("good"), ("secret/a", Some(12)));
        for bad in [
            "",
            "/secret/a",
            "secret//a",
            "secret/a/",
            "secret/x/../a",
            "secret/./a",
            "secret/a\n",
            "secret/a?",
            "secret/a?version=",
            "secret/a?version=0",
            "secret/a?version=01",
            "secret/a?version=1&x=2",
            "secret/a?b=c",
        ] {
            assert_eq!(parse(bad).expect_err(bad).kind(), ErrorKind::InvalidName);
        }
    }

    #[test]
    fn all_fields_are_an_object() {
        let json = r#"{"a":{"b":[1,null]},"c":"\u00fc"}"#;
        let fields: Fields<'_> = serde_json::from_str(json).expect("JSON");
        assert!(guarded::json(&fields).expect("memory").expose() == json.as_bytes());
    }
}
