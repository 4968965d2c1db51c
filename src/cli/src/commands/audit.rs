//! `strongroom audit`

use std::collections::VecDeque;
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use futures_executor::block_on;
use jiff::Timestamp as Civil;
use jiff::tz::TimeZone;
use serde_json::json;
use strongroom::audit::{self, Filter, Head, Line, Phase};
use strongroom::rollback::Expected;
use strongroom::{Config, EnvelopeStore, Error, SystemClock, Timestamp};

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::output::{BAD, BOLD, DIM, GOOD, visible};

/// Show the audit log, or verify it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom audit show --failed --since 24h
  strongroom audit verify")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Show(Show),
    Verify(Verify),
}

/// Show recorded operations, oldest first
///
/// The lines are shown as they stand there; `audit verify` tells whether they
/// can be believed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom audit show --name account.db --since 2026-01-31 --limit 20")]
struct Show {
    /// Only this secret: account.NAME, org.NAME, or NAME for a project
    #[arg(long)]
    name: Option<String>,
    /// Only this operation: put, get, list, versions, delete, restore, purge
    #[arg(long)]
    operation: Option<String>,
    /// Only operations that failed
    #[arg(long)]
    failed: bool,
    /// Not before: a day, a time (RFC 3339), or an age such as 24h
    #[arg(long, value_parser = since)]
    since: Option<Timestamp>,
    /// Only the last lines, at most so many
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
}

/// Check the chain of the log, and compare the store with it
///
/// It finds lines that were altered, removed, moved or inserted, and a store
/// that was set back to an older state. A log that was cut at its end shows only
/// against a head that was noted before: keep the one that this prints elsewhere.
/// The store must be at rest: end a sidecar that serves it first.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom audit verify
  strongroom audit verify --head 42:9f86d081...")]
struct Verify {
    /// A head that was noted earlier
    #[arg(long, value_name = "SEQ:HASH")]
    head: Option<Head>,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Result {
        match self.command {
            Command::Show(show) => show.run(context),
            Command::Verify(verify) => verify.run(context),
        }
    }
}

impl Show {
    fn run(self, context: &Context) -> Result {
        let config = context.config()?;
        let name = match &self.name {
            Some(name) => Some(context.scope(&config)?.resolve(name)?),
            None => None,
        };
        let filter = Filter {
            scope: name.as_ref().map(|name| name.scope().to_string()),
            name: name.as_ref().map(|name| name.id().to_owned()),
            operation: self.operation,
            since: self.since,
            until: None,
            failed: self.failed,
        };
        let limit = self.limit.unwrap_or(usize::MAX);
        let mut lines = VecDeque::new();
        for line in audit::read(&log_path(&config)?, filter)? {
            lines.push_back(line?);
            if lines.len() > limit {
                lines.pop_front();
            }
        }
        context.output.show(&json!({ "lines": lines }), |out| {
            for line in &lines {
                writeln!(out, "{}", visible(&describe(line)))?;
            }
            Ok(())
        })
    }
}

fn describe(line: &Line) -> String {
    let mut text = format!("{:>6}  {}  {:<8}", line.seq, line.time, line.operation);
    text += match (line.phase, line.outcome.as_deref()) {
        (Phase::Intent, _) => "  ...     ",
        (Phase::Done, Some("ok")) => "  ok      ",
        _ => "  ",
    };
    if let Some(outcome) = line.outcome.as_deref().filter(|outcome| *outcome != "ok") {
        let _ = write!(text, "{outcome}  ");
    }
    for (before, part) in [("", &line.scope), (" ", &line.name), (" version ", &line.version)] {
        if let Some(part) = part {
            text += before;
            text += part;
        }
    }
    if let Some(uid) = line.actor.uid {
        let _ = write!(text, "  by uid {uid}");
    }
    if let Some(pid) = line.actor.pid {
        let _ = write!(text, " (pid {pid})");
    }
    text
}

