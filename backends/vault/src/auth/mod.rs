//! [`Auth`]: how a session at Vault is had.

mod approle;
mod login;
mod secret;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use strongroom_core::{Error, Result};

pub use self::approle::AppRole;
pub use self::secret::{ReadSecret, SecretText};

/// How a session is had. A mount is the path below `auth/`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Auth {
    /// A token, which is renewed if Vault allows it.
    Token(SecretText),
    /// A role id and a secret id.
    AppRole(AppRole),
    /// The token of a service account, in a pod of Kubernetes.
    Kubernetes(Kubernetes),
    /// A JSON Web Token, of an `OpenID` Connect issuer or another.
    Jwt(Jwt),
    /// A request to AWS that is signed and not sent: Vault sends it to `sts_endpoint` of the
    /// mount, which has to be of the signer's region, and sees who signed.
    Aws {
        /// `aws`, if there is no other.
        mount: String,
        /// The role; without it, Vault takes the name of who signed.
        role: Option<String>,
        /// What `iam_server_id_header_value` of the mount says: a signed request is of no
        /// use at another Vault then.
        server_id: Option<String>,
        /// Who signs.
        identity: Arc<dyn Identity>,
    },
    /// The client certificate of the connection.
    Certificate {
        /// `cert`, if there is no other.
        mount: String,
        /// The role; without it, Vault tries those that it has.
        role: Option<String>,
    },
    /// A file that a Vault Agent writes its token to, and looks after.
    AgentSink(PathBuf),
}

/// Login as a service account of Kubernetes.
#[derive(Clone, Debug)]
pub struct Kubernetes {
    /// `kubernetes`, if there is no other.
    pub mount: String,
    /// The role.
    pub role: String,
    /// The token, which the kubelet renews: read at each login.
    pub token_file: PathBuf,
}

impl Kubernetes {
    /// Where a pod has its token.
    pub const TOKEN_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

    /// `role`, with the pod's own token, at `auth/kubernetes`.
    #[must_use]
    pub fn new(role: &str) -> Self {
        let mount = "kubernetes".to_owned();
        Self { mount, role: role.to_owned(), token_file: Self::TOKEN_FILE.into() }
    }
}

/// Login with a JSON Web Token.
#[derive(Clone, Debug)]
pub struct Jwt {
    /// `jwt`, if there is no other.
    pub mount: String,
    /// The role; without it, the mount's default.
    pub role: Option<String>,
    /// The token, read at each login.
    pub token: SecretText,
}

/// Who signs requests to AWS.
#[async_trait]
pub trait Identity: Send + Sync + fmt::Debug {
    /// `GetCallerIdentity` of STS as a signed POST, with the header
    /// `X-Vault-AWS-IAM-Server-ID` among what is signed if there is a `server_id`.
    async fn sign(&self, server_id: Option<&str>) -> Result<SignedRequest>;
}

/// A signed request: whoever has it can be taken for the signer for some minutes.
#[non_exhaustive]
pub struct SignedRequest {
    /// The URL.
    pub url: String,
    /// The headers, with the signature.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl SignedRequest {
    /// A signed POST.
    #[must_use]
    pub fn new(url: String, headers: Vec<(String, String)>, body: String) -> Self {
        Self { url, headers, body }
    }
}

impl fmt::Debug for SignedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedRequest").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Auth {
    pub(crate) fn check(&self, has_certificate: bool) -> Result<()> {
        let mount = match self {
            Self::Token(_) | Self::AgentSink(_) => return Ok(()),
            Self::Certificate { .. } if !has_certificate => {
                return Err(Error::configuration(
                    "a login with a certificate needs client_certificate and client_key",
                ));
            }
            Self::AppRole(login) => &login.mount,
            Self::Kubernetes(login) => &login.mount,
            Self::Jwt(login) => &login.mount,
            Self::Aws { mount, .. } | Self::Certificate { mount, .. } => mount,
        };
        let part = |part: &str| !part.is_empty() && !part.chars().any(char::is_control);
        if mount.split('/').all(part) {
            return Ok(());
        }
        Err(Error::configuration(format!(
            "{} is no mount of a login: it is the path below auth/, without slashes around it",
            mount.escape_debug()
        )))
    }
}
