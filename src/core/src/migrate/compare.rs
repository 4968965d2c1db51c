//! Whether two stores hold the same bytes, a segment of each in guarded memory
//! at a time.

use strongroom_guard::SecretBytes;
use subtle::ConstantTimeEq;

use crate::error::Result;
use crate::file::FileReader;

/// What of a file has been read and not yet compared.
struct Rest {
    reader: FileReader,
    segment: Option<SecretBytes>,
    at: usize,
}

impl Rest {
    fn new(reader: FileReader) -> Self {
        Self { reader, segment: None, at: 0 }
    }

    /// What comes next, at least one byte; `None` at the end.
    async fn ahead(&mut self) -> Result<Option<&[u8]>> {
        while self.segment.as_ref().is_none_or(|segment| self.at == segment.len()) {
            self.segment = self.reader.next().await?;
            self.at = 0;
            if self.segment.is_none() {
                return Ok(None);
            }
        }
        Ok(self.segment.as_ref().map(|segment| &segment.expose()[self.at..]))
    }
}

/// Whether both give the same bytes. The time that it takes depends on the
/// lengths, and not on where the first difference is.
pub(super) async fn are_equal(left: FileReader, right: FileReader) -> Result<bool> {
    if left.info().length != right.info().length {
        return Ok(false);
    }
    let (mut left, mut right) = (Rest::new(left), Rest::new(right));
    let mut equal = subtle::Choice::from(1);
    loop {
        let bytes = match (left.ahead().await?, right.ahead().await?) {
            (None, None) => return Ok(equal.into()),
            (Some(a), Some(b)) => {
                let bytes = a.len().min(b.len());
                equal &= a[..bytes].ct_eq(&b[..bytes]);
                bytes
            }
            _ => return Ok(false),
        };
        left.at += bytes;
        right.at += bytes;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use async_trait::async_trait;
    use futures_executor::block_on;

    use super::*;
    use crate::file::{FileInfo, Segments};
    use crate::{Kind, Timestamp, Version};

    struct Cut(Vec<u8>, usize);

    #[async_trait]
    impl Segments for Cut {
        async fn read(&self, number: u64) -> Result<SecretBytes> {
            let piece = self.0.chunks(self.1).nth(number as usize).unwrap_or_default();
            Ok(SecretBytes::copy_from(piece)?)
        }
    }

    fn file(bytes: &[u8], segment_bytes: usize) -> FileReader {
        let info = FileInfo {
            version: Version::new("1").expect("valid"),
            kind: Kind::File,
            created: Timestamp(0),
            length: bytes.len() as u64,
            segment_bytes,
            age: Duration::ZERO,
            stale: false,
        };
        FileReader::new(info, Box::new(Cut(bytes.to_vec(), segment_bytes)))
    }

    #[test]
    fn files_are_equal_by_their_bytes_whatever_their_segments() {
        let bytes: Vec<u8> = (0..100).collect();
        let same = |a: &[u8], left, b: &[u8], right| {
            block_on(are_equal(file(a, left), file(b, right))).expect("read")
        };
        for (left, right) in [(100, 100), (7, 10), (10, 7), (1, 200), (50, 50)] {
            assert!(same(&bytes, left, &bytes, right), "{left} {right}");
            for at in [0, 49, 50, 99] {
                let mut other = bytes.clone();
                other[at] ^= 1;
                assert!(!same(&bytes, left, &other, right), "{left} {right}, byte {at}");
            }
            assert!(!same(&bytes, left, &bytes[..99], right));
        }
        assert!(same(b"", 1, b"", 9));
    }
}
