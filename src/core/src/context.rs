//! The encryption context: who a ciphertext belongs to. It is authenticated
//! with the payload and with the wrapped DEK, and sent to a KMS that takes one,
//! so that a record moved to another name, scope or version does not open.

use std::fmt;

use crate::name::{SecretName, push_text};
use crate::secret::{Kind, Version};

/// The format that this build writes.
pub const FORMAT_VERSION: u8 = 1;

/// Scope, name, version, kind and format version of one record.
#[derive(Clone, PartialEq, Eq)]
pub struct EncryptionContext {
    encoded: Vec<u8>,
    purpose: Purpose,
}

/// What a context stands for. Its number leads the encoding, so that a DEK or
/// ciphertext of the engine's own never passes for a user's secret.
#[derive(Clone, PartialEq, Eq)]
enum Purpose {
    Secret { name: SecretName, version: Version, kind: Kind },
    Internal { account: String, label: &'static str },
}

impl EncryptionContext {
    /// The context of one version of a secret.
    #[must_use]
    pub fn new(name: &SecretName, version: &Version, kind: Kind) -> Self {
        let mut encoded = Vec::with_capacity(96);
        encoded.extend_from_slice(&[FORMAT_VERSION, 1]);
        name.encode_into(&mut encoded);
        push_text(&mut encoded, version.as_str());
        encoded.push(kind as u8);
        let (name, version) = (name.clone(), version.clone());
        Self { encoded, purpose: Purpose::Secret { name, version, kind } }
    }

    /// The context of something that the engine keeps for itself.
    pub(crate) fn internal(account: &str, label: &'static str) -> Self {
        let mut encoded = vec![FORMAT_VERSION, 2];
        push_text(&mut encoded, account);
        push_text(&mut encoded, label);
        Self { encoded, purpose: Purpose::Internal { account: account.to_owned(), label } }
    }

    /// The canonical, injective encoding; `FORMAT.md` defines it to the byte.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.encoded
    }

    /// The same as key-value pairs, for a KMS that takes those. Every part is
    /// a pair of its own, so that nothing is joined with a separator.
    #[must_use]
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = vec![("strongroom:format", FORMAT_VERSION.to_string())];
        match &self.purpose {
            Purpose::Secret { name, version, kind } => {
                let levels = ["strongroom:account", "strongroom:org", "strongroom:project"];
                let ids = name.scope().identifiers().map(str::to_owned);
                pairs.extend(levels.into_iter().zip(ids));
                pairs.push(("strongroom:name", name.id().to_owned()));
                pairs.push(("strongroom:version", version.to_string()));
                pairs.push(("strongroom:kind", kind.as_str().to_owned()));
            }
            Purpose::Internal { account, label } => {
                pairs.push(("strongroom:account", account.clone()));
                pairs.push(("strongroom:internal", (*label).to_owned()));
            }
        }
        pairs
    }
}

impl fmt::Debug for EncryptionContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.pairs()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_fixed() {
        let scope: crate::Scope = "acme/ops".parse().expect("valid");
        let name = SecretName::new(scope, "db").expect("valid");
        let version = Version::new("7").expect("valid");
        let context = EncryptionContext::new(&name, &version, Kind::Text);
        assert_eq!(context.as_bytes(), b"\x01\x01\x02\x04\0acme\x03\0ops\x02\0db\x01\x007\x01");
    }

    #[test]
    fn internal_contexts_differ_from_every_secrets() {
        let context = EncryptionContext::internal("acme", "identity");
        assert_eq!(context.as_bytes()[..2], [FORMAT_VERSION, 2]);
        assert!(context.pairs().contains(&("strongroom:internal", "identity".to_owned())));
    }
}
