//! Where things stand in a record store: five ranges of keys, each name in its
//! unambiguous encoding, so that one scope's range never holds another's.

use super::stream::{FILE_ID_BYTES, FileId};
use crate::error::{Error, Result};
use crate::name::{Scope, SecretName};

/// The one entry that tells what the store is.
pub(super) const IDENTITY: &[u8] = b"\0identity";

/// What every record of a version begins with.
pub(super) const ALL_VERSIONS: &[u8] = &[VERSIONS];

/// Where a re-encryption that has not ended is.
pub(super) const REENCRYPT_JOB: &[u8] = b"\x04reencrypt";

/// Stands while a backup is being restored: there is no store yet.
pub(super) const RESTORE: &[u8] = b"\x04restore";

const HEADS: u8 = 1;
const VERSIONS: u8 = 2;
const SEGMENTS: u8 = 3;

/// The marker of every upload that has not ended.
pub(super) const UPLOADS: &[u8] = b"\x04upload";

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

/// What every head begins with.
pub(super) const ALL_HEADS: &[u8] = &[HEADS];

/// The ranges that hold the heads of `scope` and of the scopes below it, in
/// order; of the whole store without one.
pub(super) fn heads_within(scope: Option<&Scope>) -> Vec<Vec<u8>> {
    let Some(scope) = scope else { return vec![ALL_HEADS.to_vec()] };
    let own = heads(scope);
    // The depth leads the encoding: below is what has a greater one and the same
    // identifiers after it.
    let depth = own[1];
    (depth..=3).map(|depth| [&[HEADS, depth], &own[2..]].concat()).collect()
}

/// Whose head stands under a key of [`ALL_HEADS`].
pub(super) fn parse_head(key: &[u8]) -> Result<SecretName> {
    let parse = || {
        let (scope, id) = Scope::decode(key.strip_prefix(ALL_HEADS)?)?;
        SecretName::new(scope, std::str::from_utf8(id).ok()?).ok()
    };
    parse().ok_or_else(|| Error::tampered("a head stands under a key that is not ours"))
}

/// The key of the head of a name in full, `scope:name`.
pub(super) fn head_of_full(full: &str) -> Result<Vec<u8>> {
    let unknown = || Error::invalid_name("the page does not begin with a name of this store");
    let (scope, id) = full.split_once(':').ok_or_else(unknown)?;
    Ok(head(&SecretName::new(scope.parse()?, id)?))
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

/// What every segment begins with.
pub(super) const ALL_SEGMENTS: &[u8] = &[SEGMENTS];

/// Whose segment stands under a key of [`ALL_SEGMENTS`], and of which file.
pub(super) fn parse_any_segment(key: &[u8]) -> Option<(SecretName, FileId)> {
    let (name, rest) = SecretName::decode(key.strip_prefix(ALL_SEGMENTS)?)?;
    let (file, number) = rest.split_first_chunk::<FILE_ID_BYTES>()?;
    (number.len() == 8).then_some((name, FileId(*file)))
}

/// The segments of every file of one secret.
pub(super) fn files(name: &SecretName) -> Vec<u8> {
    let mut key = vec![SEGMENTS];
    name.encode_into(&mut key);
    key
}

/// The segments of one file; the number follows, big-endian.
pub(super) fn segments(name: &SecretName, file: &FileId) -> Vec<u8> {
    let mut key = files(name);
    key.extend_from_slice(&file.0);
    key
}

/// One segment, by the key of its file's.
pub(super) fn segment(segments: &[u8], number: u64) -> Vec<u8> {
    [segments, &number.to_be_bytes()].concat()
}

/// File and number, from a segment's key and the key of its secret's files.
pub(super) fn parse_segment(files: &[u8], key: &[u8]) -> Option<(FileId, u64)> {
    let (file, number) = key.strip_prefix(files)?.split_first_chunk::<FILE_ID_BYTES>()?;
    Some((FileId(*file), u64::from_be_bytes(number.try_into().ok()?)))
}

/// The marker of the upload whose segments have this key. It has the same end,
/// so that one is known from the other.
pub(super) fn upload(segments: &[u8]) -> Vec<u8> {
    [UPLOADS, &segments[1..]].concat()
}

/// The markers of the uploads to one secret.
pub(super) fn uploads_of(name: &SecretName) -> Vec<u8> {
    [UPLOADS, &files(name)[1..]].concat()
}

/// The key of the segments, from their upload's marker.
pub(super) fn segments_of_upload(marker: &[u8]) -> Option<Vec<u8>> {
    let rest = marker.strip_prefix(UPLOADS).filter(|rest| rest.len() > FILE_ID_BYTES)?;
    Some([&[SEGMENTS], rest].concat())
}

/// Whose record stands under a key of [`ALL_VERSIONS`].
pub(super) fn parse_version(key: &[u8]) -> Result<(SecretName, u64)> {
    let parse = || {
        let encoded = key.strip_prefix(ALL_VERSIONS)?;
        let (name, number) = SecretName::decode(encoded)?;
        Some((name, u64::from_be_bytes(number.try_into().ok()?)))
    };
    parse().ok_or_else(|| Error::tampered("a record stands under a key that is not ours"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_version_is_read_back() {
        for scope in ["a", "acme/ops", "acme/ops/web"] {
            let name = SecretName::new(scope.parse().expect("valid"), "db.x").expect("valid");
            let key = version(&name, 258);
            assert_eq!(parse_version(&key).expect("ours"), (name, 258));
            for cut in 0..key.len() {
                assert!(parse_version(&key[..cut]).is_err(), "cut at {cut}");
            }
            assert!(parse_version(&[&key[..], b"x"].concat()).is_err());
        }
        for bad in [&b""[..], b"\x01\x01\x01\0a\x01\0b\0\0\0\0\0\0\0\x01", b"\x02\0", b"\x02\x04"] {
            assert!(parse_version(bad).is_err(), "{bad:?}");
        }
    }
}
