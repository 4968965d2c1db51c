//! How an operation on many secrets ended, as every command shows it.

use serde_json::{Value, json};
use strongroom::Error;
use strongroom::upkeep::Outcome;

use crate::context::Context;
use crate::failure::Result;
use crate::output::{BAD, BOLD, DIM, visible};

/// Shows `outcome`; an error if something was left as it was.
pub(crate) fn show(context: &Context, what: &'static str, outcome: &Outcome) -> Result {
    context.output.show(&document(outcome), |out| {
        let (changed, examined) = (outcome.changed, outcome.examined);
        write!(out, "{BOLD}{changed}{BOLD:#} of {examined} versions {what}")?;
        writeln!(out, "{}", if outcome.resumed { ", with those of an earlier run" } else { "" })?;
        for (kek, count) in &outcome.missing_keks {
            writeln!(out, "{BAD}{count} are not under{BAD:#} {}", visible(kek))?;
        }
        for failed in &outcome.failures {
            let version = failed.version.as_ref().map(ToString::to_string).unwrap_or_default();
            let (scope, id) = (failed.name.scope(), failed.name.id());
            let message = visible(&failed.message);
            writeln!(out, "{BAD}{scope}:{id} {version}{BAD:#}  {message}")?;
        }
        let unlisted = outcome.failed.saturating_sub(outcome.failures.len() as u64);
        if unlisted > 0 {
            writeln!(out, "{DIM}and {unlisted} more{DIM:#}")?;
        }
        Ok(())
    })?;
    match outcome.failures.first() {
        None => Ok(()),
        Some(first) => Err(Error::new(
            first.kind,
            format!("{} versions could not be {what}: they are as they were", outcome.failed),
        )
        .into()),
    }
}

fn document(outcome: &Outcome) -> Value {
    json!({
        "examined": outcome.examined,
        "changed": outcome.changed,
        "failed": outcome.failed,
        "failures": outcome.failures,
        "missing_keks": outcome.missing_keks,
        "resumed": outcome.resumed,
    })
}
