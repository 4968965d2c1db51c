//! [`Renewing`]: credentials that last for a while, taken anew before they end, or when
//! AWS ends them, once for all who wait.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use strongroom_core::{Clock, Error, Result, Timestamp};

use super::keys::Keys;
use crate::failure::Refused;

/// Credentials that end so soon are not used any more: the request still has to arrive.
const LAST_MOMENT: Duration = Duration::from_secs(10);

/// The longest time before their end that credentials are renewed; it is a quarter of
/// their life if that is less.
const LONGEST_LEAD: Duration = Duration::from_mins(15);

/// How long a source that failed is left alone while there is something that lasts; and
/// one whose credentials AWS refused, so that it is not asked for each call in vain.
const PAUSE: Duration = Duration::from_secs(30);

/// Who gives credentials.
#[async_trait]
pub(crate) trait Source: Send + Sync + fmt::Debug + 'static {
    async fn fetch(&self) -> Result<Keys>;

    /// Whether each fetch makes a session of its own. Others may give the same again.
    fn makes_sessions(&self) -> bool {
        true
    }
}

/// Credentials of a source, held until shortly before they end.
#[derive(Clone, Debug)]
pub(crate) struct Renewing(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    source: Box<dyn Source>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Whoever renews has it.
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Default)]
struct State {
    held: Option<Held>,
    /// When credentials were refused last, by the monotonic clock.
    refused: Option<Duration>,
}

#[derive(Clone, Debug)]
struct Held {
    keys: Arc<Keys>,
    /// From then on they are renewed.
    due: Option<Timestamp>,
}

impl Renewing {
    pub(crate) fn new(source: Box<dyn Source>, clock: Arc<dyn Clock>) -> Self {
        let (state, turn) = (Mutex::default(), Arc::default());
        Self(Arc::new(Shared { source, clock, state, turn }))
    }

    /// AWS refused a request that was signed with the credentials of this id: they are
    /// not given again. Whether there may be others.
    pub(crate) fn refuse(&self, id: &str, how: Refused) -> bool {
        let shared = &self.0;
        if how == Refused::Unknown && !shared.source.makes_sessions() {
            return false;
        }
        let mut state = shared.state();
        if state.held.as_ref().is_none_or(|held| held.keys.id() != id) {
            // Somebody else was refused before, and others are there or on their way.
            return true;
        }
        let now = shared.clock.monotonic();
        if state.refused.is_some_and(|before| now.saturating_sub(before) < PAUSE) {
            return false;
        }
        *state = State { held: None, refused: Some(now) };
        true
    }

    /// Credentials that have not ended. Those that end soon are renewed behind the
    /// caller's back.
    pub(crate) async fn keys(&self) -> Result<Arc<Keys>> {
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
            return Ok(held.keys);
        }
        // In a task of its own: whoever began may give up, the others still wait.
        let shared = Arc::clone(shared);
        let renewed = tokio::spawn(async move {
            let _turn = shared.turn.lock().await;
            match shared.usable() {
                Some(held) => Ok(held.keys),
                None => shared.renew().await,
            }
        });
        renewed.await.unwrap_or_else(|_| Err(Error::internal("taking credentials panicked")))
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn usable(&self) -> Option<Held> {
        let held = self.state().held.clone()?;
        let latest = self.clock.now().plus(LAST_MOMENT);
        held.keys.ends.is_none_or(|ends| latest < ends).then_some(held)
    }

    fn is_due(&self, held: &Held) -> bool {
        held.due.is_some_and(|due| due <= self.clock.now())
    }

    async fn renew(&self) -> Result<Arc<Keys>> {
        let fetched = self.source.fetch().await;
        let now = self.clock.now();
        let mut state = self.state();
        match fetched {
            Ok(keys) => {
                let keys = Arc::new(keys);
                let due = keys.ends.map(|ends| {
                    let lead = (ends.since(now) / 4).min(LONGEST_LEAD);
                    now.plus(ends.since(now).saturating_sub(lead))
                });
                state.held = Some(Held { keys: Arc::clone(&keys), due });
                Ok(keys)
            }
            Err(error) => {
                if let Some(held) = &mut state.held {
                    held.due = Some(now.plus(PAUSE));
                }
                Err(error)
            }
        }
    }
}

impl ProvideCredentials for Renewing {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async move {
            // The error comes back from the client, in the end of its chain.
            self.keys().await.map(|keys| keys.for_sdk()).map_err(CredentialsError::provider_error)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use strongroom_core::SecretBytes;
    use strongroom_core::clock::ManualClock;
    use tokio::sync::Semaphore;

    use super::*;

    const LIFE: Duration = Duration::from_hours(1);

    /// Gives credentials for an hour, one for each permit, and counts.
    #[derive(Clone, Debug)]
    struct Counting {
        clock: ManualClock,
        given: Arc<AtomicUsize>,
        permits: Arc<Semaphore>,
        fails: Arc<AtomicUsize>,
        makes_sessions: bool,
    }

    #[async_trait]
    impl Source for Counting {
        async fn fetch(&self) -> Result<Keys> {
            self.permits.acquire().await.expect("open").forget();
            let number = 1 + self.given.fetch_add(1, Ordering::Relaxed);
            if self.fails.load(Ordering::Relaxed) > 0 {
                return Err(Error::unavailable("the source is down"));
            }
            let secret = SecretBytes::copy_from(b"secret")?;
            Keys::new(&format!("ASIA{number}"), secret, None, Some(self.clock.now().plus(LIFE)))
        }

