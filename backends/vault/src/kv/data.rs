//! A value as an object of JSON, which is what a KV engine keeps.
//!
//! A text is `{"value": "…"}`, as everybody writes it who uses `vault kv` or hvac. What
//! else there is to say of it are further keys, with nothing behind them, since Vault
//! tells the keys of a secret without its values:
//!
//! - `strongroom-kind:KIND`, if it is of another kind than text;
//! - `strongroom-encoding:base64`, if the bytes are no plain text;
//! - `strongroom-version:ID` in KV 1, which has no versions.
//!
//! What others wrote under the key is a text; if it is no text in JSON, it is the JSON.

use std::collections::BTreeMap;

use serde::ser::{Error as _, Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;
use strongroom_core::{Error, Kind, Result, SecretBytes, kinds};
use strongroom_remote::TimeId;

use crate::guarded::{self, Exposed, GuardedText};
use crate::message::nonsense;

/// What keys begin with that are not anybody's but ours.
pub(super) const RESERVED: &str = "strongroom-";

const KIND: &str = "strongroom-kind:";
const ENCODING: &str = "strongroom-encoding:";
const BASE64: &str = "base64";
const VERSION: &str = "strongroom-version:";

/// How many keys of somebody else's secret an error names.
const MAX_KEYS_TOLD: usize = 10;

/// The fields of a secret, which stay where the answer is.
pub(super) type Fields<'a> = BTreeMap<String, &'a RawValue>;

/// What the keys of a secret say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    kind: Option<Kind>,
    is_base64: bool,
    pub(super) id: Option<TimeId>,
}

impl Marks {
    /// # Errors
    /// `Unsupported` if a later release wrote them.
    pub(super) fn of<'a>(keys: impl IntoIterator<Item = &'a String>) -> Result<Self> {
        let mut marks = Self::default();
        for key in keys {
            if let Some(kind) = key.strip_prefix(KIND) {
                let known = Kind::ALL.into_iter().find(|known| known.as_str() == kind);
                marks.kind = Some(known.ok_or_else(|| of_later_release(key))?);
            } else if let Some(encoding) = key.strip_prefix(ENCODING) {
                marks.is_base64 = true;
                if encoding != BASE64 {
                    return Err(of_later_release(key));
                }
            } else if let Some(id) = key.strip_prefix(VERSION) {
                marks.id = TimeId::parse(id);
            }
        }
        Ok(marks)
    }

    pub(super) fn kind(self) -> Kind {
        self.kind.unwrap_or_default()
    }

    /// Whether nobody but us writes what this is: a text without a word is everybody's.
    pub(super) fn is_ours(self) -> bool {
        self.kind.is_some() || self.is_base64
    }

    fn keys(self) -> Vec<String> {
        let kind = self.kind.map(|kind| format!("{KIND}{}", kind.as_str()));
        let encoding = self.is_base64.then(|| format!("{ENCODING}{BASE64}"));
        let version = self.id.map(|id| format!("{VERSION}{id}"));
        kind.into_iter().chain(encoding).chain(version).collect()
    }
}

fn of_later_release(key: &str) -> Error {
    Error::unsupported(format!(
        "there is a key {} that this build does not know: use a newer release",
        key.escape_debug()
    ))
}

/// The value under `key`, and what is said of it.
///
/// # Errors
/// `Unsupported` if there is none, or a later release wrote it; `Tampered` if it is not
/// what its keys say.
pub(super) fn value(fields: &Fields<'_>, key: &str) -> Result<(SecretBytes, Marks)> {
    let marks = Marks::of(fields.keys())?;
    let written = fields.get(key).ok_or_else(|| no_value(fields, key))?.get();
    if !written.starts_with('"') {
        if marks.is_base64 {
            return Err(Error::tampered("a value that was written in Base64 is no text"));
        }
        return Ok((SecretBytes::copy_from(written.as_bytes())?, marks));
    }
    // The parser's error may quote the value: it is not kept.
    let text: GuardedText =
        serde_json::from_str(written).map_err(|_| nonsense("a value is no text"))?;
    if !marks.is_base64 {
        return Ok((text.0, marks));
    }
    let bytes = guarded::from_base64(text.0.expose())?;
    let wrong = || Error::tampered("a value that was written in Base64 is none");
    Ok((bytes.ok_or_else(wrong)?, marks))
}

