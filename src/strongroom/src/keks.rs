//! From a configuration to the KEKs that it names: one, or several as a keyring.

#[cfg(any(feature = "aws", feature = "vault"))]
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
#[cfg(feature = "aws")]
use strongroom_aws::{Aws, AwsKms, KmsOptions, Replica};
#[cfg(any(feature = "aws", feature = "vault"))]
use strongroom_core::CachedKeys;
use strongroom_core::wrapper::{BranchOptions, KeyCacheOptions};
use strongroom_core::{
    BranchKeys, Dek, EncryptionContext, Error, KeyWrapper, Keyring, Result, SecretBytes,
    SystemClock, WrappedDek,
};
use strongroom_local::kek::{
    LocalKek, Options as KekOptions, PassphraseCost, Protection, Unlock, systemd_credential,
};
#[cfg(feature = "vault")]
use strongroom_vault::Vault;

#[cfg(feature = "vault")]
use crate::config;
use crate::config::{Config, KekSpec, KekType, ProtectionType};

impl Config {
    pub(crate) async fn open_kek(
        &self,
        mut passphrase: Option<SecretBytes>,
    ) -> Result<Arc<dyn KeyWrapper>> {
        let specs = self.keks();
        let mut connections = Connections::default();
        let mut opened = Vec::with_capacity(specs.len());
        for spec in &specs {
            opened.push(self.open_one(spec, passphrase.take(), &mut connections).await);
        }
        if opened.len() == 1 {
            return opened.remove(0);
        }
        // One that cannot be opened stays a member of the keyring, so that the others
        // read, the quorum decides about writes, and nothing forgets it.
        let members = std::iter::zip(&specs, opened).map(|(spec, opened)| match opened {
            Ok(kek) => kek,
            Err(error) => {
                let name = match spec.kind {
                    KekType::Local => self.base().join(spec.key_file).display().to_string(),
                    #[cfg(any(feature = "aws", feature = "vault"))]
                    _ => spec.key.unwrap_or_default().to_owned(),
                };
                Arc::new(ClosedKek { name: format!("of {name}"), reason: error })
            }
        });
        self.keyring(members.collect())
    }

    #[allow(clippy::unused_async, unused_variables, reason = "without a backend nobody is asked")]
    async fn open_one(
        &self,
        spec: &KekSpec<'_>,
        passphrase: Option<SecretBytes>,
        connections: &mut Connections,
    ) -> Result<Arc<dyn KeyWrapper>> {
        match spec.kind {
            KekType::Local => {
                let unlock = self.unlock(spec, passphrase)?;
                let kek = self.open_local(&self.base().join(spec.key_file), &unlock)?;
                Ok(self.branched(Arc::new(kek)))
            }
            #[cfg(feature = "aws")]
            KekType::AwsKms => {
                let aws = connections.aws(self, spec.connector).await?;
                let mut options = KmsOptions::default();
                options.replicas = spec.replicas.iter().map(|r| Replica::new(r)).collect();
                options.former_keys = spec.former_keys.to_vec();
                let kms = AwsKms::new(&aws, spec.key.unwrap_or_default(), options)?;
                Ok(self.remembered(self.branched(Arc::new(kms))))
            }
            #[cfg(feature = "vault")]
            KekType::VaultTransit => {
                let vault = connections.vault(self, spec.connector).await?;
                let transit = config::transit(&vault, spec)?;
                Ok(self.remembered(self.branched(Arc::new(transit))))
            }
        }
    }

    fn open_local(&self, path: &Path, unlock: &Unlock) -> Result<LocalKek> {
        LocalKek::open_with(path, unlock, self.kek_options())
    }

    fn kek_options(&self) -> KekOptions {
        let mut options = KekOptions::default();
        options.rotate_after = self.kek.rotate_after;
        options
    }

    fn branched(&self, kek: Arc<dyn KeyWrapper>) -> Arc<dyn KeyWrapper> {
        let mut options = BranchOptions::default();
        options.enabled = self.kek.branch_keys;
        options.keys = self.key_cache();
        // Also where they are off: what was written when they were on is read.
        Arc::new(BranchKeys::new(kek, options, SystemClock::shared()))
    }

