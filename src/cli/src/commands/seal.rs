//! `strongroom seal`

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};

use serde_json::json;

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::value;

/// Encrypt a value that you keep yourself, such as a column of a database
///
/// The value comes from stdin, and what it is sealed to goes to stdout as bytes;
/// nothing is stored. It opens under the same name and context only.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  printf s3cret | strongroom seal account.app --context row=7 > sealed
  strongroom open account.app --context row=7 < sealed")]
pub(crate) struct Args {
    /// Whose it is: account.NAME, org.NAME, or NAME for a project; it need not exist
    name: String,
    /// What else it belongs to; may be given several times
    #[arg(long, required = true, value_name = "KEY=VALUE", value_parser = pair)]
    context: Vec<(String, String)>,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Result {
        let pairs = collect(self.context)?;
        if !context.output.json && io::stdout().is_terminal() {
            return Err(Failure::Usage(
                "a sealed value is bytes, which a terminal would interpret: redirect stdout to a \
                 file, or say --json for base64"
                    .to_owned(),
            ));
        }
        let mut session = context.session()?;
        let name = session.resolve("seal", &self.name)?;
        let value = value::from_stdin(session.max_value_bytes())?;
        let sealed = session.seal(&self.name, pairs.clone(), &value)?;
        drop(session);
        if !context.output.json {
            return value::to_stdout(&sealed);
        }
        let encoded = value::base64(&sealed)?;
        let document = json!({
            "name": name.to_string(),
            "scope": name.scope().to_string(),
            "context": pairs,
            "sealed_base64": String::from_utf8_lossy(encoded.expose()),
        });
        context.output.show(&document, |_| Ok(()))
    }
}

/// A pair of the context.
pub(super) fn pair(text: &str) -> std::result::Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// The whole context.
pub(super) fn collect(pairs: Vec<(String, String)>) -> Result<BTreeMap<String, String>> {
    let mut context = BTreeMap::new();
    for (key, value) in pairs {
        if context.contains_key(&key) {
            return Err(Failure::Usage(format!("--context {key} is given twice")));
        }
        context.insert(key, value);
    }
    Ok(context)
}
