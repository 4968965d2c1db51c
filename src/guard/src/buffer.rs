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

#[cfg(test)]
mod tests {
    use std::iter;

    use super::*;

    fn text(len: usize) -> Vec<u8> {
        (1..=251).cycle().take(len).collect()
    }

    /// Hands out `step` bytes at a time, interrupted each time.
    struct Slow<'a> {
        rest: &'a [u8],
        step: usize,
        interrupted: bool,
    }

    impl Read for Slow<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.interrupted = !self.interrupted;
            if self.interrupted {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let len = self.step.min(into.len());
            self.rest.read(&mut into[..len])
        }
    }

    #[test]
    fn reads_all_of_a_reader() {
        for len in [0, 1, 255, 256, 257, 4096, 4097, 70_000] {
            for step in [1, 1000, usize::MAX] {
                let source = text(len);
                let mut reader = Slow { rest: &source, step, interrupted: false };
                let secret = SecretBuffer::read_to_end(&mut reader, len).unwrap();
                assert!(secret.expose() == source);
            }
        }
        assert_eq!(SecretBuffer::read_to_end(&mut &[1u8][..], usize::MAX).unwrap().len(), 1);
    }

    #[test]
    fn refuses_a_reader_with_more() {
        for len in [1, 256, 257, 5000] {
            let max = len - 1;
            let answer = SecretBuffer::read_to_end(&mut text(len).as_slice(), max);
            assert!(matches!(answer, Err(ReadError::TooLarge { max: told }) if told == max));
        }
        let answer = SecretBuffer::read_to_end(&mut io::repeat(1), 100_000);
        assert!(matches!(answer, Err(ReadError::TooLarge { .. })), "an endless reader ends");
    }

    #[test]
    fn hands_on_a_readers_error() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
        let answer = SecretBuffer::read_to_end(&mut Broken, 10);
        assert!(matches!(answer, Err(ReadError::Io(error))
            if error.kind() == io::ErrorKind::ConnectionReset));
    }

    #[test]
    fn does_not_believe_a_reader() {
        /// Leaves bytes behind the ones that it counts.
        struct Sloppy(usize);
        impl Read for Sloppy {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                into.fill(0xee);
                self.0 += 1;
                Ok(if self.0 == 1 { 130 } else { 0 })
            }
        }

        struct Boaster;
        impl Read for Boaster {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                Ok(into.len() + 1)
            }
        }
        assert!(matches!(SecretBuffer::read_to_end(&mut Boaster, 10), Err(ReadError::Io(_))));

        let secret = SecretBuffer::read_to_end(&mut Sloppy(0), 1000).unwrap();
        assert_eq!(secret.len(), 130);
        assert!(secret.block_bytes()[130..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn grows_as_it_is_written() {
        let source = text(9000);
        let mut buffer = SecretBuffer::new();
        let mut rest = &source[..];
        for len in iter::successors(Some(1), |len| Some(len * 2 % 1001)) {
            let (part, behind) = rest.split_at(len.min(rest.len()));
            buffer.write_all(part).unwrap();
            rest = behind;
            assert!(buffer.len() == source.len() - rest.len());
            if rest.is_empty() {
                break;
            }
        }
        assert_eq!(format!("{buffer:?}"), "[redacted]");
        assert!(buffer.into_secret().unwrap().expose() == source);
        assert!(SecretBuffer::new().into_secret().unwrap().is_empty());
    }

    #[test]
    fn takes_no_more_than_its_limit() {
        let mut buffer = SecretBuffer::with_limit(10);
        buffer.write_all(&[1; 10]).unwrap();
        let error = buffer.write_all(&[2]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(error.to_string(), "more than 10 bytes");
        assert!(buffer.into_secret().unwrap().expose() == [1; 10]);
    }

    #[test]
    fn ends_in_memory_of_its_own_size() {
        let mut buffer = SecretBuffer::new();
        buffer.write_all(&[1; 3000]).unwrap();
        let mut short = SecretBuffer::new();
        short.write_all(&[1; 20]).unwrap();
        assert_eq!(buffer.into_secret().unwrap().block_bytes().len(), 4096);
        assert_eq!(short.into_secret().unwrap().block_bytes().len(), 32);
    }
}
