//! The types of single values in a configuration.

use std::fmt;
use std::fs::File;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::{Deserializer, Error as _, Visitor};
use serde::{Deserialize, Serialize};
use strongroom_core::guard::{ReadError, SecretBuffer};
use strongroom_core::{Error, Result, SecretBytes};

/// The longest passphrase that is read from a file, in bytes.
const MAX_REFERENCED_BYTES: usize = 64 << 10;

/// Where a secret that the configuration needs is found; never the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretRef {
    /// `env:NAME`: an environment variable. The environment of a process can be
    /// read by its user's other processes; prefer a file.
    Env(String),
    /// `file:PATH`: a file that only its owner may access. One newline at its
    /// end does not count.
    File(PathBuf),
}

impl SecretRef {
    /// Reads `env:NAME` or `file:PATH`; anything else is `None`, and may be a
    /// secret.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(':')? {
            ("env", name) if !name.is_empty() && !name.contains(['=', '\0']) => {
                Some(Self::Env(name.to_owned()))
            }
            ("file", path) if !path.is_empty() => Some(Self::File(path.into())),
            _ => None,
        }
    }

    /// Reads what this refers to; a relative path begins at `base`.
    ///
    /// # Errors
    /// `Configuration`, never with a part of the value.
    pub fn read(&self, base: &Path) -> Result<SecretBytes> {
        match self {
            Self::Env(name) => {
                let value = std::env::var_os(name).ok_or_else(|| {
                    Error::configuration(format!("the environment variable {name} is not set"))
                })?;
                Ok(SecretBytes::take(value.into_vec())?)
            }
            Self::File(path) => read_file(&base.join(path)),
        }
    }
}

fn read_file(path: &Path) -> Result<SecretBytes> {
    let shown = path.display();
    let failed = |e| Error::configuration(format!("{shown} cannot be read: {e}")).with_source(e);
    let mut file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(Error::configuration(format!(
            "{shown} holds a secret and others may access it (mode {:04o}): run chmod 600 {shown}",
            mode & 0o7777
        )));
    }
    let mut value = SecretBuffer::read_to_end(&mut file, MAX_REFERENCED_BYTES).map_err(
        |error| match error {
            ReadError::Guard(error) => error.into(),
            error => {
                Error::configuration(format!("{shown} cannot be read: {error}")).with_source(error)
            }
        },
    )?;
    if value.expose().ends_with(b"\n") {
        value.truncate(value.len() - 1);
    }
    Ok(value)
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

impl Serialize for SecretRef {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        place_of_secret(deserializer, "env:NAME or file:PATH", Self::parse)
    }
}

/// Where a secret is, written in one of `forms`, which `parse` reads. Errors never quote
/// what was found: it may be the secret itself.
pub(super) fn place_of_secret<'de, T, D: Deserializer<'de>>(
    deserializer: D,
    forms: &'static str,
    parse: fn(&str) -> Option<T>,
) -> Result<T, D::Error> {
    deserializer.deserialize_any(Place { forms, parse })
}

struct Place<T> {
    forms: &'static str,
    parse: fn(&str) -> Option<T>,
}

impl<T> Place<T> {
    fn refused<E: serde::de::Error>(&self) -> E {
        E::custom(format!("write {} here, never the secret itself", self.forms))
    }
}

impl<T> Visitor<'_> for Place<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.forms)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).ok_or_else(|| self.refused())
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<T, E> {
        Err(self.refused())
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<T, E> {
        Err(self.refused())
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<T, E> {
        Err(self.refused())
    }
}

/// Durations as one number and one unit: `500ms`, `30s`, `15m`, `12h`, `30d`.
pub(crate) mod duration {
    use super::{Deserialize, Deserializer, Duration, parse_duration};

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(input)?;
        parse_duration(&text).ok_or_else(|| super::not_a_duration(&text))
    }
}

/// The same where there may be none.
pub(crate) mod optional_duration {
    use super::{Deserializer, Duration, duration};

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        input: D,
    ) -> Result<Option<Duration>, D::Error> {
        duration::deserialize(input).map(Some)
    }
}

fn not_a_duration<E: serde::de::Error>(text: &str) -> E {
    E::custom(format!("{text:?} is not a duration: write a number and ms, s, m, h or d, as in 30d"))
}

/// Reads `500ms`, `30s`, `15m`, `12h`, `30d`, or `0`.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(millis).map(Duration::from_millis)
}

/// One suite by its name.
pub(crate) mod suite {
    use strongroom_core::Suite;

    use super::{Deserialize, Deserializer};

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Suite, D::Error> {
        let name = String::deserialize(input)?;
        name.parse()
            .map_err(|error: strongroom_core::Error| serde::de::Error::custom(error.message()))
    }
}

/// Fails where a fraction from 0 to 1 is asked for.
pub(crate) fn fraction<'de, D: Deserializer<'de>>(input: D) -> Result<f64, D::Error> {
    let number = f64::deserialize(input)?;
    if (0.0..=1.0).contains(&number) {
        return Ok(number);
    }
    Err(D::Error::custom(format!("{number} is not a fraction: write a number from 0.0 to 1.0")))
}

/// The permissions of a socket: reading one without writing to it is no use.
pub(crate) fn socket_mode<'de, D: Deserializer<'de>>(input: D) -> Result<u32, D::Error> {
    let text = String::deserialize(input)?;
    let known = [("0600", 0o600), ("0660", 0o660), ("0666", 0o666)];
    known.into_iter().find(|(name, _)| *name == text).map(|(_, mode)| mode).ok_or_else(|| {
        D::Error::custom(format!("{text:?} is not one of \"0600\", \"0660\" and \"0666\""))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_one_number_and_one_unit() {
        assert_eq!(parse_duration("30d"), Some(Duration::from_hours(720)));
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(
            (parse_duration("0"), parse_duration("0s")),
            (Some(Duration::ZERO), Some(Duration::ZERO))
        );
        for bad in ["", "30", "d", "1.5h", "-1s", "1 s", "1w", "99999999999999999999d"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_referenced_file_is_private_and_loses_one_newline() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("passphrase");
        std::fs::write(&path, "horse\n\n").expect("written");
        let reference = SecretRef::File("passphrase".into());
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("chmod");
        assert!(reference.read(dir.path()).expect("read").expose() == b"horse\n");
        for mode in [0o640, 0o604, 0o620] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("chmod");
            let error = reference.read(dir.path()).expect_err("others may access it");
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
    }
}
