//! What `VAULT_*` variables say, for a connector that lets them (`from_environment`):
//! those of Vault's own command line, by their names there.

use std::env;
use std::path::PathBuf;

use strongroom_core::{Error, Result};

use super::VaultConnector;
use crate::config::secret::ConnectorSecret;
use crate::config::value::SecretRef;

impl VaultConnector {
    /// This connector, with what it does not say itself from the environment.
    pub(super) fn completed(&self) -> Result<Self> {
        let mut whole = self.clone();
        if !self.from_environment {
            return Ok(whole);
        }
        if whole.addresses.is_empty() {
            let address = text("VAULT_ADDR")?.ok_or_else(|| {
                Error::configuration("there are no addresses, and VAULT_ADDR is not set")
            })?;
            whole.addresses = vec![address];
        }
        let file = |variable| Ok::<_, Error>(env::var_os(variable).map(PathBuf::from));
        whole.namespace = or(whole.namespace, || text("VAULT_NAMESPACE"))?;
        whole.server_name = or(whole.server_name, || text("VAULT_TLS_SERVER_NAME"))?;
        whole.ca_file = or(whole.ca_file, || file("VAULT_CACERT"))?;
        if whole.client_certificate.is_none() {
            whole.client_certificate = file("VAULT_CLIENT_CERT")?;
            whole.client_key =
                file("VAULT_CLIENT_KEY")?.map(|path| ConnectorSecret::Local(SecretRef::File(path)));
        }
        if whole.token.is_none() && env::var_os("VAULT_TOKEN").is_some() {
            let token = SecretRef::Env("VAULT_TOKEN".to_owned());
            whole.token = Some(ConnectorSecret::Local(token));
        }
        Ok(whole)
    }
}

fn or<T>(said: Option<T>, else_: impl FnOnce() -> Result<Option<T>>) -> Result<Option<T>> {
    said.map_or_else(else_, |said| Ok(Some(said)))
}

fn text(variable: &str) -> Result<Option<String>> {
    match env::var(variable) {
        Ok(text) => Ok(Some(text).filter(|text| !text.is_empty())),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => {
            Err(Error::configuration(format!("{variable} is no UTF-8")))
        }
    }
}