fn no_value(fields: &Fields<'_>, key: &str) -> Error {
    let told: Vec<_> = fields.keys().take(MAX_KEYS_TOLD).map(|key| short(key)).collect();
    let more = if fields.len() > told.len() { ", …" } else { "" };
    let has = if told.is_empty() { "no keys".to_owned() } else { told.join(", ") };
    Error::unsupported(format!(
        "somebody else wrote this secret: it has {has}{more}, and not {}; refer to one key of it by \
         a reference",
        short(key)
    ))
}

fn short(key: &str) -> String {
    key.chars().take(64).flat_map(char::escape_debug).collect()
}

/// A value on its way to Vault.
pub(super) struct Data<'a> {
    key: &'a str,
    value: Written<'a>,
    marks: Marks,
}

enum Written<'a> {
    Text(&'a SecretBytes),
    Base64(SecretBytes),
}

impl<'a> Data<'a> {
    /// `value` under `key`, as a text if it can be: whatever Vault makes of one stays
    /// as short as the longest value in Base64.
    ///
    /// # Errors
    /// As [`kinds::check`].
    pub(super) fn new(
        key: &'a str,
        kind: Kind,
        value: &'a SecretBytes,
        max_bytes: usize,
        id: Option<TimeId>,
    ) -> Result<Self> {
        kinds::check(kind, value)?;
        let text = std::str::from_utf8(value.expose()).ok();
        let is_text = text.is_some_and(|text| stored_bytes(text) <= max_bytes.div_ceil(3) * 4);
        let written = if is_text {
            Written::Text(value)
        } else {
            Written::Base64(guarded::base64(value.expose())?)
        };
        let kind = (kind != Kind::Text).then_some(kind);
        Ok(Self { key, value: written, marks: Marks { kind, is_base64: !is_text, id } })
    }
}

impl Serialize for Data<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let marks = self.marks.keys();
        let mut map = serializer.serialize_map(Some(1 + marks.len()))?;
        let value = match &self.value {
            Written::Text(value) => value,
            Written::Base64(value) => value,
        };
        let text = Exposed::new(value).ok_or_else(|| S::Error::custom("a value is no text"))?;
        map.serialize_entry(self.key, &text)?;
        for mark in marks {
            map.serialize_entry(&mark, "")?;
        }
        map.end()
    }
}

/// How long Vault stores a text, which it writes as Go does: `<`, `>`, `&` and two kinds
/// of line ends as six characters. A text with control characters is none here.
fn stored_bytes(text: &str) -> usize {
    let bytes = |c| match c {
        '"' | '\\' | '\n' | '\r' | '\t' => 2,
        '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => 6,
        c if c.is_control() => usize::MAX,
        c => c.len_utf8(),
    };
    text.chars().map(bytes).fold(0, usize::saturating_add)
}

#[cfg(test)]
mod tests {
    use strongroom_core::ErrorKind;

    use super::*;

    const MAX: usize = 256 << 10;

    fn secret(bytes: &[u8]) -> SecretBytes {
        SecretBytes::copy_from(bytes).expect("memory")
    }

    fn written(kind: Kind, value: &[u8]) -> String {
        let value = secret(value);
        let data = Data::new("value", kind, &value, MAX, None).expect("valid");
        serde_json::to_string(&data).expect("JSON")
    }

    fn read(json: &str) -> Result<(SecretBytes, Marks)> {
        value(&serde_json::from_str(json).expect("JSON"), "value")
    }

