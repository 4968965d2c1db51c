//! [`Place`]: where a key of Transit is.

use std::fmt;

use strongroom_core::{Error, Result};

/// The longest identity that a record takes, in bytes.
const MAX_IDENTITY_BYTES: usize = 255;

const SCHEME: &str = "vault-transit:";

/// The mount of the engine and the name of the key.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) mount: String,
    name: String,
}

impl Place {
    /// # Errors
    /// `Configuration` if this cannot be a mount or the name of a key.
    pub(super) fn new(mount: &str, name: &str) -> Result<Self> {
        if !is_mount(mount) {
            return Err(Error::configuration(format!(
                "{} is no mount of a Transit engine: it is its path, without slashes around it",
                mount.escape_debug()
            )));
        }
        if !is_name(name) {
            return Err(Error::configuration(format!(
                "{} is no name of a key of Transit: it has letters, digits and _, and between \
                 them . and -",
                name.escape_debug()
            )));
        }
        Ok(Self { mount: mount.to_owned(), name: name.to_owned() })
    }

    /// What stands in records: not the server's address, which may change.
    ///
    /// # Errors
    /// `Configuration` if it is too long for a record.
    pub(super) fn identity(&self, namespace: Option<&str>) -> Result<String> {
        let namespace = namespace.map_or("", |namespace| namespace.trim_matches('/'));
        let slash = if namespace.is_empty() { "" } else { "/" };
        let Self { mount, name } = self;
        let identity = format!("{SCHEME}{namespace}{slash}{mount}/{name}");
        if identity.len() > MAX_IDENTITY_BYTES {
            return Err(Error::configuration(format!(
                "namespace, mount and name of a key of Transit have {} bytes at most",
                MAX_IDENTITY_BYTES - SCHEME.len()
            )));
        }
        Ok(identity)
    }

    /// What is asked for `operation`.
    pub(super) fn path(&self, operation: &str) -> String {
        let Self { mount, name } = self;
        format!("{mount}/{operation}/{name}")
    }
}

/// As a policy names the key.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path("keys"))
    }
}

fn is_mount(mount: &str) -> bool {
    let is_part =
        |part: &str| !matches!(part, "" | "." | "..") && !part.chars().any(char::is_control);
    mount.split('/').all(is_part)
}

/// As Vault's `GenericNameRegex` has it.
fn is_name(name: &str) -> bool {
    let is_word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    let bytes = name.as_bytes();
    bytes.first().is_some_and(is_word)
        && bytes.last().is_some_and(is_word)
        && bytes.iter().all(|b| is_word(b) || matches!(b, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use strongroom_core::ErrorKind;

    use super::*;

    #[test]
    fn a_key_is_named_by_where_it_is() {
        let place = Place::new("kms/t", "a.b-c").expect("a key");
        assert_eq!(place.to_string(), "kms/t/keys/a.b-c");
        assert_eq!(place.path("datakey/plaintext"), "kms/t/datakey/plaintext/a.b-c");
        let identity = |namespace| place.identity(namespace).expect("short");
        assert_eq!(identity(None), "vault-transit:kms/t/a.b-c");
        assert_eq!(identity(Some("eu/pay/")), "vault-transit:eu/pay/kms/t/a.b-c");
    }

    #[test]
    fn names_that_cannot_be_right_are_refused() {
        for (mount, name) in [
            ("", "k"),
            ("/transit", "k"),
            ("transit/", "k"),
            ("a//b", "k"),
            ("a/../b", "k"),
            ("a\n", "k"),
            ("transit", ""),
            ("transit", "a/b"),
            ("transit", "-a"),
            ("transit", "a."),
            ("transit", "ä"),
        ] {
            let error = Place::new(mount, name).expect_err(name);
            assert_eq!(error.kind(), ErrorKind::Configuration, "{mount:?} {name:?}");
        }
        let place = Place::new("transit", &"x".repeat(250)).expect("a name");
        let error = place.identity(None).expect_err("too long");
        assert_eq!(error.kind(), ErrorKind::Configuration);
    }
}
