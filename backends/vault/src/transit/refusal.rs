//! What it means when Transit refuses.

use strongroom_core::{Error, ErrorKind};

use super::key::Key;
use super::place::Place;

/// A request that failed.
pub(super) struct Refused {
    pub(super) error: Error,
    pub(super) refusal: Option<Refusal>,
}

/// What is wrong. Vault has the status 400 for all of them, and tells them apart by
/// its words (`sdk/helper/keysutil/policy.go`, `builtin/logical/transit`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is no such engine.
    NoEngine,
    /// There is no such key.
    NoKey,
    /// The version is below what the key decrypts.
    TooOld,
    /// The key has not had so many versions.
    NoVersion,
    /// It was not encrypted so, by this key and version, with this context.
    NotAuthentic,
    /// The key is derived, and was not taken for it.
    IsDerived,
}

impl Refused {
    /// What `error` of `request` means.
    pub(super) fn of(request: &str, error: Error) -> Self {
        let refusal = meaning(request, &error);
        Self { error, refusal }
    }

    /// As the error of a request that names no version.
    pub(super) fn told(self, place: &Place) -> Error {
        let Some(refusal) = self.refusal else { return self.error };
        let mount = &place.mount;
        let told = match refusal {
            Refusal::NoEngine => format!(
                "there is no Transit engine at {mount}: enable it (vault secrets enable \
                 -path={mount} transit), or configure where it is"
            ),
            Refusal::NoKey => format!(
                "there is no key {place}: it was deleted, or never made (vault write -f {place} \
                 derived=true); what only a deleted key wrapped is lost, unless it is restored \
                 from a backup of it ({mount}/restore)"
            ),
            Refusal::TooOld | Refusal::NoVersion => {
                format!("the key {place} does not have the version that was asked for")
            }
            Refusal::NotAuthentic => {
                let what = "the wrapped DEK is not what this key wrapped for this secret";
                return Error::tampered(what).with_source(self.error);
            }
            Refusal::IsDerived => format!(
                "the key {place} is derived, which it was not: it was deleted and made anew"
            ),
        };
        Error::key_unavailable(told).with_source(self.error)
    }

    /// As the error of a request about what `version` wrapped, by what the key is now.
    pub(super) fn told_of(self, version: u64, key: Option<&Key>, place: &Place) -> Error {
        let told = match (self.refusal, key) {
            (Some(Refusal::TooOld), Some(key)) if version < key.min_available => format!(
                "version {version} of the key {place} was trimmed: what it wrapped and what was \
                 not rewrapped before is lost, unless the key is restored from a backup"
            ),
            (Some(Refusal::TooOld), Some(key)) => format!(
                "version {version} of the key {place} does not decrypt any more: set its \
                 min_decryption_version, which is {}, back to {version} (vault write \
                 {place}/config), rewrap, and raise it again",
                key.min_decryption
            ),
            (Some(Refusal::NoVersion), _) => format!(
                "the key {place} has no version {version}: it was restored from a backup that is \
                 older, or was deleted and made anew"
            ),
            _ => return self.told(place),
        };
        Error::key_unavailable(told).with_source(self.error)
    }
}

/// What `error` of `request` means; `None` if it is nothing of this.
fn meaning(request: &str, error: &Error) -> Option<Refusal> {
    let words = error.message().strip_prefix(request)?.strip_prefix(": ")?;
    let has = |part: &str| words.contains(part);
    match error.kind() {
        ErrorKind::NotFound if has("no handler for route") => Some(Refusal::NoEngine),
        ErrorKind::NotFound => Some(Refusal::NoKey),
        ErrorKind::Internal if has("key not found") => Some(Refusal::NoKey),
        ErrorKind::Internal if has("disallowed by policy (too old)") => Some(Refusal::TooOld),
        ErrorKind::Internal if has("version is too new") || has("no such key version") => {
            Some(Refusal::NoVersion)
        }
        ErrorKind::Internal if has("message authentication failed") => Some(Refusal::NotAuthentic),
        ErrorKind::Internal if has("invalid ciphertext") => Some(Refusal::NotAuthentic),
        ErrorKind::Internal if has("missing 'context'") => Some(Refusal::IsDerived),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_by_the_words_of_vault_and_not_by_those_of_the_request() {
        let request = "update key not found/decrypt/k";
        let told =
            |kind, words: &str| meaning(request, &Error::new(kind, format!("{request}: {words}")));
        let internal = ErrorKind::Internal;
        for (kind, words, refusal) in [
            (ErrorKind::NotFound, "no handler for route \"x\"", Refusal::NoEngine),
            (ErrorKind::NotFound, "status 404", Refusal::NoKey),
            (internal, "encryption key not found", Refusal::NoKey),
            (
                internal,
                "ciphertext or signature version is disallowed by policy (too old)",
                Refusal::TooOld,
            ),
            (internal, "invalid ciphertext: version is too new", Refusal::NoVersion),
            (internal, "cipher: message authentication failed", Refusal::NotAuthentic),
            (internal, "chacha20poly1305: message authentication failed", Refusal::NotAuthentic),
            (internal, "invalid ciphertext length", Refusal::NotAuthentic),
            (internal, "missing 'context' for key derivation; the key", Refusal::IsDerived),
        ] {
            assert_eq!(told(kind, words), Some(refusal), "{words}");
        }
        assert_eq!(told(internal, "something else"), None);
        assert_eq!(told(ErrorKind::Unavailable, "encryption key not found"), None);
        assert_eq!(meaning(request, &Error::internal("encryption key not found")), None);
    }
}
