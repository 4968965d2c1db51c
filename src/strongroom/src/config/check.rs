//! What no single value of a configuration shows: what belongs together, and what does
//! not.

use strongroom_core::{Error, Result};

use super::{Config, KekSpec, KekType, ProtectionType, StoreSection, StoreType};

/// Keys that have no use, as far as they are set.
type Keys = Vec<(&'static str, bool)>;

impl Config {
    pub(super) fn check(&self) -> Result<()> {
        self.scope()?;
        self.sidecar.check()?;
        self.check_references()?;
        let store = self.check_store();
        store.map_err(|error| inside("[store]", &error))?;
        #[cfg(feature = "aws")]
        self.aws.check()?;
        #[cfg(feature = "vault")]
        self.vault.check()?;
        self.check_connector_secrets()?;
        for (index, spec) in self.keks().iter().enumerate() {
            let kek = self.check_kek(spec, index > 0);
            kek.map_err(|error| inside(&spec.place, &error))?;
        }
        self.check_quorum()
    }

    fn check_store(&self) -> Result<()> {
        let store = &self.store;
        if store.moving_to.is_some() && !store.kind.is_embedded() {
            return refuse("moving_to is of an embedded store: other secrets do not move");
        }
        let kind = store.kind.as_str();
        match store.kind {
            StoreType::Sled | StoreType::Redb => {
                let connector = ("connector", store.connector.is_some());
                unused(
                    kind,
                    &[vec![connector], of_aws_store(store), of_vault_store(store)].concat(),
                )
            }
            #[cfg(feature = "aws")]
            StoreType::AwsSecretsManager => {
                unused(kind, &of_vault_store(store))?;
                self.aws.connector(store.connector.as_deref()).map(drop)
            }
            #[cfg(feature = "vault")]
            StoreType::VaultKv => {
                unused(kind, &of_aws_store(store))?;
                if store.engine_version.is_some_and(|version| !matches!(version, 1 | 2)) {
                    return refuse("engine_version is 1 or 2");
                }
                self.vault.connector(store.connector.as_deref()).map(drop)
            }
        }
    }

    #[allow(clippy::unused_self, reason = "without a backend there are no connectors")]
    fn check_kek(&self, spec: &KekSpec<'_>, is_further: bool) -> Result<()> {
        match spec.kind {
            KekType::Local => check_local(spec, is_further),
            #[cfg(feature = "aws")]
            KekType::AwsKms => {
                if spec.key.is_none() {
                    return refuse("type = \"aws-kms\" needs key = \"…\", best the key's ARN");
                }
                unused("aws-kms", &[of_key_file(spec), of_vault_key(spec)].concat())?;
                self.aws.connector(spec.connector).map(drop)
            }
            #[cfg(feature = "vault")]
            KekType::VaultTransit => {
                if spec.key.is_none() {
                    return refuse("type = \"vault-transit\" needs key = \"…\", its name there");
                }
                unused("vault-transit", &[of_key_file(spec), of_aws_key(spec)].concat())?;
                self.vault.connector(spec.connector).map(drop)
            }
        }
    }

    fn check_quorum(&self) -> Result<()> {
        let kek = &self.kek;
        if kek.rotate_after.is_some() && kek.kind != KekType::Local {
            return refuse(
                "[kek] rotate_after is of a local KEK: another one is rotated by its KMS",
            );
        }
        match (kek.quorum, 1 + kek.more.len()) {
            (None, 1) => Ok(()),
            (Some(quorum), count) if (1..=count).contains(&quorum) => Ok(()),
            (None, count) => refuse(&format!(
                "[kek] quorum is missing: of {count} KEKs, how many have to wrap a DEK before a \
                 write succeeds? {count} is the safest, 1 the most available"
            )),
            (Some(quorum), count) => refuse(&format!(
                "[kek] quorum is {quorum}: from 1 to {count} can be met, the number of KEKs"
            )),
        }
    }
}

/// Whether all that is said of a local KEK can be true of it.
fn check_local(spec: &KekSpec<'_>, is_further: bool) -> Result<()> {
    let misplaced = |key: &str, of: &str| {
        refuse(&format!("{key} has no use without {of}: set that, or remove {key}"))
    };
    if spec.passphrase.is_some() && spec.protection != ProtectionType::Passphrase {
        return misplaced("passphrase", "protection = \"passphrase\"");
    }
    if spec.credential.is_some() && spec.protection != ProtectionType::Credential {
        return misplaced("credential", "protection = \"credential\"");
    }
    if spec.credential.is_none() && spec.protection == ProtectionType::Credential {
        return refuse("protection = \"credential\" needs credential = \"NAME\"");
    }
    let of_kms = [("connector", spec.connector.is_some()), ("key", spec.key.is_some())];
    let of_kms = [of_kms.to_vec(), of_aws_key(spec), of_vault_key(spec)].concat();
    if let Some((key, _)) = of_kms.iter().find(|(_, set)| *set) {
        return misplaced(key, "a KMS as type");
    }
    if is_further && spec.key_file.as_os_str().is_empty() {
        return refuse("needs key_file");
    }
    if is_further && spec.protection == ProtectionType::Passphrase && spec.passphrase.is_none() {
        return refuse(
            "needs passphrase = \"env:NAME\" or \"file:PATH\": nobody is asked for several",
        );
    }
    Ok(())
}

fn of_aws_key(spec: &KekSpec<'_>) -> Keys {
    vec![("replicas", !spec.replicas.is_empty()), ("former_keys", !spec.former_keys.is_empty())]
}

fn of_vault_key(spec: &KekSpec<'_>) -> Keys {
    vec![("mount", spec.mount.is_some())]
}

#[cfg(any(feature = "aws", feature = "vault"))]
fn of_key_file(spec: &KekSpec<'_>) -> Keys {
    vec![
        ("protection", spec.protection != ProtectionType::None),
        ("passphrase", spec.passphrase.is_some()),
        ("credential", spec.credential.is_some()),
    ]
}

fn of_aws_store(store: &StoreSection) -> Keys {
    vec![("kms_key", store.kms_key.is_some()), ("force_delete", store.force_delete)]
}

fn of_vault_store(store: &StoreSection) -> Keys {
    let usual = StoreSection::default();
    vec![
        ("mount", store.mount != usual.mount),
        ("engine_version", store.engine_version.is_some()),
        ("value_key", store.value_key != usual.value_key),
        ("read_only", store.read_only),
    ]
}

fn unused(kind: &str, keys: &[(&str, bool)]) -> Result<()> {
    match keys.iter().find(|(_, set)| *set) {
        Some((key, _)) => refuse(&format!("{key} has no use with type = \"{kind}\"")),
        None => Ok(()),
    }
}

fn refuse(what: &str) -> Result<()> {
    Err(Error::configuration(what.to_owned()))
}

fn inside(place: &str, error: &Error) -> Error {
    Error::configuration(format!("{place} {}", error.message()))
}
