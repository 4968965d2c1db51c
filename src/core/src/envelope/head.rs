//! A secret's head: which version is the latest, and whether the secret is
//! deleted. It is authenticated under the latest version's DEK, so that nobody
//! can point a name at an older version or bring a deleted secret back without
//! having held that DEK.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use strongroom_guard::SecretBytes;

use crate::clock::Timestamp;
use crate::context::EncryptionContext;
use crate::error::{Error, Result};
use crate::name::{push_text, take_text};
use crate::secret::Kind;
use crate::transfer::{Deleted, Place};
use crate::wrapper::Dek;

const MAGIC: [u8; 3] = *b"SH\x01";
const BODY_BYTES: usize = 42;
const MAC_BYTES: usize = 32;
const HEAD_BYTES: usize = MAGIC.len() + 4 + BODY_BYTES + MAC_BYTES;
const MAX_HEAD_BYTES: usize = HEAD_BYTES + 4 + Place::MAX_ID_BYTES + Place::MAX_DESCRIPTION_BYTES;
const MAC_LABEL: &[u8] = b"strongroom head v1";

/// What became of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It can be read.
    Live,
    /// Hidden since `since`; can be restored until `until`.
    Deleted { since: Timestamp, until: Timestamp },
    /// Its versions are being removed; what is left of them must go.
    Purging,
    /// Nothing is left but its last version's number, which is never reused: a
    /// copy of an old record must not pass for a new version.
    Purged,
    /// The secret was handed over to another store. Its versions may be here,
    /// from `first` on, until they are removed.
    Moved { to: Place, deleted: Option<Deleted> },
    /// Another store's secret is being brought here. Versions from `first` on may
    /// be staged; `latest` is the last number of a secret that had this name.
    Incoming { from: Place },
}

/// The head of one secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) state: State,
    pub(super) kind: Kind,
    /// The first version since the name was last purged: older ones are gone.
    pub(super) first: u64,
    pub(super) latest: u64,
    pub(super) updated: Timestamp,
}

impl Head {
    /// Whether there is a secret to be read, restored or purged.
    pub(super) fn exists(&self) -> bool {
        matches!(self.state, State::Live | State::Deleted { .. })
    }

    /// Whether the latest version is here to authenticate this.
    pub(super) fn is_sealed(&self) -> bool {
        self.exists() || (matches!(self.state, State::Moved { .. }) && self.first <= self.latest)
    }

    /// Whether the secret is deleted and its recovery window has ended.
    pub(super) fn is_expired(&self, now: Timestamp) -> bool {
        matches!(self.state, State::Deleted { until, .. } if until <= now)
    }

