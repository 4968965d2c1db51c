//! Busy polling: while requests follow each other closely, the serving thread
//! does not sleep between them.
//!
//! To wake a thread takes longer than to answer from the cache. A client that asks
//! again as soon as it is answered gets twice as many answers from a thread that
//! looks for its next request instead of being woken by it. The price is bounded:
//! [`PATIENCE`] of one processor after the last of such requests, and nothing for
//! a client that asks now and then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Notify;
use tokio::task::yield_now;

/// How long the next request is looked for.
const PATIENCE: Duration = Duration::from_micros(50);
/// Answers follow closely when there is less between them: twice what a client
/// that asks at once takes when it has to wake the thread each time.
const CLOSE: Duration = Duration::from_micros(250);

/// When answers are given.
#[derive(Debug)]
pub(crate) struct Pace {
    began: Instant,
    /// When the last was given, in nanoseconds.
    last: AtomicU64,
    answers: AtomicU64,
    wanted: AtomicBool,
    awake: AtomicBool,
    close: Notify,
}

impl Pace {
    pub(crate) fn new() -> Arc<Self> {
        let (last, answers) = (AtomicU64::new(0), AtomicU64::new(0));
        let (wanted, awake) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self { began: Instant::now(), last, answers, wanted, awake, close: Notify::new() })
    }

    /// Whether the configuration wants the thread to stay awake.
    pub(crate) fn want(&self, wanted: bool) {
        self.wanted.store(wanted, Relaxed);
    }

    /// An answer is given at `now`.
    pub(crate) fn answered(&self, now: Instant) {
        let now = now.saturating_duration_since(self.began);
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let since = now.saturating_sub(self.last.swap(now, Relaxed));
        self.answers.fetch_add(1, Relaxed);
        if u128::from(since) < CLOSE.as_nanos() && !self.awake.load(Relaxed) {
            self.close.notify_one();
        }
    }

    /// Keeps the runtime's thread awake while answers follow closely. It ends at
    /// once where that helps nobody: where the client would need the same
    /// processor, or where the runtime has several threads.
    pub(crate) async fn keep(self: Arc<Self>) {
        let flavor = Handle::current().runtime_flavor();
        let processors = available_parallelism().map_or(1, usize::from);
        if processors > 1 && flavor == RuntimeFlavor::CurrentThread {
            loop {
                self.close.notified().await;
                if self.wanted.load(Relaxed) {
                    self.stay_awake(PATIENCE).await;
                }
            }
        }
    }

    /// Lets the runtime look for work without sleeping, until there has been no
    /// answer for `patience`.
    async fn stay_awake(&self, patience: Duration) {
        self.awake.store(true, Relaxed);
        let (mut seen, mut since) = (self.answers.load(Relaxed), Instant::now());
        loop {
            yield_now().await;
            let answers = self.answers.load(Relaxed);
            if answers != seen {
                (seen, since) = (answers, Instant::now());
            } else if since.elapsed() >= patience {
                break;
            }
        }
        self.awake.store(false, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn is_called(pace: &Pace) -> bool {
        let called = pin!(pace.close.notified());
        called.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn only_answers_that_follow_closely_call() {
        let pace = Pace::new();
        let mut now = pace.began;
        for _ in 0..10 {
            now += CLOSE;
            pace.answered(now);
            assert!(!is_called(&pace));
        }
        pace.answered(now + CLOSE / 2);
        assert!(is_called(&pace));
        // Who is awake need not be called.
        pace.awake.store(true, Relaxed);
        pace.answered(now + CLOSE / 2);
        assert!(!is_called(&pace));
    }

    #[test]
    fn it_stays_awake_for_as_long_as_there_are_answers() {
        let pace = Pace::new();
        let mut context = Context::from_waker(Waker::noop());
        let mut awake = pin!(pace.stay_awake(Duration::from_hours(1)));
        for _ in 0..3 {
            assert!(awake.as_mut().poll(&mut context).is_pending());
        }
        assert!(pace.awake.load(Relaxed));
        let mut awake = pin!(pace.stay_awake(Duration::ZERO));
        assert!(awake.as_mut().poll(&mut context).is_pending());
        pace.answered(pace.began);
        assert!(awake.as_mut().poll(&mut context).is_pending());
        assert!(awake.as_mut().poll(&mut context).is_ready());
        assert!(!pace.awake.load(Relaxed));
    }
}
