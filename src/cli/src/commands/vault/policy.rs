//! `strongroom vault policy`

use serde_json::{Value, json};
use strongroom::vault::{Policy, Rule};

use super::connectors;
use crate::context::Context;
use crate::failure::Result;

/// Write the policy that the configuration needs in Vault, and no more
///
/// For the KEKs, the store and the references that use a connector, and for its session.
/// A reference needs `below` in the configuration to stand in it, and is taken to be in
/// KV 2, as the store is if its `engine_version` is not said.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom vault policy > strongroom.hcl
  vault policy write strongroom strongroom.hcl
  strongroom vault policy --connector prod --read-only --json")]
pub(super) struct Args {
    /// Only what uses this connector
    #[arg(long, value_name = "NAME")]
    connector: Option<String>,
    /// Leave out what only writing needs
    #[arg(long)]
    read_only: bool,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result {
        let config = context.config()?;
        let mut policy = Policy::default();
        for connector in connectors(&config, self.connector.as_deref())? {
            policy = policy.and(config.vault_policy(connector, self.read_only)?);
        }
        let rules: Vec<_> = policy.rules().iter().map(document).collect();
        context.output.show(&json!({ "rules": rules, "hcl": policy.to_hcl() }), |out| {
            write!(out, "{}", policy.to_hcl())
        })
    }
}

pub(super) fn document(rule: &Rule) -> Value {
    let capabilities: Vec<_> = rule.capabilities.iter().map(|one| one.as_str()).collect();
    json!({ "path": rule.path, "capabilities": capabilities, "for": rule.purpose })
}
