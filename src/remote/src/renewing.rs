//! [`Renewing`]: what lasts for a while, taken anew before it ends, once for all who
//! wait.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use strongroom_core::{Clock, Error, Result, Timestamp};

/// What ends so soon is not used any more: the request still has to arrive. It is an
/// eighth of its life if that is less.
const LAST_MOMENT: Duration = Duration::from_secs(10);

/// The longest time before its end that something is renewed, unless it says
/// otherwise; it is a quarter of its life if that is less.
const LONGEST_LEAD: Duration = Duration::from_mins(15);

/// How long a source that failed is left alone while there is something that lasts.
const PAUSE: Duration = Duration::from_secs(30);

/// What lasts for a while, such as a session.
pub trait Lasting: Send + Sync + 'static {
    /// When it ends; `None` if it does not.
    fn ends(&self) -> Option<Timestamp>;

    /// How long before its end it is renewed, if it lasts for `life`.
    fn lead(&self, life: Duration) -> Duration {
        (life / 4).min(LONGEST_LEAD)
    }
}

/// Who gives it.
#[async_trait]
pub trait Source<T>: Send + Sync + fmt::Debug + 'static {
    /// One that lasts from now on. `held` is the one before, if that has not ended: it
    /// may be the one that is renewed.
    async fn fetch(&self, held: Option<&T>) -> Result<T>;
}

/// What a source gives, held until shortly before it ends. It works on tokio.
pub struct Renewing<T>(Arc<Shared<T>>);

struct Shared<T> {
    source: Box<dyn Source<T>>,
    clock: Arc<dyn Clock>,
    held: Mutex<Option<Held<T>>>,
    flights: Mutex<Flights>,
    /// Whoever renews has it.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// How the source was asked so far.
#[derive(Default)]
struct Flights {
    ended: u64,
    /// Why the last one failed.
    error: Option<Error>,
}

struct Held<T> {
    what: Arc<T>,
    /// From then on it is renewed.
    due: Option<Timestamp>,
    /// From then on it is not used.
    until: Option<Timestamp>,
}

impl<T: Lasting> Renewing<T> {
    /// Nobody is asked yet.
    #[must_use]
    pub fn new(source: Box<dyn Source<T>>, clock: Arc<dyn Clock>) -> Self {
        let (held, flights, turn) = (Mutex::default(), Mutex::default(), Arc::default());
        Self(Arc::new(Shared { source, clock, held, flights, turn }))
    }

    /// One that has not ended. One that ends soon is renewed behind the caller's back.
    /// Whoever waits while the source fails shares its error.
    pub async fn get(&self) -> Result<Arc<T>> {
        let shared = &self.0;
        if let Some(held) = shared.usable() {
            if shared.is_due(&held)
                && let Ok(turn) = Arc::clone(&shared.turn).try_lock_owned()
            {
                let shared = Arc::clone(shared);
                tokio::spawn(async move {
                    let _turn = turn;
                    // What is held is good for a while, and the next caller tries again.
                    let _ = shared.renew().await;
                });
            }
            return Ok(held.what);
        }
        // In a task of its own: whoever began may give up, the others still wait.
        let shared = Arc::clone(shared);
        let before = shared.flights().ended;
        let renewed = tokio::spawn(async move {
            let _turn = shared.turn.lock().await;
            if let Some(held) = shared.usable() {
                return Ok(held.what);
            }
            if let Some(error) = shared.failed_since(before) {
                return Err(error);
            }
            shared.renew().await
        });
        renewed.await.unwrap_or_else(|_| Err(Error::internal("taking a session panicked")))
    }

    /// What is held now, whether or not it has ended.
    #[must_use]
    pub fn held(&self) -> Option<Arc<T>> {
        self.0.lock().as_ref().map(|held| Arc::clone(&held.what))
    }

