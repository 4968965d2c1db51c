//! `[vault]`: the connectors to `HashiCorp` Vault and `OpenBao`.

mod check;
mod connect;
mod environment;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use strongroom_core::{Error, Result};

pub use self::check::VaultChecked;
pub(crate) use self::connect::transit;
use super::connector::{ConnectorSpec, Service, named};
use super::secret::ConnectorSecret;
use super::value;

/// `[vault]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct VaultSection {
    /// The connectors, by name.
    pub connectors: Vec<VaultConnector>,
}

/// `[[vault.connectors]]`: how Vault is reached, and as whom.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct VaultConnector {
    /// What the rest of the configuration calls it.
    pub name: String,
    /// The URLs of the servers of one cluster, the preferred one first.
    pub addresses: Vec<String>,
    /// The namespace that everything is in.
    pub namespace: Option<String>,
    /// Whether `VAULT_*` variables of the environment say what this does not.
    pub from_environment: bool,
    /// How a session is had.
    pub auth: VaultAuth,
    /// Where the login is, below `auth/`.
    pub auth_mount: Option<String>,
    /// The role of a login that has one.
    pub role: Option<String>,
    /// Where the token is.
    pub token: Option<ConnectorSecret>,
    /// The role id of an `AppRole`.
    pub role_id: Option<String>,
    /// Where its secret id is.
    pub secret_id: Option<ConnectorSecret>,
    /// Whether that is the token that the secret id was wrapped in.
    pub secret_id_wrapped: bool,
    /// The file with the token of a service account, or of an agent.
    pub token_file: Option<PathBuf>,
    /// Where the JSON Web Token is.
    pub jwt: Option<ConnectorSecret>,
    /// The connector to AWS whose credential signs a login.
    pub aws_connector: Option<String>,
    /// What the login's mount demands in `X-Vault-AWS-IAM-Server-ID`.
    pub server_id: Option<String>,
    /// The certificates that servers are trusted by instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// A client certificate and its chain.
    pub client_certificate: Option<PathBuf>,
    /// Where its private key is.
    pub client_key: Option<ConnectorSecret>,
    /// The name that the servers' certificates are for.
    pub server_name: Option<String>,
    /// Where the URL of a proxy is, which may hold a password.
    pub proxy: Option<ConnectorSecret>,
    /// Whether the session is ended with the process.
    pub revoke_on_close: bool,
    /// How often a failed request is made again.
    pub retries: u32,
    /// How long a connection may take to come about.
    #[serde(with = "value::duration")]
    pub connect_timeout: Duration,
    /// How long one attempt of a request may take.
    #[serde(with = "value::duration")]
    pub attempt_timeout: Duration,
    /// How long a request may take, with all attempts.
    #[serde(with = "value::duration")]
    pub timeout: Duration,
}

/// How a session at Vault is had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum VaultAuth {
    /// With a token.
    #[default]
    Token,
    /// With a role id and a secret id.
    Approle,
    /// As a service account of Kubernetes.
    Kubernetes,
    /// With a JSON Web Token.
    Jwt,
    /// As whom AWS knows.
    Aws,
    /// With the client certificate.
    Certificate,
    /// With the token that a Vault Agent keeps in a file.
    Agent,
}

impl VaultAuth {
    /// The name in a configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Approle => "approle",
            Self::Kubernetes => "kubernetes",
            Self::Jwt => "jwt",
            Self::Aws => "aws",
            Self::Certificate => "certificate",
            Self::Agent => "agent",
        }
    }
}

impl Default for VaultConnector {
    fn default() -> Self {
        Self {
            name: String::new(),
            addresses: Vec::new(),
            namespace: None,
            from_environment: false,
            auth: VaultAuth::Token,
            auth_mount: None,
            role: None,
            token: None,
            role_id: None,
            secret_id: None,
            secret_id_wrapped: false,
            token_file: None,
            jwt: None,
            aws_connector: None,
            server_id: None,
            ca_file: None,
            client_certificate: None,
            client_key: None,
            server_name: None,
            proxy: None,
            revoke_on_close: false,
            retries: 3,
            connect_timeout: Duration::from_secs(3),
            attempt_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(15),
        }
    }
}

