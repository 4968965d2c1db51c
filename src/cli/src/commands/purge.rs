//! `strongroom purge`

use std::io::{self, IsTerminal};

use serde_json::json;

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::output::BOLD;
use crate::terminal;

/// Remove every version of a secret for good
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom purge account.db --yes")]
pub(crate) struct Args {
    /// account.NAME, org.NAME, or NAME for a project
    name: String,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Result {
        let mut session = context.session()?;
        let name = session.resolve("purge", &self.name)?;
        if !self.yes {
            if !io::stdin().is_terminal() {
                return Err(Failure::Usage(format!(
                    "purging {name} cannot be undone, and there is no terminal to ask on: say --yes"
                )));
            }
            if !terminal::confirm(&format!("Remove every version of {name} for good?"))? {
                return Err(Failure::Usage("nothing was removed".to_owned()));
            }
        }
        session.purge(&self.name)?;
        let document = json!({ "name": self.name, "purged": true });
        context.output.show(&document, |out| writeln!(out, "{BOLD}{}{BOLD:#} purged", self.name))
    }
}
