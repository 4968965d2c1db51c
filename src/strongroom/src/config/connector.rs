//! Connectors of every backend, as far as their secrets are concerned: what each needs
//! before it connects, and what needs which of them.

use strongroom_core::{Error, Reference, Result};

#[cfg(feature = "aws")]
use super::AwsConnector;
#[cfg(all(feature = "aws", feature = "vault"))]
use super::VaultAuth;
#[cfg(feature = "vault")]
use super::VaultConnector;
use super::parse::suggestion;
use super::{Config, ConnectorSecret, ExternalSection, KekSpec, KekType, ReferenceType, StoreType};

/// A connector of some backend.
pub(super) struct ConnectorSpec<'a> {
    /// The list that it stands in.
    pub(super) list: &'static str,
    pub(super) name: &'a str,
    /// The secret parts that it has, by their keys.
    pub(super) secrets: Vec<(&'static str, &'a ConnectorSecret)>,
}

/// The connector `name` of those that lead to `service`; the only one there is where none
/// is named.
///
/// # Errors
/// `Configuration` if there is none, or if it is not clear which.
#[cfg(any(feature = "aws", feature = "vault"))]
pub(super) fn named<'a, T>(
    connectors: &'a [T],
    name_of: impl Fn(&T) -> &str,
    name: Option<&str>,
    service: &Service,
) -> Result<&'a T> {
    let Service { called, list, needs } = service;
    let names = || connectors.iter().map(&name_of).collect::<Vec<_>>().join(", ");
    let what = match (name, connectors) {
        (None, [only]) => return Ok(only),
        (None, []) => {
            format!("there is no connector to {called}: it needs [[{list}]] with {needs}")
        }
        (None, _) => {
            format!("there are several connectors to {called}: set connector to one of {}", names())
        }
        (Some(name), all) => {
            if let Some(found) = all.iter().find(|one| name_of(one) == name) {
                return Ok(found);
            }
            let known = if all.is_empty() { "" } else { ": known are " };
            let name = name.escape_debug();
            format!("there is no connector {name} in [[{list}]]{known}{}", names())
        }
    };
    Err(Error::configuration(what))
}

/// What connectors lead to.
#[cfg(any(feature = "aws", feature = "vault"))]
pub(super) struct Service {
    pub(super) called: &'static str,
    /// Where its connectors stand.
    pub(super) list: &'static str,
    /// What each of them needs.
    pub(super) needs: &'static str,
}

/// The error of a part of a connector.
#[cfg(any(feature = "aws", feature = "vault"))]
pub(super) fn inside(what: &str, error: Error) -> Error {
    let message = format!("{what}: {}", error.message());
    let placed = Error::new(error.kind(), message).retryable(error.is_retryable());
    placed.with_source(error)
}