        fn makes_sessions(&self) -> bool {
            self.makes_sessions
        }
    }

    fn source() -> (Counting, Renewing) {
        let clock = ManualClock::new(Timestamp(1_000_000));
        let (given, permits) = (Arc::default(), Arc::new(Semaphore::new(0)));
        let (fails, makes_sessions) = (Arc::default(), true);
        let source = Counting { clock, given, permits, fails, makes_sessions };
        (source.clone(), renewing(&source))
    }

    fn renewing(source: &Counting) -> Renewing {
        Renewing::new(Box::new(source.clone()), Arc::new(source.clock.clone()))
    }

    async fn id(renewing: &Renewing) -> String {
        renewing.keys().await.expect("credentials").for_sdk().access_key_id().to_owned()
    }

    #[tokio::test]
    async fn all_who_wait_share_one_flight() {
        let (source, renewing) = source();
        let asked: Vec<_> = (0..50)
            .map(|_| {
                tokio::spawn({
                    let renewing = renewing.clone();
                    async move { id(&renewing).await }
                })
            })
            .collect();
        source.permits.add_permits(50);
        for one in asked {
            assert_eq!(one.await.expect("no panic"), "ASIA1");
        }
        assert_eq!(source.given.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn whoever_gives_up_does_not_end_the_flight() {
        let (source, renewing) = source();
        let first = tokio::spawn({
            let renewing = renewing.clone();
            async move { renewing.keys().await }
        });
        // It waits for the permit.
        while source.permits.available_permits() == 0 && renewing.0.turn.try_lock().is_ok() {
            tokio::task::yield_now().await;
        }
        first.abort();
        source.permits.add_permits(1);
        assert_eq!(id(&renewing).await, "ASIA1");
    }

    #[tokio::test]
    async fn credentials_are_renewed_before_they_end_and_nobody_waits() {
        let (source, renewing) = source();
        source.permits.add_permits(1);
        assert_eq!(id(&renewing).await, "ASIA1");
        source.clock.advance(Duration::from_mins(44));
        assert_eq!(id(&renewing).await, "ASIA1");
        assert!(renewing.0.turn.try_lock().is_ok(), "nothing is due");
        source.clock.advance(Duration::from_mins(2));
        assert_eq!(id(&renewing).await, "ASIA1", "the source has not answered");
        source.permits.add_permits(1);
        // Until the renewal has ended.
        drop(renewing.0.turn.lock().await);
        assert_eq!(id(&renewing).await, "ASIA2");
        source.clock.advance(LIFE);
        source.permits.add_permits(1);
        assert_eq!(id(&renewing).await, "ASIA3", "what has ended is never used");
    }

    #[tokio::test]
    async fn what_aws_refuses_is_taken_anew_once_for_all_and_not_at_once_again() {
        let (source, renewing) = source();
        source.permits.add_permits(9);
        assert_eq!(id(&renewing).await, "ASIA1");
        // All who were refused at the same time.
        for _ in 0..5 {
            assert!(renewing.refuse("ASIA1", Refused::Ended));
        }
        assert_eq!(id(&renewing).await, "ASIA2");
        assert!(renewing.refuse("ASIA1", Refused::Unknown), "one who comes late has another");
        assert_eq!(id(&renewing).await, "ASIA2");
        let moment = Duration::from_millis(1);
        source.clock.advance(PAUSE.saturating_sub(moment));
        assert!(!renewing.refuse("ASIA2", Refused::Ended), "the source gives nothing better");
        assert_eq!(id(&renewing).await, "ASIA2");
        source.clock.advance(moment);
        assert!(renewing.refuse("ASIA2", Refused::Unknown));
        assert_eq!(id(&renewing).await, "ASIA3");
        assert_eq!(source.given.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn what_somebody_else_set_and_aws_does_not_know_is_not_asked_for_again() {
        let source = Counting { makes_sessions: false, ..source().0 };
        let renewing = renewing(&source);
        source.permits.add_permits(9);
        assert_eq!(id(&renewing).await, "ASIA1");
        assert!(!renewing.refuse("ASIA1", Refused::Unknown));
        assert_eq!(id(&renewing).await, "ASIA1");
        assert!(renewing.refuse("ASIA1", Refused::Ended), "it may have been set anew");
        assert_eq!(id(&renewing).await, "ASIA2");
    }

    #[tokio::test]
    async fn a_source_that_fails_leaves_what_lasts() {
        let (source, renewing) = source();
        source.permits.add_permits(9);
        assert_eq!(id(&renewing).await, "ASIA1");
        source.fails.store(1, Ordering::Relaxed);
        source.clock.advance(Duration::from_mins(50));
        assert_eq!(id(&renewing).await, "ASIA1");
        drop(renewing.0.turn.lock().await);
        assert_eq!(source.given.load(Ordering::Relaxed), 2);
        assert_eq!(id(&renewing).await, "ASIA1");
        drop(renewing.0.turn.lock().await);
        assert_eq!(source.given.load(Ordering::Relaxed), 2, "it is left alone for a while");
        source.clock.advance(Duration::from_mins(11));
        let error = renewing.keys().await.expect_err("they have ended");
        assert!(error.is_retryable(), "{error}");
        source.fails.store(0, Ordering::Relaxed);
        assert_eq!(id(&renewing).await, "ASIA4");
    }
}