    /// Gives up `ended`, which was found not to be accepted any more: the next caller
    /// takes a new one. What has replaced it meanwhile stays.
    pub fn forget(&self, ended: &Arc<T>) {
        let mut held = self.0.lock();
        if held.as_ref().is_some_and(|held| Arc::ptr_eq(&held.what, ended)) {
            *held = None;
        }
    }
}

impl<T: Lasting> Shared<T> {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Held<T>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flights(&self) -> std::sync::MutexGuard<'_, Flights> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the source failed after so many flights, if it did.
    fn failed_since(&self, ended: u64) -> Option<Error> {
        let flights = self.flights();
        flights.error.clone().filter(|_| flights.ended > ended)
    }

    fn usable(&self) -> Option<Held<T>> {
        let held = self.lock().as_ref().map(Held::clone)?;
        let now = self.clock.now();
        held.until.is_none_or(|until| now < until).then_some(held)
    }

    fn is_due(&self, held: &Held<T>) -> bool {
        held.due.is_some_and(|due| due <= self.clock.now())
    }

    async fn renew(&self) -> Result<Arc<T>> {
        let before = self.usable();
        let fetched = self.source.fetch(before.as_ref().map(|held| &*held.what)).await;
        {
            let mut flights = self.flights();
            flights.ended += 1;
            flights.error = fetched.as_ref().err().cloned();
        }
        let now = self.clock.now();
        let mut held = self.lock();
        match fetched {
            Ok(what) => {
                let what = Arc::new(what);
                let (mut due, mut until) = (None, None);
                if let Some(ends) = what.ends() {
                    let life = ends.since(now);
                    due = Some(now.plus(life.saturating_sub(what.lead(life))));
                    until = Some(now.plus(life.saturating_sub(LAST_MOMENT.min(life / 8))));
                }
                *held = Some(Held { what: Arc::clone(&what), due, until });
                Ok(what)
            }
            Err(error) => {
                if let Some(held) = held.as_mut() {
                    held.due = Some(now.plus(PAUSE));
                }
                Err(error)
            }
        }
    }
}

impl<T> Clone for Held<T> {
    fn clone(&self) -> Self {
        Self { what: Arc::clone(&self.what), due: self.due, until: self.until }
    }
}

impl<T> Clone for Renewing<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Renewing<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewing").field("source", &self.0.source).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use strongroom_core::clock::ManualClock;
    use tokio::sync::Semaphore;

    use super::*;

    const LIFE: Duration = Duration::from_hours(1);

    #[derive(Debug)]
    struct Session {
        number: usize,
        ends: Timestamp,
    }

    impl Lasting for Session {
        fn ends(&self) -> Option<Timestamp> {
            Some(self.ends)
        }
    }

    /// Gives sessions of an hour, one for each permit, and counts.
    #[derive(Clone, Debug)]
    struct Counting {
        clock: ManualClock,
        given: Arc<AtomicUsize>,
        renewed: Arc<AtomicUsize>,
        permits: Arc<Semaphore>,
        fails: Arc<AtomicUsize>,
    }

    #[async_trait]
    impl Source<Session> for Counting {
        async fn fetch(&self, held: Option<&Session>) -> Result<Session> {
            self.permits.acquire().await.expect("open").forget();
            let number = 1 + self.given.fetch_add(1, Ordering::Relaxed);
            self.renewed.fetch_add(usize::from(held.is_some()), Ordering::Relaxed);
            if self.fails.load(Ordering::Relaxed) > 0 {
                return Err(Error::unavailable("the source is down"));
            }
            Ok(Session { number, ends: self.clock.now().plus(LIFE) })
        }
    }

    fn source() -> (Counting, Renewing<Session>) {
        let clock = ManualClock::new(Timestamp(1_000_000));
        let (given, permits) = (Arc::default(), Arc::new(Semaphore::new(0)));
        let (clock_of_source, renewed, fails) = (clock.clone(), Arc::default(), Arc::default());
        let source = Counting { clock: clock_of_source, given, renewed, permits, fails };
        (source.clone(), Renewing::new(Box::new(source), Arc::new(clock)))
    }

    async fn number(renewing: &Renewing<Session>) -> usize {
        renewing.get().await.expect("a session").number
    }

