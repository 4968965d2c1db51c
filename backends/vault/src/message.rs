//! A request to Vault, and its answer.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use strongroom_core::{Error, Result, SecretBytes};

use crate::guarded::{self, GuardedText};

/// A request: what is asked, and what a failure of it means.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// Below `/v1/`, as a policy names it: not escaped.
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) body: Option<Arc<SecretBytes>>,
    /// The capability that a policy has to give on the path.
    pub(crate) capability: &'static str,
    /// Whether it may be asked again though the first may have had its effect.
    pub(crate) repeatable: bool,
    /// Whether what is not there is an answer, and no error.
    pub(crate) may_be_missing: bool,
}

impl Request {
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path.into(), "read", true)
    }

    /// The entries of a directory.
    pub(crate) fn list(path: impl Into<String>) -> Self {
        let request = Self::new(Method::GET, path.into(), "list", true);
        Self { query: Some("list=true".to_owned()), may_be_missing: true, ..request }
    }

    /// Something that changes what is there.
    pub(crate) fn post(path: impl Into<String>, body: &impl Serialize) -> Result<Self> {
        let body = Some(Arc::new(guarded::json(body)?));
        Ok(Self { body, ..Self::new(Method::POST, path.into(), "update", false) })
    }

    /// The same without anything to say.
    pub(crate) fn post_nothing(path: impl Into<String>) -> Result<Self> {
        Self::post(path, &BTreeMap::<&str, &str>::new())
    }

    /// A change of some fields (RFC 7396).
    pub(crate) fn patch(path: impl Into<String>, body: &impl Serialize) -> Result<Self> {
        let body = Some(Arc::new(guarded::json(body)?));
        Ok(Self { body, ..Self::new(Method::PATCH, path.into(), "patch", true) })
    }

    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path.into(), "delete", true)
    }

    fn new(method: Method, path: String, capability: &'static str, repeatable: bool) -> Self {
        let (query, body) = (None, None);
        Self { method, path, query, body, capability, repeatable, may_be_missing: false }
    }

    pub(crate) fn with_query(self, query: String) -> Self {
        Self { query: Some(query), ..self }
    }

    /// It has the same effect however often it is asked.
    pub(crate) fn repeatable(self) -> Self {
        Self { repeatable: true, ..self }
    }

    /// It has an effect each time that it is asked.
    pub(crate) fn once(self) -> Self {
        Self { repeatable: false, ..self }
    }

    pub(crate) fn or_missing(self) -> Self {
        Self { may_be_missing: true, ..self }
    }

    /// Path and query, as a URL has them.
    pub(crate) fn target(&self) -> String {
        let mut target = String::with_capacity(self.path.len() + 32);
        for byte in self.path.bytes() {
            // RFC 3986 §3.3, and nothing that a server might take for more than a letter.
            if byte.is_ascii_alphanumeric() || b"-._~/@$=:".contains(&byte) {
                target.push(char::from(byte));
            } else {
                target.push('%');
                for digit in [byte >> 4, byte & 15] {
                    target
                        .extend(char::from_digit(digit.into(), 16).map(|d| d.to_ascii_uppercase()));
                }
            }
        }
        if let Some(query) = &self.query {
            target.push('?');
            target.push_str(query);
        }
        target
    }

    /// The body, which stays where it is guarded.
    pub(crate) fn bytes(&self) -> Option<Bytes> {
        struct Shared(Arc<SecretBytes>);
        impl AsRef<[u8]> for Shared {
            fn as_ref(&self) -> &[u8] {
                self.0.expose()
            }
        }
        self.body.clone().map(|body| Bytes::from_owner(Shared(body)))
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.capability, self.path)
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// What Vault answered, in guarded memory.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: SecretBytes,
}

/// How every answer is built (API documentation, "HTTP API").
#[derive(Deserialize)]
pub(crate) struct Envelope<T> {
    #[serde(default = "none")]
    pub(crate) data: Option<T>,
    #[serde(default)]
    pub(crate) auth: Option<Granted>,
    #[serde(default)]
    pub(crate) lease_id: String,
    /// Seconds.
    #[serde(default)]
    pub(crate) lease_duration: u64,
    #[serde(default)]
    pub(crate) renewable: bool,
}

fn none<T>() -> Option<T> {
    None
}

/// What a login gives.
#[derive(Deserialize)]
pub(crate) struct Granted {
    pub(crate) client_token: GuardedText,
    /// Seconds; 0 for ever.
    #[serde(default)]
    pub(crate) lease_duration: u64,
    #[serde(default)]
    pub(crate) renewable: bool,
}

impl Answer {
    pub(crate) fn is_missing(&self) -> bool {
        self.status == 404
    }

    pub(crate) fn envelope<'a, T: Deserialize<'a>>(&'a self) -> Result<Envelope<T>> {
        self.bare()
    }

    /// An answer that is in no envelope.
    pub(crate) fn bare<'a, T: Deserialize<'a>>(&'a self) -> Result<T> {
        // The parser's error may quote a value: it is not kept.
        serde_json::from_slice(self.body.expose()).map_err(|error| {
            nonsense(&format!("it is not as expected, in column {}", error.column()))
        })
    }

    /// What was asked for.
    pub(crate) fn data<'a, T: Deserialize<'a>>(&'a self) -> Result<T> {
        self.envelope()?.data.ok_or_else(|| nonsense("there is no data in it"))
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).finish_non_exhaustive()
    }
}

/// A server that answers so may be another one tomorrow.
pub(crate) fn nonsense(what: &str) -> Error {
    Error::unavailable(format!("the answer of Vault makes no sense: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_escaped_and_stays_one() {
        let request = Request::get("secret/data/a b/ü?#%/@x.y$z");
        assert_eq!(request.target(), "secret/data/a%20b/%C3%BC%3F%23%25/@x.y$z");
        assert_eq!(Request::list("secret/metadata/a").target(), "secret/metadata/a?list=true");
    }

    #[test]
    fn neither_a_request_nor_an_answer_shows_what_is_in_it() {
        let body = serde_json::json!({"data": {"value": "hunter2"}});
        let request = Request::post("secret/data/x", &body).expect("memory");
        let answer =
            Answer { status: 200, body: SecretBytes::copy_from(b"hunter2").expect("memory") };
        let error = answer.data::<u8>().expect_err("no JSON");
        let shown = format!("{request:?} {request} {answer:?} {error:?} {error}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("secret/data/x"), "{shown}");
    }
}
