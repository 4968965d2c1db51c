//! The bytes of a key file, defined in `FORMAT.md` beside this file.

use std::fmt;

use sha2::{Digest, Sha256};
use strongroom_core::envelope::Suite;
use strongroom_core::envelope::aead::{NONCE_BYTES, TAG_BYTES};
use strongroom_core::{Error, ErrorKind, Result, SecretBytes, random};

use super::keyring::{ID_BYTES, Keyring, MAX_VERSIONS, VERSION_BYTES};
use super::protection::{COMMITMENT_BYTES, PassphraseCost, SALT_BYTES, Sealing};

/// Begins every key file. The line ends show a transfer in text mode.
const MAGIC: &[u8; 8] = b"SRKEK\r\n\0";
/// The format that this build writes, and the only one there is.
const FORMAT: u8 = 1;

/// Seals the version list.
const AEAD: Suite = Suite::Aes256Gcm;

const PLAIN: u8 = 0;
const PASSPHRASE: u8 = 1;
const CREDENTIAL: u8 = 2;

const CHECKSUM_BYTES: usize = 32;
/// Magic, format, scheme, id: what every key file begins with.
const PREFIX_BYTES: usize = MAGIC.len() + 2 + ID_BYTES;
const COST_BYTES: usize = 12;

/// The largest key file that is read.
pub(super) const MAX_FILE_BYTES: usize = 256 + MAX_VERSIONS * VERSION_BYTES;

/// How a key file says that it is protected; all of it public.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Plain,
    Passphrase { cost: PassphraseCost, salt: [u8; SALT_BYTES] },
    Credential,
}

impl Scheme {
    /// The size of what precedes the version list.
    fn header_bytes(self) -> usize {
        let sealed = COMMITMENT_BYTES + NONCE_BYTES;
        PREFIX_BYTES
            + match self {
                Self::Plain => 0,
                Self::Passphrase { .. } => COST_BYTES + SALT_BYTES + sealed,
                Self::Credential => sealed,
            }
    }

    /// The size of what follows the version list.
    fn trailer_bytes(self) -> usize {
        if self == Self::Plain { CHECKSUM_BYTES } else { TAG_BYTES }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "by its permissions alone",
            Self::Passphrase { .. } => "by a passphrase",
            Self::Credential => "by a credential",
        })
    }
}

/// The public beginning of a key file. Nothing vouches for it until
/// [`decode`] has opened the rest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) id: [u8; ID_BYTES],
    pub(super) scheme: Scheme,
}

impl Header {
    pub(super) fn parse(file: &[u8]) -> Result<Self> {
        Self::parse_with_rest(file).map(|(header, _)| header)
    }

    /// The header, and what follows its scheme's parameters.
    fn parse_with_rest(file: &[u8]) -> Result<(Self, &[u8])> {
        let mut input = Input(file);
        if input.take::<8>()? != MAGIC {
            return Err(Error::tampered("it is not a key file, or its beginning was overwritten"));
        }
        let [format, scheme] = *input.take::<2>()?;
        if format != FORMAT {
            return Err(Error::configuration(format!(
                "it has format {format}, and this build reads format {FORMAT}; use the build \
                 that wrote it, or a newer one"
            )));
        }
        let id = *input.take()?;
        let scheme = match scheme {
            PLAIN => Scheme::Plain,
            CREDENTIAL => Scheme::Credential,
            PASSPHRASE => {
                let [memory_kib, passes, lanes] = [input.u32()?, input.u32()?, input.u32()?];
                let cost = PassphraseCost { memory_kib, passes, lanes };
                if cost.params().is_none() {
                    return Err(Error::tampered(format!("it asks for an absurd {cost:?}")));
                }
                Scheme::Passphrase { cost, salt: *input.take()? }
            }
            other => return Err(Error::tampered(format!("its protection {other} does not exist"))),
        };
        Ok((Self { id, scheme }, input.0))
    }
}

