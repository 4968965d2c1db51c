//! As whom AWS is asked.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::provider_config::ProviderConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::web_identity_token::{StaticConfiguration, WebIdentityTokenCredentialsProvider};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use strongroom_core::{Result, SecretBytes};

/// What is told to STS as the name of a session, unless the settings say another.
const SESSION_NAME: &str = "strongroom";

/// The credential that calls are signed with, or that a role is assumed with.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Credential {
    /// What the host gives: environment variables, a web-identity token that they
    /// name, the container's role, the instance's role; in this order.
    #[default]
    Host,
    /// An access key.
    AccessKey(AccessKey),
    /// A role, for the token in a file that somebody renews, as IRSA does; the file is
    /// read again each time.
    WebIdentity {
        /// The role.
        role_arn: String,
        /// The file with the token.
        token_file: PathBuf,
        /// The session's name.
        session_name: Option<String>,
    },
}

/// An access key, in guarded memory.
#[derive(Clone)]
pub struct AccessKey {
    id: String,
    secret: Arc<SecretBytes>,
    session_token: Option<Arc<SecretBytes>>,
}

/// A role that is assumed with the credential, also of another account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AssumeRole {
    /// The role.
    pub role_arn: String,
    /// What the role's trust policy asks for, against the confused deputy.
    pub external_id: Option<String>,
    /// The session's name, as the account's log has it.
    pub session_name: Option<String>,
    /// How long a session lasts; a new one is asked for before it ends.
    pub duration: Option<Duration>,
    /// Tags of the session.
    pub tags: Vec<(String, String)>,
}

impl Credential {
    /// An access key, with a session token if it is a temporary one.
    ///
    /// # Errors
    /// `InvalidName` if one of them is no text.
    pub fn access_key(
        id: &str,
        secret: SecretBytes,
        session_token: Option<SecretBytes>,
    ) -> Result<Self> {
        text(&secret)?;
        session_token.as_ref().map(text).transpose()?;
        let (secret, session_token) = (Arc::new(secret), session_token.map(Arc::new));
        Ok(Self::AccessKey(AccessKey { id: id.to_owned(), secret, session_token }))
    }

    pub(crate) fn provider(&self, config: &ProviderConfig) -> BoxedProvider {
        match self {
            Self::Host => BoxedProvider::Host(config.clone()),
            Self::AccessKey(key) => {
                BoxedProvider::Shared(SharedCredentialsProvider::new(key.clone()))
            }
            Self::WebIdentity { role_arn, token_file, session_name } => {
                let session = session_name.as_deref().unwrap_or(SESSION_NAME);
                let identity = StaticConfiguration {
                    web_identity_token_file: token_file.clone(),
                    role_arn: role_arn.clone(),
                    session_name: session.to_owned(),
                };
                let provider = WebIdentityTokenCredentialsProvider::builder();
                let provider = provider.configure(config).static_configuration(identity).build();
                BoxedProvider::Shared(SharedCredentialsProvider::new(provider))
            }
        }
    }
}

/// A provider that may have to be looked for.
pub(crate) enum BoxedProvider {
    Host(ProviderConfig),
    Shared(SharedCredentialsProvider),
}

impl BoxedProvider {
    pub(crate) async fn ready(self) -> SharedCredentialsProvider {
        match self {
            Self::Shared(provider) => provider,
            Self::Host(config) => {
                let chain = DefaultCredentialsChain::builder().configure(config).build().await;
                SharedCredentialsProvider::new(chain)
            }
        }
    }
}

impl AssumeRole {
    /// `base` is reached as the role is, and signed with what the role is assumed with.
    pub(crate) async fn provider(&self, base: &SdkConfig) -> SharedCredentialsProvider {
        let session = self.session_name.as_deref().unwrap_or(SESSION_NAME);
        let mut role = AssumeRoleProvider::builder(&self.role_arn).session_name(session);
        if let Some(id) = &self.external_id {
            role = role.external_id(id);
        }
        if let Some(duration) = self.duration {
            role = role.session_length(duration);
        }
        if !self.tags.is_empty() {
            role = role.tags(self.tags.clone());
        }
        SharedCredentialsProvider::new(role.configure(base).build().await)
    }
}

impl ProvideCredentials for AccessKey {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        // The library takes text and wipes it when it drops it.
        let made = || {
            let token = self.session_token.as_ref().map(|token| text(token)).transpose()?;
            let secret = text(&self.secret)?;
            Ok(Credentials::new(&self.id, secret, token.map(str::to_owned), None, "access key"))
        };
        future::ProvideCredentials::ready(made().map_err(|error: strongroom_core::Error| {
            CredentialsError::invalid_configuration(error)
        }))
    }
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessKey").field("id", &self.id).finish_non_exhaustive()
    }
}

fn text(secret: &SecretBytes) -> Result<&str> {
    std::str::from_utf8(secret.expose()).map_err(|_| {
        // Without the source: it tells where the first wrong byte is.
        strongroom_core::Error::invalid_name("a secret access key is text, and this one is not")
    })
}
