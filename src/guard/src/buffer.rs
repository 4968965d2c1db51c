//! A secret of unknown length, while it arrives.

use std::fmt;
use std::io::{self, Read, Write};

use crate::block::Block;
use crate::slab::MAX_SLOT;
use crate::wipe::wipe;
use crate::{Error, ReadError, SecretBytes};

/// A growing value in guarded memory.
///
/// Bytes are pushed with [`Write`]. It grows by doubling; what it grew out of is
/// wiped. A write that guarded memory refuses is an [`io::Error`] around
/// [`enum@Error`], one beyond the limit has the kind [`io::ErrorKind::FileTooLarge`].
pub struct SecretBuffer {
    /// Zero behind `len`.
    block: Option<Block>,
    len: usize,
    max: usize,
}

impl SecretBuffer {
    /// An empty buffer without a limit of its own.
    pub fn new() -> Self {
        Self::with_limit(usize::MAX)
    }

    /// An empty buffer for at most `max` bytes.
    pub fn with_limit(max: usize) -> Self {
        Self { block: None, len: 0, max }
    }

    /// Everything that `reader` has, at most `max` bytes, read straight into
    /// guarded memory.
    pub fn read_to_end(reader: &mut impl Read, max: usize) -> Result<SecretBytes, ReadError> {
        // One byte more tells "too large" from "exactly full".
        let mut buffer = Self::with_limit(max.saturating_add(1));
        loop {
            let spare = buffer.spare()?;
            if spare.is_empty() {
                return Err(ReadError::TooLarge { max });
            }
            let room = spare.len();
            match reader.read(spare) {
                Ok(0) => break,
                Ok(read) if read <= room => buffer.len += read,
                Ok(_) => return Err(ReadError::Io(io::Error::other("the reader miscounted"))),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ReadError::Io(error)),
            }
        }
        if buffer.len > max {
            return Err(ReadError::TooLarge { max });
        }
        // A reader may have written more than it counted.
        if let Some(block) = &mut buffer.block {
            wipe(&mut block.bytes_mut()[buffer.len..]);
        }
        Ok(buffer.into_secret()?)
    }

    /// The value, in no more memory than its length calls for.
    pub fn into_secret(self) -> Result<SecretBytes, Error> {
        match self.block {
            // Of a larger block, half would stay locked for nothing.
            Some(block) if block.capacity() / 2 >= self.len => {
                SecretBytes::copy_from(&block.bytes()[..self.len])
            }
            Some(block) => Ok(SecretBytes::from_block(block, self.len)),
            None => SecretBytes::zeroed(0),
        }
    }

    /// The number of bytes so far.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes so far.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Free room, more of it where there was none; empty only at the limit.
    fn spare(&mut self) -> Result<&mut [u8], Error> {
        let capacity = self.block.as_ref().map_or(0, Block::capacity);
        if self.len == capacity && self.len < self.max {
            self.grow(self.len + 1)?;
        }
        let (len, max) = (self.len, self.max);
        Ok(match &mut self.block {
            Some(block) => {
                let end = block.capacity().min(max);
                &mut block.bytes_mut()[len..end]
            }
            None => &mut [],
        })
    }

    /// Moves the bytes to a block of at least `needed` bytes.
    fn grow(&mut self, needed: usize) -> Result<(), Error> {
        let capacity = self.block.as_ref().map_or(0, Block::capacity);
        let wanted = needed.max(capacity.saturating_mul(2)).max(256.min(self.max));
        let mut block = match Block::zeroed(wanted) {
            // Where doubling is too much, the need itself may still fit.
            Err(_) if wanted > needed && wanted > MAX_SLOT => Block::zeroed(needed)?,
            answer => answer?,
        };
        if let Some(old) = &self.block {
            block.bytes_mut()[..self.len].copy_from_slice(&old.bytes()[..self.len]);
        }
        self.block = Some(block);
        Ok(())
    }
}

impl Write for SecretBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let needed = self.len.checked_add(bytes.len()).filter(|needed| *needed <= self.max);
        let Some(needed) = needed else {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("more than {} bytes", self.max),
            ));
        };
        if needed > self.block.as_ref().map_or(0, Block::capacity) {
            self.grow(needed).map_err(|error| io::Error::new(io::ErrorKind::OutOfMemory, error))?;
        }
        if let Some(block) = &mut self.block {
            block.bytes_mut()[self.len..needed].copy_from_slice(bytes);
            self.len = needed;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Default for SecretBuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SecretBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}
