//! `strongroom aws policy`

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use strongroom::aws::policy::{
    MANAGED_POLICY_CHARACTERS, Partition, Policy, PolicyFor, PolicyScope,
};

use super::{failure, partitions, show};
use crate::context::Context;
use crate::failure::Result;

/// Write the IAM policy that a credential needs, and no more
///
/// Each purpose needs to know what it is about: buckets, clusters, a prefix. What AWS
/// cannot be told by resource is allowed on any; every policy also lets regions be
/// listed and the own identity be asked for. Several purposes make one document.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom aws policy --for kms --account acme \\
    --key arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab
  strongroom aws policy --for secrets-manager --prefix strongroom/ \\
    --region eu-central-1 --aws-account 111122223333 --read-only
  strongroom aws policy --for kms --connector
  strongroom aws policy --for s3-read,s3-write --bucket artifacts > policy.json")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(super) struct Args {
    /// What the credential is for
    #[arg(
        long = "for",
        value_name = "PURPOSE",
        required = true,
        value_delimiter = ',',
        value_parser = purposes(),
    )]
    purposes: Vec<PolicyFor>,
    /// Fill in what the configuration uses by way of this connector, or of the only one:
    /// keys with their replicas, the prefix of secrets, and the role to assume
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "")]
    connector: Option<String>,
    /// A region that resources are in
    #[arg(long, value_name = "REGION", value_delimiter = ',')]
    region: Vec<String>,
    /// The AWS account that resources are in: 12 digits
    #[arg(long, value_name = "ID")]
    aws_account: Option<String>,
    /// The partition [default: that of the region, or of an ARN]
    #[arg(long, value_name = "PARTITION", value_parser = partitions())]
    partition: Option<Partition>,
    /// kms: a key, by ARN, id or alias. Once an alias points at another key, name the
    /// old one by ARN too, until `strongroom rewrap` is done
    #[arg(long, value_name = "KEY")]
    key: Vec<String>,
    /// kms: only for DEKs of this account of Strongroom, by the encryption context
    #[arg(long, value_name = "ACCOUNT")]
    account: Vec<String>,
    /// secrets-manager: what the names of secrets begin with
    #[arg(long, value_name = "PREFIX")]
    prefix: Vec<String>,
    /// secrets-manager: a KMS key that they are encrypted with, unless it is AWS's own
    #[arg(long, value_name = "KEY")]
    secrets_key: Vec<String>,
    /// s3-read, s3-write: a bucket
    #[arg(long, value_name = "BUCKET")]
    bucket: Vec<String>,
    /// ecr-pull, ecr-push: a repository
    #[arg(long, value_name = "REPOSITORY")]
    repository: Vec<String>,
    /// eks, eks-provision, ecs: a cluster
    #[arg(long, value_name = "CLUSTER")]
    cluster: Vec<String>,
    /// What the names of stacks, functions, groups or task definitions begin with, and
    /// of all that stacks create
    #[arg(long, value_name = "PREFIX")]
    name_prefix: Vec<String>,
    /// A role that is given to what is created: an ARN
    #[arg(long, value_name = "ARN")]
    pass_role: Vec<String>,
    /// A role that is assumed, also of another account: an ARN
    #[arg(long, value_name = "ARN")]
    assume_role: Vec<String>,
    /// Let sessions of assumed roles have tags
    #[arg(long, requires = "assume_role")]
    session_tags: bool,
    /// kms, secrets-manager: only what reading needs
    #[arg(long)]
    read_only: bool,
    /// Take any resource, account or region where none is given
    #[arg(long)]
    any_resource: bool,
    /// Write a list of documents, each as short as a managed policy has to be
    #[arg(long)]
    split: bool,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result {
        let (purposes, split) = (self.purposes.clone(), self.split);
        let scope = match self.connector.clone() {
            Some(name) => self.scope().and(configured(context, &name, &purposes)?),
            None => self.scope(),
        };
        let policy = Policy::allowing(&purposes, &scope).map_err(failure)?;
        if split {
            return show(context, &policy.split(MANAGED_POLICY_CHARACTERS).map_err(failure)?);
        }
        show(context, &policy.within(MANAGED_POLICY_CHARACTERS).map_err(failure)?)
    }

    fn scope(self) -> PolicyScope {
        PolicyScope {
            partition: self.partition,
            regions: self.region,
            aws_account: self.aws_account,
            kms_keys: self.key,
            accounts: self.account,
            secret_prefixes: self.prefix,
            secret_keys: self.secrets_key,
            buckets: self.bucket,
            repositories: self.repository,
            clusters: self.cluster,
            name_prefixes: self.name_prefix,
            pass_roles: self.pass_role,
            assume_roles: self.assume_role,
            session_tags: self.session_tags,
            read_only: self.read_only,
            any_resource: self.any_resource,
        }
    }
}

/// What the configuration uses by way of a connector.
fn configured(context: &Context, name: &str, purposes: &[PolicyFor]) -> Result<PolicyScope> {
    let config = context.config()?;
    let connector = config.aws.connector((!name.is_empty()).then_some(name))?;
    let mut scope = config.policy_scope(connector);
    // The role has another policy than who assumes it.
    if !purposes.contains(&PolicyFor::Connector) {
        scope.assume_roles.clear();
        scope.session_tags = false;
    }
    Ok(scope)
}

fn purposes() -> impl TypedValueParser<Value = PolicyFor> {
    let value = |purpose: PolicyFor| PossibleValue::new(purpose.as_str()).help(purpose.about());
    PossibleValuesParser::new(PolicyFor::ALL.map(value)).try_map(|name| name.parse::<PolicyFor>())
}
