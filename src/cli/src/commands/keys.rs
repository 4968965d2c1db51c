//! `strongroom keys`

use std::io::{self, IsTerminal, Write};

use clap::Subcommand;
use serde_json::{Value, json};
use strongroom::upkeep::{KekUse, KekVersionUse, KeyReport};

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::output::{BOLD, DIM, GOOD, time, visible};
use crate::terminal;

/// Show which versions of which KEKs are needed, and by how much
///
/// Reads every record, but opens none.
#[derive(Debug, Default, clap::Args)]
#[command(
    after_help = "\
Example:
  strongroom keys
  strongroom keys create
  strongroom keys destroy 1",
    args_conflicts_with_subcommands = true
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Create(Create),
    Destroy(Destroy),
}

/// Make the key files of [[kek.more]] in the configuration that do not exist yet
///
/// What is stored comes under them by `strongroom rewrap`. A key file that was
/// lost is not to be made anew: take it out of the configuration.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom keys create
  strongroom rewrap")]
struct Create {}

/// Destroy a version of a KEK that no record needs any more
///
/// What only this version wrapped is lost. The store is looked through before;
/// values that programs keep sealed themselves (`strongroom seal`), and backups,
/// are not known to it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom rotate
  strongroom rewrap
  strongroom keys destroy 1 --yes")]
struct Destroy {
    /// The version, as `strongroom keys` shows it
    version: String,
    /// Which KEK, of several [default: the preferred one]
    #[arg(long, value_name = "KEK")]
    kek: Option<String>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Result {
        match self.command {
            Some(Command::Create(_)) => create(context),
            Some(Command::Destroy(args)) => args.run(context),
            None => {
                let report = context.session()?.key_report()?;
                context.output.show(&document(&report), |out| describe(out, &report))
            }
        }
    }
}

fn create(context: &Context) -> Result {
    let made = context.config()?.create_more_keks()?;
    context.output.show(&json!({ "created": made }), |out| {
        if made.is_empty() {
            return writeln!(out, "every key file of the configuration exists");
        }
        made.iter().try_for_each(|path| writeln!(out, "{BOLD}{}{BOLD:#} made", path.display()))
    })
}

impl Destroy {
    fn run(self, context: &Context) -> Result {
        let version = &self.version;
        if !self.yes {
            if !io::stdin().is_terminal() {
                return Err(Failure::Usage(format!(
                    "destroying version {} cannot be undone, and there is no terminal to ask on: \
                     say --yes",
                    visible(version)
                )));
            }
            let question =
                "What only it wrapped is lost, sealed values and backups too. Destroy it?";
            if !terminal::confirm(&format!("Version {}. {question}", visible(version)))? {
                return Err(Failure::Usage("nothing was destroyed".to_owned()));
            }
        }
        context.session()?.destroy_key_version(self.kek.as_deref(), version)?;
        let document = json!({ "kek": self.kek, "version": version, "destroyed": true });
        context.output.show(&document, |out| {
            writeln!(out, "version {BOLD}{}{BOLD:#} of the KEK is destroyed", visible(version))
        })
    }
}

fn document(report: &KeyReport) -> Value {
    let version = |one: &KekVersionUse| {
        json!({
            "version": one.kek.version,
            "created": one.kek.created.map(time),
            "current": one.kek.is_current,
            "records": one.records,
            "examples": one.examples,
        })
    };
    let kek = |one: &KekUse| {
        let versions: Vec<_> = one.versions.iter().map(version).collect();
        json!({ "kek": one.kek, "in_use": one.in_use, "versions": versions })
    };
    let keks: Vec<_> = report.keks.iter().map(kek).collect();
    json!({ "keks": keks, "records": report.records, "stale": report.stale })
}

/// The report for people.
fn describe(out: &mut dyn Write, report: &KeyReport) -> io::Result<()> {
    for kek in &report.keks {
        let unused = if kek.in_use { "" } else { "  (not configured any more)" };
        writeln!(out, "{BOLD}{}{BOLD:#}{DIM}{unused}{DIM:#}", visible(&kek.kek))?;
        kek.versions.iter().try_for_each(|version| describe_version(out, version))?;
    }
    let (records, stale) = (report.records, report.stale);
    match stale {
        0 => writeln!(out, "{GOOD}{records} versions{GOOD:#}, all under the current keys"),
        _ => writeln!(out, "{records} versions; `strongroom rewrap` would change {stale}"),
    }
}

fn describe_version(out: &mut dyn Write, version: &KekVersionUse) -> io::Result<()> {
    write!(out, "  version {}", visible(&version.kek.version))?;
    if let Some(created) = version.kek.created {
        write!(out, "  {DIM}of {}{DIM:#}", time(created))?;
    }
    if version.kek.is_current {
        write!(out, "  {GOOD}current{GOOD:#}")?;
    }
    match version.records {
        0 => writeln!(out, "  needed by nothing"),
        1 => writeln!(out, "  needed by {}", visible(&version.examples.join(", "))),
        count => {
            let examples = visible(&version.examples.join(", "));
            writeln!(out, "  needed by {count}, such as {examples}")
        }
    }
}
