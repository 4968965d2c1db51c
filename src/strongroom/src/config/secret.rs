//! The secret parts of connectors: where they are, and how they are read.
//!
//! What never ends, such as an access key or the URL of a proxy, is read once, when the
//! connector connects. Another access key has another id, which stands in the
//! configuration: whoever changes that there reloads, and everything is read anew. What is
//! spent on sessions, such as a token, is read anew for each session, so that whoever
//! renews it has to tell nobody.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

#[cfg(any(feature = "aws", feature = "vault"))]
use async_trait::async_trait;
use serde::Deserialize;
use serde::de::Deserializer;
use strongroom_core::{Error, ErrorKind, ExternalStore, Reference, Result, SecretBytes};

use super::Config;
use super::value::{SecretRef, place_of_secret};

/// Where a secret part of a connector is found; never the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectorSecret {
    /// `env:NAME` or `file:PATH`.
    Local(SecretRef),
    /// `NAME://PATH#KEY`: in the store that `[[store.references]]` calls NAME.
    Reference(Reference),
}

impl ConnectorSecret {
    /// Reads `env:NAME`, `file:PATH` or `NAME://PATH#KEY`; anything else is `None`, and
    /// may be a secret.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match SecretRef::parse(text) {
            Some(local) => Some(Self::Local(local)),
            None => Reference::parse(text.as_bytes()).ok().map(Self::Reference),
        }
    }

    /// The reference, if it is one.
    pub(super) fn reference(&self) -> Option<&Reference> {
        match self {
            Self::Local(_) => None,
            Self::Reference(reference) => Some(reference),
        }
    }
}

impl<'de> Deserialize<'de> for ConnectorSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let forms = "env:NAME, file:PATH or NAME://PATH#KEY";
        place_of_secret(deserializer, forms, Self::parse)
    }
}

impl Config {
    /// The secret part of a connector, as it is now, in guarded memory.
    ///
    /// # Errors
    /// `Configuration` if it is not where it is said to be, never with a part of the
    /// value; and the other errors of the store that it lies in.
    pub async fn connector_secret(&self, secret: &ConnectorSecret) -> Result<SecretBytes> {
        self.secret_source(secret)?.read().await
    }

    /// The same for what is read again and again. Nobody is asked yet.
    pub(crate) fn secret_source(&self, secret: &ConnectorSecret) -> Result<SecretSource> {
        Ok(match secret {
            ConnectorSecret::Local(secret) => {
                SecretSource::Local { secret: secret.clone(), base: self.base().to_owned() }
            }
            ConnectorSecret::Reference(reference) => {
                let entry = self.external_section(reference.store()).ok_or_else(|| {
                    // A configuration that was read has been checked for this.
                    Error::configuration("a secret lies in none of [[store.references]]")
                })?;
                SecretSource::Store { store: self.external(entry)?, reference: reference.clone() }
            }
        })
    }
}

/// What gives the secret part of a connector, each time as it is then.
pub(crate) enum SecretSource {
    Local { secret: SecretRef, base: PathBuf },
    Store { store: Arc<dyn ExternalStore>, reference: Reference },
}

impl SecretSource {
    /// # Errors
    /// As [`Config::connector_secret`].
    pub(crate) async fn read(&self) -> Result<SecretBytes> {
        match self {
            Self::Local { secret, base } => secret.read(base),
            Self::Store { store, reference } => {
                let found = reference.read_in(&**store).await.map_err(of_configuration)?;
                Ok(found.value)
            }
        }
    }
}

/// Whoever asks for a secret of ours is not to be told that it does not exist because
/// that of a connector does not.
fn of_configuration(error: Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound
        | ErrorKind::Conflict
        | ErrorKind::InvalidName
        | ErrorKind::Unsupported => {
            Error::configuration(error.message().to_owned()).with_source(error)
        }
        _ => error,
    }
}

#[cfg(feature = "vault")]
#[async_trait]
impl strongroom_vault::ReadSecret for SecretSource {
    async fn read(&self) -> Result<SecretBytes> {
        Self::read(self).await
    }
}

