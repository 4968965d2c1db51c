//! What a configuration needs of a connector to Vault, and whether it may have it.

use strongroom_core::Result;
use strongroom_vault::{Allowed, KvDirectory, Policy, TransitKey, Vault};

use super::VaultConnector;
use crate::config::{Config, KekSpec, KekType, ReferenceType, StoreType};

/// What a check of a connector has found.
#[derive(Debug)]
#[non_exhaustive]
pub struct VaultChecked {
    /// The servers, and as whom they are asked: lines to be read.
    pub servers: Result<Vec<String>>,
    /// What the token may do, path by path.
    pub allowed: Result<Vec<Allowed>>,
}

impl Config {
    /// What a policy has to allow for what this configuration does by way of `connector`:
    /// its session, the KEKs, the store, and the references that say where they lead. A
    /// mount that nothing is said of is taken for KV 2, and a key for a derived one.
    ///
    /// # Errors
    /// `Configuration` if a path cannot stand in a policy.
    pub fn vault_policy(&self, connector: &VaultConnector, read_only: bool) -> Result<Policy> {
        let mut policy = Policy::session();
        let keks = if self.store.kind.is_embedded() { self.keks() } else { Vec::new() };
        for kek in keks.iter().filter(|kek| self.is_in_vault(kek, connector)) {
            let (mount, key) = (kek.mount.unwrap_or("transit"), kek.key.unwrap_or_default());
            let at = TransitKey { mount, key, derived: true };
            policy = policy.and(Policy::transit(at, read_only)?);
        }
        let is_of = |name: Option<&str>| {
            self.vault.connector(name).is_ok_and(|of| of.name == connector.name)
        };
        let store = &self.store;
        if store.kind == StoreType::VaultKv && is_of(store.connector.as_deref()) {
            let path = match &*store.prefix {
                "" => self.scope.account.clone(),
                prefix => format!("{prefix}/{}", self.scope.account),
            };
            let version = store.engine_version.unwrap_or(2);
            let at = KvDirectory { mount: &store.mount, version, path: &path };
            policy = policy.and(Policy::kv_store(at, read_only || store.read_only)?);
        }
        for entry in store.references.iter().filter(|entry| is_of(entry.connector.as_deref())) {
            let Some(below) = &entry.below else { continue };
            let below = below.trim_end_matches('/');
            policy = match (entry.kind, below.split_once('/')) {
                (ReferenceType::VaultDynamic, _) => policy.and(Policy::leased(below)?),
                (ReferenceType::VaultKv, at) => {
                    let (mount, path) = at.unwrap_or((below, ""));
                    let at = KvDirectory { mount, version: 2, path };
                    policy.and(Policy::kv_references(at)?)
                }
                _ => policy,
            };
        }
        Ok(policy)
    }

    /// Asks Vault as whom it sees `connector`, and what that may do of what this
    /// configuration needs. Nothing is tried, and nothing that is stored is touched.
    ///
    /// # Errors
    /// What keeps the connector from being connected.
    pub async fn check_vault(
        &self,
        connector: &VaultConnector,
        read_only: bool,
    ) -> Result<VaultChecked> {
        let vault: Vault = self.connect_vault(connector).await?;
        let servers = vault.check().await;
        let allowed = match (&servers, self.vault_policy(connector, read_only)) {
            (Ok(_), Ok(policy)) => vault.allowed(&policy).await,
            (Err(error), _) => Err(error.clone()),
            (_, Err(error)) => Err(error),
        };
        Ok(VaultChecked { servers, allowed })
    }

    fn is_in_vault(&self, kek: &KekSpec<'_>, connector: &VaultConnector) -> bool {
        kek.kind == KekType::VaultTransit
            && self.vault.connector(kek.connector).is_ok_and(|of| of.name == connector.name)
    }
}
