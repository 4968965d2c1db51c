//! `strongroom check`

use serde_json::json;

use crate::context::Context;
use crate::failure::Result;
use crate::output::{GOOD, visible};

/// Prove that store, key and audit log can be used, or the sidecar that has them
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom check")]
pub(crate) struct Args {}

impl Args {
    #[expect(clippy::unused_self, reason = "as every command is called")]
    pub(crate) fn run(self, context: &Context) -> Result {
        let mut session = context.session()?;
        let mut checked = session.check()?;
        if let Some(config) = context.config_used()? {
            checked.insert(0, format!("configuration {}: read", config.display()));
        }
        drop(session);
        let document = json!({ "ok": true, "checked": checked });
        context.output.show(&document, |out| {
            checked.iter().try_for_each(|line| writeln!(out, "{GOOD}ok{GOOD:#}  {}", visible(line)))
        })
    }
}