    #[test]
    fn a_text_is_what_everybody_writes() {
        assert_eq!(written(Kind::Text, b"hunter2"), r#"{"value":"hunter2"}"#);
        assert_eq!(written(Kind::Text, b""), r#"{"value":""}"#);
        assert_eq!(
            written(Kind::Login, br#"{"user":"u","password":"p"}"#),
            r#"{"value":"{\"user\":\"u\",\"password\":\"p\"}","strongroom-kind:login":""}"#
        );
        assert_eq!(
            written(Kind::File, b"\0\xff"),
            r#"{"value":"AP8=","strongroom-kind:file":"","strongroom-encoding:base64":""}"#
        );
        assert_eq!(
            written(Kind::Text, b"a\0b"),
            r#"{"value":"YQBi","strongroom-encoding:base64":""}"#
        );
    }

    #[test]
    fn every_value_comes_back() {
        for (kind, value) in [
            (Kind::Text, "z\u{fc}rich\r\n\t\"\\\u{2028}<&>".as_bytes()),
            (Kind::Text, b"\xff"),
            (Kind::Text, b""),
            (Kind::File, b"text"),
            (Kind::File, b""),
            (Kind::Reference, b"other://path"),
        ] {
            let (back, marks) = read(&written(kind, value)).expect("ours");
            assert!(back.expose() == value, "{value:?}");
            assert_eq!(marks.kind(), kind);
        }
    }

    #[test]
    fn what_vault_stores_is_never_much_longer_than_the_value() {
        for (text, is_text) in
            [("x", true), ("\n", false), ("<", false), ("\u{1f512}", true), ("\0", false)]
        {
            let value = text.repeat(MAX / text.len());
            let json = written(Kind::Text, value.as_bytes());
            assert_eq!(!json.contains(ENCODING), is_text, "{text:?}");
            assert!(json.len() <= MAX.div_ceil(3) * 4 + 64, "{text:?}");
        }
    }

    #[test]
    fn what_others_wrote_is_text_or_json() {
        for (json, value) in [
            (r#"{"value":"x","other":"y"}"#, "x"),
            (r#"{"value":7}"#, "7"),
            (r#"{"value":{"a":[1,null]}}"#, r#"{"a":[1,null]}"#),
            (r#"{"value":"\u00fc\n"}"#, "\u{fc}\n"),
        ] {
            let (found, marks) = read(json).expect("a value");
            assert!(found.expose() == value.as_bytes(), "{json}");
            assert!(!marks.is_ours() && marks.kind() == Kind::Text, "{json}");
        }
        let error = read(r#"{"user":"canary","password":"canary","a\nb":"canary"}"#);
        let error = error.map(drop).expect_err("no value");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let told = format!("{error:?}");
        assert!(told.contains("a\\\\nb, password, user") && !told.contains("canary"), "{told}");
    }

    #[test]
    fn what_is_not_as_its_keys_say_is_refused() {
        for (json, kind) in [
            (r#"{"value":"canary!","strongroom-encoding:base64":""}"#, ErrorKind::Tampered),
            (r#"{"value":7,"strongroom-encoding:base64":""}"#, ErrorKind::Tampered),
            (r#"{"value":"canary!","strongroom-encoding:hex":""}"#, ErrorKind::Unsupported),
            (r#"{"value":"canary!","strongroom-kind:token":""}"#, ErrorKind::Unsupported),
        ] {
            let error = read(json).map(drop).expect_err(json);
            assert_eq!(error.kind(), kind, "{json}");
            assert!(!format!("{error:?}").contains("canary"), "{json}");
        }
    }

    #[test]
    fn an_id_is_a_key() {
        let (id, value) = (TimeId::new().expect("randomness"), secret(b"x"));
        let data = Data::new("v", Kind::Text, &value, MAX, Some(id)).expect("valid");
        let json = serde_json::to_string(&data).expect("JSON");
        let fields: Fields<'_> = serde_json::from_str(&json).expect("JSON");
        assert_eq!(Marks::of(fields.keys()).expect("known").id, Some(id));
    }
}
