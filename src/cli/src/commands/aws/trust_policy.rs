//! `strongroom aws trust-policy`

use clap::Subcommand;
use strongroom::Scope;
use strongroom::aws::policy::{CrossAccountTrust, OidcTrust, Partition, SessionTag};

use super::{failure, partitions, show};
use crate::context::Context;
use crate::failure::Result;

/// Write a role's trust policy: who may assume it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom aws trust-policy oidc --aws-account 111122223333 \\
    --issuer https://manager.example.com/oidc/account/acme --subject-of acme/ops/web
  strongroom aws trust-policy irsa --help
  strongroom aws trust-policy cross-account --help")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Oidc(Oidc),
    Irsa(Irsa),
    CrossAccount(CrossAccount),
}

/// Trust the tokens of an OIDC provider, by subject
///
/// The provider has to be known to IAM in the account, by the address that its tokens
/// have as issuer.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom aws trust-policy oidc --aws-account 111122223333 \\
    --issuer https://manager.example.com/oidc/account/acme --subject-of acme/ops/web")]
struct Oidc {
    #[command(flatten)]
    provider: Provider,
    /// A subject that is trusted; * and ? stand for others
    #[arg(long, value_name = "SUBJECT", required_unless_present_any = ["subject_of", "any_subject"])]
    subject: Vec<String>,
    /// The subject of a connector of this scope, as the manager's issuer writes it
    #[arg(long, value_name = "SCOPE")]
    subject_of: Vec<Scope>,
    /// Trust any subject of the issuer
    #[arg(long, conflicts_with_all = ["subject", "subject_of"])]
    any_subject: bool,
    /// A session tag that tokens may set, to this value or any
    #[arg(long, value_name = "KEY[=VALUE]", value_parser = session_tag)]
    session_tag: Vec<SessionTag>,
}

/// Trust a service account of Kubernetes on EKS (IAM roles for service accounts)
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom aws trust-policy irsa --aws-account 111122223333 \\
    --issuer https://oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF \\
    --namespace delegates --service-account delegate")]
struct Irsa {
    #[command(flatten)]
    provider: Provider,
    /// The namespace of the service account
    #[arg(long, value_name = "NAMESPACE")]
    namespace: String,
    /// The service account
    #[arg(long, value_name = "NAME")]
    service_account: String,
}

#[derive(Debug, clap::Args)]
struct Provider {
    /// The issuer's address, as its tokens have it
    #[arg(long, value_name = "URL")]
    issuer: String,
    /// The AWS account of the role and the provider: 12 digits
    #[arg(long, value_name = "ID")]
    aws_account: String,
    /// The account's partition
    #[arg(long, value_name = "PARTITION", default_value = "aws", value_parser = partitions())]
    partition: Partition,
    /// An audience that a token has to have [default: sts.amazonaws.com, in China too]
    #[arg(long, value_name = "AUDIENCE")]
    audience: Vec<String>,
}

/// Trust another account, or roles and users of it
///
/// An account as a whole lets in whom its own policies allow to.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom aws trust-policy cross-account --principal 111122223333 --external-id Example-987
  strongroom aws trust-policy cross-account \\
    --principal arn:aws:iam::111122223333:role/delegate --session-tag team=web")]
struct CrossAccount {
    /// Whom: an account's 12 digits, or the ARN of a role or user
    #[arg(long, value_name = "PRINCIPAL", required = true)]
    principal: Vec<String>,
    /// What they have to say to assume the role
    #[arg(long, value_name = "ID")]
    external_id: Vec<String>,
    /// A session tag that they may set, to this value or any
    #[arg(long, value_name = "KEY[=VALUE]", value_parser = session_tag)]
    session_tag: Vec<SessionTag>,
    /// The partition
    #[arg(long, value_name = "PARTITION", default_value = "aws", value_parser = partitions())]
    partition: Partition,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result {
        let policy = match self.command {
            Command::Oidc(args) => args.trust().policy(),
            Command::Irsa(args) => {
                let trust = args.provider.trust();
                let trust = trust.service_account(&args.namespace, &args.service_account);
                trust.and_then(|trust| trust.policy())
            }
            Command::CrossAccount(args) => CrossAccountTrust {
                principals: args.principal,
                partition: args.partition,
                external_ids: args.external_id,
                session_tags: args.session_tag,
            }
            .policy(),
        };
        show(context, &policy.map_err(failure)?)
    }
}

impl Oidc {
    fn trust(self) -> OidcTrust {
        let mut trust = self.provider.trust();
        trust.subjects = self.subject;
        trust.subjects.extend(self.subject_of.iter().map(OidcTrust::subject_of));
        trust.any_subject = self.any_subject;
        trust.session_tags = self.session_tag;
        trust
    }
}

impl Provider {
    fn trust(self) -> OidcTrust {
        let mut trust = OidcTrust::new(&self.issuer, &self.aws_account);
        trust.partition = self.partition;
        trust.audiences = self.audience;
        trust
    }
}

/// `KEY` or `KEY=VALUE`.
#[expect(clippy::unnecessary_wraps, reason = "as clap calls it")]
fn session_tag(text: &str) -> std::result::Result<SessionTag, std::convert::Infallible> {
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned())),
        None => (text, None),
    };
    Ok(SessionTag { key: key.to_owned(), value })
}
