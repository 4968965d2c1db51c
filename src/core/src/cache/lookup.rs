//! What a reader does: look, join a flight, take a stale answer; and what a
//! flight does when it lands.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::future::{self, Either, FutureExt};
use strongroom_guard::fork_generation;

use super::flight::{Call, Departure, Flight};
use super::options::CacheOptions;
use super::sealed::{Sealed, Sealer, Times};
use super::spawn::Spawn;
use super::table::{Content, Key, Table};
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, ErrorKind, Result};
use crate::name::SecretName;
use crate::random;
use crate::secret::Secret;
use crate::store::{SecretStore, Select};

pub(super) struct Core {
    pub(super) inner: Arc<dyn SecretStore>,
    pub(super) options: CacheOptions,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) spawn: Arc<dyn Spawn>,
    pub(super) sealer: Sealer,
    pub(super) generation: u64,
    pub(super) table: Mutex<Table>,
}

/// What a reader finds.
pub(super) enum Look {
    /// And what the background is to do about it.
    Hit(Arc<Sealed>, Option<Flight>),
    Absent(Error),
    Wait(Wait),
}

/// What a reader waits for.
pub(super) enum Wait {
    /// Something to give, past its time to live. The flight is absent while the backend
    /// is left alone.
    Stale(Arc<Sealed>, Option<(Flight, Duration)>),
    Miss(Flight),
}

impl Core {
    pub(super) async fn get(
        self: &Arc<Self>,
        name: &SecretName,
        select: &Select,
    ) -> Result<Secret> {
        loop {
            let now = self.clock.monotonic();
            let Some(look) = self.look(name, select, now) else {
                return self.inner.get(name, select).await;
            };
            match look {
                Look::Hit(sealed, refresh) => {
                    return self.hit(name, select, &sealed, refresh, now);
                }
                Look::Absent(error) => return Err(error),
                Look::Wait(wait) => {
                    if let Some(answer) = self.wait(name, select, wait, now).await {
                        return answer;
                    }
                }
            }
        }
    }

    pub(super) fn hit(
        self: &Arc<Self>,
        name: &SecretName,
        select: &Select,
        sealed: &Sealed,
        refresh: Option<Flight>,
        now: Duration,
    ) -> Result<Secret> {
        if let Some(flight) = refresh {
            self.in_background(flight);
        }
        let age = now.saturating_sub(sealed.times.confirmed);
        Ok(Secret { age, ..self.open(name, select, sealed)? })
    }

    /// The answer to a reader who has waited until `now`, and does so on; `None` if what
    /// was to be given is gone meanwhile: it was written to, or time is up.
    pub(super) async fn wait(
        self: &Arc<Self>,
        name: &SecretName,
        select: &Select,
        wait: Wait,
        now: Duration,
    ) -> Option<Result<Secret>> {
        let (sealed, flight) = match wait {
            Wait::Miss(flight) => {
                let answer = flight.await;
                return Some(answer.and_then(|sealed| self.open(name, select, &sealed)));
            }
            Wait::Stale(sealed, flight) => (sealed, flight),
        };
        if let Some((flight, started)) = flight {
            let patience = self.clock.sleep(self.patience(started, now));
            match future::select(flight.clone(), patience).await {
                Either::Left((Ok(sealed), _)) => {
                    return Some(self.open(name, select, &sealed));
                }
                Either::Left((Err(error), _)) if !error.is_retryable() => {
                    return Some(Err(error));
                }
                Either::Left(_) => {}
                Either::Right(_) => self.leave(flight, name, select),
            }
        }
        self.stale(name, select, &sealed).transpose()
    }

    /// How long a reader who could be given a stale answer waits for a call.
    pub(super) fn patience(&self, started: Duration, now: Duration) -> Duration {
        self.options.stale_wait.saturating_sub(now.saturating_sub(started))
    }

    /// What there is now; `None` in a forked child.
    fn look(self: &Arc<Self>, name: &SecretName, select: &Select, now: Duration) -> Option<Look> {
        let mut table = self.table()?;
        let mut departure = Departure::new(self, now);
        Some(self.look_in(&mut table, &mut departure, name, select))
    }