    /// A KMS behind a network, asked once for a DEK that is used often.
    #[cfg(any(feature = "aws", feature = "vault"))]
    fn remembered(&self, kek: Arc<dyn KeyWrapper>) -> Arc<dyn KeyWrapper> {
        if self.kek.dek_ttl.is_zero() || self.kek.dek_uses == 0 {
            return kek;
        }
        Arc::new(CachedKeys::new(kek, self.key_cache(), SystemClock::shared()))
    }

    fn key_cache(&self) -> KeyCacheOptions {
        let mut options = KeyCacheOptions::default();
        options.ttl = self.kek.dek_ttl;
        options.max_uses = self.kek.dek_uses;
        options
    }

    fn keyring(&self, members: Vec<Arc<dyn KeyWrapper>>) -> Result<Arc<dyn KeyWrapper>> {
        let quorum = self.kek.quorum.unwrap_or(members.len());
        Ok(Arc::new(Keyring::new(members, quorum)?))
    }

    /// Makes every key file, or opens what an interrupted `create` has left. A key of a
    /// KMS exists already, and has to answer.
    pub(crate) async fn create_keks(
        &self,
        mut passphrase: Option<SecretBytes>,
    ) -> Result<Arc<dyn KeyWrapper>> {
        let mut members = Vec::new();
        let mut connections = Connections::default();
        for spec in &self.keks() {
            members.push(if spec.kind == KekType::Local {
                let unlock = self.unlock(spec, passphrase.take())?;
                let kek = self.made(&self.base().join(spec.key_file), unlock)?;
                self.branched(Arc::new(kek))
            } else {
                let kek = self.open_one(spec, None, &mut connections).await?;
                kek.check().await?;
                kek
            });
        }
        match members.len() {
            1 => Ok(members.remove(0)),
            _ => self.keyring(members),
        }
    }

    /// The KEK at `path`, which an interrupted `create` may have left.
    fn made(&self, path: &Path, unlock: Unlock) -> Result<LocalKek> {
        if path.symlink_metadata().is_ok() {
            return self.open_local(path, &unlock);
        }
        let protection = match unlock {
            Unlock::Passphrase(passphrase) => {
                Protection::Passphrase { passphrase, cost: PassphraseCost::RECOMMENDED }
            }
            Unlock::Credential(credential) => Protection::Credential(credential),
            _ => Protection::Plain,
        };
        LocalKek::create_with(path, &protection, self.kek_options())
    }

    /// Makes the key files of `[[kek.more]]` that do not exist yet, and returns
    /// their paths. A rewrap brings what is stored under them.
    ///
    /// A key file that was lost is not to be made anew: nobody would notice that
    /// it opens nothing.
    pub fn create_more_keks(&self) -> Result<Vec<PathBuf>> {
        self.check_places()?;
        let mut made = Vec::new();
        let specs = self.keks();
        for spec in specs.iter().skip(1).filter(|spec| spec.kind == KekType::Local) {
            let path = self.base().join(spec.key_file);
            if path.symlink_metadata().is_err() {
                self.made(&path, self.unlock(spec, None)?)?;
                made.push(path);
            }
        }
        Ok(made)
    }

    fn unlock(&self, spec: &KekSpec<'_>, asked: Option<SecretBytes>) -> Result<Unlock> {
        Ok(match spec.protection {
            ProtectionType::None => Unlock::Plain,
            ProtectionType::Passphrase => match (spec.passphrase, asked) {
                (Some(reference), _) => Unlock::Passphrase(reference.read(self.base())?),
                (None, Some(passphrase)) => Unlock::Passphrase(passphrase),
                (None, None) => {
                    return Err(Error::configuration(
                        "the key file is protected by a passphrase and nobody can be asked for \
                         it: set [kek] passphrase to env:NAME or file:PATH",
                    ));
                }
            },
            ProtectionType::Credential => {
                Unlock::Credential(systemd_credential(spec.credential.unwrap_or(""))?)
            }
        })
    }
}

/// The connections that KEKs share while they are opened.
#[derive(Default)]
struct Connections {
    #[cfg(feature = "aws")]
    aws: BTreeMap<String, Aws>,
    #[cfg(feature = "vault")]
    vault: BTreeMap<String, Vault>,
}

