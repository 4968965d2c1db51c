//! `strongroom check`

use futures_executor::block_on;
use serde_json::json;

use crate::context::Context;
use crate::failure::Result;
use crate::output::{GOOD, visible};

/// Prove that store, key and audit log can be used
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom check")]
pub(crate) struct Args {}

impl Args {
    #[expect(clippy::unused_self, reason = "as every command is called")]
    pub(crate) fn run(self, context: &Context) -> Result {
        let config = context.config()?;
        // Opening has compared account and KEK, and read the log's last line.
        let engine = context.engine(&config)?;
        let mut checked = vec![format!("configuration {}: read", context.home()?.config.display())];
        checked.extend(block_on(engine.check())?);
        if let Some(log) = engine.audit() {
            let (path, seq) = (log.path().display(), log.head().seq);
            checked.push(format!("audit log {path}: {seq} entries, the last one is right"));
        }
        drop(engine);
        let document = json!({ "ok": true, "checked": checked });
        context.output.show(&document, |out| {
            checked.iter().try_for_each(|line| writeln!(out, "{GOOD}ok{GOOD:#}  {}", visible(line)))
        })
    }
}
