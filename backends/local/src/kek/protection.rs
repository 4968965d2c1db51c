//! How a key file is protected: not at all beyond its permissions, by a
//! passphrase, or by a systemd credential; and the sealing key of the latter
//! two.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use argon2::{Algorithm, Argon2, Block, Params};
use hkdf::Hkdf;
use rustix::fs::OFlags;
use sha2::Sha256;
use strongroom_core::guard::SecretBuffer;
use strongroom_core::{Error, Result, SecretBytes};
use zeroize::Zeroizing;

use super::format::Scheme;
use super::keyring::{ID_BYTES, KEY_BYTES, os_random};

/// The size of the Argon2id salt, in bytes (RFC 9106 §3.1 recommends 128 bits).
pub(super) const SALT_BYTES: usize = 16;
/// The size of the commitment to the sealing key, in bytes.
pub(super) const COMMITMENT_BYTES: usize = 32;
/// The least bytes of a credential: 256 bits of entropy need as many.
pub const MIN_CREDENTIAL_BYTES: usize = 32;
/// The most bytes of a credential; systemd allows 1 MiB for all of a service.
const MAX_CREDENTIAL_BYTES: usize = 64 << 10;

/// The cost of deriving a key from a passphrase by Argon2id (RFC 9106).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassphraseCost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes; they are computed one after the other, and count for an attacker.
    pub lanes: u32,
}

impl PassphraseCost {
    /// The second recommended option of RFC 9106 §4, "if much less memory is
    /// available" than the first one's 2 GiB: 64 MiB, 3 passes, 4 lanes.
    pub const RECOMMENDED: Self = Self { memory_kib: 64 << 10, passes: 3, lanes: 4 };

    /// The most memory that a key file may ask for, in KiB: the 2 GiB of RFC
    /// 9106's first recommended option. Without a limit a hostile file makes
    /// us ask for 4 TiB.
    pub const MAX_MEMORY_KIB: u32 = 2 << 20;
    /// The most lanes that a key file may ask for.
    pub const MAX_LANES: u32 = 64;
    /// The most KiB times passes: 8 passes over 2 GiB, some twenty seconds.
    pub const MAX_WORK_KIB: u64 = 16 << 20;

    /// Whether this cost is within Argon2's own limits (RFC 9106 §3.1) and ours.
    pub(super) fn params(self) -> Option<Params> {
        let work = u64::from(self.memory_kib) * u64::from(self.passes);
        let within = self.memory_kib <= Self::MAX_MEMORY_KIB
            && self.lanes <= Self::MAX_LANES
            && work <= Self::MAX_WORK_KIB;
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(KEY_BYTES));
        params.ok().filter(|_| within)
    }
}

impl Default for PassphraseCost {
    fn default() -> Self {
        Self::RECOMMENDED
    }
}

/// How a new key file is protected.
#[derive(Debug)]
#[non_exhaustive]
pub enum Protection {
    /// By its permissions alone. Whoever can read the file, or a backup of it,
    /// has the KEK.
    Plain,
    /// Sealed with a key that Argon2id derives from a passphrase.
    Passphrase {
        /// The passphrase; its strength is the file's.
        passphrase: SecretBytes,
        /// The cost of each guess.
        cost: PassphraseCost,
    },
    /// Sealed with a key derived from a credential of high entropy, at least
    /// [`MIN_CREDENTIAL_BYTES`]; see [`systemd_credential`].
    Credential(SecretBytes),
}

/// What opens an existing key file. It must be of the kind that protects the
/// file: a plain file put in place of a sealed one is refused.
#[derive(Debug)]
#[non_exhaustive]
pub enum Unlock {
    /// The file is protected by its permissions alone.
    Plain,
    /// The passphrase.
    Passphrase(SecretBytes),
    /// The credential.
    Credential(SecretBytes),
}

/// Reads the systemd credential `name` into guarded memory, from
/// `$CREDENTIALS_DIRECTORY` (systemd.exec(5), `LoadCredentialEncrypted=`). It
/// is taken as it stands, a newline at its end included.
pub fn systemd_credential(name: &str) -> Result<SecretBytes> {
    let directory = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| {
        Error::configuration(format!(
            "CREDENTIALS_DIRECTORY is not set, so there is no credential {name:?}; run as a \
             systemd service with LoadCredentialEncrypted={name}:PATH"
        ))
    })?;
    read_credential(Path::new(&directory), name)
}