    /// The bytes with their checksum and, while the latest version is there, their
    /// MAC under its DEK and context.
    pub(super) fn seal(&self, key: Option<(&Dek, &EncryptionContext)>) -> Result<Vec<u8>> {
        let body = self.body();
        let mac = match key {
            Some((dek, context)) => mac(dek, context, &body)?.finalize().into_bytes().into(),
            None => [0; MAC_BYTES],
        };
        let mut out = Vec::with_capacity(HEAD_BYTES + body.len() - BODY_BYTES);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&checksum(&body, &mac).to_le_bytes());
        out.extend_from_slice(&body);
        out.extend_from_slice(&mac);
        Ok(out)
    }

    /// Reads a head without authenticating it: enough for listings, and to know
    /// which DEK authenticates it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        let (body, mac) = split(bytes)?;
        let stored = u32::from_le_bytes([bytes[3], bytes[4], bytes[5], bytes[6]]);
        if bytes[..3] != MAGIC || checksum(body, mac) != stored {
            return Err(damaged());
        }
        let mut rest = &body[BODY_BYTES..];
        let number = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&body[at..at + 8]);
            u64::from_le_bytes(word)
        };
        let state = match body[0] {
            1 => State::Live,
            2 => State::Deleted { since: Timestamp(number(26)), until: Timestamp(number(34)) },
            3 => State::Purging,
            4 => State::Purged,
            5 => {
                let (since, until) = (Timestamp(number(26)), Timestamp(number(34)));
                let deleted = (until.0 > 0).then_some(Deleted { since, until });
                State::Moved { to: place(&mut rest)?, deleted }
            }
            6 => State::Incoming { from: place(&mut rest)? },
            _ => return Err(damaged()),
        };
        if !rest.is_empty() {
            return Err(damaged());
        }
        let kind = Kind::from_number(body[1]).ok_or_else(damaged)?;
        Ok(Self {
            state,
            kind,
            first: number(2),
            latest: number(10),
            updated: Timestamp(number(18)),
        })
    }

    /// Proves that these bytes were sealed under the latest version's DEK.
    pub(super) fn authenticate(bytes: &[u8], dek: &Dek, context: &EncryptionContext) -> Result<()> {
        let (body, stored) = split(bytes)?;
        mac(dek, context, body)?.verify_slice(stored).map_err(|_| {
            Error::tampered("the secret's head was altered: its latest version or state is forged")
        })
    }

    fn body(&self) -> Vec<u8> {
        let (state, since, until) = match &self.state {
            State::Live => (1, 0, 0),
            State::Deleted { since, until } => (2, since.0, until.0),
            State::Purging => (3, 0, 0),
            State::Purged => (4, 0, 0),
            State::Moved { deleted: Some(Deleted { since, until }), .. } => (5, since.0, until.0),
            State::Moved { deleted: None, .. } => (5, 0, 0),
            State::Incoming { .. } => (6, 0, 0),
        };
        let mut body = vec![0; BODY_BYTES];
        body[0] = state;
        body[1] = self.kind as u8;
        let numbers = [self.first, self.latest, self.updated.0, since, until];
        for (field, number) in body[2..].chunks_exact_mut(8).zip(numbers) {
            field.copy_from_slice(&number.to_le_bytes());
        }
        if let State::Moved { to: place, .. } | State::Incoming { from: place } = &self.state {
            push_text(&mut body, &place.id);
            push_text(&mut body, &place.description);
        }
        body
    }
}

/// Body and MAC. The places are part of the body, and only in their two states.
fn split(bytes: &[u8]) -> Result<(&[u8], &[u8])> {
    if !(HEAD_BYTES..=MAX_HEAD_BYTES).contains(&bytes.len()) {
        return Err(damaged());
    }
    Ok(bytes[MAGIC.len() + 4..].split_at(bytes.len() - MAGIC.len() - 4 - MAC_BYTES))
}

fn place(rest: &mut &[u8]) -> Result<Place> {
    let mut text = || take_text(rest).ok_or_else(damaged);
    let (id, description) = (text()?, text()?);
    Ok(Place::new(id, description))
}

/// HMAC-SHA256 under a key of its own, derived from the DEK (RFC 5869 §2.3),
/// which itself keys nothing but the payload's AEAD.
fn mac(dek: &Dek, context: &EncryptionContext, body: &[u8]) -> Result<Hmac<Sha256>> {
    let mut key = SecretBytes::zeroed(32)?;
    derive(dek.expose(), MAC_LABEL, key.expose_mut())?;
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose())
        .map_err(|_| Error::internal("HMAC takes keys of any length"))?;
    mac.update(body);
    mac.update(context.as_bytes());
    Ok(mac)
}

/// HKDF-Expand with SHA-256 (RFC 5869 §2.3) of a key that is already uniform.
pub(super) fn derive(key: &[u8], label: &[u8], out: &mut [u8]) -> Result<()> {
    Hkdf::<Sha256>::from_prk(key)
        .ok()
        .and_then(|hkdf| hkdf.expand(label, out).ok())
        .ok_or_else(|| Error::internal("HKDF refused the length of a key"))
}

fn checksum(body: &[u8], mac: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&MAGIC);
    crc.update(body);
    crc.update(mac);
    crc.finalize()
}

