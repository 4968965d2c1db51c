//! `strongroom reencrypt`

use strongroom::upkeep::{Reencrypt, Selection};
use strongroom::{Scope, Suite};

use crate::commands::outcome;
use crate::context::Context;
use crate::failure::Result;

/// Give secrets a fresh DEK and a fresh ciphertext, in all their versions
///
/// For a DEK that may be known, or to change the AEAD of what is stored. Numbers
/// and times of versions stay. It may be interrupted at any moment: the same
/// command goes on where it was.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom reencrypt
  strongroom reencrypt account.db --suite chacha20-poly1305
  strongroom reencrypt --within default/ops")]
pub(crate) struct Args {
    /// account.NAME, org.NAME, or NAME for a project [default: every secret]
    #[arg(value_name = "NAME", conflicts_with = "within")]
    names: Vec<String>,
    /// The secrets of this scope and of the scopes below it
    #[arg(long, value_name = "SCOPE")]
    within: Option<Scope>,
    /// aes-256-gcm or chacha20-poly1305 [default: as configured]
    #[arg(long)]
    suite: Option<Suite>,
    /// Begin anew, though another one is not finished
    #[arg(long)]
    restart: bool,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Result {
        let mut session = context.session()?;
        let names = self.names.iter().map(|name| session.resolve("re-encrypt", name));
        let names = names.collect::<Result<Vec<_>>>()?;
        let selection = match &self.within {
            _ if !names.is_empty() => Selection::names(&names),
            Some(scope) => Selection::within(scope),
            None => Selection::All,
        };
        let what = Reencrypt { selection, suite: self.suite, restart: self.restart };
        let done = session.reencrypt(&what)?;
        outcome::show(context, "encrypted anew", &done)
    }
}
