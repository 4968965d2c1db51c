//! What the cache holds of a value: ciphertext, under a key of the cache's own
//! that lives in guarded memory and dies with it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use strongroom_guard::SecretBytes;

use crate::clock::Timestamp;
use crate::envelope::Suite;
use crate::error::Result;
use crate::name::{SecretName, push_text};
use crate::random;
use crate::secret::{Kind, Secret, Version};
use crate::store::Select;

const SUITE: Suite = Suite::Aes256Gcm;
const KEY_BYTES: usize = 32;

/// The cache's key.
pub(super) struct Sealer {
    key: SecretBytes,
    /// The nonces of one key must differ, no more (NIST SP 800-38D §8.2.1); the
    /// key is fresh for each cache.
    sealed: AtomicU64,
}

/// An encrypted answer, with the time that it is good for, by the monotonic
/// clock.
pub(super) struct Sealed {
    pub(super) version: Version,
    pub(super) times: Times,
    kind: Kind,
    created: Timestamp,
    nonce: [u8; 12],
    tag: [u8; 16],
    ciphertext: Box<[u8]>,
}

#[derive(Clone, Copy)]
pub(super) struct Times {
    /// When the backend was asked: what it answered may be as old as this, but
    /// no older (as RFC 9111 §4.2.3 counts the delay of a response).
    pub(super) confirmed: Duration,
    pub(super) confirmed_at: Timestamp,
    pub(super) refresh: Option<Duration>,
    pub(super) expires: Duration,
    /// Until when it may be given marked as stale.
    pub(super) gone: Duration,
    /// When what was answered ends, if it does: it is gone by then.
    pub(super) ends: Option<Duration>,
}

impl Sealer {
    pub(super) fn new() -> Result<Self> {
        let mut key = SecretBytes::zeroed(KEY_BYTES)?;
        random::fill(key.expose_mut())?;
        Ok(Self { key, sealed: AtomicU64::new(0) })
    }

    /// Encrypts from guarded memory: no plaintext is ever outside.
    pub(super) fn seal(
        &self,
        name: &SecretName,
        select: &Select,
        secret: Secret,
        times: Times,
    ) -> Result<Sealed> {
        let mut nonce = [0; 12];
        let number = self.sealed.fetch_add(1, Ordering::Relaxed);
        nonce[..8].copy_from_slice(&number.to_le_bytes());
        let aad = context(name, select, &secret.version, secret.kind);
        let value = secret.value.expose();
        let mut ciphertext = vec![0; value.len()].into_boxed_slice();
        let tag = SUITE.seal_into(self.key.expose(), &nonce, &aad, value, &mut ciphertext)?;
        let Secret { version, kind, created, .. } = secret;
        Ok(Sealed { version, times, kind, created, nonce, tag, ciphertext })
    }

    /// The answer, as fresh as from the backend; the caller knows better.
    pub(super) fn open(
        &self,
        name: &SecretName,
        select: &Select,
        sealed: &Sealed,
    ) -> Result<Secret> {
        let Sealed { version, kind, created, nonce, tag, ciphertext, .. } = sealed;
        let aad = context(name, select, version, *kind);
        let value = SUITE.open_detached(self.key.expose(), nonce, &aad, ciphertext, tag)?;
        Ok(Secret::fresh(value, *kind, version.clone(), *created))
    }
}

impl Sealed {
    pub(super) fn value_bytes(&self) -> usize {
        self.ciphertext.len()
    }

    #[cfg(test)]
    pub(super) fn ciphertext(&self) -> &[u8] {
        &self.ciphertext
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed").field("version", &self.version).finish_non_exhaustive()
    }
}

/// Binds an entry to its place: taken for another's, it does not open.
fn context(name: &SecretName, select: &Select, version: &Version, kind: Kind) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    out.push(kind as u8);
    name.encode_into(&mut out);
    match select {
        Select::Latest => out.push(0),
        Select::Version(version) => {
            out.push(1);
            push_text(&mut out, version.as_str());
        }
    }
    push_text(&mut out, version.as_str());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn an_entry_opens_only_in_its_own_place_and_unaltered() {
        let cache = Sealer::new().expect("a key");
        let name = |id| SecretName::new("acme".parse().expect("a scope"), id).expect("a name");
        let version = |text| Version::new(text).expect("a version");
        let seal = || {
            let value = SecretBytes::copy_from(b"canary value").expect("memory");
            let secret = Secret::fresh(value, Kind::Text, version("1"), Timestamp(5));
            let zero = Duration::ZERO;
            let times = Times {
                confirmed: zero,
                confirmed_at: Timestamp(0),
                refresh: None,
                expires: zero,
                gone: zero,
                ends: None,
            };
            cache.seal(&name("a"), &Select::Latest, secret, times).expect("sealed")
        };
        let entry = seal();
        assert!(!entry.ciphertext.windows(6).any(|window| window == b"canary"));
        let opened = cache.open(&name("a"), &Select::Latest, &entry).expect("opens");
        assert!(opened.value.expose() == b"canary value");
        assert_ne!(entry.nonce, seal().nonce);

        let refused = |name: &SecretName, select: &Select, sealed: &Sealed| {
            cache.open(name, select, sealed).expect_err("refused").kind()
        };
        let tampered = ErrorKind::Tampered;
        assert_eq!(refused(&name("b"), &Select::Latest, &entry), tampered);
        assert_eq!(refused(&name("a"), &Select::Version(version("1")), &entry), tampered);
        let spoilt: [fn(&mut Sealed); 5] = [
            |sealed| sealed.version = Version::new("2").expect("a version"),
            |sealed| sealed.kind = Kind::File,
            |sealed| sealed.nonce[0] ^= 1,
            |sealed| sealed.tag[0] ^= 1,
            |sealed| sealed.ciphertext[0] ^= 1,
        ];
        for spoil in spoilt {
            let mut entry = seal();
            spoil(&mut entry);
            assert_eq!(refused(&name("a"), &Select::Latest, &entry), tampered);
        }
        let other = Sealer::new().expect("a key");
        assert!(other.open(&name("a"), &Select::Latest, &entry).is_err());
    }
}
