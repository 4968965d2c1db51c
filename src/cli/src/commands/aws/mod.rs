//! `strongroom aws`

mod check;
mod kubeconfig;
mod policy;
mod trust_policy;

use clap::Subcommand;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde::Serialize;
use strongroom::aws::policy::{Input, Partition, PolicyError};

use crate::context::Context;
use crate::failure::{Failure, Result};

/// Make what AWS has to be told, policies and the like, and check what it allows
///
/// Only `check` asks AWS anything: the documents are for you to read and to apply.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom aws check
  strongroom aws policy --for s3-read --bucket artifacts
  strongroom aws trust-policy cross-account --principal 111122223333
  strongroom aws kubeconfig --help")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::Args),
    Policy(policy::Args),
    TrustPolicy(trust_policy::Args),
    Kubeconfig(kubeconfig::Args),
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Result {
        match self.command {
            Command::Check(args) => args.run(context),
            Command::Policy(args) => args.run(context),
            Command::TrustPolicy(args) => args.run(context),
            Command::Kubeconfig(args) => args.run(context),
        }
    }
}

/// The document as it is, over several lines for people and on one with `--json`.
fn show(context: &Context, document: &impl Serialize) -> Result {
    context.output.show(document, |out| {
        serde_json::to_writer_pretty(&mut *out, document)?;
        writeln!(out)
    })
}

/// What is wrong with a command line is told with its flags.
fn failure(error: PolicyError) -> Failure {
    match &error {
        PolicyError::Missing { input, .. } => {
            let hint = flag(*input).map(|flag| format!(": give {flag}, or --any-resource"));
            Failure::Usage(format!("{error}{}", hint.unwrap_or_default()))
        }
        PolicyError::TooLarge { .. } => {
            Failure::Engine(strongroom::Error::from(error).during("make the document"))
        }
        _ => Failure::Usage(error.to_string()),
    }
}

fn flag(input: Input) -> Option<&'static str> {
    Some(match input {
        Input::Region => "--region",
        Input::Account => "--aws-account",
        Input::KmsKey => "--key",
        Input::SecretPrefix => "--prefix",
        Input::Bucket => "--bucket",
        Input::Repository => "--repository",
        Input::Cluster => "--cluster",
        Input::NamePrefix => "--name-prefix",
        _ => return None,
    })
}

fn partitions() -> impl TypedValueParser<Value = Partition> {
    PossibleValuesParser::new(Partition::ALL.map(Partition::as_str))
        .try_map(|name| name.parse::<Partition>())
}
