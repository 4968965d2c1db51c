//! `strongroom rotate`

use serde_json::json;

use crate::context::Context;
use crate::failure::Result;
use crate::output::{BOLD, time};

/// Make a new version of the KEK, which wraps from now on
///
/// Nothing that is stored changes: older versions still open what they wrapped.
/// `strongroom rewrap` brings it under the new version, and `strongroom keys`
/// shows which versions are needed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom rotate
  strongroom rewrap
  strongroom keys")]
pub(crate) struct Args {
    /// Which KEK, of several [default: the preferred one]
    #[arg(long, value_name = "KEK")]
    kek: Option<String>,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Result {
        let made = context.session()?.rotate(self.kek.as_deref())?;
        context.output.show(
            &json!({ "kek": self.kek, "version": made.version, "created": made.created.map(time) }),
            |out| {
                writeln!(out, "{BOLD}version {}{BOLD:#} of the KEK wraps from now on", made.version)
            },
        )?;
        context.output.note(format_args!(
            "what is stored stays under older versions until `strongroom rewrap`"
        ));
        Ok(())
    }
}
