//! [`Opened`]: a store with what it was opened by, so that a changed configuration
//! takes effect without closing it.

use std::sync::Arc;

use strongroom_core::audit::AuditLog;
use strongroom_core::{EnvelopeStore, Error, KeyWrapper, Result, SecretStore};

use crate::config::Config;
use crate::open::OpenOptions;
use crate::paths::real;

/// A store, and what it was opened by.
#[derive(Clone)]
pub(crate) struct Opened {
    pub(crate) config: Config,
    pub(crate) store: Arc<dyn SecretStore>,
    /// What an embedded store is besides.
    embedded: Option<Embedded>,
}

/// A store of records, and the KEK that they are under.
#[derive(Clone)]
struct Embedded {
    store: Arc<EnvelopeStore>,
    wrapper: Arc<dyn KeyWrapper>,
}

impl Opened {
    pub(crate) async fn open(config: Config, options: OpenOptions) -> Result<Self> {
        if !config.store.kind.is_embedded() {
            let store = config.open_of_cloud().await?;
            return Ok(Self { config, store, embedded: None });
        }
        let (records, wrapper) = config.open_parts(options).await?;
        let (account, settings) = (&config.scope.account, config.envelope_options());
        let store = EnvelopeStore::open(records, Arc::clone(&wrapper), account, settings).await?;
        Ok(Self::of(config, Arc::new(store), wrapper))
    }

    fn of(config: Config, store: Arc<EnvelopeStore>, wrapper: Arc<dyn KeyWrapper>) -> Self {
        let embedded = Some(Embedded { store: Arc::clone(&store), wrapper });
        Self { config, store, embedded }
    }

    /// Its audit log, if there is to be one.
    pub(crate) fn audit(&self) -> Result<Option<Arc<AuditLog>>> {
        self.config.open_audit(self.embedded.as_ref().map(|embedded| &*embedded.store))
    }

    /// Whether `config` is about this store.
    pub(crate) fn is_of(&self, config: &Config) -> bool {
        if self.embedded.is_none() || !config.store.kind.is_embedded() {
            return self.embedded.is_none() && self.config.has_cloud_of(config);
        }
        let own = real(&self.config.store_path());
        own.is_ok_and(|own| real(&config.store_path()).is_ok_and(|other| own == other))
    }

    /// Whether this is `other`, unchanged.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.store, &other.store)
    }

    /// This store under a new configuration: the same one, where nothing that it
    /// was opened by has changed.
    ///
    /// # Errors
    /// `Configuration` for what only a new process can change.
    pub(crate) async fn reconfigured(&self, config: Config, options: OpenOptions) -> Result<Self> {
        let (old, new) = (&self.config, &config);
        let Some(embedded) = &self.embedded else {
            return Ok(Self { config, ..self.clone() });
        };
        if old.store.kind != new.store.kind {
            return Err(restart("[store] type"));
        }
        if old.store.cache_bytes != new.store.cache_bytes {
            return Err(restart("[store] cache_bytes"));
        }
        let has_same_key = old.has_keks_of(new);
        let wrapper = if has_same_key {
            Arc::clone(&embedded.wrapper)
        } else {
            config.open_kek(options.passphrase).await?
        };
        let (account, settings) = (&config.scope.account, config.envelope_options());
        let is_same = has_same_key
            && old.envelope_options() == settings
            && old.scope.account == config.scope.account;
        let store = if is_same {
            Arc::clone(&embedded.store)
        } else {
            Arc::new(embedded.store.reopen(Arc::clone(&wrapper), account, settings).await?)
        };
        Ok(Self::of(config, store, wrapper))
    }
}

pub(crate) fn restart(what: &str) -> Error {
    Error::configuration(format!("{what} changed: that takes effect at a restart"))
}
