//! The KEK versions themselves, and how many wraps each has been given out for.
//! Numbers are given one after the other, so that one that is missing below the
//! current one was destroyed.

use std::fmt;
use std::sync::Arc;

use strongroom_core::{Error, Result, SecretBytes, Timestamp};

/// The size of the KEK's public id, in bytes.
pub(super) const ID_BYTES: usize = 16;
/// The size of a KEK, in bytes: AES-256.
pub(super) const KEY_BYTES: usize = 32;
/// One KEK version in a key file: number, creation time, key, wraps reserved.
pub(super) const VERSION_BYTES: usize = 4 + 8 + KEY_BYTES + 8;
/// The most KEK versions in one key file: a rotation each day for 44 years.
pub(super) const MAX_VERSIONS: usize = 16_384;

/// One KEK version. It never changes, so that whoever wraps with it shares it.
pub(super) struct KekVersion {
    pub(super) number: u32,
    pub(super) created: Timestamp,
    pub(super) key: SecretBytes,
}

impl KekVersion {
    /// A version with a fresh key. Keys that live for years come from the
    /// operating system itself, not from the generator that serves each seal.
    fn random(number: u32, created: Timestamp) -> Result<Self> {
        let mut key = SecretBytes::zeroed(KEY_BYTES)?;
        os_random(key.expose_mut())?;
        Ok(Self { number, created, key })
    }
}

/// Random bytes from the operating system.
pub(super) fn os_random(out: &mut [u8]) -> Result<()> {
    getrandom::fill(out)
        .map_err(|e| Error::internal("the operating system gives no randomness").with_source(e))
}

/// A KEK version and the wraps that processes have reserved under it. Every
/// wrap is reserved before it is made, so this is an upper bound.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) version: Arc<KekVersion>,
    pub(super) wraps_reserved: u64,
}

/// All versions of one KEK, in ascending order of their numbers, never empty.
#[derive(Clone)]
pub(super) struct Keyring {
    id: [u8; ID_BYTES],
    entries: Vec<Entry>,
}

impl Keyring {
    /// A new KEK with a random id and its first version.
    pub(super) fn random(now: Timestamp) -> Result<Self> {
        let mut id = [0; ID_BYTES];
        os_random(&mut id)?;
        let version = Arc::new(KekVersion::random(1, now)?);
        Ok(Self { id, entries: vec![Entry { version, wraps_reserved: 0 }] })
    }

