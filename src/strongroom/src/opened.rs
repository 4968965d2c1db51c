//! [`Opened`]: a store with what it was opened by, so that a changed configuration
//! takes effect without closing it.

use std::sync::Arc;

use strongroom_core::{EnvelopeStore, Error, KeyWrapper, Result};

use crate::config::Config;
use crate::open::{OpenOptions, real};

/// A store, and what it was opened by.
#[derive(Clone)]
pub(crate) struct Opened {
    pub(crate) config: Config,
    pub(crate) store: Arc<EnvelopeStore>,
    wrapper: Arc<dyn KeyWrapper>,
}

impl Opened {
    pub(crate) async fn open(config: Config, options: OpenOptions) -> Result<Self> {
        let (records, wrapper) = config.open_parts(options).await?;
        let (account, settings) = (&config.scope.account, config.envelope_options());
        let store = EnvelopeStore::open(records, Arc::clone(&wrapper), account, settings).await?;
        Ok(Self { config, store: Arc::new(store), wrapper })
    }

    /// Whether `config` is about this store.
    pub(crate) fn is_of(&self, config: &Config) -> bool {
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
        if old.store.kind != new.store.kind {
            return Err(restart("[store] type"));
        }
        if old.store.cache_bytes != new.store.cache_bytes {
            return Err(restart("[store] cache_bytes"));
        }
        let has_same_key = old.has_keks_of(new);
        let wrapper = if has_same_key {
            Arc::clone(&self.wrapper)
        } else {
            config.open_kek(options.passphrase).await?
        };
        let (account, settings) = (&config.scope.account, config.envelope_options());
        let is_same = has_same_key
            && old.envelope_options() == settings
            && old.scope.account == config.scope.account;
        let store = if is_same {
            Arc::clone(&self.store)
        } else {
            Arc::new(self.store.reopen(Arc::clone(&wrapper), account, settings).await?)
        };
        Ok(Self { config, store, wrapper })
    }
}

pub(crate) fn restart(what: &str) -> Error {
    Error::configuration(format!("{what} changed: that takes effect at a restart"))
}
