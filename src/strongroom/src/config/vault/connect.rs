//! From a connector to Vault, and to what is reached there.

use std::sync::Arc;

use strongroom_core::{Error, ExternalStore, Result, SecretBytes, SecretStore};
use strongroom_vault::{
    AppRole, Auth, ClientCertificate, Jwt, Kubernetes, KvOptions, KvVersion, LeaseOptions,
    SecretText, Vault, VaultExternalSecrets, VaultKv, VaultLeases, VaultSettings, VaultTransit,
};

use super::{VaultAuth, VaultConnector};
use crate::config::connector::inside;
use crate::config::{Config, ConnectorSecret, ExternalSection, KekSpec, ReferenceType, StoreType};

impl Config {
    /// Prepares the connections of a connector. Vault is not asked yet, but where secrets
    /// of the connector lie in other stores, those may be.
    ///
    /// # Errors
    /// `Configuration`, with the connector's name; and what the other stores say.
    pub async fn connect_vault(&self, connector: &VaultConnector) -> Result<Vault> {
        let place = |error| inside(&format!("connector {}", connector.name), error);
        let settings = self.vault_settings(connector).await.map_err(place)?;
        Vault::connect(&settings).map_err(place)
    }

    /// What a connector becomes. Relative paths begin at the configuration's directory.
    /// What a login needs is read at each login.
    ///
    /// # Errors
    /// Those of [`connector_secret`](Self::connector_secret), with the key.
    pub async fn vault_settings(&self, connector: &VaultConnector) -> Result<VaultSettings> {
        let connector = connector.completed()?;
        let auth = self.vault_auth(&connector).await?;
        let mut settings = VaultSettings::new("", auth);
        settings.addresses.clone_from(&connector.addresses);
        settings.namespace.clone_from(&connector.namespace);
        settings.ca_file = connector.ca_file.as_ref().map(|file| self.base().join(file));
        if let (Some(chain), Some(key)) = (&connector.client_certificate, &connector.client_key) {
            let key = Arc::new(self.vault_part("client_key", key).await?);
            let chain = self.base().join(chain);
            settings.client_certificate = Some(ClientCertificate { chain, key });
        }
        settings.server_name.clone_from(&connector.server_name);
        if let Some(proxy) = &connector.proxy {
            settings.proxy = Some(Arc::new(self.vault_part("proxy", proxy).await?));
        }
        settings.revoke_on_close = connector.revoke_on_close;
        settings.retries = connector.retries;
        settings.connect_timeout = connector.connect_timeout;
        settings.attempt_timeout = connector.attempt_timeout;
        settings.timeout = connector.timeout;
        Ok(settings)
    }

    async fn vault_auth(&self, connector: &VaultConnector) -> Result<Auth> {
        let unchecked = || Error::internal("a connector to Vault was not checked");
        let text = |secret: &Option<ConnectorSecret>| {
            let source = secret.as_ref().map(|secret| self.secret_source(secret)).transpose()?;
            Ok::<_, Error>(source.map(|source| SecretText::Read(Arc::new(source))))
        };
        let mount = |usual: &str| connector.auth_mount.clone().unwrap_or_else(|| usual.to_owned());
        let role = || connector.role.clone();
        let file = || connector.token_file.as_ref().map(|file| self.base().join(file));
        Ok(match connector.auth {
            VaultAuth::Token => match text(&connector.token)? {
                Some(token) => Auth::Token(token),
                None => {
                    return Err(Error::configuration(
                        "there is no token, and VAULT_TOKEN is not set",
                    ));
                }
            },
            VaultAuth::Approle => {
                let role_id = connector.role_id.as_deref().ok_or_else(unchecked)?;
                let mut login = AppRole::new(role_id, text(&connector.secret_id)?);
                login.mount = mount("approle");
                login.wrapped = connector.secret_id_wrapped;
                Auth::AppRole(login)
            }
            VaultAuth::Kubernetes => {
                let mut login = Kubernetes::new(&role().ok_or_else(unchecked)?);
                login.mount = mount("kubernetes");
                login.token_file = file().unwrap_or(login.token_file);
                Auth::Kubernetes(login)
            }
            VaultAuth::Jwt => {
                let token = text(&connector.jwt)?.ok_or_else(unchecked)?;
                Auth::Jwt(Jwt { mount: mount("jwt"), role: role(), token })
            }
            VaultAuth::Aws => self.vault_auth_by_aws(connector, mount("aws")).await?,
            VaultAuth::Certificate => Auth::Certificate { mount: mount("cert"), role: role() },
            VaultAuth::Agent => Auth::AgentSink(file().ok_or_else(unchecked)?),
        })
    }