    /// What there is now. A flight that has to begin does so with `departure`.
    pub(super) fn look_in(
        &self,
        table: &mut Table,
        departure: &mut Departure<'_>,
        name: &SecretName,
        select: &Select,
    ) -> Look {
        let now = departure.now;
        let found = table.get(name, select, now, |entry| match &entry.content {
            Content::Value(sealed) => Ok((Arc::clone(sealed), now >= entry.retry)),
            Content::Absent(error, _) => Err(error.clone()),
        });
        let (sealed, may_ask) = match found {
            Some(Ok(found)) => found,
            Some(Err(error)) => {
                table.stats.hits += 1;
                return Look::Absent(error);
            }
            None => {
                table.stats.misses += 1;
                return Look::Wait(Wait::Miss(join(table, departure, name, select).0));
            }
        };
        if now >= sealed.times.expires {
            let flight = may_ask.then(|| join(table, departure, name, select));
            return Look::Wait(Wait::Stale(sealed, flight));
        }
        table.stats.hits += 1;
        let due = may_ask && sealed.times.refresh.is_some_and(|at| now >= at);
        let refresh = if due { self.refresh(table, departure, name, select) } else { None };
        Look::Hit(sealed, refresh)
    }

    /// A flight for the background, unless that has it already, or enough.
    fn refresh(
        &self,
        table: &mut Table,
        departure: &mut Departure<'_>,
        name: &SecretName,
        select: &Select,
    ) -> Option<Flight> {
        let key = (name.clone(), select.clone());
        if table.background >= self.options.max_background || table.is_in_background(&key) {
            return None;
        }
        let (flight, _) = join(table, departure, name, select);
        table.send_to_background(&key, &self.options);
        Some(flight)
    }

    /// A reader waits no longer for a flight: it goes on in the background, and
    /// for a while nobody else waits.
    fn leave(self: &Arc<Self>, flight: Flight, name: &SecretName, select: &Select) {
        let Some(mut table) = self.table() else { return };
        if let Some(entry) = table.peek(name, select) {
            entry.retry = self.clock.monotonic() + self.options.retry_after;
        }
        let taken = table.send_to_background(&(name.clone(), select.clone()), &self.options);
        drop(table);
        if taken {
            self.in_background(flight);
        }
    }

    fn in_background(self: &Arc<Self>, flight: Flight) {
        let place = BackgroundPlace(Arc::downgrade(self));
        self.spawn.spawn(
            async move {
                let _place = place;
                // Whoever waits for it gets its answer; the table has it, too.
                let _ = flight.await;
            }
            .boxed(),
        );
    }

    /// The entry, marked, if it is still the one and may still be given.
    fn stale(
        &self,
        name: &SecretName,
        select: &Select,
        sealed: &Arc<Sealed>,
    ) -> Result<Option<Secret>> {
        let now = self.clock.monotonic();
        {
            let Some(mut table) = self.table() else { return Ok(None) };
            let same = table.peek(name, select).is_some_and(|entry| match &entry.content {
                Content::Value(current) => Arc::ptr_eq(current, sealed),
                Content::Absent(..) => false,
            });
            if !same || now >= sealed.times.gone {
                return Ok(None);
            }
            table.stats.stale += 1;
        }
        let age = now.saturating_sub(sealed.times.confirmed);
        let secret = self.open(name, select, sealed)?;
        Ok(Some(Secret { age, stale: true, ..secret }))
    }

    /// The answer, as fresh as from the backend, with the time that it has left.
    fn open(&self, name: &SecretName, select: &Select, sealed: &Sealed) -> Result<Secret> {
        let secret = self.sealer.open(name, select, sealed)?;
        let now = self.clock.monotonic();
        let valid_for = sealed.times.ends.map(|ends| ends.saturating_sub(now));
        Ok(Secret { valid_for, ..secret })
    }

