//! `strongroom render`

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::json;
use strongroom::SecretBytes;
use strongroom::expression::{MAX_RENDERED_BYTES, Template};

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::output::BOLD;
use crate::value;
use crate::whole_file::bytes_to_file;

/// Fill a template with the values of secrets
///
/// In the template, `<+secrets.getValue("NAME")>` stands for the value of the secret
/// NAME, which is written as everywhere. Other expressions that begin with `<+` stay
/// as they are, and so does what looks like one in a value. If one secret cannot be
/// read, nothing is written.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  echo 'password = <+secrets.getValue(\"account.db\")>' > app.conf.template
  strongroom render app.conf.template --output app.conf
  strongroom render - < app.conf.template | app --config /dev/stdin")]
pub(crate) struct Args {
    /// The template's file, or - for stdin
    template: PathBuf,
    /// Write to this file instead of stdout, wholly or not at all, readable by you
    /// only
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Result {
        let template = if self.template == Path::new("-") {
            value::from_stdin(MAX_RENDERED_BYTES)?
        } else {
            value::from_file(&self.template, MAX_RENDERED_BYTES)?
        };
        // Before the store is open: this is wrong wherever it is looked at.
        let names = Template::parse(template.expose())
            .map_err(|error| error.during("render"))?
            .names()
            .to_vec();
        let mut session = context.session()?;
        let rendered = session.render(&template)?;
        // Whoever reads our output may be slow, and others wait for the store.
        drop(session);
        if let Some(path) = &self.output {
            let bytes = rendered.len();
            bytes_to_file(path, rendered.expose())?;
            let document = json!({ "secrets": names, "bytes": bytes, "output": path });
            return context.output.show(&document, |out| {
                let (count, path) = (names.len(), path.display());
                let secrets = if count == 1 { "secret" } else { "secrets" };
                writeln!(out, "{BOLD}{path}{BOLD:#}: {bytes} bytes with {count} {secrets}")
            });
        }
        if context.output.json {
            return value::to_stdout(document(&names, &rendered)?.expose());
        }
        if io::stdout().is_terminal() && !value::is_presentable(rendered.expose()) {
            return Err(Failure::Usage(
                "the text is not plain, and a terminal would interpret it: write it to a file \
                 with --output FILE"
                    .to_owned(),
            ));
        }
        value::to_stdout(rendered.expose())
    }
}

#[derive(Serialize)]
struct Document<'a> {
    secrets: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text_base64: Option<&'a str>,
}

/// The answer as JSON.
fn document(names: &[String], rendered: &SecretBytes) -> Result<SecretBytes> {
    let text = std::str::from_utf8(rendered.expose()).ok();
    let encoded = match text {
        Some(_) => None,
        None => Some(value::base64(rendered.expose())?),
    };
    value::json(&Document {
        secrets: names,
        text,
        text_base64: encoded.as_ref().and_then(|e| std::str::from_utf8(e.expose()).ok()),
    })
}
