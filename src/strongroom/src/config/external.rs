//! `[[store.references]]`: the external stores that references may lead to.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Deserialize;
use strongroom_core::reference::is_store_name;
use strongroom_core::{Error, Result};

use super::Config;

/// `[[store.references]]`: an external store that references may lead to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ExternalSection {
    /// What references call it.
    pub name: String,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: ReferenceType,
    /// The configuration of another strongroom.
    pub config: PathBuf,
    /// The connector that reaches it.
    pub connector: Option<String>,
    /// What paths have to begin with.
    pub below: Option<String>,
}

/// The kinds of external stores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ReferenceType {
    /// The store of another configuration.
    #[default]
    Strongroom,
    /// Secrets of AWS that others look after.
    #[cfg(feature = "aws")]
    AwsSecretsManager,
    /// Secrets in Vault's KV engines that others look after.
    #[cfg(feature = "vault")]
    VaultKv,
    /// Credentials that Vault makes when they are read.
    #[cfg(feature = "vault")]
    VaultDynamic,
}

impl Config {
    /// The external store of this name.
    pub(super) fn external_section(&self, name: &str) -> Option<&ExternalSection> {
        self.store.references.iter().find(|entry| entry.name == name)
    }

    /// Every external store has a name of its own that can stand in a reference.
    pub(super) fn check_references(&self) -> Result<()> {
        let mut names = BTreeSet::new();
        for (index, entry) in self.store.references.iter().enumerate() {
            let what = if !is_store_name(&entry.name) {
                "needs a name: a letter, and then letters, digits, - and _"
            } else if matches!(&*entry.name, "env" | "file") {
                "has the name env or file, which begin env:NAME and file:PATH in this file"
            } else if !names.insert(entry.name.as_str()) {
                "has the name of another one"
            } else {
                match self.check_external(entry) {
                    Ok(()) => continue,
                    Err(what) => what,
                }
            };
            let place = index + 1;
            return Err(Error::configuration(format!("[[store.references]] {place} {what}")));
        }
        Ok(())
    }

    #[allow(clippy::unused_self, reason = "without a backend there are no connectors")]
    fn check_external(&self, entry: &ExternalSection) -> Result<(), &'static str> {
        let has_config = !entry.config.as_os_str().is_empty();
        match entry.kind {
            ReferenceType::Strongroom if !has_config => {
                Err("needs config, the configuration file of the other store")
            }
            ReferenceType::Strongroom if entry.connector.is_some() || entry.below.is_some() => {
                Err("has connector or below, which have no use with type = \"strongroom\"")
            }
            ReferenceType::Strongroom => Ok(()),
            #[cfg(feature = "aws")]
            ReferenceType::AwsSecretsManager if has_config => {
                Err("has config, which has no use with type = \"aws-secrets-manager\"")
            }
            #[cfg(feature = "aws")]
            ReferenceType::AwsSecretsManager => {
                let connector = self.aws.connector(entry.connector.as_deref());
                connector.map(drop).map_err(|_| "names no connector of [[aws.connectors]]")
            }
            #[cfg(feature = "vault")]
            ReferenceType::VaultKv | ReferenceType::VaultDynamic if has_config => {
                Err("has config, which is of type = \"strongroom\"")
            }
            #[cfg(feature = "vault")]
            ReferenceType::VaultKv | ReferenceType::VaultDynamic => {
                let connector = self.vault.connector(entry.connector.as_deref());
                connector.map(drop).map_err(|_| "names no connector of [[vault.connectors]]")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Config::parse(text).expect_err(text).to_string()
    }

    #[test]
    fn external_stores_have_names_and_places() {
        let entry =
            |name: &str| format!("[[store.references]]\nname = \"{name}\"\nconfig = \"x.toml\"\n");
        let config = Config::parse(&entry("other")).expect("valid");
        assert_eq!(config.store.references[0].name, "other");
        assert!(error(&entry("a b")).contains("[[store.references]] 1 needs a name"));
        assert!(error(&entry("a").repeat(2)).contains("[[store.references]] 2 has the name"));
        for name in ["env", "file"] {
            assert!(error(&entry(name)).contains("file:PATH"), "{name}");
        }
        assert!(error("[[store.references]]\nname = \"a\"").contains("needs config"));
        let unknown = error("[[store.references]]\nnam = \"a\"");
        assert!(unknown.contains("did you mean `name`?"), "{unknown}");
    }
}