impl Verify {
    fn run(self, context: &Context) -> Result {
        let config = context.config()?;
        let path = log_path(&config)?;
        // Not the engine: a log whose last line was altered does not open. The
        // open store keeps writers out until the comparison is done.
        let is_embedded = config.store.kind.is_embedded();
        let store = is_embedded.then(|| context.store(&config)).transpose()?;
        let mut expected = Expected::in_scope(&config.scope()?);
        let key = store.as_ref().map(EnvelopeStore::audit_key).transpose()?;
        let report = audit::verify(&path, key.as_ref(), self.head.as_ref(), |line| {
            if let Some(store) = &store {
                expected.visit(store, line);
            }
        })?;
        let differences = match (&report.problem, &store) {
            (None, Some(store)) => block_on(expected.compare(store))?,
            _ => Vec::new(),
        };
        drop(store);
        let sound = report.problem.is_none() && differences.is_empty();
        let head = report.head.to_string();
        let document = json!({
            "ok": sound,
            "log": path,
            "lines": report.lines,
            "recovered": report.recovered,
            "head": head,
            "problem": report.problem.as_ref().map(ToString::to_string),
            "store_compared": is_embedded && report.problem.is_none(),
            "differences": differences.iter().map(|difference| json!({
                "scope": difference.scope,
                "name": difference.name,
                "finding": difference.finding,
            })).collect::<Vec<_>>(),
        });
        context.output.show(&document, |out| {
            if let Some(problem) = &report.problem {
                writeln!(out, "{BAD}log{BAD:#}    {problem}")?;
                writeln!(out, "{DIM}The store was not compared with a log that is wrong.{DIM:#}")?;
            } else {
                writeln!(out, "{GOOD}log{GOOD:#}    {} lines, the chain is whole", report.lines)?;
            }
            if report.recovered > 0 {
                writeln!(out, "       {} torn lines were closed", report.recovered)?;
            }
            for difference in &differences {
                writeln!(out, "{BAD}store{BAD:#}  {}", visible(&difference.to_string()))?;
            }
            if sound && !is_embedded {
                writeln!(
                    out,
                    "{DIM}The store is in a cloud: it was not compared, and the log has no key.{DIM:#}"
                )?;
            }
            if sound {
                if is_embedded {
                    writeln!(out, "{GOOD}store{GOOD:#}  holds what the log says")?;
                }
                writeln!(out, "head   {BOLD}{head}{BOLD:#}")?;
                writeln!(out, "{DIM}Note the head elsewhere, and give it to --head.{DIM:#}")?;
            }
            Ok(())
        })?;
        let Some(problem) = report.problem else {
            return match differences.len() {
                0 => Ok(()),
                count => Err(wrong(format!("the store differs from its log in {count} places"))),
            };
        };
        Err(wrong(format!("the audit log is not as it was written: {problem}")))
    }
}

fn wrong(message: String) -> Failure {
    Error::tampered(message).during("audit verify").into()
}

fn log_path(config: &Config) -> Result<PathBuf> {
    config.audit_path().ok_or_else(|| {
        Error::configuration("there is no audit log: [audit] enabled is false").into()
    })
}

/// Reads a day, a time, or an age.
fn since(text: &str) -> std::result::Result<Timestamp, String> {
    let millis = |civil: Civil| Timestamp(u64::try_from(civil.as_millisecond()).unwrap_or(0));
    if let Some(age) = strongroom::config::parse_duration(text) {
        let now = Duration::from_millis(SystemClock::shared().now().0);
        let then = now.saturating_sub(age).as_millis();
        return Ok(Timestamp(u64::try_from(then).unwrap_or(0)));
    }
    if let Ok(time) = text.parse::<Civil>() {
        return Ok(millis(time));
    }
    let day = text.parse::<jiff::civil::Date>().ok();
    day.and_then(|day| day.to_zoned(TimeZone::UTC).ok())
        .map(|day| millis(day.timestamp()))
        .ok_or_else(|| "write 2026-01-31, 2026-01-31T10:00:00Z, or an age such as 24h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_takes_days_times_and_ages() {
        assert_eq!(since("1970-01-02"), Ok(Timestamp(86_400_000)));
        assert_eq!(since("1970-01-01T00:00:01Z"), Ok(Timestamp(1_000)));
        assert!(since("1h").expect("an age") < SystemClock::shared().now());
        assert!(since("yesterday").is_err());
    }
}
