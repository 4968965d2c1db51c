//! The encryption context: who a ciphertext belongs to. It is authenticated
//! with the payload and with the wrapped DEK, and sent to a KMS that takes one,
//! so that a record moved to another name, scope or version does not open.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use crate::error::{Error, Result};
use crate::name::{Scope, SecretName, push_text};
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
    Caller(CallerContext),
    Branch { scope: Scope, id: [u8; 16] },
}

impl Purpose {
    fn scope(&self) -> Option<&Scope> {
        match self {
            Self::Secret { name, .. } => Some(name.scope()),
            Self::Caller(context) => Some(context.name.scope()),
            Self::Branch { scope, .. } => Some(scope),
            Self::Internal { .. } => None,
        }
    }
}

/// Whom a sealed value belongs to that its caller keeps: a name, which rules
/// apply to, and what else the caller binds it to. It does not open under
/// another name or other pairs, and is no secret of that name.
#[derive(Clone, PartialEq, Eq)]
pub struct CallerContext {
    name: SecretName,
    pairs: BTreeMap<String, String>,
}

impl CallerContext {
    /// The most pairs.
    pub const MAX_PAIRS: usize = 32;
    /// The longest key, in bytes.
    pub const MAX_KEY_BYTES: usize = 256;
    /// The longest value of a pair, in bytes.
    pub const MAX_VALUE_BYTES: usize = 1024;

    /// A context of one pair or more. None of it is secret: a KMS may log it.
    ///
    /// # Errors
    /// `InvalidName` without a pair or with an empty key, `LimitExceeded` beyond
    /// the limits above.
    pub fn new(name: SecretName, pairs: BTreeMap<String, String>) -> Result<Self> {
        let limit = |what: &str, bytes: usize, most: usize| {
            Error::limit_exceeded(format!(
                "{what} of the context has {bytes} bytes: {most} are allowed"
            ))
        };
        if pairs.is_empty() {
            return Err(Error::invalid_name(
                "the context is empty: give one pair or more that the value belongs to",
            ));
        }
        if pairs.len() > Self::MAX_PAIRS {
            return Err(Error::limit_exceeded(format!(
                "the context has {} pairs: {} are allowed",
                pairs.len(),
                Self::MAX_PAIRS
            )));
        }
        for (key, value) in &pairs {
            if key.is_empty() {
                return Err(Error::invalid_name("a key of the context is empty"));
            }
            if key.len() > Self::MAX_KEY_BYTES {
                return Err(limit("a key", key.len(), Self::MAX_KEY_BYTES));
            }
            if value.len() > Self::MAX_VALUE_BYTES {
                return Err(limit("a value", value.len(), Self::MAX_VALUE_BYTES));
            }
        }
        Ok(Self { name, pairs })
    }

    /// The name, and with it the scope.
    #[must_use]
    pub fn name(&self) -> &SecretName {
        &self.name
    }

    /// The pairs, ordered by their keys' bytes.
    #[must_use]
    pub fn pairs(&self) -> &BTreeMap<String, String> {
        &self.pairs
    }
}