    pub(super) fn id(&self) -> &[u8; ID_BYTES] {
        &self.id
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The version that wraps.
    pub(super) fn current(&self) -> &Entry {
        self.entries.last().expect("a keyring is never empty")
    }

    pub(super) fn get(&self, number: u32) -> Option<&Arc<KekVersion>> {
        let position = self.entries.binary_search_by_key(&number, |entry| entry.version.number);
        position.ok().map(|at| &self.entries[at].version)
    }

    /// Adds a version with a fresh key, from now on the current one.
    pub(super) fn rotate(&mut self, now: Timestamp) -> Result<()> {
        let number = self.current().version.number.checked_add(1);
        let number = number.filter(|_| self.entries.len() < MAX_VERSIONS).ok_or_else(|| {
            Error::limit_exceeded(format!("a local KEK has at most {MAX_VERSIONS} versions"))
        })?;
        let version = Arc::new(KekVersion::random(number, now)?);
        self.entries.push(Entry { version, wraps_reserved: 0 });
        Ok(())
    }

    /// Destroys a version.
    pub(super) fn remove(&mut self, number: u32) -> Result<()> {
        let found = self.entries.binary_search_by_key(&number, |entry| entry.version.number);
        match found {
            Ok(at) if at + 1 == self.entries.len() => Err(Error::conflict(format!(
                "version {number} of the KEK is the current one: rotate it first"
            ))),
            Ok(at) => {
                self.entries.remove(at);
                Ok(())
            }
            Err(_) => Err(Error::not_found(format!("the KEK has no version {number}"))),
        }
    }

    /// Reserves up to `wanted` wraps under the current version, of which none
    /// may ever make more than `limit`. Returns how many were granted: none
    /// means that the version is used up.
    pub(super) fn reserve(&mut self, wanted: u64, limit: u64) -> u64 {
        let current = self.entries.last_mut().expect("a keyring is never empty");
        let granted = wanted.min(limit.saturating_sub(current.wraps_reserved));
        current.wraps_reserved += granted;
        granted
    }

    /// What this process knows and what the key file says, together: every
    /// version of either that neither has destroyed, and the larger reservation
    /// of both. A key file that was set back to an older copy thereby loses no
    /// key that still wraps, and brings back none that was destroyed.
    ///
    /// One version number with two keys is an error: the file was set back and
    /// then rotated by somebody else. Choosing either key would lose the other.
    pub(super) fn merged(&self, file: &Self) -> Result<Self> {
        if self.id != file.id {
            return Err(Error::key_unavailable(format!(
                "it now holds another KEK ({} instead of {})",
                identity(&file.id),
                identity(&self.id)
            )));
        }
        let mut entries = self.entries.clone();
        let (ours_end, file_end) = (self.current().version.number, file.current().version.number);
        entries.retain(|ours| {
            let number = ours.version.number;
            number > file_end || file.get(number).is_some()
        });
        for theirs in &file.entries {
            let number = theirs.version.number;
            match entries.binary_search_by_key(&number, |entry| entry.version.number) {
                Ok(at) if entries[at].version.key == theirs.version.key => {
                    let reserved = &mut entries[at].wraps_reserved;
                    *reserved = theirs.wraps_reserved.max(*reserved);
                }
                Ok(_) => {
                    return Err(Error::tampered(format!(
                        "it holds another key as version {number} than this process: an older \
                         copy was put back and then rotated; restore the newest copy"
                    )));
                }
                Err(at) if number > ours_end => entries.insert(at, theirs.clone()),
                Err(_) => {}
            }
        }
        Ok(Self { id: self.id, entries })
    }

    /// How many bytes [`Keyring::encode_into`] writes.
    pub(super) fn encoded_bytes(&self) -> usize {
        4 + self.entries.len() * VERSION_BYTES
    }

    /// Writes the version list of `FORMAT.md` into `out`, guarded memory of
    /// exactly [`Keyring::encoded_bytes`].
    pub(super) fn encode_into(&self, out: &mut [u8]) {
        let (count, versions) = out.split_at_mut(4);
        count.copy_from_slice(&(self.entries.len() as u32).to_le_bytes());
        for (entry, out) in self.entries.iter().zip(versions.chunks_exact_mut(VERSION_BYTES)) {
            out[..4].copy_from_slice(&entry.version.number.to_le_bytes());
            out[4..12].copy_from_slice(&entry.version.created.0.to_le_bytes());
            out[12..44].copy_from_slice(entry.version.key.expose());
            out[44..].copy_from_slice(&entry.wraps_reserved.to_le_bytes());
        }
    }

    /// Reads a version list. It has been authenticated, or its checksum was
    /// right, so that what is wrong here was written wrong.
    pub(super) fn decode(id: [u8; ID_BYTES], list: &[u8]) -> Result<Self> {
        let malformed = || Error::tampered("its list of KEK versions is malformed");
        let (count, versions) = list.split_first_chunk::<4>().ok_or_else(malformed)?;
        let count = u32::from_le_bytes(*count) as usize;
        if count == 0 || count > MAX_VERSIONS || versions.len() != count * VERSION_BYTES {
            return Err(malformed());
        }
        let mut entries: Vec<Entry> = Vec::with_capacity(count);
        for bytes in versions.chunks_exact(VERSION_BYTES) {
            let number = u32::from_le_bytes(array(&bytes[..4]));
            let previous = entries.last().map_or(0, |entry| entry.version.number);
            if number <= previous {
                return Err(malformed());
            }
            let created = Timestamp(u64::from_le_bytes(array(&bytes[4..12])));
            let key = SecretBytes::copy_from(&bytes[12..44])?;
            let wraps_reserved = u64::from_le_bytes(array(&bytes[44..]));
            let version = Arc::new(KekVersion { number, created, key });
            entries.push(Entry { version, wraps_reserved });
        }
        Ok(Self { id, entries })
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<u32> = self.entries.iter().map(|entry| entry.version.number).collect();
        f.debug_struct("Keyring")
            .field("identity", &identity(&self.id))
            .field("versions", &numbers)
            .finish_non_exhaustive()
    }
}

/// The KEK's name in records: public, stable, and without a place, so that the
/// key file may move.
pub(super) fn identity(id: &[u8; ID_BYTES]) -> String {
    format!("local:{:032x}", u128::from_be_bytes(*id))
}

/// `bytes` as an array; the callers slice to the size.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("sliced to the size")
}

