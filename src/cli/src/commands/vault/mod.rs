//! `strongroom vault`

mod check;
mod policy;

use clap::Subcommand;
use strongroom::Config;
use strongroom::config::VaultConnector;

use crate::context::Context;
use crate::failure::Result;

/// Make the policy that Vault needs, and check what a token is allowed
///
/// Only `check` asks Vault anything: the policy is for you to read and to apply.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom vault policy > strongroom.hcl && vault policy write strongroom strongroom.hcl
  strongroom vault check")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::Args),
    Policy(policy::Args),
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Result {
        match self.command {
            Command::Check(args) => args.run(context),
            Command::Policy(args) => args.run(context),
        }
    }
}

/// The connector of this name; without one, every connector there is.
fn connectors<'a>(config: &'a Config, name: Option<&str>) -> Result<Vec<&'a VaultConnector>> {
    Ok(match name {
        // Without any, this says what is needed.
        None if config.vault.connectors.is_empty() => vec![config.vault.connector(None)?],
        None => config.vault.connectors.iter().collect(),
        Some(name) => vec![config.vault.connector(Some(name))?],
    })
}