impl Config {
    /// The connectors.
    #[allow(clippy::unused_self, reason = "without a backend there are no connectors")]
    pub(super) fn connectors(&self) -> Vec<ConnectorSpec<'_>> {
        #[allow(unused_mut, reason = "without a backend there are none")]
        let mut connectors = Vec::new();
        #[cfg(feature = "aws")]
        connectors.extend(self.aws.connectors.iter().map(AwsConnector::spec));
        #[cfg(feature = "vault")]
        connectors.extend(self.vault.connectors.iter().map(VaultConnector::spec));
        connectors
    }

    /// Those that have to connect before the store can be opened.
    pub(super) fn connectors_of_store(&self) -> Vec<ConnectorSpec<'_>> {
        match self.store.kind {
            StoreType::Sled | StoreType::Redb => self.connectors_of_keks(),
            #[cfg(feature = "aws")]
            StoreType::AwsSecretsManager => self.aws_spec(self.store.connector.as_deref()),
            #[cfg(feature = "vault")]
            StoreType::VaultKv => self.vault_spec(self.store.connector.as_deref()),
        }
    }

    fn connectors_of_keks(&self) -> Vec<ConnectorSpec<'_>> {
        let of = |spec: KekSpec<'_>| match spec.kind {
            KekType::Local => Vec::new(),
            #[cfg(feature = "aws")]
            KekType::AwsKms => self.aws_spec(spec.connector),
            #[cfg(feature = "vault")]
            KekType::VaultTransit => self.vault_spec(spec.connector),
        };
        self.keks().into_iter().flat_map(of).collect()
    }

    /// The one that reaches an external store, if one does.
    #[allow(clippy::unused_self, reason = "without a backend there are no connectors")]
    pub(super) fn connectors_of_external(&self, entry: &ExternalSection) -> Vec<ConnectorSpec<'_>> {
        match entry.kind {
            ReferenceType::Strongroom => Vec::new(),
            #[cfg(feature = "aws")]
            ReferenceType::AwsSecretsManager => self.aws_spec(entry.connector.as_deref()),
            #[cfg(feature = "vault")]
            ReferenceType::VaultKv | ReferenceType::VaultDynamic => {
                self.vault_spec(entry.connector.as_deref())
            }
        }
    }

    #[cfg(feature = "aws")]
    fn aws_spec(&self, name: Option<&str>) -> Vec<ConnectorSpec<'_>> {
        self.aws.connector(name).map(AwsConnector::spec).into_iter().collect()
    }

    /// That of a connector to Vault, and of the one to AWS that it logs in with.
    #[cfg(feature = "vault")]
    fn vault_spec(&self, name: Option<&str>) -> Vec<ConnectorSpec<'_>> {
        let Ok(connector) = self.vault.connector(name) else { return Vec::new() };
        let mut specs = vec![connector.spec()];
        #[cfg(feature = "aws")]
        if connector.auth == VaultAuth::Aws {
            specs.extend(self.aws_spec(connector.aws_connector.as_deref()));
        }
        specs
    }

    /// Whether what the connector of an external store needs is at hand, and lies in no
    /// other store.
    #[cfg(all(feature = "aws", feature = "local"))]
    pub(crate) fn has_secrets_for(&self, entry: &ExternalSection) -> bool {
        !self.connectors_of_external(entry).iter().any(ConnectorSpec::leads_into_stores)
    }

    /// Whether connectors are those of `other`, with their secrets from the same places.
    pub(crate) fn has_connectors_of(&self, other: &Self) -> bool {
        #[cfg(feature = "aws")]
        if self.aws != other.aws {
            return false;
        }
        #[cfg(feature = "vault")]
        if self.vault != other.vault {
            return false;
        }
        !self.connectors().iter().any(ConnectorSpec::leads_into_stores)
            || self.store.references == other.store.references
    }

    /// Every secret that lies in an external store lies in one that there is.
    pub(super) fn check_connector_secrets(&self) -> Result<()> {
        let known: Vec<_> = self.store.references.iter().map(|entry| &*entry.name).collect();
        for connector in self.connectors() {
            for (key, reference) in connector.references() {
                if known.contains(&reference.store()) {
                    continue;
                }
                let hint = match &*known {
                    [] => ": there are none".to_owned(),
                    known => suggestion(reference.store(), known),
                };
                // What stands there is not repeated: it may be the secret itself.
                return Err(Error::configuration(format!(
                    "{}: {key} names a store that is none of [[store.references]]{hint}",
                    connector.place()
                )));
            }
        }
        Ok(())
    }
}

impl ConnectorSpec<'_> {
    /// What a message calls it.
    pub(super) fn place(&self) -> String {
        format!("[[{}]] {}", self.list, self.name)
    }

    /// The secret parts that lie in external stores.
    pub(super) fn references(&self) -> impl Iterator<Item = (&'static str, &Reference)> {
        self.secrets.iter().filter_map(|(key, secret)| Some((*key, secret.reference()?)))
    }

    /// Whether one does.
    pub(super) fn leads_into_stores(&self) -> bool {
        self.references().next().is_some()
    }
}