    #[tokio::test]
    async fn all_who_wait_share_one_flight() {
        let (source, renewing) = source();
        let asked: Vec<_> = (0..50)
            .map(|_| {
                tokio::spawn({
                    let renewing = renewing.clone();
                    async move { number(&renewing).await }
                })
            })
            .collect();
        source.permits.add_permits(50);
        for one in asked {
            assert_eq!(one.await.expect("no panic"), 1);
        }
        assert_eq!(source.given.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn all_who_wait_share_a_failure_too() {
        let (source, renewing) = source();
        source.fails.store(1, Ordering::Relaxed);
        let asked: Vec<_> = (0..50)
            .map(|_| {
                let renewing = renewing.clone();
                tokio::spawn(async move { renewing.get().await })
            })
            .collect();
        // Nothing else runs meanwhile: all of them have begun to wait then.
        tokio::task::yield_now().await;
        source.permits.add_permits(50);
        for one in asked {
            one.await.expect("no panic").expect_err("the source is down");
        }
        assert_eq!(source.given.load(Ordering::Relaxed), 1);
        source.fails.store(0, Ordering::Relaxed);
        assert_eq!(number(&renewing).await, 2, "whoever comes later asks again");
    }

    #[tokio::test]
    async fn whoever_gives_up_does_not_end_the_flight() {
        let (source, renewing) = source();
        let first = tokio::spawn({
            let renewing = renewing.clone();
            async move { renewing.get().await }
        });
        // It waits for the permit.
        while source.permits.available_permits() == 0 && renewing.0.turn.try_lock().is_ok() {
            tokio::task::yield_now().await;
        }
        first.abort();
        source.permits.add_permits(1);
        assert_eq!(number(&renewing).await, 1);
    }

    #[tokio::test]
    async fn it_is_renewed_before_it_ends_and_nobody_waits() {
        let (source, renewing) = source();
        source.permits.add_permits(1);
        assert_eq!(number(&renewing).await, 1);
        source.clock.advance(Duration::from_mins(44));
        assert_eq!(number(&renewing).await, 1);
        assert!(renewing.0.turn.try_lock().is_ok(), "nothing is due");
        source.clock.advance(Duration::from_mins(2));
        assert_eq!(number(&renewing).await, 1, "the source has not answered");
        source.permits.add_permits(1);
        // Until the renewal has ended.
        drop(renewing.0.turn.lock().await);
        assert_eq!(number(&renewing).await, 2);
        assert_eq!(source.renewed.load(Ordering::Relaxed), 1, "of the one before");
        source.clock.advance(LIFE);
        source.permits.add_permits(1);
        assert_eq!(number(&renewing).await, 3, "what has ended is never used");
        assert_eq!(source.renewed.load(Ordering::Relaxed), 1, "and not renewed");
    }

    #[tokio::test]
    async fn a_source_that_fails_leaves_what_lasts() {
        let (source, renewing) = source();
        source.permits.add_permits(9);
        assert_eq!(number(&renewing).await, 1);
        source.fails.store(1, Ordering::Relaxed);
        source.clock.advance(Duration::from_mins(50));
        assert_eq!(number(&renewing).await, 1);
        drop(renewing.0.turn.lock().await);
        assert_eq!(source.given.load(Ordering::Relaxed), 2);
        assert_eq!(number(&renewing).await, 1);
        drop(renewing.0.turn.lock().await);
        assert_eq!(source.given.load(Ordering::Relaxed), 2, "it is left alone for a while");
        source.clock.advance(Duration::from_mins(11));
        let error = renewing.get().await.expect_err("it has ended");
        assert!(error.is_retryable(), "{error}");
        source.fails.store(0, Ordering::Relaxed);
        assert_eq!(number(&renewing).await, 4);
    }

    #[tokio::test]
    async fn what_was_given_up_is_replaced_once() {
        let (source, renewing) = source();
        source.permits.add_permits(9);
        let first = renewing.get().await.expect("a session");
        renewing.forget(&first);
        assert_eq!(number(&renewing).await, 2);
        renewing.forget(&first);
        assert_eq!(number(&renewing).await, 2, "another one is held by now");
    }
}
