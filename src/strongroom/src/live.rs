//! [`Live`]: an engine whose configuration changes while it runs.

use std::fmt;
use std::sync::Arc;

use strongroom_core::cache::{CachedStore, Spawn};
use strongroom_core::{Engine, Error, Result, SecretStore};

use crate::Config;
use crate::open::{Backend, OpenOptions};

/// How a long-lived process runs its engine.
#[derive(Clone)]
pub struct Executor {
    /// Runs the cache's background work.
    pub spawn: Arc<dyn Spawn>,
    /// Wraps the store below the cache, for instance to move its work away from
    /// the thread that serves what is cached.
    pub below_cache: Arc<BelowCache>,
}

/// Wraps one store in another.
pub type BelowCache = dyn Fn(Arc<dyn SecretStore>) -> Arc<dyn SecretStore> + Send + Sync;

/// An engine with what it was made from, so that a changed configuration takes
/// effect without closing what stays the same.
pub struct Live {
    config: Config,
    backend: Backend,
    engine: Engine,
    cache: Option<Arc<CachedStore>>,
}

impl Live {
    /// Opens what `config` describes; see [`Config::open`].
    pub async fn open(config: Config, options: OpenOptions, executor: &Executor) -> Result<Self> {
        let backend = config.open_backend(options).await?;
        Self::build(config, backend, None, executor).await
    }

    /// The same under a new configuration. The store stays open where `config`
    /// names the same one, and the cache stays filled where nothing below it and
    /// none of its own settings changed. The audit log is opened anew, so that a
    /// log that was moved away is left alone. On an error nothing has changed.
    ///
    /// # Errors
    /// As [`Config::open`]; and `Configuration` for what only a new process can
    /// change: the type and `cache_bytes` of a store in the same place, and the
    /// limits of guarded memory.
    pub async fn reconfigure(
        &self,
        config: Config,
        options: OpenOptions,
        executor: &Executor,
    ) -> Result<Self> {
        let (old, new) = (&self.config, &config);
        let restart = |what: &str| {
            Err(Error::configuration(format!("{what} changed: that takes effect at a restart")))
        };
        if old.memory != new.memory {
            return restart("[memory]");
        }
        let backend = if old.store_path() != new.store_path() {
            config.open_backend(options).await?
        } else if old.store.kind != new.store.kind {
            return restart("[store] type");
        } else if old.store.cache_bytes != new.store.cache_bytes {
            return restart("[store] cache_bytes");
        } else if old.kek != new.kek || old.key_path() != new.key_path() {
            let wrapper = config.open_kek(options.passphrase)?;
            Backend { records: Arc::clone(&self.backend.records), wrapper }
        } else {
            self.backend.clone()
        };
        let same = Arc::ptr_eq(&backend.records, &self.backend.records)
            && Arc::ptr_eq(&backend.wrapper, &self.backend.wrapper)
            && old.store == new.store
            && old.scope.account == new.scope.account
            && old.cache == new.cache;
        Self::build(config, backend, same.then(|| self.cache.clone()).flatten(), executor).await
    }

    async fn build(
        config: Config,
        backend: Backend,
        kept: Option<Arc<CachedStore>>,
        executor: &Executor,
    ) -> Result<Self> {
        let store = Arc::new(backend.store(&config).await?);
        let audit = config.open_audit(&store)?;
        let below = (executor.below_cache)(config.referencing(store)?);
        let cache = match kept {
            Some(cache) => Some(cache),
            None => config.cached(Arc::clone(&below), Arc::clone(&executor.spawn))?,
        };
        let top = cache.clone().map_or(below, |cache| cache as Arc<dyn SecretStore>);
        let engine = config.engine_on(top, audit)?;
        Ok(Self { config, backend, engine, cache })
    }

    /// The configuration that is in force.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Its cache, if it has one.
    #[must_use]
    pub fn cache(&self) -> Option<&Arc<CachedStore>> {
        self.cache.as_ref()
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Live");
        out.field("config", &self.config.file()).field("engine", &self.engine);
        out.finish_non_exhaustive()
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor").field("spawn", &self.spawn).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use futures_executor::block_on;
    use strongroom_core::cache::ThreadSpawn;
    use strongroom_core::{ErrorKind, PutOptions, SecretBytes, Select};

    use super::*;

    fn config(dir: &Path, text: &str) -> Config {
        let file = dir.join("strongroom.toml");
        std::fs::write(&file, text).expect("written");
        Config::load(&file).expect("valid")
    }

    fn executor() -> Executor {
        Executor { spawn: Arc::new(ThreadSpawn::new()), below_cache: Arc::new(|store| store) }
    }

    fn value(engine: &Engine) -> Result<SecretBytes> {
        block_on(engine.get("account.a", &Select::Latest)).map(|secret| secret.value)
    }

    fn live(dir: &Path, text: &str) -> Live {
        let config = config(dir, text);
        let engine = block_on(config.create(OpenOptions::default())).expect("created");
        let sample = SecretBytes::copy_from(b"v").expect("memory");
        block_on(engine.put("account.a", &sample, &PutOptions::default())).expect("put");
        drop(engine);
        block_on(Live::open(config, OpenOptions::default(), &executor())).expect("opened")
    }

    #[test]
    fn an_unchanged_cache_stays_filled_and_a_changed_one_is_new() {
        let dir = tempfile::tempdir().expect("a directory");
        let cached = "[cache]\nenabled = true\n";
        let first = live(dir.path(), cached);
        value(first.engine()).expect("got");
        let reload = |old: &Live, text: &str| {
            let config = config(dir.path(), text);
            block_on(old.reconfigure(config, OpenOptions::default(), &executor()))
        };
        let rules = "[[sidecar.allow]]\nowner = true\nnames = [\"**\"]\nverbs = [\"all\"]\n";
        let second = reload(&first, &format!("{cached}{rules}")).expect("reconfigured");
        let entries = |live: &Live| live.cache().expect("a cache").stats().entries;
        assert_eq!(entries(&second), 1);
        assert_eq!(second.config().sidecar.allow.len(), 1);
        let third = reload(&second, "[cache]\nenabled = true\nttl = \"1s\"\n");
        assert_eq!(entries(&third.expect("reconfigured")), 0);
        // The store was open all the while.
        value(first.engine()).expect("got");
    }

    #[test]
    fn another_store_is_opened_and_what_cannot_change_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = live(dir.path(), "");
        let reload = |text: &str| {
            let config = config(dir.path(), text);
            block_on(first.reconfigure(config, OpenOptions::default(), &executor()))
        };
        for text in [
            "[store]\ntype = \"sled\"\n",
            "[store]\ncache_bytes = 1_000_000\n",
            "[memory]\nmax_locked_bytes = 1_000_000\n",
        ] {
            let error = reload(text).expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::Configuration);
            assert!(error.to_string().contains("restart"), "{error}");
        }
        assert!(reload("[store]\npath = \"elsewhere\"\n").is_err(), "it does not exist");
        let moved = "[store]\npath = \"other\"\n[audit]\npath = \"other.log\"\n";
        let other = config(dir.path(), moved);
        drop(block_on(other.create(OpenOptions::default())).expect("created"));
        let second = reload(moved).expect("reconfigured");
        assert_eq!(value(second.engine()).expect_err("empty").kind(), ErrorKind::NotFound);
        assert!(value(first.engine()).expect("the old one still answers").expose() == b"v");
    }
}
