//! `strongroom verify`

use std::io::{self, Write};

use strongroom::upkeep::Verified;
use strongroom::{Error, ErrorKind};

use crate::context::Context;
use crate::failure::Result;
use crate::output::{BAD, BOLD, DIM, GOOD, visible};

/// Read the whole store, and tell what is not as it was written
///
/// Every version of every secret is opened, with every segment of a file. Readers
/// and writers go on meanwhile. `strongroom audit verify` is about the log, and
/// whether the store agrees with it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom verify
  strongroom verify --json")]
pub(crate) struct Args {}

impl Args {
    #[expect(clippy::unused_self, reason = "as every other command")]
    pub(crate) fn run(self, context: &Context) -> Result {
        let verified = context.session()?.verify()?;
        context.output.show(&verified, |out| describe(out, &verified))?;
        if verified.is_good() {
            return Ok(());
        }
        let kind = verified.failures.first().map_or(ErrorKind::Tampered, |first| first.kind);
        let found = verified.failed + verified.strangers;
        let error = Error::new(kind, format!("{found} things are not as they were written"));
        Err(error.during("verify").into())
    }
}

fn describe(out: &mut dyn Write, verified: &Verified) -> io::Result<()> {
    let Verified { secrets, versions, .. } = verified;
    let style = if verified.is_good() { GOOD } else { BOLD };
    writeln!(out, "{style}{versions} versions{style:#} of {secrets} secrets were opened")?;
    if verified.moved > 0 {
        writeln!(out, "{DIM}{} secrets went to another store{DIM:#}", verified.moved)?;
    }
    if verified.incoming > 0 {
        let count = verified.incoming;
        writeln!(out, "{count} secrets are being moved here: the migration is not finished")?;
    }
    for failed in &verified.failures {
        let version = failed.version.as_ref().map(ToString::to_string).unwrap_or_default();
        let (scope, id) = (failed.name.scope(), failed.name.id());
        writeln!(out, "{BAD}{scope}:{id} {version}{BAD:#}  {}", visible(&failed.message))?;
    }
    let unlisted = verified.failed.saturating_sub(verified.failures.len() as u64);
    if unlisted > 0 {
        writeln!(out, "{DIM}and {unlisted} more{DIM:#}")?;
    }
    if verified.strangers > 0 {
        let count = verified.strangers;
        writeln!(out, "{BAD}{count} entries{BAD:#} stand where this program writes none")?;
    }
    Ok(())
}