impl fmt::Debug for CallerContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallerContext").field("name", &self.name).finish_non_exhaustive()
    }
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

    /// The context of a value that its caller keeps.
    #[must_use]
    pub fn of_caller(context: &CallerContext) -> Self {
        let mut encoded = Vec::with_capacity(128);
        encoded.extend_from_slice(&[FORMAT_VERSION, 3]);
        context.name.encode_into(&mut encoded);
        encoded.push(context.pairs.len() as u8);
        for (key, value) in &context.pairs {
            push_text(&mut encoded, key);
            push_text(&mut encoded, value);
        }
        Self { encoded, purpose: Purpose::Caller(context.clone()) }
    }

    /// The context of the branch key `id` of a scope.
    pub(crate) fn branch(scope: &Scope, id: &[u8; 16]) -> Self {
        let mut encoded = vec![FORMAT_VERSION, 4];
        scope.encode_into(&mut encoded);
        encoded.extend_from_slice(id);
        Self { encoded, purpose: Purpose::Branch { scope: scope.clone(), id: *id } }
    }

    /// The scope of the secret or sealed value that this is about; what the
    /// engine keeps for itself has none.
    #[must_use]
    pub fn scope(&self) -> Option<&Scope> {
        match &self.purpose {
            Purpose::Branch { .. } => None,
            purpose => purpose.scope(),
        }
    }

    /// The canonical, injective encoding; `FORMAT.md` defines it to the byte.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.encoded
    }

    /// The same as key-value pairs, for a KMS that takes those. Every part is
    /// a pair of its own, so that nothing is joined with a separator. Ours begin
    /// with `strongroom:`, a caller's with `caller:`.
    #[must_use]
    pub fn pairs(&self) -> Vec<(Cow<'static, str>, String)> {
        let mut pairs = vec![("strongroom:format".into(), FORMAT_VERSION.to_string())];
        if let Some(scope) = self.purpose.scope() {
            let levels = ["strongroom:account", "strongroom:org", "strongroom:project"];
            let ids = scope.identifiers().map(str::to_owned);
            pairs.extend(levels.map(Cow::Borrowed).into_iter().zip(ids));
        }
        match &self.purpose {
            Purpose::Secret { name, version, kind } => {
                pairs.push(("strongroom:name".into(), name.id().to_owned()));
                pairs.push(("strongroom:version".into(), version.to_string()));
                pairs.push(("strongroom:kind".into(), kind.as_str().to_owned()));
            }
            Purpose::Internal { account, label } => {
                pairs.push(("strongroom:account".into(), account.clone()));
                pairs.push(("strongroom:internal".into(), (*label).to_owned()));
            }
            Purpose::Caller(context) => {
                pairs.push(("strongroom:name".into(), context.name.id().to_owned()));
                let prefixed = |(key, value): (&String, &String)| {
                    (Cow::Owned(format!("caller:{key}")), value.clone())
                };
                pairs.extend(context.pairs.iter().map(prefixed));
            }
            Purpose::Branch { id, .. } => {
                let id = u128::from_be_bytes(*id);
                pairs.push(("strongroom:branch".into(), format!("{id:032x}")));
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
        assert!(context.pairs().contains(&("strongroom:internal".into(), "identity".to_owned())));
    }

    #[test]
    fn a_branch_keys_context_is_its_scopes_and_its_own() {
        let encode = |scope: &str, id| {
            let scope: Scope = scope.parse().expect("valid");
            EncryptionContext::branch(&scope, &[id; 16]).encoded
        };
        let expected = [&b"\x01\x04\x02\x04\0acme\x03\0ops"[..], &[7; 16]].concat();
        assert_eq!(encode("acme/ops", 7), expected);
        assert_ne!(encode("acme", 7), encode("acme/ops", 7));
        assert_ne!(encode("acme", 7), encode("acme", 8));
        let pairs = EncryptionContext::branch(&"acme".parse().expect("valid"), &[7; 16]).pairs();
        assert!(pairs.contains(&("strongroom:account".into(), "acme".to_owned())));
        assert!(pairs.contains(&("strongroom:branch".into(), "07".repeat(16))));
    }

    fn caller(pairs: &[(&str, &str)]) -> Result<CallerContext> {
        let name = SecretName::new("acme".parse()?, "db")?;
        let owned = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        CallerContext::new(name, owned.collect())
    }

    #[test]
    fn a_callers_context_has_one_encoding_whatever_the_order() {
        let context = caller(&[("b", ""), ("a", "xy")]).expect("valid");
        let encoded = EncryptionContext::of_caller(&context);
        let expected = b"\x01\x03\x01\x04\0acme\x02\0db\x02\x01\0a\x02\0xy\x01\0b\0\0";
        assert_eq!(encoded.as_bytes(), expected);
        assert_eq!(context, caller(&[("a", "xy"), ("b", "")]).expect("valid"));
        let encode = |pairs| EncryptionContext::of_caller(&caller(pairs).expect("valid")).encoded;
        assert_ne!(encode(&[("a", "bc")]), encode(&[("ab", "c")]));
        assert_ne!(encode(&[("a", "b"), ("c", "d")]), encode(&[("a", "b\x01\0c\x01\0d")]));
    }

    #[test]
    fn a_callers_pairs_never_pass_for_ours() {
        let pairs = [("strongroom:name", "x"), ("strongroom:version", "1"), ("name", "y")];
        let pairs = EncryptionContext::of_caller(&caller(&pairs).expect("valid")).pairs();
        let keys: Vec<&str> = pairs.iter().map(|(key, _)| key.as_ref()).collect();
        let expected = [
            "strongroom:format",
            "strongroom:account",
            "strongroom:name",
            "caller:name",
            "caller:strongroom:name",
            "caller:strongroom:version",
        ];
        assert_eq!(keys, expected);
        assert_eq!(pairs[2].1, "db");
    }

    #[test]
    fn a_callers_context_keeps_to_its_limits() {
        use crate::error::ErrorKind::{InvalidName, LimitExceeded};
        let kind = |pairs: &[(&str, &str)]| caller(pairs).map(drop).map_err(|error| error.kind());
        let (key, value) = ("k".repeat(256), "v".repeat(1024));
        assert_eq!(kind(&[(&key, &value)]), Ok(()));
        assert_eq!(kind(&[("k", "")]), Ok(()));
        assert_eq!(kind(&[]), Err(InvalidName));
        assert_eq!(kind(&[("", "v")]), Err(InvalidName));
        assert_eq!(kind(&[(&(key + "k"), "v")]), Err(LimitExceeded));
        assert_eq!(kind(&[("k", &(value + "v"))]), Err(LimitExceeded));
        let keys: Vec<String> = (0..33).map(|n| n.to_string()).collect();
        let pairs: Vec<_> = keys.iter().map(|key| (key.as_str(), "v")).collect();
        assert_eq!(kind(&pairs[..32]), Ok(()));
        assert_eq!(kind(&pairs), Err(LimitExceeded));
    }
}
