//! `strongroom describe`, and what `put` and `list` have of descriptions and tags.

use std::collections::BTreeMap;

use serde_json::json;
use strongroom::{Metadata, MetadataChange};

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::output::{BOLD, DIM, visible};

/// Say what a secret is for: a description and tags
///
/// Both are listed with the secret, without its value. They are not encrypted.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom describe account.db --description 'the shop, read only' --tag env=prod
  strongroom describe account.db --untag env --tag retired")]
pub(crate) struct Args {
    /// account.NAME, org.NAME, or NAME for a project
    name: String,
    #[command(flatten)]
    about: About,
    /// Take this tag away; may be given several times
    #[arg(long, value_name = "KEY")]
    untag: Vec<String>,
    /// Begin with neither description nor tags
    #[arg(long)]
    clear: bool,
}

/// What is said about a secret.
#[derive(Debug, clap::Args)]
pub(crate) struct About {
    /// What it is for, from now on; at most 1 KiB
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// A tag, or a label without a value; may be given several times
    #[arg(long, value_name = "KEY[=VALUE]", value_parser = tag)]
    tag: Vec<(String, String)>,
}

impl About {
    /// All that is said from now on; `None` if nothing is.
    pub(crate) fn metadata(&self) -> Result<Option<Metadata>> {
        if self.description.is_none() && self.tag.is_empty() {
            return Ok(None);
        }
        let description = self.description.clone().unwrap_or_default();
        Ok(Some(Metadata::new(description, self.tags()?)?))
    }

    fn tags(&self) -> Result<BTreeMap<String, String>> {
        let mut tags = BTreeMap::new();
        for (key, value) in &self.tag {
            if tags.insert(key.clone(), value.clone()).is_some() {
                return Err(Failure::Usage(format!("--tag {key} is given twice")));
            }
        }
        Ok(tags)
    }
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Result {
        let tags = self.about.tags()?;
        let description = self.about.description;
        if description.is_none() && tags.is_empty() && self.untag.is_empty() && !self.clear {
            return Err(Failure::Usage(
                "nothing is said: give --description, --tag, --untag or --clear".to_owned(),
            ));
        }
        let remove = self.untag.into_iter().collect();
        let change = MetadataChange { replace: self.clear, description, remove, tags };
        let mut session = context.session()?;
        let name = session.resolve("describe", &self.name)?;
        let now = session.describe(&self.name, &change)?;
        drop(session);
        let document = json!({
            "name": name.to_string(),
            "description": now.description(),
            "tags": now.tags(),
        });
        context.output.show(&document, |out| {
            writeln!(out, "{BOLD}{name}{BOLD:#}")?;
            match shown(&now) {
                about if about.is_empty() => writeln!(out, "  {DIM}nothing is said{DIM:#}"),
                about => writeln!(out, "  {about}"),
            }
        })
    }
}

/// Description and tags in one line; empty if there are none.
pub(crate) fn shown(metadata: &Metadata) -> String {
    let tags = metadata.tags().iter().map(|(key, value)| match value.as_str() {
        "" => format!("[{key}]"),
        value => format!("[{key}={value}]"),
    });
    let description = metadata.description().replace(['\n', '\t'], " ");
    let parts = tags.chain(Some(description).filter(|text| !text.is_empty()));
    visible(&parts.collect::<Vec<_>>().join(" "))
}

/// A tag; a label has no value.
pub(crate) fn tag(text: &str) -> std::result::Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() {
        return Err("write KEY=VALUE, or KEY alone".to_owned());
    }
    Ok((key.to_owned(), value.to_owned()))
}
