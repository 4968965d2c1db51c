//! `strongroom versions`

use serde_json::json;

use crate::context::Context;
use crate::failure::Result;
use crate::output::{BOLD, DIM, time};

/// List the versions of a secret, oldest first
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom versions account.db")]
pub(crate) struct Args {
    /// account.NAME, org.NAME, or NAME for a project
    name: String,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Result {
        let versions = context.session()?.versions(&self.name)?;
        let listed: Vec<_> = versions
            .iter()
            .map(|info| {
                json!({
                    "version": info.version,
                    "kind": info.kind,
                    "created": time(info.created),
                })
            })
            .collect();
        let document = json!({ "name": self.name, "versions": listed });
        context.output.show(&document, |out| {
            for info in &versions {
                let (kind, created) = (info.kind.as_str(), time(info.created));
                writeln!(out, "{BOLD}{:<4}{BOLD:#}  {kind}  {DIM}{created}{DIM:#}", info.version)?;
            }
            Ok(())
        })
    }
}
