//! One call to the backend, for one secret or for many, whoever waits for it.

use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{self, BoxFuture, Either, FutureExt, Shared, WeakShared};

use super::lookup::Core;
use super::sealed::Sealed;
use super::table::{InFlight, Key, Table};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::secret::Secret;
use crate::store::SecretStore;

/// What a call brought, in the order of its keys.
type Answers = Arc<[Result<Arc<Sealed>>]>;

/// One secret of a call, which any number of readers wait for; whoever polls drives
/// the call, and when nobody holds any of its secrets any more it is cancelled.
#[derive(Clone)]
pub(super) struct Flight {
    /// Whose it is.
    pub(super) call: u64,
    answers: Shared<BoxFuture<'static, Answers>>,
    at: usize,
}

/// The same, without keeping the call under way.
pub(super) struct WeakFlight {
    call: u64,
    answers: WeakShared<BoxFuture<'static, Answers>>,
    at: usize,
}

/// The flights that begin with one look at the table: they are one call.
///
/// It is dropped before the table is unlocked. Until then nobody polls the call, which
/// then has all its keys.
pub(super) struct Departure<'a> {
    core: &'a Arc<Core>,
    pub(super) now: Duration,
    begun: Option<Begun>,
}

struct Begun {
    first: Flight,
    keys: Vec<Key>,
    /// Where the call looks for them.
    told: Arc<OnceLock<Vec<Key>>>,
}

/// One call to the backend.
pub(super) struct Call {
    /// Weak: a call that hangs must not keep the cache alive.
    core: Weak<Core>,
    inner: Arc<dyn SecretStore>,
    timeout: BoxFuture<'static, ()>,
    keys: Arc<OnceLock<Vec<Key>>>,
    pub(super) id: u64,
    pub(super) started: Duration,
    pub(super) started_at: Timestamp,
}

impl Flight {
    fn downgrade(&self) -> Option<WeakFlight> {
        let answers = self.answers.downgrade()?;
        Some(WeakFlight { call: self.call, answers, at: self.at })
    }
}

impl WeakFlight {
    pub(super) fn upgrade(&self) -> Option<Flight> {
        let answers = self.answers.upgrade()?;
        Some(Flight { call: self.call, answers, at: self.at })
    }
}

impl Future for Flight {
    type Output = Result<Arc<Sealed>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let at = self.at;
        self.answers.poll_unpin(context).map(|answers| answers[at].clone())
    }
}

impl<'a> Departure<'a> {
    pub(super) fn new(core: &'a Arc<Core>, now: Duration) -> Self {
        Self { core, now, begun: None }
    }

    /// A flight for what nobody asks for yet.
    pub(super) fn begin(&mut self, table: &mut Table, key: Key) -> Flight {
        let (core, now) = (self.core, self.now);
        let begun = self.begun.get_or_insert_with(|| {
            let (told, id) = (Arc::default(), table.begin_call());
            let call = Call {
                core: Arc::downgrade(core),
                inner: Arc::clone(&core.inner),
                timeout: core.clock.sleep(core.options.flight_timeout),
                keys: Arc::clone(&told),
                id,
                started: now,
                started_at: core.clock.now(),
            };
            let first = Flight { call: id, answers: call.fly().boxed().shared(), at: 0 };
            Begun { first, keys: Vec::new(), told }
        });
        let flight = Flight { at: begun.keys.len(), ..begun.first.clone() };
        if let Some(weak) = flight.downgrade() {
            let id = flight.call;
            table.depart(
                key.clone(),
                InFlight { id, started: now, flight: weak, in_background: false },
            );
        }
        begun.keys.push(key);
        flight
    }
}

impl Drop for Departure<'_> {
    fn drop(&mut self) {
        if let Some(Begun { keys, told, .. }) = self.begun.take() {
            // It is set nowhere else.
            let _ = told.set(keys);
        }
    }
}

impl Call {
    async fn fly(mut self) -> Answers {
        let timeout = std::mem::replace(&mut self.timeout, future::pending().boxed());
        let keys = self.keys.get().map_or(&[][..], Vec::as_slice);
        let answers = match future::select(pin!(ask(&*self.inner, keys)), timeout).await {
            Either::Left((answers, _)) => Some(answers),
            Either::Right(_) => None,
        };
        let core = self.core.upgrade();
        let is_late = answers.is_none();
        let mut answers = answers.into_iter().flatten();
        let landed = keys.iter().map(|key| {
            let failed = |error: Error| error.during("get").about(&key.0);
            let Some(core) = &core else {
                return Err(failed(Error::unavailable("the cache was closed")));
            };
            let answer = answers.next().unwrap_or_else(|| {
                let error = if is_late {
                    Error::unavailable("the store did not answer in time")
                } else {
                    Error::internal("the store gave fewer answers than were asked")
                };
                Err(failed(error).in_store(self.inner.describe()))
            });
            core.land(&self, key, answer)
        });
        landed.collect()
    }
}

async fn ask(store: &dyn SecretStore, keys: &[Key]) -> Vec<Result<Secret>> {
    if let [(name, select)] = keys {
        return vec![store.get(name, select).await];
    }
    let wanted: Vec<_> = keys.iter().map(|(name, select)| (name, select)).collect();
    store.get_many(&wanted).await
}

impl Drop for Call {
    /// Nobody waits any more: the table's mention of it would stay for ever.
    fn drop(&mut self) {
        if let Some(core) = self.core.upgrade()
            && let Some(mut table) = core.table()
        {
            for key in self.keys.get().into_iter().flatten() {
                table.arrive(key, self.id);
            }
        }
    }
}
