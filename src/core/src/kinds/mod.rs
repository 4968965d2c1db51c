//! What the bytes of a secret look like that has parts: how they are written,
//! what `put` accepts, and the parts by their names.
//!
//! | kind | bytes | fields |
//! |---|---|---|
//! | `login` | a JSON object with two texts, `user` and `password`, and nothing else | `user`, `password` |
//! | `certificate` | PEM (RFC 7468): one `CERTIFICATE` block or more, the chain in order, and one private key, before or behind them | `certificate` (the whole chain), `key` |
//! | `ssh-key` | one private key in PEM or OpenSSH's own form, and perhaps a line with its public key behind it | `private-key`, `public-key` |
//! | `reference` | `STORE://PATH#KEY`, see [`Reference`](crate::reference::Reference) | none |
//!
//! Text and files have no parts. What is checked is the form: whether a certificate
//! is valid, or belongs to its key, is for those who use it. Nothing here leaves
//! guarded memory, and no error says anything of a value but where it is wrong.

mod json;
mod pem;

use strongroom_guard::SecretBytes;

pub use self::pem::{Certificate, SshKey};
use crate::error::{Error, Result};
use crate::secret::{Kind, Secret};

pub(crate) use self::json::find as find_in_json;

/// The longest value of a kind that has parts, in bytes: below the length from
/// which a store may keep a value as a file in segments.
pub const MAX_BYTES: usize = 60 << 10;

/// Whether `value` is a value of `kind`.
///
/// # Errors
/// `InvalidName` if it is not, `LimitExceeded` beyond [`MAX_BYTES`].
pub fn check(kind: Kind, value: &SecretBytes) -> Result<()> {
    check_length(kind, value.len())?;
    match kind {
        Kind::Text | Kind::File => Ok(()),
        Kind::SshKey => SshKey::parse(value).map(drop),
        Kind::Login => Login::parse(value).map(drop),
        Kind::Certificate => Certificate::parse(value).map(drop),
        Kind::Reference => crate::reference::Reference::parse(value.expose()).map(drop),
    }
}

/// Whether a value of `kind` may have so many bytes.
pub(crate) fn check_length(kind: Kind, bytes: usize) -> Result<()> {
    if bytes > MAX_BYTES && !matches!(kind, Kind::Text | Kind::File) {
        let kind = kind.as_str();
        return Err(Error::limit_exceeded(format!("a {kind} has at most {MAX_BYTES} bytes")));
    }
    Ok(())
}

/// The names of the fields of a kind, in the order in which they are shown.
#[must_use]
pub fn fields(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::SshKey => &["private-key", "public-key"],
        Kind::Login => &["user", "password"],
        Kind::Certificate => &["certificate", "key"],
        Kind::Text | Kind::File | Kind::Reference => &[],
    }
}

/// The field that is a secret by itself, as a password is without its user.
#[must_use]
pub fn secret_field(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::SshKey => Some("private-key"),
        Kind::Login => Some("password"),
        Kind::Certificate => Some("key"),
        Kind::Text | Kind::File | Kind::Reference => None,
    }
}

/// One field of a value of `kind`.
///
/// # Errors
/// `NotFound` if the kind has no such field, or this value has not; `InvalidName` if
/// the value is not of its kind.
pub fn field(kind: Kind, value: &SecretBytes, field: &str) -> Result<SecretBytes> {
    match (kind, field) {
        (Kind::Login, "user") => Ok(Login::parse(value)?.user),
        (Kind::Login, "password") => Ok(Login::parse(value)?.password),
        (Kind::Certificate, "certificate") => Ok(Certificate::parse(value)?.chain),
        (Kind::Certificate, "key") => Ok(Certificate::parse(value)?.key),
        (Kind::SshKey, "private-key") => Ok(SshKey::parse(value)?.private_key),
        (Kind::SshKey, "public-key") => SshKey::parse(value)?
            .public_key
            .ok_or_else(|| Error::not_found("this SSH key was stored without its public key")),
        _ => Err(match fields(kind) {
            [] => Error::not_found(format!("a {} has no fields", kind.as_str())),
            fields => Error::not_found(format!(
                "a {} has no field of that name: it has {}",
                kind.as_str(),
                fields.join(" and ")
            )),
        }),
    }
}

