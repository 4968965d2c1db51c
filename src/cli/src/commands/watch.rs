//! `strongroom watch`

use serde_json::json;

use crate::context::Context;
use crate::failure::Result;
use crate::output::{BOLD, visible};

/// Print changes of secrets as they happen, without their values
///
/// First a line for each secret: present or absent; then `synced`; from then on
/// put, deleted, restored and purged. Needs a sidecar, and lasts until you or the
/// sidecar end it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom watch
  strongroom watch account.db account.tls-key --json")]
pub(crate) struct Args {
    /// Only these [default: every secret of the scope]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Result {
        let session = context.session()?;
        let sidecar = session.sidecar()?;
        let names: Vec<_> = self.names.iter().map(String::as_str).collect();
        let mut watch = sidecar.watch(&names)?;
        loop {
            let change = sidecar.next_change(&mut watch)?;
            let (kind, version) = (change.kind.as_str(), &change.version);
            let name = Some(&change.name).filter(|name| !name.is_empty());
            let document = json!({ "change": kind, "name": name, "version": version });
            context.output.show(&document, |out| {
                write!(out, "{kind}")?;
                if let Some(name) = name {
                    write!(out, "  {BOLD}{}{BOLD:#}", visible(name))?;
                }
                match version {
                    Some(version) => writeln!(out, "  version {version}"),
                    None => writeln!(out),
                }
            })?;
        }
    }
}
