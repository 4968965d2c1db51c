//! [`AwsIdentity`]: a login at Vault as who a connection to AWS is.

use std::fmt;

use async_trait::async_trait;
use strongroom_aws::Aws;
use strongroom_core::Result;
use strongroom_vault::{Identity, SignedRequest};

/// The header that Vault asks for if its mount has `iam_server_id_header_value` (Vault's
/// API documentation, "AWS auth method").
const SERVER_ID: &str = "x-vault-aws-iam-server-id";

/// Logs in at Vault as who a connection to AWS is. `sts_endpoint` and `sts_region` of
/// Vault's mount have to be of the connection's region.
#[derive(Clone)]
pub struct AwsIdentity(Aws);

impl AwsIdentity {
    /// Who `aws` is.
    #[must_use]
    pub fn new(aws: &Aws) -> Self {
        Self(aws.clone())
    }
}

#[async_trait]
impl Identity for AwsIdentity {
    async fn sign(&self, server_id: Option<&str>) -> Result<SignedRequest> {
        let header = server_id.map(|server_id| (SERVER_ID, server_id));
        let signed = self.0.sign_caller_identity(header).await?;
        Ok(SignedRequest::new(signed.url, signed.headers, signed.body))
    }
}

impl fmt::Debug for AwsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AwsIdentity").field(&self.0).finish()
    }
}
