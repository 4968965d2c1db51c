//! `strongroom aws check`

use std::io::{self, Write};

use futures_executor::block_on;
use serde_json::{Value, json};
use strongroom::aws::Probe;
use strongroom::{Error, ErrorKind};

use crate::context::Context;
use crate::failure::Result;
use crate::output::{BAD, BOLD, DIM, GOOD, visible};

/// Try each call to AWS that the configuration needs, and name what is not allowed
///
/// For each connector: who calls, and whether its region is enabled. For each key of
/// AWS KMS that is a KEK, in each of its regions: every call that the key needs, made
/// with an encryption context that no secret has. For a store in AWS Secrets Manager, and
/// for references to secrets there: their calls, on a secret that cannot be there. Nothing
/// that is stored is touched.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom aws check
  strongroom aws check --connector prod --json")]
pub(super) struct Args {
    /// Only this connector, and the keys that use it
    #[arg(long, value_name = "NAME")]
    connector: Option<String>,
    /// Leave out the calls that only writing needs
    #[arg(long)]
    read_only: bool,
}

/// What was asked by way of a connector.
struct Checked {
    connector: String,
    region: String,
    probes: Vec<Probe>,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result {
        let config = context.config()?;
        let connectors = match &self.connector {
            // Without any, this says what is needed.
            None if config.aws.connectors.is_empty() => vec![config.aws.connector(None)?],
            None => config.aws.connectors.iter().collect(),
            Some(name) => vec![config.aws.connector(Some(name))?],
        };
        let mut checked = Vec::with_capacity(connectors.len());
        for connector in connectors {
            checked.push(Checked {
                connector: connector.name.clone(),
                region: connector.region.clone(),
                probes: block_on(config.check_aws(connector, self.read_only)),
            });
        }
        let failure = failure(&checked);
        let document = json!({
            "ok": failure.is_none(),
            "connectors": checked.iter().map(Checked::document).collect::<Vec<_>>(),
        });
        context.output.show(&document, |out| checked.iter().try_for_each(|one| one.show(out)))?;
        failure.map_or(Ok(()), |error| Err(error.into()))
    }
}

impl Checked {
    fn document(&self) -> Value {
        let calls: Vec<_> = self.probes.iter().map(document).collect();
        json!({ "connector": self.connector, "region": self.region, "calls": calls })
    }

    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { connector, region, probes } = self;
        writeln!(out, "{BOLD}{}{BOLD:#}  {DIM}{region}{DIM:#}", visible(connector))?;
        // What a line is about is said once for the lines that follow.
        let mut about = ("", "*");
        for probe in probes {
            let place = (&*probe.region, &*probe.resource);
            if place != about && probe.resource != "*" {
                writeln!(out, "  {}  {DIM}{}{DIM:#}", visible(&probe.resource), probe.region)?;
            }
            about = place;
            match &probe.outcome {
                Ok(said) => {
                    writeln!(out, "  {GOOD}ok{GOOD:#}  {}  {}", probe.action, visible(said))?;
                }
                Err(error) => {
                    // The line begins as the message of a call does.
                    let call = format!("{} on {}: ", probe.action, probe.resource);
                    let said = error.message();
                    let said = visible(said.strip_prefix(&call).unwrap_or(said));
                    writeln!(out, "  {BAD}no{BAD:#}  {}  {said}", probe.action)?;
                }
            }
        }
        Ok(())
    }
}

fn document(probe: &Probe) -> Value {
    let error = probe.outcome.as_ref().err().map(|error| {
        json!({
            "kind": error.kind().as_str(),
            "message": error.message(),
            "retryable": error.is_retryable(),
        })
    });
    json!({
        "action": probe.action,
        "region": probe.region,
        "resource": probe.resource,
        "ok": error.is_none(),
        "detail": probe.outcome.as_ref().ok().filter(|said| !said.is_empty()),
        "error": error,
    })
}

/// All failures as one, of the kind of the first. What is not allowed is named.
fn failure(checked: &[Checked]) -> Option<Error> {
    let probes = || checked.iter().flat_map(|one| &one.probes);
    let failed: Vec<_> =
        probes().filter_map(|probe| Some((probe, probe.outcome.as_ref().err()?))).collect();
    let (_, first) = failed.first()?;
    let mut message = format!("{} of {} calls failed", failed.len(), probes().count());
    let denied = failed.iter().filter(|(_, error)| error.kind() == ErrorKind::AccessDenied);
    let mut missing: Vec<_> = denied
        .map(|(Probe { action, resource, .. }, _)| match &**resource {
            "*" => (*action).to_owned(),
            resource => format!("{action} on {resource}"),
        })
        .collect();
    missing.dedup();
    if !missing.is_empty() {
        message = format!("{message}; a policy has to allow {}", missing.join(", "));
    }
    let error = Error::new(first.kind(), message).retryable(first.is_retryable());
    Some(error.during("check AWS"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_one_error_of_the_first_kind_that_names_what_is_missing() {
        let denied = || Err(Error::access_denied("no"));
        let probe = |action, resource, outcome| Probe::new(action, "r-1", resource, outcome);
        let checked =
            |probes| [Checked { connector: "a".to_owned(), region: "r-1".to_owned(), probes }];
        assert!(failure(&checked(vec![probe("a:B", "*", Ok(String::new()))])).is_none());
        let error = failure(&checked(vec![
            probe("a:B", "*", Ok(String::new())),
            probe("a:C", "*", denied()),
            probe("a:D", "key", denied()),
            probe("a:E", "key", Err(Error::unavailable("gone"))),
        ]));
        let error = error.expect("failed");
        assert_eq!((error.kind(), error.operation()), (ErrorKind::AccessDenied, Some("check AWS")));
        assert_eq!(error.message(), "3 of 4 calls failed; a policy has to allow a:C, a:D on key");
    }
}