fn damaged() -> Error {
    Error::tampered("the secret's head is damaged or truncated")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Version;
    use crate::{Scope, SecretName};

    fn fixture() -> (Dek, EncryptionContext, Head) {
        let scope: Scope = "acme".parse().expect("valid");
        let name = SecretName::new(scope, "db").expect("valid");
        let version = Version::new("3").expect("valid");
        let context = EncryptionContext::new(&name, &version, Kind::Text);
        let state = State::Deleted { since: Timestamp(7), until: Timestamp(9) };
        let head = Head { state, kind: Kind::Text, first: 2, latest: 3, updated: Timestamp(5) };
        (Dek::random().expect("randomness"), context, head)
    }

    #[test]
    fn a_head_reads_back_and_authenticates_under_its_dek_only() {
        let (dek, context, head) = fixture();
        let bytes = head.seal(Some((&dek, &context))).expect("sealed");
        assert_eq!(Head::parse(&bytes).expect("whole"), head);
        Head::authenticate(&bytes, &dek, &context).expect("authentic");
        let other = Dek::random().expect("randomness");
        assert!(Head::authenticate(&bytes, &other, &context).is_err());
    }

    /// A head in each of the states that name a place.
    fn with_places() -> [Head; 3] {
        let (_, _, head) = fixture();
        let place = Place::new("0123", "redb store at /var/lib/x");
        let deleted = Some(Deleted { since: Timestamp(7), until: Timestamp(9) });
        let moved = |deleted| State::Moved { to: place.clone(), deleted };
        [moved(None), moved(deleted), State::Incoming { from: place.clone() }]
            .map(|state| Head { state, ..head.clone() })
    }

    #[test]
    fn a_head_that_names_a_place_reads_back_and_the_others_keep_their_length() {
        let (dek, context, head) = fixture();
        assert_eq!(head.seal(None).expect("sealed").len(), 81);
        for head in with_places() {
            let bytes = head.seal(Some((&dek, &context))).expect("sealed");
            assert_eq!(bytes.len(), 81 + 4 + 4 + 24);
            assert_eq!(Head::parse(&bytes).expect("whole"), head);
            Head::authenticate(&bytes, &dek, &context).expect("authentic");
        }
        // What a live head has after its numbers is nothing.
        let mut longer = head.body();
        longer.push(0);
        let mac = [0; MAC_BYTES];
        let sum = checksum(&longer, &mac).to_le_bytes();
        assert!(Head::parse(&[&MAGIC[..], &sum, &longer, &mac].concat()).is_err());
    }

    #[test]
    fn every_flipped_byte_and_every_truncation_is_told() {
        let (dek, context, head) = fixture();
        for head in with_places().into_iter().chain([head]) {
            told(&head.seal(Some((&dek, &context))).expect("sealed"));
        }
    }

    fn told(bytes: &[u8]) {
        for at in 0..bytes.len() {
            let mut flipped = bytes.to_vec();
            flipped[at] ^= 0x40;
            assert!(Head::parse(&flipped).is_err(), "byte {at}");
            assert!(Head::parse(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    /// An attacker who repairs the checksum is stopped by the MAC.
    #[test]
    fn a_forged_state_with_a_good_checksum_does_not_authenticate() {
        let (dek, context, head) = fixture();
        let bytes = head.seal(Some((&dek, &context))).expect("sealed");
        let forged = Head { state: State::Live, ..head };
        let mut forged_bytes = forged.seal(None).expect("sealed");
        let mac_at = forged_bytes.len() - MAC_BYTES;
        forged_bytes[mac_at..].copy_from_slice(&bytes[mac_at..]);
        let sum = checksum(&forged_bytes[7..mac_at], &bytes[mac_at..]).to_le_bytes();
        forged_bytes[3..7].copy_from_slice(&sum);
        assert_eq!(Head::parse(&forged_bytes).expect("whole"), forged);
        assert!(Head::authenticate(&forged_bytes, &dek, &context).is_err());
    }
}