/// The key file for `keyring`, in guarded memory.
pub(super) fn encode(keyring: &Keyring, sealing: &Sealing) -> Result<SecretBytes> {
    let scheme = sealing.scheme();
    let list_bytes = keyring.encoded_bytes();
    let total = scheme.header_bytes() + list_bytes + scheme.trailer_bytes();
    let mut file = SecretBytes::zeroed(total)?;
    let (header, rest) = file.expose_mut().split_at_mut(scheme.header_bytes());
    let (list, trailer) = rest.split_at_mut(list_bytes);
    let mut out = Output(&mut *header);
    out.put(MAGIC);
    let number = match scheme {
        Scheme::Plain => PLAIN,
        Scheme::Passphrase { .. } => PASSPHRASE,
        Scheme::Credential => CREDENTIAL,
    };
    out.put(&[FORMAT, number]);
    out.put(keyring.id());
    if let Scheme::Passphrase { cost, salt } = scheme {
        for cost in [cost.memory_kib, cost.passes, cost.lanes] {
            out.put(&cost.to_le_bytes());
        }
        out.put(&salt);
    }
    match sealing {
        Sealing::Plain => {
            keyring.encode_into(list);
            trailer.copy_from_slice(&checksum(header, list));
        }
        Sealing::Sealed { key, commitment, .. } => {
            let nonce = random::array::<NONCE_BYTES>()?;
            out.put(commitment);
            out.put(&nonce);
            keyring.encode_into(list);
            let tag = AEAD.seal_detached(key.expose(), &nonce, header, list)?;
            trailer.copy_from_slice(&tag);
        }
    }
    Ok(file)
}

/// Reads a key file with the sealing that its header asks for.
pub(super) fn decode(file: &[u8], sealing: &Sealing) -> Result<Keyring> {
    let (header, rest) = Header::parse_with_rest(file)?;
    let scheme = header.scheme;
    if scheme != sealing.scheme() {
        return Err(Error::new(
            ErrorKind::Unauthenticated,
            "it was given another protection since it was opened; open it again",
        ));
    }
    let list_end = file.len().checked_sub(scheme.trailer_bytes());
    let list_end = list_end.filter(|end| *end >= scheme.header_bytes()).ok_or_else(truncated)?;
    let (public, list) = file[..list_end].split_at(scheme.header_bytes());
    let trailer = &file[list_end..];
    match sealing {
        Sealing::Plain => {
            if trailer != checksum(public, list) {
                return Err(Error::tampered("its checksum is wrong: it was altered or truncated"));
            }
            Keyring::decode(header.id, list)
        }
        Sealing::Sealed { key, commitment, .. } => {
            let mut input = Input(rest);
            if input.take::<COMMITMENT_BYTES>()? != commitment {
                let message = match scheme {
                    Scheme::Credential => {
                        "the credential does not open it: it is another one, or the file was \
                         altered"
                    }
                    _ => "the passphrase does not open it: it is wrong, or the file was altered",
                };
                return Err(Error::unauthenticated(message));
            }
            let nonce = input.take::<NONCE_BYTES>()?;
            let tag = trailer.try_into().map_err(|_| truncated())?;
            let list = AEAD.open_detached(key.expose(), nonce, public, list, tag).map_err(|e| {
                if e.kind() == ErrorKind::Tampered {
                    Error::tampered("it was altered or truncated after it was sealed")
                } else {
                    e
                }
            })?;
            Keyring::decode(header.id, list.expose())
        }
    }
}

fn truncated() -> Error {
    Error::tampered("it is truncated")
}

/// SHA-256 over all that precedes it: it tells corruption, not tampering, since
/// whoever can write a plain file can write any keys into it.
fn checksum(header: &[u8], list: &[u8]) -> [u8; CHECKSUM_BYTES] {
    Sha256::new().chain_update(header).chain_update(list).finalize().into()
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take<const N: usize>(&mut self) -> Result<&'a [u8; N]> {
        let (taken, rest) = self.0.split_first_chunk().ok_or_else(truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(*self.take()?))
    }
}

struct Output<'a>(&'a mut [u8]);

impl Output<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let (now, rest) = std::mem::take(&mut self.0).split_at_mut(bytes.len());
        now.copy_from_slice(bytes);
        self.0 = rest;
    }
}
