//! External stores of a configuration: what `[[store.references]]` names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use strongroom_core::{
    Error, ExternalStore, ExternalValue, ReferencingStore, Result, SecretStore, Select,
};

use crate::config::{Config, ReferenceType};
use crate::open::{OpenOptions, real};

/// How long another process may have the other store open.
const WAIT: Duration = Duration::from_secs(5);

impl Config {
    /// `store`, whose references lead to the stores that this configuration names.
    #[allow(clippy::unused_async, reason = "without a backend nobody is asked")]
    pub(crate) async fn referencing(
        &self,
        store: Arc<dyn SecretStore>,
    ) -> Result<Arc<dyn SecretStore>> {
        let mut external = BTreeMap::<String, Arc<dyn ExternalStore>>::new();
        for entry in &self.store.references {
            let other: Arc<dyn ExternalStore> = match entry.kind {
                ReferenceType::Strongroom => {
                    Arc::new(OtherStrongroom::new(self, &self.base().join(&entry.config)))
                }
                #[cfg(feature = "aws")]
                ReferenceType::AwsSecretsManager => {
                    let (connector, below) = (entry.connector.as_deref(), entry.below.as_deref());
                    self.open_aws_external(connector, below).await?
                }
            };
            external.insert(entry.name.clone(), other);
        }
        Ok(Arc::new(ReferencingStore::new(store, external)?))
    }
}

/// The store of another configuration. It is open only while something is read, so
/// that whoever looks after it can: a cache spares the repetition. A path is the
/// name of a secret, as it is written in the scope of that configuration, which
/// thereby says what can be referred to. Each read is recorded in its audit log.
#[derive(Debug)]
struct OtherStrongroom {
    file: PathBuf,
    description: String,
    /// The records of who refers to it.
    own_records: PathBuf,
}

impl OtherStrongroom {
    fn new(own: &Config, file: &Path) -> Self {
        let description = format!("strongroom by {}", file.display());
        Self { file: file.to_owned(), description, own_records: own.store_path() }
    }

    async fn read_secret(&self, name: &str) -> Result<ExternalValue> {
        let config = Config::load(&self.file)?;
        if real(&config.store_path())? == real(&self.own_records)? {
            let what = "it is the store that the reference is in: name the secret itself";
            return Err(Error::configuration(what));
        }
        if config.asks_for_passphrase() {
            return Err(Error::configuration(
                "its key file has a passphrase, and nobody is asked for it: set [kek] passphrase \
                 there to env:NAME or file:PATH",
            ));
        }
        let options = OpenOptions { wait: WAIT, ..OpenOptions::default() };
        let engine = config.open_alone(options).await?;
        // What is stored itself: a reference there is not followed.
        let secret = engine.get_stored(name, &Select::Latest).await?;
        Ok(ExternalValue::new(secret.value, secret.kind))
    }
}

#[async_trait]
impl ExternalStore for OtherStrongroom {
    fn describe(&self) -> &str {
        &self.description
    }

    async fn read(&self, path: &str) -> Result<ExternalValue> {
        self.read_secret(path).await.map_err(|error| error.in_store(&self.description))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use futures_executor::block_on;
    use strongroom_core::{Engine, ErrorKind, Kind, PutOptions, SecretBytes};

    use super::*;

    fn config(dir: &Path, text: &str) -> Config {
        fs::create_dir_all(dir).expect("made");
        let file = dir.join("strongroom.toml");
        fs::write(&file, text).expect("written");
        Config::load(&file).expect("valid")
    }

    fn put(engine: &Engine, name: &str, value: &str, kind: Kind) -> Result<()> {
        let value = SecretBytes::copy_from(value.as_bytes()).expect("memory");
        let options = PutOptions { kind, ..PutOptions::default() };
        block_on(engine.put(name, &value, &options)).map(drop)
    }

    fn created(config: &Config) -> Engine {
        block_on(config.create(OpenOptions::default())).expect("created")
    }

    #[test]
    fn a_reference_leads_into_another_store_and_no_further() {
        let dir = tempfile::tempdir().expect("a directory");
        let back = "[[store.references]]\nname = \"back\"\ntype = \"strongroom\"\n\
                    config = \"../own/strongroom.toml\"\n";
        let other = config(&dir.path().join("other"), back);
        let engine = created(&other);
        let login = r#"{"user": "me", "password": "s3cret"}"#;
        put(&engine, "account.db", login, Kind::Login).expect("put");
        drop(engine);
        let to = |name: &str, path: &str| {
            format!(
                "[[store.references]]\nname = \"{name}\"\ntype = \"strongroom\"\n\
                 config = \"{path}/strongroom.toml\"\n"
            )
        };
        let text = [to("other", "../other"), to("self", "."), to("gone", "../gone")].concat();
        let own = config(&dir.path().join("own"), &text);
        let engine = created(&own);
        put(&engine, "account.there", "other://account.db#password", Kind::Reference).expect("put");
        let secret = block_on(engine.get("account.there", &Select::Latest)).expect("got");
        assert!(secret.value.expose() == b"s3cret");
        assert_eq!(secret.kind, Kind::Text);

        // What it refers to stays, and was recorded over there as a read.
        block_on(engine.delete("account.there")).expect("deleted");
        block_on(engine.purge("account.there")).expect("purged");
        let log = fs::read_to_string(other.audit_path().expect("a log")).expect("readable");
        assert!(log.lines().last().expect("a line").contains("\"operation\":\"get\""), "{log}");
        let there = block_on(other.open(OpenOptions::default())).expect("opened");
        let original = block_on(there.get("account.db", &Select::Latest)).expect("got");
        assert!(original.value.expose() == login.as_bytes());

        for (reference, kind, what) in [
            ("self://account.x", ErrorKind::Configuration, "name the secret itself"),
            ("gone://account.x", ErrorKind::Configuration, "there is no configuration"),
            (
                "third://account.x",
                ErrorKind::Configuration,
                "the configuration has gone, other, self",
            ),
        ] {
            let error =
                put(&engine, "account.bad", reference, Kind::Reference).expect_err(reference);
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.message().contains(what), "{error}");
        }
        // In a circle: the reference over there leads back here.
        put(&engine, "account.here", "x", Kind::Text).expect("put");
        drop(engine);
        put(&there, "account.back", "back://account.here", Kind::Reference).expect("put");
        drop(there);
        let engine = block_on(own.open(OpenOptions::default())).expect("opened");
        let error = put(&engine, "account.c", "other://account.back", Kind::Reference);
        let error = error.expect_err("a circle");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.message().contains("another reference"), "{error}");
    }
}
