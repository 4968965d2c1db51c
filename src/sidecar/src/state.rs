//! What the sidecar serves at this moment, and how a reload puts another in its
//! place while requests are under way.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use strongroom::cache::CachedStore;
use strongroom::clock::SystemClock;
use strongroom::config::{SidecarSection, Verb};
use strongroom::{Clock, Engine, Error, Result, Scope, SecretName, Timestamp};
use strongroom_rpc::{MESSAGE_OVERHEAD_BYTES, Peer};
use tokio::runtime::Handle;
use tokio::sync::{broadcast, watch};

use crate::metrics::Metrics;
use crate::pace::Pace;
use crate::rules::{Grants, Rules};
use crate::usage::Usage;
use crate::watch::Change;

/// How many changes a watcher may be behind before it is told the state anew.
const CHANGES_KEPT: usize = 1_024;

/// What is served: an engine, its cache, and who may use it how.
#[derive(Clone, Debug)]
pub struct Serving {
    /// The engine, in the configured scope.
    pub engine: Engine,
    /// The cache below it, if there is one.
    pub cache: Option<Arc<CachedStore>>,
    /// Limits and rules.
    pub section: SidecarSection,
    /// The configuration of the store that secrets are moving to, if they are.
    pub moving_to: Option<PathBuf>,
}

/// The same, ready to be asked.
#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) engine: Engine,
    pub(crate) cache: Option<Arc<CachedStore>>,
    pub(crate) limits: Arc<SidecarSection>,
    pub(crate) moving_to: Option<PathBuf>,
    pub(crate) configured: Timestamp,
    rules: Rules,
    generation: u64,
}

/// Shared by everything in the sidecar.
#[derive(Debug)]
pub(crate) struct Shared {
    current: RwLock<Arc<Current>>,
    /// The generation of `current`, to be looked at without its lock.
    generation: AtomicU64,
    pub(crate) usage: Arc<Usage>,
    pub(crate) metrics: Metrics,
    pub(crate) changes: broadcast::Sender<Arc<Change>>,
    /// Becomes true when the sidecar is told to end.
    pub(crate) ending: watch::Sender<bool>,
    pub(crate) reload_error: RwLock<Option<String>>,
    /// Where the store works.
    pub(crate) backend: Handle,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) started: Timestamp,
    pub(crate) pace: Arc<Pace>,
}

impl Shared {
    pub(crate) fn new(serving: Serving, backend: Handle) -> Result<Arc<Self>> {
        let clock = SystemClock::shared();
        let current = Current::new(serving, 1, clock.now())?;
        let pace = Pace::new();
        pace.want(current.limits.busy_poll);
        Ok(Arc::new(Self {
            current: RwLock::new(Arc::new(current)),
            generation: AtomicU64::new(1),
            usage: Arc::default(),
            metrics: Metrics::new(),
            changes: broadcast::Sender::new(CHANGES_KEPT),
            ending: watch::Sender::new(false),
            reload_error: RwLock::default(),
            backend,
            started: clock.now(),
            pace,
            clock,
        }))
    }

    pub(crate) fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Serves `serving` from the next request on. What is under way ends as it
    /// began.
    pub(crate) fn replace(&self, serving: Serving) -> Result<()> {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let generation = current.generation + 1;
        *current = Arc::new(Current::new(serving, generation, self.clock.now())?);
        self.pace.want(current.limits.busy_poll);
        self.generation.store(generation, Ordering::Release);
        Ok(())
    }

    pub(crate) fn note_reload(&self, error: Option<&Error>) {
        let text = error.map(ToString::to_string);
        *self.reload_error.write().unwrap_or_else(PoisonError::into_inner) = text;
        match error {
            None => self.metrics.reloads.inc(),
            Some(_) => self.metrics.reloads_refused.inc(),
        };
    }
}

impl Current {
    fn new(serving: Serving, generation: u64, configured: Timestamp) -> Result<Self> {
        let Serving { engine, cache, section, moving_to } = serving;
        let rules = Rules::new(&section, engine.scope())?;
        let limits = Arc::new(section);
        Ok(Self { engine, cache, limits, moving_to, configured, rules, generation })
    }

    /// The longest message that a client may send.
    pub(crate) fn max_message_bytes(&self) -> usize {
        self.engine.capabilities().max_value_bytes.saturating_add(MESSAGE_OVERHEAD_BYTES)
    }
}

/// What one caller may do, under one configuration.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) current: Arc<Current>,
    /// Acts for the caller.
    pub(crate) engine: Engine,
    grants: Grants,
}

/// A caller, known by the connection.
#[derive(Debug)]
pub(crate) struct Caller {
    peer: Peer,
    session: RwLock<Arc<Session>>,
}

impl Caller {
    pub(crate) fn new(peer: Peer, shared: &Shared) -> Self {
        let session = Session::new(&peer, shared.current());
        Self { peer, session: RwLock::new(Arc::new(session)) }
    }

    /// What the caller may do now.
    pub(crate) fn session(&self, shared: &Shared) -> Arc<Session> {
        let generation = shared.generation.load(Ordering::Acquire);
        {
            let session = self.session.read().unwrap_or_else(PoisonError::into_inner);
            if session.current.generation == generation {
                return Arc::clone(&session);
            }
        }
        let fresh = Arc::new(Session::new(&self.peer, shared.current()));
        *self.session.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&fresh);
        fresh
    }

    pub(crate) fn peer(&self) -> &Peer {
        &self.peer
    }
}

impl Session {
    fn new(peer: &Peer, current: Arc<Current>) -> Self {
        let engine = current.engine.acting_for(peer.actor());
        let grants = current.rules.grants(peer);
        Self { current, engine, grants }
    }

    /// The engine in the scope that a request names; the configured one, if it
    /// names none.
    pub(crate) fn engine_at(&self, scope: &str) -> Result<Engine> {
        if scope.is_empty() {
            return Ok(self.engine.clone());
        }
        self.engine.at(scope.parse()?)
    }

    pub(crate) fn allows(&self, verb: Verb, name: &SecretName) -> bool {
        self.grants.allow(verb, name)
    }

    pub(crate) fn reaches(&self, verb: Verb, scope: &Scope) -> bool {
        self.grants.reach(verb, scope)
    }

    /// Whether the caller may do `verb` with the whole store.
    pub(crate) fn allows_all(&self, verb: Verb) -> bool {
        self.grants.allow_all(verb)
    }

    /// Whether any rule is about the caller.
    pub(crate) fn is_known(&self) -> bool {
        !self.grants.is_empty()
    }
}