    /// As who a connector to AWS is.
    #[cfg(feature = "aws")]
    async fn vault_auth_by_aws(&self, connector: &VaultConnector, mount: String) -> Result<Auth> {
        let aws = self.aws.connector(connector.aws_connector.as_deref())?;
        let identity = Arc::new(crate::AwsIdentity::new(&self.connect_aws(aws).await?));
        let (role, server_id) = (connector.role.clone(), connector.server_id.clone());
        Ok(Auth::Aws { mount, role, server_id, identity })
    }

    #[cfg(not(feature = "aws"))]
    #[expect(clippy::unused_async, reason = "with AWS, that may be asked")]
    async fn vault_auth_by_aws(&self, _: &VaultConnector, _: String) -> Result<Auth> {
        Err(Error::unsupported("this build has no AWS: its feature aws is off"))
    }

    async fn vault_part(&self, key: &str, secret: &ConnectorSecret) -> Result<SecretBytes> {
        self.connector_secret(secret).await.map_err(|error| inside(key, error))
    }
}

/// A KEK in Transit.
pub(crate) fn transit(vault: &Vault, spec: &KekSpec<'_>) -> Result<VaultTransit> {
    let mount = spec.mount.unwrap_or("transit");
    VaultTransit::new(vault, mount, spec.key.unwrap_or_default())
}

impl Config {
    pub(crate) async fn open_vault_kv(&self) -> Result<Arc<dyn SecretStore>> {
        let connector = self.vault.connector(self.store.connector.as_deref())?;
        let vault = self.connect_vault(connector).await?;
        let store = &self.store;
        let mut options = KvOptions::new(&self.scope.account);
        options.mount.clone_from(&store.mount);
        options.base.clone_from(&store.prefix);
        options.version = self.kv_version();
        options.value_key.clone_from(&store.value_key);
        options.read_only = store.read_only;
        Ok(Arc::new(VaultKv::open(&vault, options).await?))
    }

    fn kv_version(&self) -> Option<KvVersion> {
        let version = self.store.engine_version?;
        Some(if version == 1 { KvVersion::One } else { KvVersion::Two })
    }

    /// What references may lead to at Vault, and never what is in our own store, which a
    /// scope hides.
    pub(crate) async fn open_vault_external(
        &self,
        entry: &ExternalSection,
    ) -> Result<Arc<dyn ExternalStore>> {
        let connector = self.vault.connector(entry.connector.as_deref())?;
        let vault = self.connect_vault(connector).await?;
        if entry.kind == ReferenceType::VaultDynamic {
            let mut options = LeaseOptions::default();
            options.only_below.extend(entry.below.clone());
            options.revoke_on_close = connector.revoke_on_close;
            return Ok(Arc::new(VaultLeases::new(&vault, options)));
        }
        let mut external = VaultExternalSecrets::new(&vault);
        if let Some(below) = &entry.below {
            external = external.only_below(below);
        }
        if self.store.kind == StoreType::VaultKv {
            external = external.value_key(&self.store.value_key)?;
            external = external.never_below(&self.kv_directory());
        }
        Ok(Arc::new(external))
    }

    /// Where the secrets of this configuration's store are: `MOUNT/PREFIX/`.
    fn kv_directory(&self) -> String {
        match (&*self.store.mount, &*self.store.prefix) {
            (mount, "") => format!("{mount}/"),
            (mount, prefix) => format!("{mount}/{prefix}/"),
        }
    }
}