impl Secret {
    /// One field of the value; see [`kinds`](self).
    ///
    /// # Errors
    /// As [`field`].
    pub fn field(&self, name: &str) -> Result<SecretBytes> {
        field(self.kind, &self.value, name)
    }
}

/// A user and a password.
#[derive(Debug)]
pub struct Login {
    /// Who logs in; not empty.
    pub user: SecretBytes,
    /// The password; it may be empty.
    pub password: SecretBytes,
}

impl Login {
    /// A login of texts.
    ///
    /// # Errors
    /// `InvalidName` if the user is empty, or one of them is not UTF-8.
    pub fn new(user: SecretBytes, password: SecretBytes) -> Result<Self> {
        if user.is_empty() {
            return Err(Error::invalid_name("a login has a user: this one is empty"));
        }
        if [&user, &password].iter().any(|part| std::str::from_utf8(part.expose()).is_err()) {
            return Err(Error::invalid_name("user and password of a login are UTF-8"));
        }
        Ok(Self { user, password })
    }

    /// Reads the bytes of a login.
    ///
    /// # Errors
    /// `InvalidName` if they are none.
    pub fn parse(value: &SecretBytes) -> Result<Self> {
        let [user, password] =
            json::texts(value.expose(), ["user", "password"]).map_err(|why| {
                Error::invalid_name(format!(
                    "a login is a JSON object of two texts, user and password: {}",
                    why.message()
                ))
            })?;
        Self::new(user, password)
    }

    /// The bytes that are stored.
    pub fn encode(&self) -> Result<SecretBytes> {
        json::object(&[("user", &self.user), ("password", &self.password)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn bytes(text: &str) -> SecretBytes {
        SecretBytes::copy_from(text.as_bytes()).expect("memory")
    }

    #[test]
    fn a_login_comes_back_and_has_fields() {
        for password in ["s3cret", "", "\"\\\n\u{1}ä\u{1f512}"] {
            let login = Login::new(bytes("me \"x\""), bytes(password)).expect("a login");
            let encoded = login.encode().expect("memory");
            check(Kind::Login, &encoded).expect("its own kind");
            assert!(serde_json::from_slice::<serde_json::Value>(encoded.expose()).is_ok());
            assert!(
                field(Kind::Login, &encoded, "password").expect("a field").expose()
                    == password.as_bytes()
            );
            assert!(field(Kind::Login, &encoded, "user").expect("a field").expose() == b"me \"x\"");
        }
    }

    #[test]
    fn what_is_no_login_is_refused_without_being_quoted() {
        for bad in [
            "canary",
            "",
            "[\"canary\"]",
            "{\"user\":\"canary\"}",
            "{\"user\":\"canary\",\"password\":7}",
            "{\"user\":\"\",\"password\":\"canary\"}",
            "{\"user\":\"a\",\"password\":\"b\",\"canary\":\"c\"}",
            "{\"user\":\"a\",\"password\":\"b\",\"password\":\"canary\"}",
            "{\"user\":\"a\",\"password\":\"canary\"} canary",
        ] {
            let error = check(Kind::Login, &bytes(bad)).expect_err("no login");
            assert_eq!(error.kind(), ErrorKind::InvalidName);
            assert!(!format!("{error:?} {error}").contains("canary"), "a value is quoted");
        }
    }

    #[test]
    fn a_kind_says_which_fields_it_has() {
        let login = bytes("{\"user\":\"u\",\"password\":\"p\"}");
        let error = field(Kind::Login, &login, "key").expect_err("no such field");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.message().ends_with("it has user and password"));
        assert!(field(Kind::Text, &login, "user").is_err());
    }

    #[test]
    fn values_with_parts_have_a_limit() {
        let long = SecretBytes::zeroed(MAX_BYTES + 1).expect("memory");
        for kind in Kind::ALL {
            let answer = check(kind, &long);
            if matches!(kind, Kind::Text | Kind::File) {
                answer.expect("any bytes");
            } else {
                assert_eq!(answer.expect_err("too long").kind(), ErrorKind::LimitExceeded);
            }
        }
    }
}
