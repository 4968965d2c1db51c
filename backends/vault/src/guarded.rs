//! JSON and Base64 that go from guarded memory to guarded memory.

use std::fmt;
use std::io;

use base64ct::{Base64, Encoding};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};
use strongroom_core::{Error, Result, SecretBytes};

/// `value` as JSON. What it consists of is copied once, to where it is guarded.
pub(crate) fn json(value: &impl Serialize) -> Result<SecretBytes> {
    let unusable = |error| Error::internal("a request cannot be written").with_source(error);
    let mut length = Length(0);
    serde_json::to_writer(&mut length, value).map_err(unusable)?;
    let mut written = SecretBytes::zeroed(length.0)?;
    serde_json::to_writer(written.expose_mut(), value).map_err(unusable)?;
    Ok(written)
}

/// `bytes` as Base64 (RFC 4648 §4), in a time that does not depend on what they are.
pub(crate) fn base64(bytes: &[u8]) -> Result<SecretBytes> {
    let mut written = SecretBytes::zeroed(Base64::encoded_len(bytes))?;
    Base64::encode(bytes, written.expose_mut())
        .map_err(|_| Error::internal("Base64 has another length than it should"))?;
    Ok(written)
}

/// What `written` stands for as Base64; `None` if it is none.
pub(crate) fn from_base64(written: &[u8]) -> Result<Option<SecretBytes>> {
    let mut bytes = SecretBytes::zeroed(written.len() / 4 * 3 + 3)?;
    let Ok(decoded) = Base64::decode(written, bytes.expose_mut()) else { return Ok(None) };
    let length = decoded.len();
    bytes.truncate(length);
    Ok(Some(bytes))
}

/// What JSON would take.
struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A text of JSON that is a secret.
#[derive(Debug)]
pub(crate) struct GuardedText(pub(crate) SecretBytes);

impl<'de> Deserialize<'de> for GuardedText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor)
    }
}

struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = GuardedText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    // A text with escapes comes from a buffer of the parser's, which ends with the call.
    fn visit_str<E: de::Error>(self, text: &str) -> Result<GuardedText, E> {
        SecretBytes::copy_from(text.as_bytes()).map(GuardedText).map_err(E::custom)
    }
}

/// A secret that is UTF-8, to be written as a text of JSON.
pub(crate) struct Exposed<'a>(pub(crate) &'a str);

impl<'a> Exposed<'a> {
    /// `None` if it is not UTF-8.
    pub(crate) fn new(secret: &'a SecretBytes) -> Option<Self> {
        std::str::from_utf8(secret.expose()).ok().map(Self)
    }
}

impl Serialize for Exposed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

impl fmt::Debug for Exposed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn json_is_what_it_should_be_to_the_byte() {
        let secret = SecretBytes::copy_from("p\"ä\n".as_bytes()).expect("memory");
        let body = BTreeMap::from([("value", Exposed::new(&secret).expect("text"))]);
        let written = json(&body).expect("written");
        assert!(written.expose() == "{\"value\":\"p\\\"ä\\n\"}".as_bytes());
        let read: BTreeMap<&str, GuardedText> =
            serde_json::from_slice(written.expose()).expect("JSON");
        assert!(read["value"].0 == secret);
    }

    #[test]
    fn base64_is_read_as_it_was_written_and_nothing_else_is() {
        for length in 0..50_u8 {
            let bytes: Vec<u8> = (0..length).map(|n| n.wrapping_mul(37)).collect();
            let written = base64(&bytes).expect("memory");
            let read = from_base64(written.expose()).expect("memory").expect("Base64");
            assert!(read.expose() == bytes);
        }
        for wrong in ["A", "AA=A", "AB==", "A A=", "\u{fc}"] {
            assert!(from_base64(wrong.as_bytes()).expect("memory").is_none(), "{wrong}");
        }
    }
}
