//! `strongroom list`

use serde_json::json;

use super::describe::shown;
use crate::context::Context;
use crate::failure::Result;
use crate::output::{BOLD, DIM, time};

/// List the secrets of one scope, without their values
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom list
  strongroom list --scope account --deleted
  strongroom list --tag env=prod --tag pci")]
pub(crate) struct Args {
    /// Also those that are deleted and can be restored
    #[arg(long)]
    deleted: bool,
    /// Only those with this tag, of any value if none is given; may be given
    /// several times
    #[arg(long, value_name = "KEY[=VALUE]")]
    tag: Vec<String>,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Result {
        let mut session = context.session()?;
        let mut listed = session.list(self.deleted)?;
        let scope = session.scope().clone();
        drop(session);
        let wanted: Vec<_> = self.tag.iter().map(|tag| tag_of(tag)).collect();
        listed.retain(|item| wanted.iter().all(|(key, value)| item.metadata.has_tag(key, *value)));
        let secrets: Vec<_> = listed
            .iter()
            .map(|item| {
                json!({
                    "name": item.name.to_string(),
                    "version": item.latest,
                    "kind": item.kind,
                    "updated": time(item.updated),
                    "description": item.metadata.description(),
                    "tags": item.metadata.tags(),
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
                if let Some(since) = item.deleted {
                    write!(out, "  deleted {}", time(since))?;
                }
                match shown(&item.metadata) {
                    about if about.is_empty() => writeln!(out)?,
                    about => writeln!(out, "  {about}")?,
                }
            }
            Ok(())
        })
    }
}

/// A key, and the value that is asked for.
fn tag_of(text: &str) -> (&str, Option<&str>) {
    text.split_once('=').map_or((text, None), |(key, value)| (key, Some(value)))
}
