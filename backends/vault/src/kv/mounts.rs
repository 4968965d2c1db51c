//! Which engine is mounted at a path.

use std::collections::BTreeMap;

use serde::Deserialize;
use strongroom_core::{Error, ErrorKind, Result};

use super::options::KvVersion;
use crate::connection::Vault;
use crate::message::Request;

/// A mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// Without a slash at its end.
    pub(super) path: String,
    pub(super) engine: Mounted,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mounted {
    Kv(KvVersion),
    /// An engine that gives something else, by its type.
    Other(String),
}

/// The mount that `path` is in. Vault tells it to every token that may do anything
/// there.
pub(super) async fn mount_of(vault: &Vault, path: &str) -> Result<Mount> {
    let request = Request::get(format!("sys/internal/ui/mounts/{path}"));
    let answer = vault.ask(request).await.map_err(|error| match error.kind() {
        ErrorKind::AccessDenied => Error::access_denied(format!(
            "Vault does not tell which engine is at {path}: none is, or no policy of the token \
             allows anything there"
        ))
        .with_source(error),
        _ => error,
    })?;
    Ok(answer.data::<Told>()?.into())
}

#[derive(Deserialize)]
struct Told {
    path: String,
    #[serde(rename = "type")]
    engine: String,
    #[serde(default)]
    options: Option<BTreeMap<String, String>>,
}

impl From<Told> for Mount {
    fn from(told: Told) -> Self {
        let version = told.options.as_ref().and_then(|options| options.get("version"));
        let engine = match (&*told.engine, version.map(String::as_str)) {
            ("kv", Some("2")) => Mounted::Kv(KvVersion::Two),
            // `generic` is what it was called before it had a name.
            ("kv" | "generic", _) => Mounted::Kv(KvVersion::One),
            _ => Mounted::Other(told.engine),
        };
        Self { path: told.path.trim_end_matches('/').to_owned(), engine }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_what_vault_says() {
        for (json, engine) in [
            (r#""type":"kv","options":{"version":"2"}"#, Mounted::Kv(KvVersion::Two)),
            (r#""type":"kv","options":{"version":"1"}"#, Mounted::Kv(KvVersion::One)),
            (r#""type":"kv","options":null"#, Mounted::Kv(KvVersion::One)),
            (r#""type":"generic""#, Mounted::Kv(KvVersion::One)),
            (r#""type":"database","options":{}"#, Mounted::Other("database".to_owned())),
        ] {
            let json = format!(r#"{{"path":"team/kv/",{json},"uuid":"x"}}"#);
            let told: Told = serde_json::from_str(&json).expect("JSON");
            assert_eq!(Mount::from(told), Mount { path: "team/kv".to_owned(), engine });
        }
    }
}