#[cfg(test)]
mod tests {
    use strongroom_core::ErrorKind;

    use super::*;

    fn keyring() -> Keyring {
        Keyring::random(Timestamp(5)).unwrap()
    }

    #[test]
    fn reservations_stop_at_the_limit() {
        let mut keyring = keyring();
        assert_eq!(keyring.reserve(64, 100), 64);
        assert_eq!(keyring.reserve(64, 100), 36);
        assert_eq!(keyring.reserve(64, 100), 0);
        assert_eq!(keyring.current().wraps_reserved, 100);
        keyring.rotate(Timestamp(6)).unwrap();
        assert_eq!(keyring.reserve(1, 100), 1);
        assert_eq!(keyring.entries()[0].wraps_reserved, 100);
    }

    #[test]
    fn a_merge_keeps_every_version_and_the_larger_reservation() {
        let mut ours = keyring();
        let older = ours.clone();
        ours.reserve(10, 100);
        ours.rotate(Timestamp(6)).unwrap();
        for (merged, case) in [(ours.merged(&older), "set back"), (older.merged(&ours), "ahead")] {
            let merged = merged.unwrap();
            assert_eq!(merged.entries().len(), 2, "{case}");
            assert_eq!(merged.entries()[0].wraps_reserved, 10, "{case}");
            assert!(merged.get(2).unwrap().key == ours.get(2).unwrap().key, "{case}");
        }
    }

    #[test]
    fn a_destroyed_version_comes_back_from_nobody() {
        let mut ours = keyring();
        ours.rotate(Timestamp(6)).unwrap();
        let older = ours.clone();
        ours.rotate(Timestamp(7)).unwrap();
        let before = ours.clone();
        assert_eq!(ours.remove(3).unwrap_err().kind(), ErrorKind::Conflict);
        ours.remove(1).unwrap();
        assert_eq!(ours.remove(1).unwrap_err().kind(), ErrorKind::NotFound);
        for (one, other) in [(&ours, &before), (&before, &ours), (&ours, &older), (&older, &ours)] {
            let merged = one.merged(other).unwrap();
            let numbers: Vec<_> = merged.entries().iter().map(|one| one.version.number).collect();
            assert_eq!(numbers, [2, 3]);
        }
        let mut list = vec![0; ours.encoded_bytes()];
        ours.encode_into(&mut list);
        assert!(Keyring::decode(*ours.id(), &list).unwrap().get(1).is_none());
    }

    #[test]
    fn two_keys_of_one_number_are_refused() {
        let mut ours = keyring();
        let mut theirs = ours.clone();
        ours.rotate(Timestamp(6)).unwrap();
        theirs.rotate(Timestamp(6)).unwrap();
        assert_eq!(ours.merged(&theirs).unwrap_err().kind(), ErrorKind::Tampered);
        assert_eq!(ours.merged(&keyring()).unwrap_err().kind(), ErrorKind::KeyUnavailable);
    }

    #[test]
    fn lists_out_of_order_or_of_another_length_are_refused() {
        let mut keyring = keyring();
        keyring.rotate(Timestamp(6)).unwrap();
        let mut list = vec![0; keyring.encoded_bytes()];
        keyring.encode_into(&mut list);
        assert_eq!(Keyring::decode(*keyring.id(), &list).unwrap().entries().len(), 2);
        for len in 0..list.len() {
            assert!(Keyring::decode(*keyring.id(), &list[..len]).is_err(), "{len}");
        }
        list[4] = 2;
        assert!(Keyring::decode(*keyring.id(), &list).is_err(), "numbers ascend");
        list[4] = 0;
        assert!(Keyring::decode(*keyring.id(), &list).is_err(), "numbers start at 1");
    }
}
