//! `strongroom list`

use serde_json::json;

use crate::context::Context;
use crate::failure::Result;
use crate::output::{BOLD, DIM, time};

/// List the secrets of one scope, without their values
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom list
  strongroom list --scope account --deleted")]
pub(crate) struct Args {
    /// Also those that are deleted and can be restored
    #[arg(long)]
    deleted: bool,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Result {
        let mut session = context.session()?;
        let listed = session.list(self.deleted)?;
        let scope = session.scope().clone();
        drop(session);
        let secrets: Vec<_> = listed
            .iter()
            .map(|item| {
                json!({
                    "name": item.name.to_string(),
                    "version": item.latest,
                    "kind": item.kind,
                    "updated": time(item.updated),
                    "deleted": item.deleted.map(time),
                })
            })
            .collect();
        let document = json!({ "scope": scope.to_string(), "secrets": secrets });
        let names: Vec<_> = listed.iter().map(|item| item.name.to_string()).collect();
        let width = names.iter().map(String::len).max().unwrap_or(0);
        context.output.show(&document, |out| {
            for (item, name) in listed.iter().zip(&names) {
                let (version, updated) = (&item.latest, time(item.updated));
                let kind = item.kind.as_str();
                write!(out, "{BOLD}{name:width$}{BOLD:#}  ")?;
                write!(out, "version {version:<4}  {kind}  {DIM}{updated}{DIM:#}")?;
                match item.deleted {
                    Some(since) => writeln!(out, "  deleted {}", time(since))?,
                    None => writeln!(out)?,
                }
            }
            Ok(())
        })
    }
}
