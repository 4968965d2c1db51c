//! A secret's head: which version is the latest, whether the secret is deleted,
//! and its metadata. It is authenticated under the latest version's DEK, so that nobody
//! can point a name at an older version or bring a deleted secret back without
//! having held that DEK.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use strongroom_guard::SecretBytes;

use crate::clock::Timestamp;
use crate::context::EncryptionContext;
use crate::error::{Error, Result};
use crate::metadata::Metadata;
use crate::name::{push_text, take_text};
use crate::secret::Kind;
use crate::transfer::{Deleted, Place};
use crate::wrapper::Dek;

const MAGIC: [u8; 2] = *b"SH";
/// Magic, format, checksum.
const FRAME_BYTES: usize = 7;
/// The fields of every head; in format 2, metadata follow them.
const FIELDS_BYTES: usize = 42;
const MAC_BYTES: usize = 32;

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
    pub(super) metadata: Metadata,
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
        let (format, body) = (self.format(), self.body());
        let mac = match key {
            Some((dek, context)) => {
                mac(format, dek, context, &body)?.finalize().into_bytes().into()
            }
            None => [0; MAC_BYTES],
        };
        let mut out = Vec::with_capacity(FRAME_BYTES + body.len() + MAC_BYTES);
        out.extend_from_slice(&MAGIC);
        out.push(format);
        out.extend_from_slice(&checksum(format, &body, &mac).to_le_bytes());
        out.extend_from_slice(&body);
        out.extend_from_slice(&mac);
        Ok(out)
    }

    /// Reads a head without authenticating it: enough for listings, and to know
    /// which DEK authenticates it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        let (format, body, mac) = split(bytes)?;
        let stored = u32::from_le_bytes([bytes[3], bytes[4], bytes[5], bytes[6]]);
        if checksum(format, body, mac) != stored {
            return Err(damaged());
        }
        // Before anything that a later format may say otherwise.
        if !matches!(format, 1 | 2) {
            return Err(later_format(format));
        }
        let (fields, mut rest) = body.split_at(FIELDS_BYTES);
        let number = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&fields[at..at + 8]);
            u64::from_le_bytes(word)
        };
        let state = match fields[0] {
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
        let metadata = match format {
            2 => Metadata::decode(rest).filter(|data| !data.is_empty()).ok_or_else(damaged)?,
            _ if rest.is_empty() => Metadata::default(),
            _ => return Err(damaged()),
        };
        let kind = Kind::of_number(fields[1])?;
        Ok(Self {
            state,
            kind,
            first: number(2),
            latest: number(10),
            updated: Timestamp(number(18)),
            metadata,
        })
    }

    /// Proves that these bytes were sealed under the latest version's DEK.
    pub(super) fn authenticate(bytes: &[u8], dek: &Dek, context: &EncryptionContext) -> Result<()> {
        let (format, body, stored) = split(bytes)?;
        mac(format, dek, context, body)?
            .verify_slice(stored)
            .map_err(|_| Error::tampered("the secret's head was altered: what it says is forged"))
    }

    /// The first format that has room for it, so that a store without metadata is
    /// what it was.
    fn format(&self) -> u8 {
        if self.metadata.is_empty() { 1 } else { 2 }
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
        let mut body = vec![0; FIELDS_BYTES];
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
        if !self.metadata.is_empty() {
            self.metadata.encode_into(&mut body);
        }
        body
    }
}

/// Format, body and MAC. The places are part of the body, and only in their two
/// states.
fn split(bytes: &[u8]) -> Result<(u8, &[u8], &[u8])> {
    if bytes.len() < FRAME_BYTES + FIELDS_BYTES + MAC_BYTES || bytes[..2] != MAGIC {
        return Err(damaged());
    }
    let (body, mac) = bytes[FRAME_BYTES..].split_at(bytes.len() - FRAME_BYTES - MAC_BYTES);
    Ok((bytes[2], body, mac))
}

