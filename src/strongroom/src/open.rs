//! From a configuration to an engine on the embedded backend.

use std::sync::Arc;
use std::time::Duration;

use strongroom_core::audit::{Actor, AuditLog};
use strongroom_core::cache::{CachedStore, Spawn, ThreadSpawn};
use strongroom_core::envelope::backup::BackupInfo;
use strongroom_core::upkeep::Observer;
use strongroom_core::{
    Engine, EnvelopeOptions, EnvelopeStore, Error, ErrorKind, FileSource, KeyWrapper, RecordStore,
    Result, SecretBytes, SecretStore, SystemClock,
};
use strongroom_local::records::{RecordOptions, RecordStoreKind, open_records};

use crate::config::{Config, KekType, StoreType};
use crate::moving::Moving;
use crate::opened::Opened;
use crate::paths::real;

/// How long to wait before looking again whether a store is free, at first and
/// at most. Opening and closing a small store takes some 10 ms.
const FIRST_LOOK: Duration = Duration::from_millis(2);
const LAST_LOOK: Duration = Duration::from_millis(50);

/// What a configuration does not say.
#[derive(Debug, Default)]
pub struct OpenOptions {
    /// The passphrase of the key file, where the configuration says that there
    /// is one and not where.
    pub passphrase: Option<SecretBytes>,
    /// The same for the store that secrets are moving to.
    pub target_passphrase: Option<SecretBytes>,
    /// How long to wait while another process has the store open.
    pub wait: Duration,
    /// Who works at the store that secrets are moving to, as its audit log has it.
    pub actor: Arc<Actor>,
}

impl OpenOptions {
    /// Those for the store that secrets are moving to.
    pub(crate) fn of_target(&mut self) -> Self {
        Self { passphrase: self.target_passphrase.take(), wait: self.wait, ..Self::default() }
    }
}

impl Config {
    /// Makes the key file, the store and the audit log, and opens them. What an
    /// interrupted `create` has left is completed.
    ///
    /// # Errors
    /// `AlreadyExists` if there is a store already; nothing is changed.
    ///
    /// In a cloud there is nothing to make: its store has to be usable.
    pub async fn create(&self, options: OpenOptions) -> Result<Engine> {
        if !self.store.kind.is_embedded() {
            let store = self.open_of_cloud().await?;
            store.check().await?;
            return self.engine(store, self.open_audit(None)?).await;
        }
        let store = Arc::new(self.create_store(options).await?);
        let audit = self.open_audit(Some(&store))?;
        self.engine(store, audit).await
    }

    /// Opens what [`create`](Self::create) made.
    ///
    /// # Errors
    /// - `Configuration`: there is no store, or it was made for another account
    ///   or KEK, or the key file can be accessed by others.
    /// - `Unavailable`: another process has the store open, longer than
    ///   [`OpenOptions::wait`].
    /// - `KeyUnavailable`, `Unauthenticated`: there is no key file, or the
    ///   passphrase does not open it.
    /// - `Tampered`: the identity of the store, the key file or the last line of
    ///   the audit log was altered.
    ///
    /// With `[store] moving_to`, the same for the store that secrets are moving to.
    pub async fn open(&self, options: OpenOptions) -> Result<Engine> {
        let (store, audit) = self.open_stores(options).await?;
        self.engine(store, audit).await
    }

    /// The same, with references as they are stored.
    pub(crate) async fn open_alone(&self, options: OpenOptions) -> Result<Engine> {
        let (store, audit) = self.open_stores(options).await?;
        self.engine_on(store, audit)
    }

    /// The store with its audit log; and while its secrets move to another store,
    /// both as one.
    async fn open_stores(
        &self,
        mut options: OpenOptions,
    ) -> Result<(Arc<dyn SecretStore>, Option<Arc<AuditLog>>)> {
        let target = match self.target()? {
            Some(target) => Some(Opened::open(target, options.of_target()).await?),
            None => None,
        };
        let actor = Arc::clone(&options.actor);
        let own = Opened::open(self.clone(), options).await?;
        let audit = own.audit()?;
        Ok(match target {
            Some(target) => {
                (Moving::new(&own, target, None, audit.as_ref(), &actor)?.stores, audit)
            }
            None => (own.store, audit),
        })
    }

    /// The store alone, without names and audit log: for a program that builds
    /// its own [`Engine`], or has to look at a log that does not open.
    pub async fn open_store(&self, options: OpenOptions) -> Result<EnvelopeStore> {
        let (records, wrapper) = self.open_parts(options).await?;
        let account = &self.scope.account;
        EnvelopeStore::open(records, wrapper, account, self.envelope_options()).await
    }

    /// The store of a cloud. Nobody is asked yet.
    #[allow(clippy::unused_async, reason = "without a backend there is none")]
    pub(crate) async fn open_of_cloud(&self) -> Result<Arc<dyn SecretStore>> {
        match self.store.kind {
            StoreType::Sled | StoreType::Redb => Err(Error::internal("the store is embedded")),
            #[cfg(feature = "aws")]
            StoreType::AwsSecretsManager => self.open_aws_secrets_manager().await,
            #[cfg(feature = "vault")]
            StoreType::VaultKv => self.open_vault_kv().await,
        }
    }

