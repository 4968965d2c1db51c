//! `strongroom open`

use std::io::{self, IsTerminal};

use serde::Serialize;
use strongroom::{SecretBytes, SecretName};

use super::seal::{collect, pair};
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::value;

/// What a sealed value may have more than the value itself, in bytes.
const OVERHEAD_BYTES: usize = 64 << 10;

/// Decrypt what `strongroom seal` gave
///
/// The sealed bytes come from stdin, and the value goes to stdout.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom open account.app --context row=7 < sealed")]
pub(crate) struct Args {
    /// The name that it was sealed under
    name: String,
    /// The context that it was sealed with; may be given several times
    #[arg(long, required = true, value_name = "KEY=VALUE", value_parser = pair)]
    context: Vec<(String, String)>,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Result {
        let pairs = collect(self.context)?;
        let mut session = context.session()?;
        let name = session.resolve("open", &self.name)?;
        let sealed = value::from_stdin(session.max_value_bytes() + OVERHEAD_BYTES)?;
        let value = session.unseal(&self.name, pairs, sealed.expose())?;
        drop(session);
        if context.output.json {
            return value::to_stdout(document(&name, &value)?.expose());
        }
        if io::stdout().is_terminal() && !value::is_presentable(value.expose()) {
            return Err(Failure::Usage(
                "the value is not plain text, and a terminal would interpret it: redirect stdout \
                 to a file"
                    .to_owned(),
            ));
        }
        value::to_stdout(value.expose())
    }
}

#[derive(Serialize)]
struct Document<'a> {
    name: String,
    scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<&'a str>,
}

/// The answer as JSON.
fn document(name: &SecretName, value: &SecretBytes) -> Result<SecretBytes> {
    let text = std::str::from_utf8(value.expose()).ok();
    let encoded = match text {
        Some(_) => None,
        None => Some(value::base64(value.expose())?),
    };
    value::json(&Document {
        name: name.to_string(),
        scope: name.scope().to_string(),
        value: text,
        value_base64: encoded.as_ref().and_then(|e| std::str::from_utf8(e.expose()).ok()),
    })
}
