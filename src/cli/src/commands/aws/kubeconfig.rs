//! `strongroom aws kubeconfig`

use std::io::Write;
use std::path::PathBuf;

use serde_json::json;
use strongroom::aws::EksCluster;

use super::{failure, show};
use crate::context::Context;
use crate::failure::Result;
use crate::output::BOLD;
use crate::value;
use crate::whole_file::{bytes_to_file, bytes_to_new_file};

/// No chain of certificates is nearly as long.
const MAX_CERTIFICATE_BYTES: usize = 1 << 20;

/// Write a kubeconfig for a cluster of EKS
///
/// Tokens are made by `aws-iam-authenticator`, which has to be installed where the
/// file is used, with the AWS credential that it finds there. The file has no secret in
/// it. It is JSON, which is YAML too.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom aws kubeconfig --cluster prod --region eu-central-1 --aws-account 111122223333 \\
    --endpoint https://0123ABCD.gr7.eu-central-1.eks.amazonaws.com \\
    --ca-file ca.pem --output kubeconfig
  kubectl --kubeconfig kubeconfig get nodes")]
pub(super) struct Args {
    /// The cluster's name
    #[arg(long, value_name = "CLUSTER")]
    cluster: String,
    /// The address of its API server, as EKS shows it
    #[arg(long, value_name = "URL")]
    endpoint: String,
    /// Its certificate authority, base64 as EKS shows it
    #[arg(long, value_name = "BASE64", required_unless_present = "ca_file")]
    ca_data: Option<String>,
    /// The same in a file, as base64 or PEM; - is stdin
    #[arg(long, value_name = "FILE", conflicts_with = "ca_data")]
    ca_file: Option<PathBuf>,
    /// The cluster's region
    #[arg(long, value_name = "REGION")]
    region: String,
    /// The cluster's account: with it, its ARN names the context
    #[arg(long, value_name = "ID")]
    aws_account: Option<String>,
    /// A role to assume for tokens: an ARN
    #[arg(long, value_name = "ARN")]
    role: Option<String>,
    /// What that role's trust policy asks for
    #[arg(long, value_name = "ID", requires = "role")]
    external_id: Option<String>,
    /// The name of that role's session
    #[arg(long, value_name = "NAME", requires = "role")]
    session_name: Option<String>,
    /// Write to this new file instead of stdout, wholly or not at all, readable by you
    /// only
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file
    #[arg(long, requires = "output")]
    force: bool,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result {
        let certificate_authority = match (self.ca_data, &self.ca_file) {
            (Some(data), _) => data.into_bytes(),
            (None, Some(path)) if path.as_os_str() == "-" => {
                value::from_stdin(MAX_CERTIFICATE_BYTES)?.expose().to_vec()
            }
            (None, Some(path)) => value::from_file(path, MAX_CERTIFICATE_BYTES)?.expose().to_vec(),
            (None, None) => Vec::new(),
        };
        let cluster = EksCluster {
            cluster: self.cluster,
            endpoint: self.endpoint,
            certificate_authority,
            region: self.region,
            aws_account: self.aws_account,
            role_arn: self.role,
            external_id: self.external_id,
            session_name: self.session_name,
        };
        let kubeconfig = cluster.kubeconfig().map_err(failure)?;
        let Some(path) = self.output else { return show(context, &kubeconfig) };
        let mut text = serde_json::to_vec_pretty(&kubeconfig).map_err(std::io::Error::from)?;
        writeln!(text)?;
        if self.force {
            bytes_to_file(&path, &text)?;
        } else {
            bytes_to_new_file(&path, &text)?;
        }
        let name = kubeconfig.context();
        context.output.show(&json!({ "output": path, "context": name }), |out| {
            writeln!(out, "{BOLD}{}{BOLD:#}: context {name}", path.display())
        })
    }
}
