//! From a connector to AWS, and to what is reached there.

use std::sync::Arc;

use strongroom_aws::{
    AssumeRole, Aws, AwsExternalSecrets, AwsSecretsManager, AwsSettings, Credential,
    SecretsManagerOptions, Token, WebIdentity,
};
use strongroom_core::{Error, ExternalStore, Result, SecretBytes, SecretStore};

use super::{AwsConnector, CredentialType};
use crate::config::connector::inside;
use crate::config::{Config, ConnectorSecret, ExternalSection, StoreType};

impl Config {
    /// Prepares the connections of a connector. AWS is not asked yet, but where secrets of
    /// the connector lie in other stores, those are.
    ///
    /// # Errors
    /// `Configuration`, with the connector's name; and what the other stores say.
    pub async fn connect_aws(&self, connector: &AwsConnector) -> Result<Aws> {
        let place = |error| inside(&format!("connector {}", connector.name), error);
        let settings = self.aws_settings(connector).await.map_err(place)?;
        Aws::connect(&settings).await.map_err(place)
    }

    /// What a connector becomes. Relative paths begin at the configuration's directory, and
    /// secrets are read from where they are.
    ///
    /// # Errors
    /// Those of [`connector_secret`](Self::connector_secret), with the key.
    pub async fn aws_settings(&self, connector: &AwsConnector) -> Result<AwsSettings> {
        let mut settings = AwsSettings::new(&connector.region);
        settings.endpoint.clone_from(&connector.endpoint);
        settings.fips = connector.fips;
        settings.ca_file = connector.ca_file.as_ref().map(|file| self.base().join(file));
        settings.proxy = self.part("proxy", connector.proxy.as_ref()).await?.map(Arc::new);
        settings.credential = self.aws_credential(connector).await?;
        settings.role = connector.assume_role_arn.as_ref().map(|arn| {
            let mut role = AssumeRole::new(arn);
            role.external_id.clone_from(&connector.external_id);
            role.session_name.clone_from(&connector.session_name);
            role.duration = connector.session_duration;
            role.tags = connector.session_tags.clone().into_iter().collect();
            role
        });
        settings.backoff = connector.backoff.clone();
        settings.connect_timeout = connector.connect_timeout;
        settings.attempt_timeout = connector.attempt_timeout;
        settings.timeout = connector.timeout;
        Ok(settings)
    }

    async fn aws_credential(&self, connector: &AwsConnector) -> Result<Credential> {
        match (connector.credential, &connector.role_arn) {
            (CredentialType::Host, _) => Ok(Credential::Host),
            (CredentialType::AccessKey, _) => {
                let secret = connector.secret_access_key.as_ref();
                let secret = self.part("secret_access_key", secret).await?;
                let (Some(id), Some(secret)) = (connector.access_key_id.as_deref(), secret) else {
                    return Err(Error::internal("an access key was not checked"));
                };
                let session_token = connector.session_token.as_ref();
                let session_token = self.part("session_token", session_token).await?;
                Credential::access_key(id, secret, session_token)
            }
            (CredentialType::Irsa, None) => {
                let credential = Credential::irsa()?;
                let Credential::WebIdentity(role) = credential else { return Ok(credential) };
                Ok(Credential::WebIdentity(connector.in_sessions(role)))
            }
            (CredentialType::Irsa | CredentialType::Oidc, arn) => {
                let token = self.aws_token(connector)?;
                let role = WebIdentity::new(arn.as_deref().unwrap_or_default(), token);
                Ok(Credential::WebIdentity(connector.in_sessions(role)))
            }
        }
    }

    /// Where tokens come from: each session has one of its own.
    fn aws_token(&self, connector: &AwsConnector) -> Result<Token> {
        Ok(match (&connector.token, &connector.token_file) {
            (Some(secret), _) => Token::Source(Arc::new(self.secret_source(secret)?)),
            (None, Some(file)) => Token::File(self.base().join(file)),
            (None, None) => Token::Command(connector.token_command.clone()),
        })
    }

    /// A secret part of a connector, which it need not have.
    async fn part(
        &self,
        key: &str,
        secret: Option<&ConnectorSecret>,
    ) -> Result<Option<SecretBytes>> {
        let Some(secret) = secret else { return Ok(None) };
        self.connector_secret(secret).await.map(Some).map_err(|error| inside(key, error))
    }

    pub(crate) async fn open_aws_secrets_manager(&self) -> Result<Arc<dyn SecretStore>> {
        let connector = self.aws.connector(self.store.connector.as_deref())?;
        let aws = self.connect_aws(connector).await?;
        Ok(Arc::new(self.secrets_manager(&aws)?))
    }

    pub(super) fn secrets_manager(&self, aws: &Aws) -> Result<AwsSecretsManager> {
        let store = &self.store;
        let mut options = SecretsManagerOptions::new(&self.scope.account);
        options.prefix.clone_from(&store.prefix);
        options.kms_key_id.clone_from(&store.kms_key);
        options.force_delete_without_recovery = store.force_delete;
        if !store.force_delete {
            let days = store.recovery_window.as_secs() / (24 * 60 * 60);
            options.recovery_window_days = Some(u8::try_from(days).unwrap_or(u8::MAX));
        }
        AwsSecretsManager::new(aws, options)
    }

    pub(crate) async fn open_aws_external(
        &self,
        entry: &ExternalSection,
    ) -> Result<Arc<dyn ExternalStore>> {
        let aws = self.connect_aws(self.aws.connector(entry.connector.as_deref())?).await?;
        Ok(Arc::new(self.external_secrets(&aws, entry)))
    }

    /// Secrets of AWS that references may lead to, and never those of our own store,
    /// which a scope hides.
    pub(super) fn external_secrets(
        &self,
        aws: &Aws,
        entry: &ExternalSection,
    ) -> AwsExternalSecrets {
        let mut external = AwsExternalSecrets::new(aws);
        if let Some(below) = &entry.below {
            external = external.only_below(below);
        }
        if self.store.kind == StoreType::AwsSecretsManager {
            external = external.never_below(&format!("{}/", self.store.prefix));
        }
        external
    }
}

impl AwsConnector {
    /// Name and duration belong to the role that is assumed last.
    fn in_sessions(&self, mut role: WebIdentity) -> WebIdentity {
        if self.assume_role_arn.is_none() {
            role.session_name.clone_from(&self.session_name);
            role.duration = self.session_duration;
        }
        role
    }
}
