//! What a check looks at: whether the calls are allowed, and who makes them.

use std::collections::BTreeMap;

use serde::Deserialize;
use strongroom_core::{Error, ErrorKind, Result};

use super::VaultKv;
use crate::connection::Vault;
use crate::message::Request;

impl VaultKv {
    pub(super) async fn look(&self) -> Result<Vec<String>> {
        let folder = self.names.folder(None)?;
        self.engine.probe(&self.names.of_no_secret(), self.options.read_only).await?;
        self.vault.ask(Request::list(self.engine.listing(&folder))).await?;
        let allowed = if self.options.read_only {
            "reading and listing is allowed; nothing is written"
        } else {
            "reading, listing and writing is allowed"
        };
        let deleted = match self.engine.number() {
            1 => "deleted secrets: gone at once",
            _ => "deleted secrets: kept until they are purged",
        };
        let mut lines = vec![
            format!("secrets: {}; {allowed}", self.description),
            deleted.to_owned(),
            format!("account: {}", self.options.account),
        ];
        lines.extend(session(&self.vault).await?);
        Ok(lines)
    }
}

/// Demands that a policy gives these capabilities on `path`. A token that may not ask
/// about itself is not held against anybody.
pub(super) async fn demand(vault: &Vault, path: &str, needed: &[&str]) -> Result<()> {
    #[derive(Deserialize)]
    struct Has {
        capabilities: Vec<String>,
    }
    let body = BTreeMap::from([("paths", [path])]);
    let request = Request::post("sys/capabilities-self", &body)?.repeatable();
    let has: Has = match vault.ask(request).await {
        Ok(answer) => answer.data()?,
        Err(error) if error.kind() == ErrorKind::AccessDenied => return Ok(()),
        Err(error) => return Err(error),
    };
    let has = |needed: &str| has.capabilities.iter().any(|one| one == needed || one == "root");
    match needed.iter().find(|needed| !has(needed)) {
        None => Ok(()),
        Some(lacking) => Err(Error::access_denied(format!(
            "the token may not {lacking} {path}; a policy has to say: path \"{path}\" {{ \
             capabilities = [\"{lacking}\"] }}"
        ))),
    }
}

/// As whom, and for how long. A token that may not ask about itself is not held against
/// anybody.
async fn session(vault: &Vault) -> Result<Vec<String>> {
    match vault.caller().await {
        Ok(caller) => Ok(vec![format!("session: {caller}"), caller.end(vault.auth())]),
        Err(error) if error.kind() == ErrorKind::AccessDenied => {
            Ok(vec!["session: Vault does not tell it whose it is".to_owned()])
        }
        Err(error) => Err(error),
    }
}