#[cfg(feature = "aws")]
#[async_trait]
impl strongroom_aws::TokenSource for SecretSource {
    async fn token(&self) -> Result<SecretBytes> {
        self.read().await
    }
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("SecretSource");
        match self {
            Self::Local { secret, .. } => out.field("at", &format_args!("{secret}")),
            Self::Store { reference, .. } => out.field("at", &format_args!("{reference}")),
        };
        out.finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "aws", feature = "local"))]
mod tests {
    use std::fs;
    use std::path::Path;

    use futures_executor::block_on;
    use strongroom_aws::TokenSource;
    use strongroom_core::{Engine, Kind, PutOptions, Select};

    use super::*;
    use crate::OpenOptions;

    const OTHER: &str =
        "[[store.references]]\nname = \"other\"\nconfig = \"../other/strongroom.toml\"\n";
    const CONNECTOR: &str = "[[aws.connectors]]\nname = \"aws\"\nregion = \"eu-central-1\"\n\
                             credential = \"access-key\"\naccess_key_id = \"AKIDEXAMPLE\"\n";

    fn config(dir: &Path, text: &str) -> Config {
        fs::create_dir_all(dir).expect("made");
        let file = dir.join("strongroom.toml");
        fs::write(&file, text).expect("written");
        Config::load(&file).expect("valid")
    }

    fn put(engine: &Engine, name: &str, value: &str, kind: Kind) {
        let value = SecretBytes::copy_from(value.as_bytes()).expect("memory");
        let options = PutOptions { kind, ..PutOptions::default() };
        block_on(engine.put(name, &value, &options)).expect("put");
    }

    /// The other store, which is closed, and a configuration that leads there.
    fn two(dir: &Path, text: &str) -> (Config, Config) {
        let other = config(&dir.join("other"), "[kek]\nkey_file = \"keys/other.kek\"\n");
        let engine = block_on(other.create(OpenOptions::default())).expect("created");
        let login = r#"{"user": "AKIDEXAMPLE", "password": "s3cret-of-aws"}"#;
        put(&engine, "account.aws", login, Kind::Login);
        put(&engine, "account.proxy", "http://me:s3cret-of-proxy@127.0.0.1:1", Kind::Text);
        put(&engine, "account.token", "a.b.c", Kind::Text);
        (other, config(&dir.join("own"), &format!("{OTHER}{CONNECTOR}{text}")))
    }

    fn at(text: &str) -> ConnectorSecret {
        ConnectorSecret::parse(text).expect("a place")
    }

