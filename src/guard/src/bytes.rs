//! One secret value.

use std::fmt;

use subtle::ConstantTimeEq;

use crate::Error;
use crate::block::Block;
use crate::wipe::{wipe, wipe_vec};

/// Bytes in guarded memory, wiped when dropped.
///
/// A value of up to 4 KiB takes a slot of a slab that is locked already; a larger
/// one gets a mapping of its own. Comparison takes the same time whatever the
/// bytes are; the length is not hidden.
///
/// # Forks
/// A forked child has none of its parent's values. Reading one there panics, and
/// dropping one does nothing.
///
/// # What it refuses
/// It is not `Clone`: a copy is a decision, made with [`try_clone`](Self::try_clone).
/// ```compile_fail,E0599
/// let secret = strongroom_guard::SecretBytes::zeroed(1).unwrap();
/// let copy = secret.clone();
/// ```
/// It does not turn into text, and so into no log line.
/// ```compile_fail,E0277
/// let secret = strongroom_guard::SecretBytes::zeroed(1).unwrap();
/// println!("{secret}");
/// ```
/// It does not serialize, and nothing deserializes into it.
/// ```compile_fail,E0277
/// let secret = strongroom_guard::SecretBytes::zeroed(1).unwrap();
/// serde_json::to_string(&secret).unwrap();
/// ```
/// ```compile_fail,E0277
/// let secret: strongroom_guard::SecretBytes = serde_json::from_str("[1]").unwrap();
/// ```
pub struct SecretBytes {
    block: Block,
    len: usize,
}

impl SecretBytes {
    /// A value of `len` zero bytes.
    pub fn zeroed(len: usize) -> Result<Self, Error> {
        Ok(Self { block: Block::zeroed(len)?, len })
    }

    /// A copy of `bytes`. Wiping the source stays with the caller.
    pub fn copy_from(bytes: &[u8]) -> Result<Self, Error> {
        let mut copy = Self::zeroed(bytes.len())?;
        copy.expose_mut().copy_from_slice(bytes);
        Ok(copy)
    }

    /// Moves `bytes` into guarded memory: copies them, then wipes the whole vector,
    /// also when no memory was given.
    pub fn take(mut bytes: Vec<u8>) -> Result<Self, Error> {
        let copy = Self::copy_from(&bytes);
        wipe_vec(&mut bytes);
        copy
    }

    /// A second copy in guarded memory.
    pub fn try_clone(&self) -> Result<Self, Error> {
        Self::copy_from(self.expose())
    }

    /// The bytes. Where they go from here is for the caller to answer for.
    ///
    /// # Panics
    /// In a forked child, for a value of its parent: the child's pages are wiped or
    /// missing, and a key of zeroes must never be used.
    #[inline]
    pub fn expose(&self) -> &[u8] {
        &self.block.bytes()[..self.len]
    }

    /// The bytes, to write to.
    ///
    /// # Panics
    /// As [`expose`](Self::expose) does.
    #[inline]
    pub fn expose_mut(&mut self) -> &mut [u8] {
        &mut self.block.bytes_mut()[..self.len]
    }

    /// Cuts the value to `len` bytes and wipes the rest. A value that is no longer
    /// than `len` stays as it is.
    pub fn truncate(&mut self, len: usize) {
        if len < self.len {
            wipe(&mut self.expose_mut()[len..]);
            self.len = len;
        }
    }

    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first `len` bytes of `block`, whose other bytes are zero.
    pub(crate) fn from_block(block: Block, len: usize) -> Self {
        Self { block, len }
    }

    /// All bytes of the memory behind the value.
    #[cfg(test)]
    pub(crate) fn block_bytes(&self) -> &[u8] {
        self.block.bytes()
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl PartialEq for SecretBytes {
    fn eq(&self, other: &Self) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }
}

impl Eq for SecretBytes {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_it_was_given() {
        for len in [0, 1, 31, 32, 33, 64, 1000, 4096, 4097, 100_000] {
            let source: Vec<u8> = (0..=250).cycle().take(len).collect();
            let secret = SecretBytes::copy_from(&source).unwrap();
            assert!(secret.expose() == source);
            let mut copy = secret.try_clone().unwrap();
            assert!(copy == secret);
            assert!(SecretBytes::take(source).unwrap() == secret);
            copy.truncate(len / 2);
            assert!(copy.expose() == &secret.expose()[..len / 2]);
        }
    }

    #[test]
    fn debug_shows_nothing() {
        let secret = SecretBytes::copy_from(b"abc").unwrap();
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "[redacted] Some([redacted])");
    }
}