    /// What only an embedded store can.
    pub(crate) fn not_embedded(&self) -> Error {
        Error::unsupported(format!(
            "the store of this configuration is of type {}: records, KEKs, backups and \
             migrations are of embedded stores",
            self.store.kind.as_str()
        ))
    }

    /// Records and key, which exist.
    pub(crate) async fn open_parts(
        &self,
        options: OpenOptions,
    ) -> Result<(Arc<dyn RecordStore>, Arc<dyn KeyWrapper>)> {
        self.check_places()?;
        let path = self.store_path();
        if !path.is_dir() {
            // Opening would create it, and an empty store in a wrong place is
            // a puzzle to whoever finds it.
            return Err(Error::configuration(format!(
                "there is no store at {}: initialize it first, or correct the configuration",
                path.display()
            )));
        }
        let wrapper = self.open_kek(options.passphrase).await?;
        Ok((self.records(options.wait).await?, wrapper))
    }

    async fn create_store(&self, options: OpenOptions) -> Result<EnvelopeStore> {
        self.check_places()?;
        let wrapper = self.create_keks(options.passphrase).await?;
        let records = self.records(options.wait).await?;
        let account = &self.scope.account;
        EnvelopeStore::create(records, wrapper, account, self.envelope_options()).await
    }

    /// Makes a store of a backup, in the place that this configuration says, where
    /// there is none. The KEK must be there already.
    ///
    /// # Errors
    /// As [`EnvelopeStore::restore_backup`].
    pub async fn restore_backup(
        &self,
        options: OpenOptions,
        backup: &mut dyn FileSource,
        observer: &Observer<'_>,
    ) -> Result<BackupInfo> {
        self.check_places()?;
        let wrapper = self.open_kek(options.passphrase).await?;
        let records = self.records(options.wait).await?;
        let account = &self.scope.account;
        EnvelopeStore::restore_backup(&records, backup, &*wrapper, account, observer).await
    }

    /// Whether a backup of this configuration's account and KEK is whole.
    ///
    /// # Errors
    /// As [`EnvelopeStore::verify_backup`].
    pub async fn verify_backup(
        &self,
        passphrase: Option<SecretBytes>,
        backup: &mut dyn FileSource,
    ) -> Result<BackupInfo> {
        let wrapper = self.open_kek(passphrase).await?;
        EnvelopeStore::verify_backup(backup, &*wrapper, &self.scope.account).await
    }

    /// `store` with names, references, cache and the audit log.
    async fn engine(
        &self,
        store: Arc<dyn SecretStore>,
        audit: Option<Arc<AuditLog>>,
    ) -> Result<Engine> {
        let store = self.referencing(store).await?;
        let store: Arc<dyn SecretStore> =
            match self.cached(store.clone(), Arc::new(ThreadSpawn::new()))? {
                Some(cache) => cache,
                None => store,
            };
        self.engine_on(store, audit)
    }

    /// The cache before `store`, if there is to be one.
    pub(crate) fn cached(
        &self,
        store: Arc<dyn SecretStore>,
        spawn: Arc<dyn Spawn>,
    ) -> Result<Option<Arc<CachedStore>>> {
        let Some(options) = self.cache.options() else { return Ok(None) };
        Ok(Some(Arc::new(CachedStore::new(store, options, SystemClock::shared(), spawn)?)))
    }

    /// The audit log of `store`, if there is to be one. That of a store in a cloud has
    /// no key: whoever can write it can forge it.
    ///
    /// # Errors
    /// `Tampered` if its last line was altered.
    pub fn open_audit(&self, store: Option<&EnvelopeStore>) -> Result<Option<Arc<AuditLog>>> {
        let Some(path) = self.audit_path() else { return Ok(None) };
        let key = store.map(EnvelopeStore::audit_key).transpose()?;
        let log = AuditLog::open(path, key, SystemClock::shared())?;
        Ok(Some(Arc::new(log.synced(self.audit.sync))))
    }

    pub(crate) fn engine_on(
        &self,
        store: Arc<dyn SecretStore>,
        audit: Option<Arc<AuditLog>>,
    ) -> Result<Engine> {
        let engine = Engine::new(store, self.scope()?);
        Ok(match audit {
            Some(log) => engine.with_audit(log),
            None => engine,
        })
    }

