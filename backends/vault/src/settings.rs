//! [`VaultSettings`]: how Vault is reached, and as whom.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use strongroom_core::{Clock, Error, Result, SecretBytes, SystemClock};

use crate::auth::Auth;

/// A client certificate: for TLS, and for the login with one.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    /// The certificate and its chain, in PEM.
    pub chain: PathBuf,
    /// Its private key, in PEM.
    pub key: Arc<SecretBytes>,
}

/// How Vault is reached, and as whom.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct VaultSettings {
    /// URLs of the servers of one cluster, the preferred one first.
    pub addresses: Vec<String>,
    /// The namespace that everything is in.
    pub namespace: Option<String>,
    /// Certificates, in PEM, that servers are trusted by instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// What the client shows in the TLS handshake.
    pub client_certificate: Option<ClientCertificate>,
    /// The name that the servers' certificates are for, if it is not that of the address.
    pub server_name: Option<String>,
    /// The URL of a proxy that everything goes through, perhaps with user and password.
    /// Without it, connections are direct, whatever the environment says.
    pub proxy: Option<Arc<SecretBytes>>,
    /// How a session is had.
    pub auth: Auth,
    /// Whether the session is ended when nobody uses the connection any more.
    pub revoke_on_close: bool,
    /// How often a failed request is made again.
    pub retries: u32,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long one attempt at one server may take.
    pub attempt_timeout: Duration,
    /// How long a request may take, with all attempts.
    pub timeout: Duration,
    /// The time, for what ends.
    pub clock: Arc<dyn Clock>,
}

impl VaultSettings {
    /// The server at `address`: 3 retries, 3 s to connect, 5 s for an attempt, 15 s for
    /// all of them.
    #[must_use]
    pub fn new(address: &str, auth: Auth) -> Self {
        Self {
            addresses: vec![address.to_owned()],
            namespace: None,
            ca_file: None,
            client_certificate: None,
            server_name: None,
            proxy: None,
            auth,
            revoke_on_close: false,
            retries: 3,
            connect_timeout: Duration::from_secs(3),
            attempt_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(15),
            clock: SystemClock::shared(),
        }
    }

    /// # Errors
    /// `Configuration` if the settings cannot be true: they say which, and why.
    pub(crate) fn check(&self) -> Result<()> {
        let refuse = |what: String| Err(Error::configuration(what));
        if self.addresses.is_empty() {
            return refuse("there is no address of a Vault server".to_owned());
        }
        for address in &self.addresses {
            let url = reqwest::Url::parse(address).ok();
            let good = url.as_ref().is_some_and(|url| {
                matches!(url.scheme(), "http" | "https")
                    && url.has_host()
                    && url.username().is_empty()
                    && url.password().is_none()
                    && url.query().is_none()
            });
            if !good {
                return refuse(format!(
                    "the address {} is no URL of a server: it is https://HOST:PORT",
                    address.escape_debug()
                ));
            }
        }
        let is_plain = |address: &String| address.starts_with("http://");
        if self.addresses.iter().any(is_plain) && !self.addresses.iter().all(is_plain) {
            return refuse("some addresses are with TLS and some without: use https".to_owned());
        }
        if self.server_name.is_some() && self.proxy.is_some() {
            return refuse(
                "server_name cannot be told to a proxy: use addresses with that name".to_owned(),
            );
        }
        let header = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        if let Some(namespace) = self.namespace.as_deref().filter(|name| !header(name)) {
            return refuse(format!("{} is no namespace", namespace.escape_debug()));
        }
        if self.revoke_on_close && matches!(self.auth, Auth::AgentSink(_)) {
            return refuse(
                "revoke_on_close would end the token of the agent, which others use too".to_owned(),
            );
        }
        self.auth.check(self.client_certificate.is_some())
    }
}
