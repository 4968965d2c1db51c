//! What a check looks at: whether the calls are allowed, and who makes them.

use std::collections::BTreeMap;
use std::time::Duration;

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

/// As whom, and for how long.
async fn session(vault: &Vault) -> Result<Vec<String>> {
    let answer = match vault.ask(Request::get("auth/token/lookup-self")).await {
        Ok(answer) => answer,
        Err(error) if error.kind() == ErrorKind::AccessDenied => {
            return Ok(vec!["session: Vault does not tell it whose it is".to_owned()]);
        }
        Err(error) => return Err(error),
    };
    Ok(answer.data::<Token>()?.lines())
}

/// What Vault tells of a token.
#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    display_name: String,
    #[serde(default)]
    policies: Vec<String>,
    /// The login that gave it.
    #[serde(default)]
    path: String,
    /// Seconds; 0 for ever.
    ttl: u64,
    #[serde(default)]
    renewable: bool,
}

impl Token {
    fn lines(&self) -> Vec<String> {
        let shown = |text: &str| text.escape_debug().to_string();
        let policies: Vec<_> = self.policies.iter().map(|policy| shown(policy)).collect();
        let whose = format!(
            "session: {}, with policies {}",
            shown(&self.display_name),
            policies.join(", ")
        );
        let left = Duration::from_secs(self.ttl);
        let lasts = match (self.ttl, self.renewable) {
            (0, _) => "session: does not end".to_owned(),
            (_, true) => format!("session: ends in {left:?}, and is renewed before"),
            // Not of a login, and so there is none that could follow.
            _ if self.path.starts_with("auth/token/") => format!(
                "session: ENDS FOR GOOD in {left:?}: this token cannot be renewed, give another \
                 one before"
            ),
            _ => format!("session: ends in {left:?}, and another login follows"),
        };
        vec![whose, lasts]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_ends_for_good_is_told() {
        for (ttl, renewable, path, expected) in [
            (0, false, "auth/token/root", "does not end"),
            (60, true, "auth/token/create", "is renewed"),
            (60, false, "auth/token/create", "ENDS FOR GOOD in 60s"),
            (60, false, "auth/approle/login", "another login follows"),
        ] {
            let (display_name, policies) = ("token-x\n".to_owned(), vec!["a".to_owned()]);
            let token = Token { display_name, policies, path: path.to_owned(), ttl, renewable };
            let lines = token.lines();
            assert_eq!(lines[0], "session: token-x\\n, with policies a");
            assert!(lines[1].contains(expected), "{lines:?}");
        }
    }
}
