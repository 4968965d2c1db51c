//! Where things stand in a record store: three ranges of keys, each name in its
//! unambiguous encoding, so that one scope's range never holds another's.

use crate::name::{Scope, SecretName};

/// The one entry that tells what the store is.
pub(super) const IDENTITY: &[u8] = b"\0identity";

const HEADS: u8 = 1;
const VERSIONS: u8 = 2;

/// Every head of `scope`; the name follows, in clear and last, so that a scan
/// gives names in order.
pub(super) fn heads(scope: &Scope) -> Vec<u8> {
    let mut key = vec![HEADS];
    scope.encode_into(&mut key);
    key
}

/// The head of one secret.
pub(super) fn head(name: &SecretName) -> Vec<u8> {
    let mut key = heads(name.scope());
    key.extend_from_slice(name.id().as_bytes());
    key
}

/// Every version of one secret; the number follows, big-endian, so that a scan
/// gives versions in order.
pub(super) fn versions(name: &SecretName) -> Vec<u8> {
    let mut key = vec![VERSIONS];
    name.encode_into(&mut key);
    key
}

/// One version of one secret.
pub(super) fn version(name: &SecretName, number: u64) -> Vec<u8> {
    let mut key = versions(name);
    key.extend_from_slice(&number.to_be_bytes());
    key
}
