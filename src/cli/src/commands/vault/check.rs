//! `strongroom vault check`

use std::io::{self, Write};

use futures_executor::block_on;
use serde_json::{Value, json};
use strongroom::config::VaultChecked;
use strongroom::vault::{Allowed, Policy};
use strongroom::{Error, Result as EngineResult};

use super::connectors;
use super::policy::document as rule_document;
use crate::context::Context;
use crate::failure::Result;
use crate::output::{BAD, BOLD, DIM, GOOD, visible};

/// Ask Vault as whom it sees each connector, and which lines of a policy are missing
///
/// Each server says whether it is active, stands by, or is sealed; the token, whose it
/// is and how long it lasts. For every path that the configuration needs, Vault says what
/// the token may do there. Nothing is tried, and nothing that is stored is touched.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom vault check
  strongroom vault check --connector prod --json")]
pub(super) struct Args {
    /// Only this connector, and what uses it
    #[arg(long, value_name = "NAME")]
    connector: Option<String>,
    /// Leave out what only writing needs
    #[arg(long)]
    read_only: bool,
}

/// What was found of a connector.
struct Checked {
    connector: String,
    found: EngineResult<VaultChecked>,
    /// All that is needed, for the lines that are missing.
    policy: Policy,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result {
        let config = context.config()?;
        let mut checked = Vec::new();
        for connector in connectors(&config, self.connector.as_deref())? {
            checked.push(Checked {
                connector: connector.name.clone(),
                found: block_on(config.check_vault(connector, self.read_only)),
                policy: config.vault_policy(connector, self.read_only)?,
            });
        }
        let failure = checked.iter().find_map(Checked::failure);
        let document = json!({
            "ok": failure.is_none(),
            "connectors": checked.iter().map(Checked::document).collect::<Vec<_>>(),
        });
        context.output.show(&document, |out| checked.iter().try_for_each(|one| one.show(out)))?;
        failure.map_or(Ok(()), |error| Err(error.during("check Vault").into()))
    }
}

impl Checked {
    fn allowed(&self) -> &[Allowed] {
        self.found.as_ref().ok().and_then(|found| found.allowed.as_deref().ok()).unwrap_or(&[])
    }

    /// The lines that are missing.
    fn missing(&self) -> Policy {
        let missing = self.allowed().iter().filter(|one| !one.is_enough());
        let paths: Vec<_> = missing.map(|one| &*one.needed.path).collect();
        self.policy.clone().only(|rule| paths.contains(&&*rule.path))
    }

    fn failure(&self) -> Option<Error> {
        let found = match &self.found {
            Ok(found) => found,
            Err(error) => return Some(error.clone()),
        };
        if let Err(error) = &found.servers {
            return Some(error.clone());
        }
        if let Err(error) = &found.allowed {
            return Some(error.clone());
        }
        let missing = self.missing();
        let paths: Vec<_> = missing.rules().iter().map(|rule| &*rule.path).collect();
        (!paths.is_empty()).then(|| {
            Error::access_denied(format!(
                "the token of connector {} lacks what it needs at {}: a policy has to allow it",
                self.connector,
                paths.join(", ")
            ))
        })
    }

    fn document(&self) -> Value {
        let paths: Vec<_> = self.allowed().iter().map(document).collect();
        let servers = self.found.as_ref().ok().and_then(|found| found.servers.as_ref().ok());
        let error = self.failure().map(|error| {
            json!({
                "kind": error.kind().as_str(),
                "message": error.message(),
                "retryable": error.is_retryable(),
            })
        });
        json!({
            "connector": self.connector,
            "servers": servers,
            "paths": paths,
            "missing": self.missing().to_hcl(),
            "error": error,
        })
    }

    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{BOLD}{}{BOLD:#}", visible(&self.connector))?;
        let servers = self.found.as_ref().ok().and_then(|found| found.servers.as_ref().ok());
        for line in servers.into_iter().flatten() {
            writeln!(out, "  {DIM}{}{DIM:#}", visible(line))?;
        }
        for Allowed { needed, missing, .. } in self.allowed() {
            let path = visible(&needed.path);
            if missing.is_empty() {
                writeln!(out, "  {GOOD}ok{GOOD:#}  {path}  {DIM}{}{DIM:#}", needed.purpose)?;
            } else {
                let missing: Vec<_> = missing.iter().map(|one| one.as_str()).collect();
                let missing = missing.join(", ");
                writeln!(out, "  {BAD}no{BAD:#}  {path}  lacks {missing}: {}", needed.purpose)?;
            }
        }
        let missing = self.missing();
        if !missing.rules().is_empty() {
            writeln!(out, "\nA policy of the token has to say:\n{}", missing.to_hcl())?;
        }
        Ok(())
    }
}

fn document(allowed: &Allowed) -> Value {
    let missing: Vec<_> = allowed.missing.iter().map(|one| one.as_str()).collect();
    let mut document = rule_document(&allowed.needed);
    document["has"] = json!(allowed.has);
    document["missing"] = json!(missing);
    document["ok"] = json!(allowed.is_enough());
    document
}