impl VaultSection {
    /// The connector of this name; the only one there is where none is named.
    ///
    /// # Errors
    /// `Configuration` if there is none, or if it is not clear which.
    pub fn connector(&self, name: Option<&str>) -> Result<&VaultConnector> {
        let service =
            Service { called: "Vault", list: "vault.connectors", needs: "name and addresses" };
        named(&self.connectors, |one| &one.name, name, &service)
    }

    pub(super) fn check(&self) -> Result<()> {
        let mut names = BTreeSet::new();
        for (index, connector) in self.connectors.iter().enumerate() {
            let place = |what: &str| {
                let place = index + 1;
                Error::configuration(format!("[[vault.connectors]] {place}: {what}"))
            };
            connector.check().map_err(|what| place(&what))?;
            if !names.insert(&connector.name) {
                return Err(place("it has the name of another one"));
            }
        }
        Ok(())
    }
}

impl VaultConnector {
    /// What is to be known of its secrets before it connects.
    pub(super) fn spec(&self) -> ConnectorSpec<'_> {
        let secrets = [
            ("token", &self.token),
            ("secret_id", &self.secret_id),
            ("jwt", &self.jwt),
            ("client_key", &self.client_key),
            ("proxy", &self.proxy),
        ];
        let secrets =
            secrets.into_iter().filter_map(|(key, secret)| Some((key, secret.as_ref()?))).collect();
        ConnectorSpec { list: "vault.connectors", name: &self.name, secrets }
    }

    fn check(&self) -> Result<(), String> {
        use VaultAuth::{Agent, Approle, Aws, Certificate, Jwt, Kubernetes, Token};
        let is_name = !self.name.is_empty()
            && self.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if !is_name {
            return Err("it needs a name of letters, digits, - and _".to_owned());
        }
        if self.addresses.is_empty() && !self.from_environment {
            return Err("it needs addresses = [\"https://…:8200\"]".to_owned());
        }
        let kind = self.auth;
        let with_mount = [Approle, Kubernetes, Jwt, Aws, Certificate];
        let keys = [
            ("auth_mount", self.auth_mount.is_some(), &with_mount[..]),
            ("role", self.role.is_some(), &[Kubernetes, Jwt, Aws, Certificate]),
            ("token", self.token.is_some(), &[Token]),
            ("role_id", self.role_id.is_some(), &[Approle]),
            ("secret_id", self.secret_id.is_some(), &[Approle]),
            ("secret_id_wrapped", self.secret_id_wrapped, &[Approle]),
            ("token_file", self.token_file.is_some(), &[Kubernetes, Agent]),
            ("jwt", self.jwt.is_some(), &[Jwt]),
            ("aws_connector", self.aws_connector.is_some(), &[Aws]),
            ("server_id", self.server_id.is_some(), &[Aws]),
        ];
        let said = kind.as_str();
        if let Some((key, ..)) = keys.iter().find(|(_, set, of)| *set && !of.contains(&kind)) {
            return Err(format!("{key} has no use with auth = \"{said}\""));
        }
        let from_outside = self.from_environment;
        let missing = match kind {
            Token if self.token.is_none() && !from_outside => Some("token"),
            Approle if self.role_id.is_none() => Some("role_id"),
            Approle if self.secret_id_wrapped && self.secret_id.is_none() => Some("secret_id"),
            Kubernetes if self.role.is_none() => Some("role"),
            Jwt if self.jwt.is_none() => Some("jwt"),
            Agent if self.token_file.is_none() => Some("token_file"),
            Certificate if self.client_certificate.is_none() && !from_outside => {
                Some("client_certificate")
            }
            _ => None,
        };
        if let Some(key) = missing {
            return Err(format!("auth = \"{said}\" needs {key}"));
        }
        if self.client_certificate.is_some() != self.client_key.is_some() {
            return Err("client_certificate and client_key go together".to_owned());
        }
        Ok(())
    }
}