fn place(rest: &mut &[u8]) -> Result<Place> {
    let mut text = || take_text(rest).ok_or_else(damaged);
    let (id, description) = (text()?, text()?);
    Ok(Place::new(id, description))
}

fn later_format(format: u8) -> Error {
    Error::unsupported(format!(
        "the secret's head has format {format}, and this build reads 1 and 2: use a newer release"
    ))
}

/// HMAC-SHA256 under a key of its own, derived from the DEK (RFC 5869 §2.3),
/// which itself keys nothing but the payload's AEAD. Each format has another key,
/// so that a body of one never passes for a body of the other.
fn mac(format: u8, dek: &Dek, context: &EncryptionContext, body: &[u8]) -> Result<Hmac<Sha256>> {
    let label = format!("strongroom head v{format}");
    let mut key = SecretBytes::zeroed(32)?;
    derive(dek.expose(), label.as_bytes(), key.expose_mut())?;
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

fn checksum(format: u8, body: &[u8], mac: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&MAGIC);
    crc.update(&[format]);
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
    use crate::{ErrorKind, Scope, SecretName};

    fn fixture(metadata: Metadata) -> (Dek, EncryptionContext, Head) {
        let scope: Scope = "acme".parse().expect("valid");
        let name = SecretName::new(scope, "db").expect("valid");
        let version = Version::new("3").expect("valid");
        let context = EncryptionContext::new(&name, &version, Kind::Text);
        let state = State::Deleted { since: Timestamp(7), until: Timestamp(9) };
        let (first, latest, updated) = (2, 3, Timestamp(5));
        let head = Head { state, kind: Kind::Text, first, latest, updated, metadata };
        (Dek::random().expect("randomness"), context, head)
    }

    fn with_and_without_metadata() -> [(Dek, EncryptionContext, Head); 2] {
        let tags = [("env".to_owned(), "prod".to_owned()), ("old".to_owned(), String::new())];
        let metadata = Metadata::new("the database", tags.into()).expect("valid");
        [fixture(Metadata::default()), fixture(metadata)]
    }

    #[test]
    fn a_head_reads_back_and_authenticates_under_its_dek_only() {
        for ((dek, context, head), format) in with_and_without_metadata().into_iter().zip([1, 2]) {
            let bytes = head.seal(Some((&dek, &context))).expect("sealed");
            assert_eq!(bytes[2], format);
            assert_eq!(Head::parse(&bytes).expect("whole"), head);
            Head::authenticate(&bytes, &dek, &context).expect("authentic");
            let other = Dek::random().expect("randomness");
            assert!(Head::authenticate(&bytes, &other, &context).is_err());
        }
    }

    /// A head in each of the states that name a place.
    fn with_places(head: &Head) -> [Head; 3] {
        let place = Place::new("0123", "redb store at /var/lib/x");
        let deleted = Some(Deleted { since: Timestamp(7), until: Timestamp(9) });
        let moved = |deleted| State::Moved { to: place.clone(), deleted };
        [moved(None), moved(deleted), State::Incoming { from: place.clone() }]
            .map(|state| Head { state, ..head.clone() })
    }

    #[test]
    fn a_head_that_names_a_place_reads_back_and_the_others_keep_their_length() {
        let (dek, context, head) = fixture(Metadata::default());
        assert_eq!(head.seal(None).expect("sealed").len(), 81);
        for head in with_places(&head) {
            let bytes = head.seal(Some((&dek, &context))).expect("sealed");
            assert_eq!(bytes.len(), 81 + 4 + 4 + 24);
            assert_eq!(Head::parse(&bytes).expect("whole"), head);
            Head::authenticate(&bytes, &dek, &context).expect("authentic");
        }
        // What a live head has after its numbers is nothing.
        let mut longer = head.body();
        longer.push(0);
        let mac = [0; MAC_BYTES];
        let sum = checksum(1, &longer, &mac).to_le_bytes();
        assert!(Head::parse(&[&MAGIC[..], &[1], &sum, &longer, &mac].concat()).is_err());
    }

    #[test]
    fn every_flipped_byte_and_every_truncation_is_told() {
        let all = with_and_without_metadata().into_iter().flat_map(|(dek, context, head)| {
            let places = with_places(&head).into_iter().chain([head]);
            places
                .map(move |head| head.seal(Some((&dek, &context))).expect("sealed"))
                .collect::<Vec<_>>()
        });
        for bytes in all {
            for at in 0..bytes.len() {
                let mut flipped = bytes.clone();
                flipped[at] ^= 0x40;
                let told = |bytes: &[u8]| Head::parse(bytes).expect_err("told").kind();
                assert_eq!(told(&flipped), ErrorKind::Tampered, "byte {at}");
                assert_eq!(told(&bytes[..at]), ErrorKind::Tampered, "cut at {at}");
            }
        }
    }

    /// What a head becomes when somebody without the DEK puts another body, or
    /// another format, above its MAC and repairs the checksum.
    fn forged(sealed: &[u8], format: u8, body: &[u8]) -> Vec<u8> {
        let mac = &sealed[sealed.len() - MAC_BYTES..];
        let sum = checksum(format, body, mac).to_le_bytes();
        [&MAGIC[..], &[format], &sum, body, mac].concat()
    }

    /// An attacker who repairs the checksum is stopped by the MAC.
    #[test]
    fn a_forged_state_or_description_with_a_good_checksum_does_not_authenticate() {
        for (dek, context, head) in with_and_without_metadata() {
            let bytes = head.seal(Some((&dek, &context))).expect("sealed");
            let live = Head { state: State::Live, ..head.clone() };
            let other = Metadata::new("another", [].into()).expect("valid");
            let described = Head { metadata: other, ..head.clone() };
            let plain = Head { metadata: Metadata::default(), ..head.clone() };
            for forgery in [live, described, plain].into_iter().filter(|one| *one != head) {
                let bytes = forged(&bytes, forgery.format(), &forgery.body());
                assert_eq!(Head::parse(&bytes).expect("whole"), forgery);
                let refused = Head::authenticate(&bytes, &dek, &context);
                assert_eq!(refused.expect_err("forged").kind(), ErrorKind::Tampered);
            }
        }
    }

    /// The same body under the other format's key is another MAC.
    #[test]
    fn a_mac_of_one_format_is_none_of_the_other() {
        let [_, (dek, context, head)] = with_and_without_metadata();
        let one = mac(1, &dek, &context, &head.body()).expect("a MAC");
        let two = mac(2, &dek, &context, &head.body()).expect("a MAC");
        assert_ne!(one.finalize().into_bytes(), two.finalize().into_bytes());
    }

    #[test]
    fn a_later_format_and_a_later_kind_are_unsupported() {
        let [(dek, context, head), _] = with_and_without_metadata();
        let bytes = head.seal(Some((&dek, &context))).expect("sealed");
        let mut body = head.body();
        let later = Head::parse(&forged(&bytes, 3, &body)).expect_err("a later format");
        assert_eq!(later.kind(), ErrorKind::Unsupported);
        body[1] = 200;
        let later = Head::parse(&forged(&bytes, 1, &body)).expect_err("a later kind");
        assert_eq!(later.kind(), ErrorKind::Unsupported);
    }

    /// A head has one spelling: empty metadata are format 1.
    #[test]
    fn format_2_without_metadata_and_format_1_with_more_are_damaged() {
        let [(dek, context, head), _] = with_and_without_metadata();
        let bytes = head.seal(Some((&dek, &context))).expect("sealed");
        let mut body = head.body();
        body.extend_from_slice(&[0, 0, 0]);
        for format in [1, 2] {
            let error = Head::parse(&forged(&bytes, format, &body)).expect_err("damaged");
            assert_eq!(error.kind(), ErrorKind::Tampered);
        }
    }
}
