//! A value as AWS keeps it: text where it is text, so that whoever reads it with
//! AWS's own tools finds what he expects, and bytes otherwise.

use aws_sdk_secretsmanager::primitives::Blob;
use strongroom_core::{Error, Kind, Result, SecretBytes, Timestamp, kinds};

use super::version::{self, Own, Written};

/// The longest value (AWS Secrets Manager quotas, "Secret value size").
pub(super) const MAX_BYTES: usize = 64 << 10;
/// What stands where there is nothing: AWS takes no value without bytes. It is no
/// text, so that nobody takes it for one.
const NOTHING: &[u8] = &[0];

/// A value on its way to AWS. The client's library sends it from memory of its own.
#[derive(Clone)]
pub(super) enum Sent {
    Text(String),
    Bytes(Blob),
}

/// `value` as it is sent. A file is always bytes, whatever it has in it; anything else
/// is text if it can be.
///
/// # Errors
/// As [`kinds::check`], and `LimitExceeded` beyond [`MAX_BYTES`].
pub(super) fn sent(kind: Kind, value: &SecretBytes) -> Result<Sent> {
    if value.len() > MAX_BYTES {
        return Err(Error::limit_exceeded(format!(
            "a value in AWS Secrets Manager has at most {MAX_BYTES} bytes, and this one has {}",
            value.len()
        )));
    }
    kinds::check(kind, value)?;
    if value.is_empty() {
        return Ok(Sent::Bytes(Blob::new(NOTHING)));
    }
    match std::str::from_utf8(value.expose()) {
        Ok(text) if kind != Kind::File && is_plain(text) => Ok(Sent::Text(text.to_owned())),
        _ => Ok(Sent::Bytes(Blob::new(value.expose()))),
    }
}

/// Whether text survives every tool on its way: no control characters but tabs and
/// line ends.
fn is_plain(text: &str) -> bool {
    text.chars().all(|c| !c.is_control() || matches!(c, '\t' | '\n' | '\r'))
}

/// A value as AWS gave it, in guarded memory.
#[derive(Debug)]
pub(super) struct Given {
    bytes: SecretBytes,
    is_text: bool,
}

impl Given {
    /// Takes the value out of the library's hands, and wipes what it had.
    pub(super) fn take(text: Option<String>, bytes: Option<Blob>) -> Result<Self> {
        let (given, is_text) = match (text, bytes) {
            (Some(text), None) => (text.into_bytes(), true),
            (None, Some(bytes)) => (bytes.into_inner(), false),
            _ => {
                let what = "AWS Secrets Manager gave neither a text nor bytes, or both";
                return Err(Error::internal(what));
            }
        };
        Ok(Self { bytes: SecretBytes::take(given)?, is_text })
    }

    /// The value of the version `id`: with its kind, and when it was written. Of what
    /// somebody else wrote, a text is a text, bytes are a file, and AWS says when.
    pub(super) fn of_version(
        self,
        id: &str,
        created: Option<Timestamp>,
    ) -> Result<(SecretBytes, Kind, Timestamp)> {
        match version::read(id)? {
            Written::ByUs(own) => Ok((self.of_ours(own)?, own.kind, own.created())),
            Written::Elsewhere => {
                let kind = if self.is_text { Kind::Text } else { Kind::File };
                let created = created.ok_or_else(|| {
                    Error::internal("AWS Secrets Manager does not say when a version was written")
                })?;
                Ok((self.bytes, kind, created))
            }
        }
    }

    fn of_ours(mut self, own: Own) -> Result<SecretBytes> {
        if own.is_empty {
            if self.is_text || self.bytes.expose() != NOTHING {
                return Err(Error::tampered("a version that was written empty is not"));
            }
            self.bytes.truncate(0);
        }
        Ok(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use strongroom_core::ErrorKind;

    use super::*;

    fn secret(bytes: &[u8]) -> SecretBytes {
        SecretBytes::copy_from(bytes).expect("memory")
    }

    #[test]
    fn text_is_text_and_files_are_bytes() {
        for (kind, value, is_text) in [
            (Kind::Text, &b"hunter2"[..], true),
            (Kind::Text, "z\u{fc}rich\r\n\t".as_bytes(), true),
            (Kind::Text, b"\xff", false),
            (Kind::Text, b"a\0b", false),
            (Kind::Text, b"", false),
            (Kind::Login, br#"{"user":"u","password":"p"}"#, true),
            (Kind::Reference, b"other://path", true),
            (Kind::File, b"text", false),
            (Kind::File, b"", false),
        ] {
            let sent = sent(kind, &secret(value)).expect("valid");
            let (text, bytes) = match sent {
                Sent::Text(text) => (Some(text), None),
                Sent::Bytes(bytes) => (None, Some(bytes)),
            };
            assert_eq!(text.is_some(), is_text, "{value:?}");
            let id = version::new(kind, value.is_empty()).expect("an id");
            let given = Given::take(text, bytes).expect("one of them");
            let (back, back_kind, _) = given.of_version(id.as_str(), None).expect("ours");
            assert!(back.expose() == value, "{value:?}");
            assert_eq!(back_kind, kind);
        }
    }

    #[test]
    fn what_others_wrote_is_text_or_a_file() {
        let id = "EXAMPLE1-90ab-cdef-fedc-ba987SECRET1";
        let at = Some(Timestamp(5));
        let text = Given::take(Some("x".to_owned()), None).expect("text");
        let (_, kind, created) = text.of_version(id, at).expect("a value");
        assert_eq!((kind, created), (Kind::Text, Timestamp(5)));
        let bytes = Given::take(None, Some(Blob::new("x"))).expect("bytes");
        assert_eq!(bytes.of_version(id, at).expect("a value").1, Kind::File);
        assert!(Given::take(None, None).is_err());
    }

    #[test]
    fn an_empty_value_that_has_bytes_was_tampered_with() {
        let id = version::new(Kind::Text, true).expect("an id");
        let given = Given::take(Some("x".to_owned()), None).expect("text");
        let error = given.of_version(id.as_str(), None).expect_err("not empty");
        assert_eq!(error.kind(), ErrorKind::Tampered);
    }

    #[test]
    fn a_value_is_as_long_as_aws_takes() {
        sent(Kind::File, &secret(&vec![7; MAX_BYTES])).map(drop).expect("the longest");
        let error = sent(Kind::Text, &secret(&vec![b'x'; MAX_BYTES + 1])).map(drop);
        assert_eq!(error.expect_err("too long").kind(), ErrorKind::LimitExceeded);
    }
}
