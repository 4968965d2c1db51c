//! `strongroom rewrap`

use crate::commands::outcome;
use crate::context::Context;
use crate::failure::Result;

/// Wrap every DEK anew that is not under the current version of every KEK
///
/// The ciphertexts stay as they are. Readers and writers go on meanwhile. It may
/// be interrupted at any moment: the next one does the rest.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom rotate
  strongroom rewrap")]
pub(crate) struct Args {}

impl Args {
    #[expect(clippy::unused_self, reason = "as every other command")]
    pub(crate) fn run(self, context: &Context) -> Result {
        let done = context.session()?.rewrap()?;
        outcome::show(context, "rewrapped", &done)
    }
}