#[cfg(feature = "vault")]
impl Connections {
    async fn vault(&mut self, config: &Config, connector: Option<&str>) -> Result<Vault> {
        let connector = config.vault.connector(connector)?;
        if let Some(vault) = self.vault.get(&connector.name) {
            return Ok(vault.clone());
        }
        let vault = config.connect_vault(connector).await?;
        self.vault.insert(connector.name.clone(), vault.clone());
        Ok(vault)
    }
}

#[cfg(feature = "aws")]
impl Connections {
    async fn aws(&mut self, config: &Config, connector: Option<&str>) -> Result<Aws> {
        let connector = config.aws.connector(connector)?;
        if let Some(aws) = self.aws.get(&connector.name) {
            return Ok(aws.clone());
        }
        let aws = config.connect_aws(connector).await?;
        self.aws.insert(connector.name.clone(), aws.clone());
        Ok(aws)
    }
}

/// A KEK of a keyring that cannot be opened: whatever is asked of it fails with the
/// reason.
struct ClosedKek {
    name: String,
    reason: Error,
}

#[async_trait]
impl KeyWrapper for ClosedKek {
    fn identity(&self) -> &str {
        &self.name
    }

    async fn wrap(&self, _: &Dek, _: &EncryptionContext) -> Result<WrappedDek<'static>> {
        Err(self.reason.clone())
    }

    async fn unwrap(&self, _: &WrappedDek<'_>, _: &EncryptionContext) -> Result<Dek> {
        Err(self.reason.clone())
    }

    async fn current_version(&self) -> Result<String> {
        Err(self.reason.clone())
    }

    async fn check(&self) -> Result<()> {
        Err(self.reason.clone())
    }
}

