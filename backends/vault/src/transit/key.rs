//! What Vault tells of a key.

use std::collections::BTreeMap;

use serde::Deserialize;
use strongroom_core::wrapper::KekVersion;
use strongroom_core::{Error, Result, Timestamp};

use super::place::Place;

/// The types that authenticate what they encrypt, and a context with it. With CBC and
/// RSA there is none, and a managed key does what its own KMS does.
const TYPES: [&str; 4] =
    ["aes128-gcm96", "aes256-gcm96", "chacha20-poly1305", "xchacha20-poly1305"];

/// `GET keys/NAME`.
#[derive(Deserialize)]
pub(super) struct Description {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    derived: bool,
    latest_version: u64,
    #[serde(default)]
    min_decryption_version: u64,
    #[serde(default)]
    min_available_version: u64,
    /// By number, when it was made: in seconds since 1970. Types that are of no use here
    /// have their public keys there.
    #[serde(default)]
    keys: BTreeMap<String, serde_json::Value>,
}

/// A key that DEKs can be wrapped with.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Key {
    kind: String,
    pub(super) binding: Binding,
    /// The version that encrypts.
    pub(super) latest: u64,
    /// Older versions do not decrypt.
    pub(super) min_decryption: u64,
    /// Older versions are no more.
    pub(super) min_available: u64,
    created: BTreeMap<u64, Option<Timestamp>>,
}

/// How the key takes the encryption context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binding {
    /// Vault derives another key from it for each context, whatever it does.
    Derivation,
    /// As associated data, when it encrypts and decrypts, and not otherwise.
    AssociatedData,
}

impl Key {
    /// The key at `place`, if it can wrap DEKs.
    pub(super) fn of(description: Description, place: &Place) -> Result<Self> {
        let Description { kind, derived, latest_version, keys, .. } = description;
        if !TYPES.contains(&kind.as_str()) {
            return Err(Error::configuration(format!(
                "the key {place} is of type {}, which authenticates no encryption context: make \
                 one of type aes256-gcm96 with derived=true",
                kind.escape_debug()
            )));
        }
        let binding = if derived { Binding::Derivation } else { Binding::AssociatedData };
        let created = keys.iter().filter_map(|(number, created)| {
            let seconds = created.as_u64();
            let created = seconds.map(|seconds| Timestamp(seconds.saturating_mul(1000)));
            Some((number.parse().ok()?, created))
        });
        Ok(Self {
            binding,
            latest: latest_version,
            min_decryption: description.min_decryption_version,
            min_available: description.min_available_version,
            created: created.collect(),
            kind,
        })
    }

    /// The versions that still decrypt, oldest first.
    pub(super) fn versions(&self) -> Vec<KekVersion> {
        let version = |(number, created): (&u64, &Option<Timestamp>)| KekVersion {
            version: number.to_string(),
            created: *created,
            is_current: *number == self.latest,
        };
        self.created.iter().map(version).collect()
    }

    /// The same in a line, with what would be better.
    pub(super) fn told(&self) -> String {
        let Self { kind, latest, min_decryption, .. } = self;
        let binding = match self.binding {
            Binding::Derivation => "derived",
            Binding::AssociatedData => {
                "not derived, so that a rewrap brings DEKs into this process: better is a key \
                 with derived=true"
            }
        };
        format!("{kind}, version {latest}, decrypts from version {min_decryption}, {binding}")
    }
}

#[cfg(test)]
mod tests {
    use strongroom_core::ErrorKind;

    use super::*;

    fn described(json: &str) -> Result<Key> {
        let place = Place::new("transit", "k").expect("a key");
        Key::of(serde_json::from_str(json).expect("a description"), &place)
    }

    #[test]
    fn a_key_is_what_vault_tells_of_it() {
        let key = described(
            r#"{"type": "aes256-gcm96", "derived": true, "latest_version": 10, "name": "k",
                "min_decryption_version": 2, "min_available_version": 1,
                "keys": {"10": 1700000010, "9": 1700000009, "2": 1700000002}}"#,
        );
        let key = key.expect("usable");
        assert_eq!((key.binding, key.latest), (Binding::Derivation, 10));
        let versions: Vec<_> = key
            .versions()
            .into_iter()
            .map(|version| (version.version, version.created.expect("told").0, version.is_current))
            .collect();
        let expected = [("2", 2, false), ("9", 9, false), ("10", 10, true)];
        let expected = expected.map(|(version, seconds, is_current)| {
            (version.to_owned(), (1_700_000_000 + seconds) * 1000, is_current)
        });
        assert_eq!(versions, expected);
    }

    #[test]
    fn a_key_that_is_not_derived_is_said_to_be_the_worse_one() {
        let told = |derived: bool| {
            let json = format!(
                r#"{{"type": "chacha20-poly1305", "derived": {derived}, "latest_version": 1}}"#
            );
            described(&json).expect("usable").told()
        };
        assert!(told(false).contains("better is"), "{}", told(false));
        assert!(!told(true).contains("better is"), "{}", told(true));
    }

    #[test]
    fn a_type_without_a_context_is_named() {
        for kind in ["rsa-4096", "aes256-cbc", "managed_key", "hmac", "ecdsa-p256", "ed25519"] {
            let json = format!(
                r#"{{"type": "{kind}", "derived": true, "latest_version": 1,
                     "keys": {{"1": {{"public_key": "x"}}}}}}"#
            );
            let error = described(&json).expect_err(kind);
            assert_eq!(error.kind(), ErrorKind::Configuration);
            let told = format!("transit/keys/k is of type {kind}");
            assert!(error.message().contains(&told), "{error}");
        }
    }
}
