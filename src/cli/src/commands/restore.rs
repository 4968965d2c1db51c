//! `strongroom restore`

use serde_json::json;

use crate::context::Context;
use crate::failure::Result;
use crate::output::BOLD;

/// Bring a deleted secret back, with all its versions
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom restore account.db")]
pub(crate) struct Args {
    /// account.NAME, org.NAME, or NAME for a project
    name: String,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Result {
        context.session()?.restore(&self.name)?;
        let document = json!({ "name": self.name, "restored": true });
        context.output.show(&document, |out| writeln!(out, "{BOLD}{}{BOLD:#} restored", self.name))
    }
}
