//! References: a secret whose value exists in an external store, and is read there
//! each time.
//!
//! A reference is written `STORE://PATH#KEY`. `STORE` is the name that the
//! configuration gives an external store. `PATH` is that store's own address of a
//! value, and nothing of ours. `KEY`, which may be left out, leads to a part of the
//! value: a field of a secret that has some, or a key of a JSON object, and behind
//! dots the keys of the objects in it. In `PATH` and `KEY` every byte can be
//! written `%XX` (RFC 3986 §2.1); `%` and `#`, and a dot that belongs to a key,
//! have to be.

mod store;
#[cfg(test)]
mod tests;

use std::fmt;

pub use self::store::{ExternalStore, ExternalValue, ReferencingStore};
use crate::error::{Error, Result};

/// The address of a value in an external store.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    store: String,
    path: String,
    keys: Vec<String>,
}

impl Reference {
    /// The longest reference, in bytes as it is written.
    pub const MAX_BYTES: usize = 2048;
    /// The most keys.
    pub const MAX_KEYS: usize = 16;

    /// Reads a reference.
    ///
    /// # Errors
    /// `InvalidName` if it is not well-formed, `LimitExceeded` beyond the limits
    /// above. It is not repeated: somebody may have taken a value for a reference.
    pub fn parse(written: &[u8]) -> Result<Self> {
        if written.len() > Self::MAX_BYTES {
            let most = Self::MAX_BYTES;
            return Err(Error::limit_exceeded(format!("a reference has at most {most} bytes")));
        }
        let wrong = |what: &str| {
            Error::invalid_name(format!("a reference is written STORE://PATH#KEY: {what}"))
        };
        let text = std::str::from_utf8(written).map_err(|_| wrong("it is not UTF-8"))?;
        if text.chars().any(|c| c.is_control() || c == ' ') {
            return Err(wrong("there are no blanks and no control characters in it"));
        }
        let (store, address) = text.split_once("://").ok_or_else(|| wrong("there is no ://"))?;
        if !is_store_name(store) {
            return Err(wrong("a store's name is a letter, and then letters, digits, - and _"));
        }
        let (path, keys) = match address.split_once('#') {
            Some((path, keys)) => (path, Some(keys)),
            None => (address, None),
        };
        if path.is_empty() {
            return Err(wrong("the path is empty"));
        }
        let part = |part: &str| decoded(part).ok_or_else(|| wrong("a % begins a byte, as in %23"));
        let keys = keys.map(|keys| keys.split('.').map(part).collect::<Result<Vec<_>>>());
        let keys = keys.transpose()?.unwrap_or_default();
        if keys.iter().any(String::is_empty) {
            return Err(wrong("a key is empty"));
        }
        if keys.len() > Self::MAX_KEYS {
            let most = Self::MAX_KEYS;
            return Err(Error::limit_exceeded(format!("a reference has at most {most} keys")));
        }
        if text.matches('#').count() > 1 {
            return Err(wrong("there is a second #: write it %23"));
        }
        Ok(Self { store: store.to_owned(), path: part(path)?, keys })
    }

    /// The name of the external store.
    #[must_use]
    pub fn store(&self) -> &str {
        &self.store
    }

    /// The address in it, as that store writes it.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The keys that lead to a part of the value; none for the whole.
    #[must_use]
    pub fn keys(&self) -> &[String] {
        &self.keys
    }
}

/// Whether external stores may have this name.
#[must_use]
pub fn is_store_name(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(good)
}

/// What `%XX` stands for; `None` if something else follows a `%`, or if the bytes
/// are no text.
fn decoded(written: &str) -> Option<String> {
    let mut out = Vec::with_capacity(written.len());
    let mut bytes = written.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            out.push((digit()? << 4 | digit()?) as u8);
        } else {
            out.push(byte);
        }
    }
    let text = String::from_utf8(out).ok()?;
    (!text.chars().any(char::is_control)).then_some(text)
}

/// Writes bytes that would mean something else as `%XX`.
fn write_encoded(f: &mut fmt::Formatter<'_>, text: &str, special: &[char]) -> fmt::Result {
    for c in text.chars() {
        if special.contains(&c) { write!(f, "%{:02X}", c as u32)? } else { write!(f, "{c}")? }
    }
    Ok(())
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.store)?;
        write_encoded(f, &self.path, &['%', '#', ' '])?;
        for (place, key) in self.keys.iter().enumerate() {
            f.write_str(if place == 0 { "#" } else { "." })?;
            write_encoded(f, key, &['%', '#', '.', ' '])?;
        }
        Ok(())
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reference({self})")
    }
}
