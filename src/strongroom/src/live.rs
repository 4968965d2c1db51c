//! [`Live`]: an engine whose configuration changes while it runs.

use std::fmt;
use std::sync::Arc;

use strongroom_core::audit::AuditLog;
use strongroom_core::cache::{CachedStore, Spawn};
use strongroom_core::{Engine, Result, SecretStore};

use crate::Config;
use crate::moving::Moving;
use crate::open::OpenOptions;
use crate::opened::{Opened, restart};

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
    own: Opened,
    moving: Option<Moving>,
    engine: Engine,
    cache: Option<Arc<CachedStore>>,
}

impl Live {
    /// Opens what `config` describes; see [`Config::open`].
    pub async fn open(
        config: Config,
        mut options: OpenOptions,
        executor: &Executor,
    ) -> Result<Self> {
        let actor = Arc::clone(&options.actor);
        let target = match config.target()? {
            Some(target) => Some(Opened::open(target, options.of_target()).await?),
            None => None,
        };
        let own = Opened::open(config, options).await?;
        let audit = own.audit()?;
        let moving = target
            .map(|target| Moving::new(&own, target, None, audit.as_ref(), &actor))
            .transpose()?;
        Self::build(own, moving, audit, None, executor).await
    }

    /// The same under a new configuration. A store stays open where `config` names
    /// it still, as its own or as the one that its secrets move to; and the cache
    /// stays filled where nothing below it and none of its own settings changed. The
    /// audit logs are opened anew, so that a log that was moved away is left alone.
    /// On an error nothing has changed.
    ///
    /// # Errors
    /// As [`Config::open`]; and `Configuration` for what only a new process can
    /// change: the type and `cache_bytes` of a store in the same place, and the
    /// limits of guarded memory.
    pub async fn reconfigure(
        &self,
        config: Config,
        mut options: OpenOptions,
        executor: &Executor,
    ) -> Result<Self> {
        if self.own.config.memory != config.memory {
            return Err(restart("[memory]"));
        }
        let actor = Arc::clone(&options.actor);
        let target = match config.target()? {
            Some(target) => Some(self.opened(target, options.of_target()).await?),
            None => None,
        };
        let own = self.opened(config, options).await?;
        let audit = own.audit()?;
        let is_own = own.is(&self.own);
        let moving = match (target, &self.moving) {
            (None, _) => None,
            (Some(target), Some(old)) if is_own && target.is(&old.target) => {
                Some(Moving { target, stores: Arc::clone(&old.stores) })
            }
            (Some(target), old) => {
                let old = old
                    .as_ref()
                    .filter(|old| own.is_of(&self.own.config) && target.is_of(&old.target.config));
                Some(Moving::new(&own, target, old, audit.as_ref(), &actor)?)
            }
        };
        let moves_as_before = match (&moving, &self.moving) {
            (None, None) => true,
            (Some(new), Some(old)) => Arc::ptr_eq(&new.stores, &old.stores),
            _ => false,
        };
        let is_same = is_own
            && moves_as_before
            && own.config.store == self.own.config.store
            && own.config.cache == self.own.config.cache;
        let kept = is_same.then(|| self.cache.clone()).flatten();
        let live = Self::build(own, moving, audit.clone(), kept, executor).await?;
        // Last: the stores are still those of before.
        if let Some(moving) = live.moving.as_ref().filter(|_| moves_as_before) {
            moving.open_logs(audit.as_ref(), &actor)?;
        }
        Ok(live)
    }

    /// The store of `config`, which this may have open.
    async fn opened(&self, config: Config, options: OpenOptions) -> Result<Opened> {
        let target = self.moving.as_ref().map(|moving| &moving.target);
        match [Some(&self.own), target].into_iter().flatten().find(|open| open.is_of(&config)) {
            Some(open) => open.reconfigured(config, options).await,
            None => Opened::open(config, options).await,
        }
    }

    async fn build(
        own: Opened,
        moving: Option<Moving>,
        audit: Option<Arc<AuditLog>>,
        kept: Option<Arc<CachedStore>>,
        executor: &Executor,
    ) -> Result<Self> {
        let config = &own.config;
        let store: Arc<dyn SecretStore> = match &moving {
            Some(moving) => moving.stores.clone(),
            None => own.store.clone(),
        };
        let below = (executor.below_cache)(config.referencing(store).await?);
        let cache = match kept {
            Some(cache) => Some(cache),
            None => config.cached(Arc::clone(&below), Arc::clone(&executor.spawn))?,
        };
        let top = cache.clone().map_or(below, |cache| cache as Arc<dyn SecretStore>);
        let engine = config.engine_on(top, audit)?;
        Ok(Self { own, moving, engine, cache })
    }

    /// The configuration that is in force.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.own.config
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
        out.field("config", &self.own.config.file()).field("engine", &self.engine);
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