    /// Takes in what a call brought for `key`, unless a write has come in between.
    pub(super) fn land(
        &self,
        call: &Call,
        key: &Key,
        answer: Result<Secret>,
    ) -> Result<Arc<Sealed>> {
        let now = self.clock.monotonic();
        let (name, select) = key;
        let sealed = answer.and_then(|secret| {
            let times = self.times(call.started, call.started_at, secret.valid_for)?;
            self.sealer.seal(name, select, secret, times).map(Arc::new)
        });
        let Some(mut table) = self.table() else { return sealed };
        if !table.arrive(key, call.id) {
            return sealed;
        }
        match &sealed {
            Ok(sealed) => {
                table.insert(name, select, Content::Value(Arc::clone(sealed)), &self.options);
            }
            Err(error) => self.land_failure(&mut table, key, error, now),
        }
        if now >= table.next_sweep {
            table.sweep(now);
            table.next_sweep = now + self.options.ttl;
        }
        sealed
    }

    fn land_failure(&self, table: &mut Table, key: &Key, error: &Error, now: Duration) {
        let (name, select) = key;
        let known = table.peek(name, select);
        if error.is_retryable() {
            if let Some(entry) = known {
                let asked = error.retry_after().unwrap_or_default().min(self.options.ttl);
                entry.retry = now + self.options.retry_after.max(asked);
            }
            return;
        }
        // Nobody ever had this version: that says nothing about the others.
        if known.is_some() || *select == Select::Latest {
            table.forget(name);
        }
        let until = now + self.options.negative_ttl;
        if error.kind() == ErrorKind::NotFound && until > now {
            table.insert(name, select, Content::Absent(error.clone(), until), &self.options);
        }
    }

    /// What is good for a while only is gone when that is over, from when it was asked
    /// for: that was before it began.
    fn times(
        &self,
        confirmed: Duration,
        confirmed_at: Timestamp,
        valid_for: Option<Duration>,
    ) -> Result<Times> {
        let CacheOptions { ttl, jitter, refresh_ahead, max_stale, .. } = self.options;
        let part = f64::from(u32::from_le_bytes(random::array()?)) / f64::from(u32::MAX);
        let life = ttl.mul_f64(1.0 - jitter * part).min(valid_for.unwrap_or(Duration::MAX));
        let refresh = refresh_ahead.map(|part| confirmed + life.mul_f64(part));
        let expires = confirmed + life;
        let ends = valid_for.map(|valid_for| confirmed.saturating_add(valid_for));
        let gone = expires + max_stale.unwrap_or_default();
        let gone = gone.min(ends.unwrap_or(Duration::MAX));
        Ok(Times { confirmed, confirmed_at, refresh, expires, gone, ends })
    }

    /// Forgets `name` now and again when the answer is dropped: before and after
    /// a write, however that ends, also when its future is dropped.
    pub(super) fn forget_around<'a>(&'a self, name: &'a SecretName) -> ForgetOnDrop<'a> {
        self.forget(name);
        ForgetOnDrop { core: self, name }
    }

    pub(super) fn forget(&self, name: &SecretName) {
        if let Some(mut table) = self.table() {
            table.forget(name);
        }
    }

    /// `None` in a forked child.
    pub(super) fn table(&self) -> Option<MutexGuard<'_, Table>> {
        (self.generation == fork_generation())
            .then(|| self.table.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The flight that is under way, or a new one, and when it began.
fn join(
    table: &mut Table,
    departure: &mut Departure<'_>,
    name: &SecretName,
    select: &Select,
) -> (Flight, Duration) {
    let key = (name.clone(), select.clone());
    match table.flight(&key) {
        Some(flying) => flying,
        None => (departure.begin(table, key), departure.now),
    }
}

/// One of the `max_background` places, given back when the task ends or is
/// dropped.
struct BackgroundPlace(Weak<Core>);

impl Drop for BackgroundPlace {
    fn drop(&mut self) {
        if let Some(core) = self.0.upgrade()
            && let Some(mut table) = core.table()
        {
            table.background -= 1;
        }
    }
}

pub(super) struct ForgetOnDrop<'a> {
    core: &'a Core,
    name: &'a SecretName,
}

impl Drop for ForgetOnDrop<'_> {
    fn drop(&mut self) {
        self.core.forget(self.name);
    }
}