    #[test]
    fn a_secret_stands_in_one_of_three_places_and_nowhere_else() {
        assert!(matches!(at("env:X"), ConnectorSecret::Local(SecretRef::Env(name)) if name == "X"));
        // As it has always been, and not in a store called file.
        assert!(matches!(at("file:///x"), ConnectorSecret::Local(SecretRef::File(_))));
        let reference = at("other://account.aws#password");
        assert_eq!(reference.reference().expect("one").keys(), ["password"]);
        for clear in ["hunter2", "hunter2:x", "://hunter2", "http://me:hunter2@proxy", "a://"] {
            let text = format!("{OTHER}{CONNECTOR}secret_access_key = \"{clear}\"\n");
            let error = Config::parse(&text).expect_err(clear);
            assert_eq!(error.kind(), ErrorKind::Configuration);
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        let error = Config::parse(&format!("{CONNECTOR}secret_access_key = 7107")).expect_err("7");
        assert!(error.message().contains("NAME://PATH#KEY") && !error.message().contains("7107"));
    }

    #[test]
    fn a_store_that_there_is_not_is_refused_with_the_nearest_one_that_there_is() {
        let said = |text: &str| {
            let text = format!("{text}{CONNECTOR}secret_access_key = \"othr://account.aws\"\n");
            Config::parse(&text).expect_err("no such store").message().to_owned()
        };
        let near = said(OTHER);
        assert!(near.contains("[[aws.connectors]] aws: secret_access_key"), "{near}");
        assert!(near.contains("did you mean `other`?"), "{near}");
        assert!(said("").contains("there are none"));
    }

    #[test]
    fn a_connector_takes_its_secrets_from_another_store() {
        let dir = tempfile::tempdir().expect("a directory");
        let (other, own) = two(
            dir.path(),
            "secret_access_key = \"other://account.aws#password\"\n\
             proxy = \"other://account.proxy\"\n",
        );
        let secret = at("other://account.aws#password");
        let value = block_on(own.connector_secret(&secret)).expect("read");
        assert!(value.expose() == b"s3cret-of-aws");
        let connector = own.aws.connector(None).expect("it");
        let settings = block_on(own.aws_settings(connector)).expect("settings");
        let proxy = settings.proxy.expect("a proxy");
        assert!(proxy.expose() == b"http://me:s3cret-of-proxy@127.0.0.1:1");
        block_on(own.connect_aws(connector)).expect("connected");
        // Each was a read over there: one, two for the settings, two to connect.
        let log = fs::read_to_string(other.audit_path().expect("a log")).expect("readable");
        let reads = log.lines().filter(|line| line.contains("\"operation\":\"get\"")).count();
        assert_eq!(reads, 5, "{log}");

        let there = block_on(other.open(OpenOptions::default())).expect("it is free again");
        block_on(there.delete("account.proxy")).expect("deleted");
        drop(there);
        let error = block_on(own.connect_aws(connector)).expect_err("gone");
        assert_eq!(error.kind(), ErrorKind::Configuration, "no secret of ours is missing");
        let place = "connector aws: proxy: the reference other://account.proxy: ";
        assert!(error.message().starts_with(place), "{error}");
    }

    #[test]
    fn what_is_spent_on_sessions_is_read_each_time() {
        let dir = tempfile::tempdir().expect("a directory");
        let (other, own) = two(dir.path(), "secret_access_key = \"env:NOT-READ\"\n");
        let source = own.secret_source(&at("other://account.token")).expect("a source");
        assert!(block_on(source.token()).expect("a token").expose() == b"a.b.c");
        let there = block_on(other.open(OpenOptions::default())).expect("opened");
        put(&there, "account.token", "d.e.f", Kind::Text);
        drop(there);
        assert!(block_on(source.token()).expect("a token").expose() == b"d.e.f");
        assert!(!format!("{source:?}").contains("d.e.f"));
    }

    /// AWS has nothing to do with what is here.
    #[test]
    fn a_connector_that_lacks_its_secret_stops_nothing_but_its_own_store() {
        let dir = tempfile::tempdir().expect("a directory");
        let text = "secret_access_key = \"other://account.none\"\nendpoint = \"http://127.0.0.1:1\"\n\
                    backoff = { type = \"fixed-delay\", fixed_backoff = 0, retry_count = 0 }\n\
                    [[store.references]]\nname = \"sm\"\ntype = \"aws-secrets-manager\"\n";
        let (other, own) = two(dir.path(), text);
        let engine = block_on(own.create(OpenOptions::default())).expect("created");
        put(&engine, "account.here", "x", Kind::Text);
        let reference = SecretBytes::copy_from(b"sm://db").expect("memory");
        let options = PutOptions {
            kind: Kind::Reference,
            unchecked_reference: true,
            ..PutOptions::default()
        };
        block_on(engine.put("account.there", &reference, &options)).expect("put");
        let read = || block_on(engine.get("account.there", &Select::Latest)).expect_err("nobody");
        let error = read();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
        assert!(error.message().contains("connector aws: secret_access_key"), "{error}");
        // The next read tries again, and comes as far as AWS.
        let there = block_on(other.open(OpenOptions::default())).expect("opened");
        put(&there, "account.none", "s3cret", Kind::Text);
        drop(there);
        let error = read();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.message().contains("cannot be reached"), "{error}");
        block_on(engine.get("account.here", &Select::Latest)).expect("got");
    }

    #[test]
    fn connectors_are_the_same_while_their_secrets_lie_in_the_same_places() {
        let parse = |text: &str| Config::parse(text).expect("valid");
        let with = |config: &str, secret: &str| {
            let other = OTHER.replace("../other", config);
            parse(&format!("{other}{CONNECTOR}secret_access_key = \"{secret}\"\n"))
        };
        let stored = with("../other", "other://account.aws");
        assert!(stored.has_keks_of(&with("../other", "other://account.aws")));
        assert!(!stored.has_keks_of(&with("../third", "other://account.aws")));
        assert!(!stored.has_keks_of(&with("../other", "other://account.aws2")));
        assert!(with("../other", "env:X").has_keks_of(&with("../third", "env:X")));
    }
}