fn read_credential(directory: &Path, name: &str) -> Result<SecretBytes> {
    // The rule of systemd's `credential_name_valid`: one plain file name.
    if name.is_empty() || name.contains(['/', '\0', ':']) || matches!(name, "." | "..") {
        return Err(Error::configuration(format!("{name:?} is not the name of a credential")));
    }
    let path: PathBuf = directory.join(name);
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(&path);
    let unreadable =
        |what: String| Error::configuration(format!("the credential {} {what}", path.display()));
    let mut file = file.map_err(|e| unreadable("cannot be read".into()).with_source(e))?;
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Err(unreadable("is not a regular file".into()));
    }
    let credential = SecretBuffer::read_to_end(&mut file, MAX_CREDENTIAL_BYTES)
        .map_err(|e| unreadable("cannot be read".into()).with_source(e))?;
    check_credential(&credential)?;
    Ok(credential)
}

fn check_credential(credential: &SecretBytes) -> Result<()> {
    if credential.len() < MIN_CREDENTIAL_BYTES {
        return Err(Error::configuration(format!(
            "the credential has {} bytes; the key that it protects needs at least \
             {MIN_CREDENTIAL_BYTES} random ones (head -c 32 /dev/urandom)",
            credential.len()
        )));
    }
    Ok(())
}

/// How the key file at hand is sealed, with the key that does it.
pub(super) enum Sealing {
    Plain,
    Sealed { scheme: Scheme, key: SecretBytes, commitment: [u8; COMMITMENT_BYTES] },
}

impl Sealing {
    /// For a new file, with a fresh salt.
    pub(super) fn create(protection: &Protection, id: &[u8; ID_BYTES]) -> Result<Self> {
        match protection {
            Protection::Plain => Ok(Self::Plain),
            Protection::Passphrase { passphrase, cost } => {
                let mut salt = [0; SALT_BYTES];
                os_random(&mut salt)?;
                Self::from_passphrase(passphrase, *cost, salt, id)
            }
            Protection::Credential(credential) => Self::from_credential(credential, id),
        }
    }

    /// For an existing file that says it is protected by `scheme`.
    pub(super) fn unlock(unlock: &Unlock, scheme: Scheme, id: &[u8; ID_BYTES]) -> Result<Self> {
        match (unlock, scheme) {
            (Unlock::Plain, Scheme::Plain) => Ok(Self::Plain),
            (Unlock::Passphrase(passphrase), Scheme::Passphrase { cost, salt }) => {
                Self::from_passphrase(passphrase, cost, salt, id)
            }
            (Unlock::Credential(credential), Scheme::Credential) => {
                Self::from_credential(credential, id)
            }
            (_, scheme) => {
                let wanted = match unlock {
                    Unlock::Plain => "by its permissions alone",
                    Unlock::Passphrase(_) => "by a passphrase",
                    Unlock::Credential(_) => "by a credential",
                };
                Err(Error::configuration(format!(
                    "it is protected {scheme}, and the configuration expects it to be protected \
                     {wanted}"
                )))
            }
        }
    }

    pub(super) fn scheme(&self) -> Scheme {
        match self {
            Self::Plain => Scheme::Plain,
            Self::Sealed { scheme, .. } => *scheme,
        }
    }

    fn from_passphrase(
        passphrase: &SecretBytes,
        cost: PassphraseCost,
        salt: [u8; SALT_BYTES],
        id: &[u8; ID_BYTES],
    ) -> Result<Self> {
        if passphrase.is_empty() {
            return Err(Error::configuration("the passphrase is empty"));
        }
        let params = cost.params().ok_or_else(|| {
            Error::configuration(format!("{cost:?} is outside of what a key file may ask for"))
        })?;
        let mut memory = argon2_memory(&params)?;
        let mut derived = SecretBytes::zeroed(KEY_BYTES)?;
        Argon2::new(Algorithm::Argon2id, argon2::Version::V0x13, params)
            .hash_password_into_with_memory(
                passphrase.expose(),
                &salt,
                derived.expose_mut(),
                memory.as_mut_slice(),
            )
            .map_err(|e| Error::internal(format!("Argon2id failed: {e}")))?;
        Self::expand(derived.expose(), Scheme::Passphrase { cost, salt }, id)
    }

    fn from_credential(credential: &SecretBytes, id: &[u8; ID_BYTES]) -> Result<Self> {
        check_credential(credential)?;
        Self::expand(credential.expose(), Scheme::Credential, id)
    }