    /// Opens the record store, and waits while another process has it.
    async fn records(&self, wait: Duration) -> Result<Arc<dyn RecordStore>> {
        let kind = match self.store.kind {
            StoreType::Sled => RecordStoreKind::Sled,
            StoreType::Redb => RecordStoreKind::Redb,
            #[cfg(any(feature = "aws", feature = "vault"))]
            _ => return Err(self.not_embedded()),
        };
        let options = RecordOptions::default().with_cache_bytes(self.store.cache_bytes);
        let clock = SystemClock::shared();
        let mut pause = FIRST_LOOK;
        loop {
            let error = match open_records(kind, &self.store_path(), &options) {
                Err(error) if error.kind() == ErrorKind::Unavailable => error,
                answer => return answer,
            };
            let left = wait.saturating_sub(clock.monotonic());
            if left.is_zero() || !error.is_retryable() {
                return Err(error);
            }
            clock.sleep(pause.min(left)).await;
            pause = (pause * 2).min(LAST_LOOK);
        }
    }

    pub(crate) fn envelope_options(&self) -> EnvelopeOptions {
        EnvelopeOptions {
            suite: self.store.suite,
            recovery_window: self.store.recovery_window,
            max_value_bytes: self.store.max_value_bytes,
            max_file_bytes: self.store.max_file_bytes,
        }
    }

    /// Key and records must not be copied together by whoever copies the
    /// records, such as a backup.
    pub(crate) fn check_places(&self) -> Result<()> {
        if !self.store.kind.is_embedded() {
            return Err(self.not_embedded());
        }
        let records = real(&self.store_path())?;
        for spec in self.keks().iter().filter(|spec| spec.kind == KekType::Local) {
            let path = self.base().join(spec.key_file);
            let key = real(&path)?;
            if key.starts_with(&records) {
                return Err(Error::configuration(format!(
                    "the key file {} lies in the records' directory {}: who copies that has both; \
                     put the key elsewhere",
                    key.display(),
                    records.display()
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use futures_executor::block_on;
    use strongroom_core::{PutOptions, Select};
    use strongroom_local::kek::{LocalKek, Protection};

    use super::*;

    fn config(dir: &Path, text: &str) -> Config {
        let file = dir.join("strongroom.toml");
        fs::write(&file, text).expect("written");
        Config::load(&file).expect("valid")
    }

    fn kind<T>(result: Result<T>) -> Option<ErrorKind> {
        result.err().map(|error| error.kind())
    }

    #[test]
    fn a_store_is_made_once_and_opened_from_then_on() {
        let dir = tempfile::tempdir().expect("a directory");
        let config = config(dir.path(), "[cache]\nenabled = true\n");
        let options = OpenOptions::default;
        assert_eq!(kind(block_on(config.open(options()))), Some(ErrorKind::Configuration));
        assert!(!config.store_path().exists(), "opening creates nothing");
        let engine = block_on(config.create(options())).expect("created");
        let value = SecretBytes::copy_from(b"v").expect("memory");
        block_on(engine.put("account.a", &value, &PutOptions::default())).expect("put");
        assert_eq!(kind(block_on(config.open(options()))), Some(ErrorKind::Unavailable));
        drop(engine);
        assert_eq!(kind(block_on(config.create(options()))), Some(ErrorKind::AlreadyExists));
        let engine = block_on(config.open(options())).expect("opened");
        let got = block_on(engine.get("account.a", &Select::Latest)).expect("got");
        assert!(got.value == value);
    }

    #[test]
    fn opening_waits_for_whoever_has_the_store() {
        let dir = tempfile::tempdir().expect("a directory");
        let config = config(dir.path(), "");
        let engine = block_on(config.create(OpenOptions::default())).expect("created");
        let (waits, waiting) = std::sync::mpsc::channel();
        let opener = std::thread::spawn(move || {
            waits.send(()).expect("heard");
            let wait = Duration::from_mins(10);
            block_on(config.open(OpenOptions { wait, ..OpenOptions::default() })).is_ok()
        });
        waiting.recv().expect("it runs");
        drop(engine);
        assert!(opener.join().expect("no panic"));
    }

    #[test]
    fn a_key_among_the_records_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        std::os::unix::fs::symlink(".", dir.path().join("link")).expect("a link");
        for key in ["records/kek", "x/../records/a/kek", "link/records/kek"] {
            let config = config(dir.path(), &format!("[kek]\nkey_file = \"{key}\"\n"));
            let refused = block_on(config.create(OpenOptions::default()));
            assert_eq!(kind(refused), Some(ErrorKind::Configuration), "{key}");
        }
        assert!(!dir.path().join("records").exists());
    }

    #[test]
    fn what_an_interrupted_create_left_is_completed() {
        let dir = tempfile::tempdir().expect("a directory");
        let config = config(dir.path(), "");
        LocalKek::create(config.key_path(), &Protection::Plain).expect("a key");
        assert!(block_on(config.create(OpenOptions::default())).is_ok());
    }

    #[test]
    fn a_configuration_that_others_can_write_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("strongroom.toml");
        fs::write(&file, "").expect("written");
        for (mode, refused) in [(0o600, false), (0o644, false), (0o620, true), (0o602, true)] {
            fs::set_permissions(&file, PermissionsExt::from_mode(mode)).expect("chmod");
            assert_eq!(Config::load(&file).is_err(), refused, "{mode:o}");
        }
    }
}