impl fmt::Debug for ClosedKek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClosedKek").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use futures_executor::block_on;
    use strongroom_core::{Engine, ErrorKind, PutOptions, Select};

    use super::*;
    use crate::OpenOptions;

    const TWO: &str = "[kek]\nquorum = 1\n[[kek.more]]\nkey_file = \"glass.kek\"\n";

    fn config(dir: &Path, text: &str) -> Config {
        let file = dir.join("strongroom.toml");
        fs::write(&file, text).expect("written");
        Config::load(&file).expect("valid")
    }

    fn open(config: &Config) -> Result<Engine> {
        block_on(config.open(OpenOptions::default()))
    }

    fn put(engine: &Engine, name: &str) -> Result<Vec<String>> {
        let value = SecretBytes::copy_from(b"v").expect("memory");
        let info = block_on(engine.put(name, &value, &PutOptions::default()))?;
        Ok(info.missing_keks.into_iter().map(|missing| missing.kek).collect())
    }

    fn get(engine: &Engine, name: &str) -> bool {
        let secret = block_on(engine.get(name, &Select::Latest)).expect("read");
        secret.value.expose() == b"v"
    }

    fn rewrap(engine: &Engine) -> Result<u64> {
        block_on(engine.rewrap(&|_| ())).map(|outcome| outcome.changed)
    }

    #[test]
    fn either_key_file_opens_what_both_protect() {
        let dir = tempfile::tempdir().expect("a directory");
        let config = config(dir.path(), TWO);
        let engine = block_on(config.create(OpenOptions::default())).expect("created");
        assert!(put(&engine, "account.a").expect("put").is_empty());
        drop(engine);
        for key in [config.key_path(), dir.path().join("glass.kek")] {
            let aside = key.with_extension("aside");
            fs::rename(&key, &aside).expect("moved");
            let engine = open(&config).expect("the other opens it");
            assert!(get(&engine, "account.a"));
            let missing = put(&engine, "account.b").expect("one is enough");
            assert!(missing[0].contains(key.to_str().expect("text")), "{missing:?}");
            let error = rewrap(&engine).expect_err("its wraps would be left behind");
            assert!(!error.is_retryable(), "{error}");
            drop(engine);
            fs::rename(&aside, &key).expect("moved");
        }
        let engine = open(&config).expect("both are back");
        assert_eq!(rewrap(&engine).expect("rewrapped"), 2, "both versions of b");
    }

    #[test]
    fn a_key_is_added_by_making_it_and_a_rewrap_and_removed_by_a_rewrap() {
        let dir = tempfile::tempdir().expect("a directory");
        let alone = config(dir.path(), "");
        let engine = block_on(alone.create(OpenOptions::default())).expect("created");
        put(&engine, "account.a").expect("put");
        drop(engine);

        let both = config(dir.path(), TWO);
        assert_eq!(both.create_more_keks().expect("made"), [dir.path().join("glass.kek")]);
        assert!(both.create_more_keks().expect("nothing to do").is_empty());
        let engine = open(&both).expect("opened");
        assert_eq!(rewrap(&engine).expect("rewrapped"), 1);
        drop(engine);

        let glass = config(dir.path(), "[kek]\nkey_file = \"glass.kek\"\n");
        fs::remove_file(alone.key_path()).expect("lost");
        let engine = open(&glass).expect("the second key alone");
        assert!(get(&engine, "account.a"));
        assert_eq!(rewrap(&engine).expect("rewrapped"), 1, "the lost key's wrap goes");
        assert!(get(&engine, "account.a"));
    }

    #[test]
    fn a_quorum_that_is_not_met_is_an_error_that_names_the_key() {
        let dir = tempfile::tempdir().expect("a directory");
        let config = config(dir.path(), &TWO.replace("quorum = 1", "quorum = 2"));
        let engine = block_on(config.create(OpenOptions::default())).expect("created");
        put(&engine, "account.a").expect("put");
        drop(engine);
        fs::remove_file(dir.path().join("glass.kek")).expect("lost");
        let engine = open(&config).expect("opened");
        assert!(get(&engine, "account.a"));
        let error = put(&engine, "account.a").expect_err("too few");
        assert_eq!(error.kind(), ErrorKind::KeyUnavailable);
        assert!(error.message().contains("quorum is 2"), "{error}");
        assert!(error.message().contains("glass.kek"), "{error}");
    }

    #[test]
    fn branch_keys_are_turned_on_and_off_in_the_configuration() {
        let dir = tempfile::tempdir().expect("a directory");
        let off = config(dir.path(), "");
        let engine = block_on(off.create(OpenOptions::default())).expect("created");
        put(&engine, "account.a").expect("put");
        drop(engine);
        let on = config(dir.path(), "[kek]\nbranch_keys = true\n");
        let engine = open(&on).expect("opened");
        put(&engine, "account.b").expect("put");
        assert!(get(&engine, "account.a") && get(&engine, "account.b"));
        assert_eq!(rewrap(&engine).expect("rewrapped"), 1);
        drop(engine);
        let engine = open(&off).expect("opened");
        assert!(get(&engine, "account.a") && get(&engine, "account.b"));
        assert_eq!(rewrap(&engine).expect("rewrapped"), 2);
    }

    #[test]
    fn several_keks_need_a_quorum_that_can_be_met_and_files() {
        let more = "[[kek.more]]\nkey_file = \"x\"\n";
        let error = |text: &str| Config::parse(text).expect_err(text).to_string();
        assert!(error(more).contains("quorum is missing"));
        for quorum in ["0", "3"] {
            let text = format!("[kek]\nquorum = {quorum}\n{more}");
            assert!(error(&text).contains("from 1 to 2"), "{quorum}");
        }
        assert!(error("[kek]\nquorum = 2\n").contains("from 1 to 1"));
        assert!(error("[kek]\nquorum = 1\n[[kek.more]]\n").contains("needs key_file"));
        let asked = format!("[kek]\nquorum = 1\n{more}protection = \"passphrase\"\n");
        assert!(error(&asked).contains("nobody is asked"));
        let misplaced = format!("[kek]\nquorum = 1\n{more}credential = \"c\"\n");
        assert!(error(&misplaced).contains("[[kek.more]] 1: credential has no use"));
        let unknown = format!("[kek]\nquorum = 1\n{more}keyfile = \"c\"\n");
        assert!(error(&unknown).contains("did you mean `key_file`"));
    }
}