    /// HKDF-SHA256 (RFC 5869) with the KEK's id as salt, so that one credential
    /// gives every key file a key of its own.
    ///
    /// The second output commits to the key, as in the AWS Encryption SDK's
    /// committing suites: GCM alone opens one ciphertext under several keys,
    /// and then each answer tells about many guesses at once (Len, Grubbs and
    /// Ristenpart, "Partitioning Oracle Attacks", USENIX Security 2021).
    fn expand(input: &[u8], scheme: Scheme, id: &[u8; ID_BYTES]) -> Result<Self> {
        let hkdf = Hkdf::<Sha256>::new(Some(id), input);
        let mut key = SecretBytes::zeroed(KEY_BYTES)?;
        let mut commitment = [0; COMMITMENT_BYTES];
        hkdf.expand(b"strongroom key file seal v1", key.expose_mut())
            .and_then(|()| hkdf.expand(b"strongroom key file commit v1", &mut commitment))
            .map_err(|e| Error::internal(format!("HKDF failed: {e}")))?;
        Ok(Self::Sealed { scheme, key, commitment })
    }
}

/// Argon2's working memory. Its last blocks are enough to compute the key, and
/// `argon2` frees its own memory as it stands, so it gets ours. It is too large
/// to be locked; it may be swapped out during the call.
fn argon2_memory(params: &Params) -> Result<Zeroizing<Vec<Block>>> {
    let mut memory = Zeroizing::new(Vec::new());
    let blocks = params.block_count();
    memory.try_reserve_exact(blocks).map_err(|e| {
        let needed = format!("there is no memory for Argon2id: it needs {blocks} KiB");
        Error::limit_exceeded(needed).with_source(e)
    })?;
    memory.resize(blocks, Block::new());
    Ok(memory)
}

impl fmt::Debug for Sealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealing").field("scheme", &self.scheme()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use strongroom_core::ErrorKind;

    use super::*;

    #[test]
    fn costs_are_bounded() {
        let cost = |memory_kib, passes, lanes| PassphraseCost { memory_kib, passes, lanes };
        assert!(PassphraseCost::RECOMMENDED.params().is_some());
        assert!(cost(2 << 20, 1, 4).params().is_some(), "RFC 9106's first option");
        assert!(cost((2 << 20) + 1, 1, 4).params().is_none(), "memory");
        assert!(cost(2 << 20, 9, 4).params().is_none(), "work");
        assert!(cost(64 << 10, u32::MAX, 4).params().is_none(), "work");
        assert!(cost(64 << 10, 1, 65).params().is_none(), "lanes");
        assert!(cost(7, 1, 1).params().is_none(), "Argon2's own minimum");
        assert!(cost(64 << 10, 0, 4).params().is_none(), "Argon2's own minimum");
    }

    #[test]
    fn credentials_are_plain_files_of_32_bytes_or_more() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("short"), [7; 31]).unwrap();
        fs::write(directory.path().join("kek"), [7; 32]).unwrap();
        std::os::unix::fs::symlink("kek", directory.path().join("link")).unwrap();
        let read = |name| read_credential(directory.path(), name).map_err(|e| e.kind());
        assert!(read("kek").unwrap().expose() == [7; 32]);
        for name in ["short", "link", "none", "", ".", "..", "../kek", "a/b"] {
            assert_eq!(read(name).unwrap_err(), ErrorKind::Configuration, "{name:?}");
        }
    }

    #[test]
    fn every_input_changes_the_sealing_key() {
        let secret = |byte| SecretBytes::copy_from(&[byte; 32]).unwrap();
        let cost = PassphraseCost { memory_kib: 64, passes: 1, lanes: 1 };
        let sealings = [
            Sealing::from_credential(&secret(1), &[1; 16]),
            Sealing::from_credential(&secret(2), &[1; 16]),
            Sealing::from_credential(&secret(1), &[2; 16]),
            Sealing::from_passphrase(&secret(1), cost, [1; 16], &[1; 16]),
            Sealing::from_passphrase(&secret(1), cost, [2; 16], &[1; 16]),
            Sealing::from_passphrase(&secret(2), cost, [1; 16], &[1; 16]),
            Sealing::from_passphrase(&secret(1), cost, [1; 16], &[2; 16]),
        ];
        let keys = sealings.map(|sealing| match sealing.unwrap() {
            Sealing::Sealed { key, commitment, .. } => {
                assert!(key.expose() != commitment, "the public commitment is not the key");
                key
            }
            Sealing::Plain => unreachable!(),
        });
        for (at, key) in keys.iter().enumerate() {
            assert!(keys[..at].iter().all(|other| other != key), "{at}");
        }
    }
}
