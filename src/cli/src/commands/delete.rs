//! `strongroom delete`

use serde_json::json;

use crate::context::Context;
use crate::failure::Result;
use crate::output::BOLD;

/// Hide a secret until it is restored or its recovery window ends
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom delete account.db")]
pub(crate) struct Args {
    /// account.NAME, org.NAME, or NAME for a project
    name: String,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Result {
        context.session()?.delete(&self.name)?;
        let document = json!({ "name": self.name, "deleted": true });
        context.output.show(&document, |out| {
            writeln!(
                out,
                "{BOLD}{}{BOLD:#} deleted; `strongroom restore` brings it back",
                self.name
            )
        })
    }
}
