//! Where the cache's background work runs: on the program's runtime, or on one
//! thread of its own.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};

/// Runs futures in the background.
///
/// # Contract
/// `spawn` returns at once and polls nothing itself. A task runs until it is
/// done, or is dropped with whatever runs it.
pub trait Spawn: Send + Sync + fmt::Debug {
    /// Runs `task` in the background.
    fn spawn(&self, task: BoxFuture<'static, ()>);
}

/// One thread that polls all tasks, started by the first. A store that blocks
/// inside its futures delays the other tasks, never a reader.
///
/// Dropping this drops its tasks and ends the thread, without waiting for it.
#[derive(Default)]
pub struct ThreadSpawn(Arc<Queue>);

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    incoming: Vec<BoxFuture<'static, ()>>,
    woken: bool,
    running: bool,
    closed: bool,
}

impl ThreadSpawn {
    /// A thread that is not started yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Spawn for ThreadSpawn {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        let mut state = self.0.state();
        if !state.running {
            let queue = Arc::clone(&self.0);
            let thread = thread::Builder::new().name("strongroom-cache".into());
            if thread.spawn(move || queue.run()).is_err() {
                // Without a thread there is no background work; the cache can do
                // without. The task may lock what our caller has not: drop it last.
                drop(state);
                return;
            }
            state.running = true;
        }
        state.incoming.push(task);
        state.woken = true;
        self.0.changed.notify_one();
    }
}

impl Drop for ThreadSpawn {
    fn drop(&mut self) {
        self.0.state().closed = true;
        self.0.changed.notify_one();
    }
}

impl fmt::Debug for ThreadSpawn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadSpawn").finish_non_exhaustive()
    }
}

impl Wake for Queue {
    fn wake(self: Arc<Self>) {
        self.state().woken = true;
        self.changed.notify_one();
    }
}

impl Queue {
    fn run(self: Arc<Self>) {
        let waker = Waker::from(Arc::clone(&self));
        let mut context = Context::from_waker(&waker);
        let mut tasks = FuturesUnordered::new();
        while let Some(incoming) = self.wait() {
            // A task that panics must not take the others with it.
            tasks.extend(incoming.into_iter().map(|task| AssertUnwindSafe(task).catch_unwind()));
            while let Poll::Ready(Some(_)) = tasks.poll_next_unpin(&mut context) {}
        }
        let left = std::mem::take(&mut self.state().incoming);
        drop((left, tasks));
    }

    /// New tasks, once there is something to do; `None` at the end.
    fn wait(&self) -> Option<Vec<BoxFuture<'static, ()>>> {
        let idle = |state: &mut State| !state.woken && !state.closed;
        let waited = self.changed.wait_while(self.state(), idle);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        state.woken = false;
        (!state.closed).then(|| std::mem::take(&mut state.incoming))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures_util::future;

    use super::*;

    struct Signal(mpsc::Sender<&'static str>);

    impl Drop for Signal {
        fn drop(&mut self) {
            let _ = self.0.send("dropped");
        }
    }

    #[test]
    fn tasks_run_and_wake_and_a_panic_stays_alone() {
        let spawn = ThreadSpawn::new();
        let (sender, receiver) = mpsc::channel();
        let (resume, resumed) = futures_channel();
        let other = sender.clone();
        spawn.spawn(
            async move {
                resumed.await;
                let _ = other.send("resumed");
            }
            .boxed(),
        );
        spawn.spawn(async { panic!("a task that panics, on purpose") }.boxed());
        spawn.spawn(
            async move {
                let _ = sender.send("second");
            }
            .boxed(),
        );
        assert_eq!(receiver.recv(), Ok("second"));
        resume();
        assert_eq!(receiver.recv(), Ok("resumed"));
    }

    #[test]
    fn dropping_the_spawner_drops_its_tasks() {
        let spawn = ThreadSpawn::new();
        let (sender, receiver) = mpsc::channel();
        let signal = Signal(sender);
        spawn.spawn(
            async move {
                let _signal = signal;
                future::pending::<()>().await;
            }
            .boxed(),
        );
        drop(spawn);
        assert_eq!(receiver.recv(), Ok("dropped"));
    }

    /// A future that resolves when the other half is called.
    fn futures_channel() -> (impl FnOnce(), impl Future<Output = ()> + Send) {
        let shared = Arc::new(Mutex::new((false, None::<Waker>)));
        let other = Arc::clone(&shared);
        let resume = move || {
            let mut state = other.lock().expect("not poisoned");
            state.0 = true;
            if let Some(waker) = state.1.take() {
                waker.wake();
            }
        };
        let resumed = future::poll_fn(move |context| {
            let mut state = shared.lock().expect("not poisoned");
            if state.0 {
                return Poll::Ready(());
            }
            state.1 = Some(context.waker().clone());
            Poll::Pending
        });
        (resume, resumed)
    }
}
