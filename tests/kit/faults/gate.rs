//! A place where calls wait until the test lets them go: no test sleeps to be
//! sure that something has begun.

use std::future::poll_fn;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// A gate. Clones are the same gate; it is closed until it is opened.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    arrival: Condvar,
}

#[derive(Debug, Default)]
struct State {
    open: bool,
    arrived: usize,
    waiting: Vec<Waker>,
}

impl Gate {
    /// A closed gate.
    #[must_use]
    pub fn closed() -> Self {
        Self::default()
    }

    /// Lets everybody through, from now on.
    pub fn open(&self) {
        let waiting = {
            let mut state = self.state();
            state.open = true;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Blocks this thread until `count` calls have come to the gate.
    pub fn wait_for_arrivals(&self, count: usize) {
        let waiting = self.0.arrival.wait_while(self.state(), |state| state.arrived < count);
        drop(waiting.unwrap_or_else(PoisonError::into_inner));
    }

    /// Comes to the gate and goes on once it is open.
    pub async fn pass(&self) {
        let mut is_new = true;
        poll_fn(|context| {
            let mut state = self.state();
            if std::mem::take(&mut is_new) {
                state.arrived += 1;
                self.0.arrival.notify_all();
            }
            if state.open {
                return Poll::Ready(());
            }
            state.waiting.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
