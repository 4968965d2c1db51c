//! `strongroom migrate`

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use strongroom::upkeep::Selection;
use strongroom::{Error, Migrate, Migrated, Scope};

use crate::context::Context;
use crate::failure::Result;
use crate::output::{BAD, BOLD, DIM, visible};

/// Move secrets to another store, with every version
///
/// Each secret is copied, read back and compared; then the source marks it as
/// moved, and the target has it. It may be interrupted at any moment: the same
/// command does the rest. A secret that the target has already is reported and
/// left in both.
///
/// Where the configuration names a target (`moving_to`), secrets are read and
/// written where they are, before and after they move. A sidecar moves them while it
/// serves, once its configuration says where to.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom --config new/strongroom.toml init --store sled
  strongroom migrate --to new/strongroom.toml --dry-run
  strongroom migrate --to new/strongroom.toml
  strongroom migrate --to new/strongroom.toml --within default/ops --remove-source")]
pub(crate) struct Args {
    /// account.NAME, org.NAME, or NAME for a project [default: every secret]
    #[arg(value_name = "NAME", conflicts_with = "within")]
    names: Vec<String>,
    /// The configuration of the store that they move to [default: `moving_to`]
    #[arg(long, value_name = "PATH")]
    to: Option<PathBuf>,
    /// The secrets of this scope and of the scopes below it
    #[arg(long, value_name = "SCOPE")]
    within: Option<Scope>,
    /// Remove the versions from the source, once the target has given them back a
    /// second time; that they moved stays known there
    #[arg(long)]
    remove_source: bool,
    /// Change nothing, and tell what would not fit
    #[arg(long)]
    dry_run: bool,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Result {
        let to = self.to.as_deref().map(real).transpose()?;
        let mut session = context.session_moving_to(to.as_deref())?;
        let names = self.names.iter().map(|name| session.resolve("migrate", name));
        let names = names.collect::<Result<Vec<_>>>()?;
        let selection = match &self.within {
            _ if !names.is_empty() => Selection::names(&names),
            Some(scope) => Selection::within(scope),
            None => Selection::All,
        };
        let (remove_source, dry_run) = (self.remove_source, self.dry_run);
        let what = Migrate { selection, remove_source, dry_run };
        let moved = session.migrate(&what, to.as_deref())?;
        show(context, &moved)
    }
}

/// The one path of a configuration that exists.
fn real(path: &Path) -> Result<PathBuf> {
    path.canonicalize().map_err(|error| {
        let what = format!("the configuration {} cannot be used: {error}", path.display());
        Error::configuration(what).during("migrate").with_source(error).into()
    })
}

/// Shows what moved; an error if something did not.
fn show(context: &Context, moved: &Migrated) -> Result {
    context.output.show(moved, |out| describe(out, moved))?;
    match moved.failures.first() {
        None => Ok(()),
        Some(first) => Err(Error::new(
            first.kind,
            format!(
                "{} secrets {}: they are where they were",
                moved.failed,
                if moved.dry_run { "would not move" } else { "could not be moved" }
            ),
        )
        .during("migrate")
        .into()),
    }
}

fn describe(out: &mut dyn Write, moved: &Migrated) -> io::Result<()> {
    let (count, versions, examined) = (moved.moved, moved.versions, moved.examined);
    let verb = if moved.dry_run { "would move" } else { "moved" };
    writeln!(out, "{BOLD}{count}{BOLD:#} of {examined} secrets {verb}, with {versions} versions")?;
    if moved.already > 0 {
        writeln!(out, "{DIM}{} had moved there before{DIM:#}", moved.already)?;
    }
    if moved.removed > 0 {
        writeln!(out, "the source's versions of {} were removed", moved.removed)?;
    }
    if moved.versions_left > 0 {
        writeln!(out, "{BAD}{} older versions stay behind{BAD:#}", moved.versions_left)?;
    }
    for failed in &moved.failures {
        let (scope, id) = (failed.name.scope(), failed.name.id());
        writeln!(out, "{BAD}{scope}:{id}{BAD:#}  {}", visible(&failed.message))?;
    }
    let unlisted = moved.failed.saturating_sub(moved.failures.len() as u64);
    if unlisted > 0 {
        writeln!(out, "{DIM}and {unlisted} more{DIM:#}")?;
    }
    Ok(())
}
