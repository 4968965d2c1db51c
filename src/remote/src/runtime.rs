//! Where client libraries work: they need tokio, and a caller may be on any executor.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use strongroom_core::{Error, Result};
use tokio::runtime::Builder;
use tokio::task::JoinHandle;

/// How many threads wait for the network: answers are short.
const THREADS: usize = 1;

/// A runtime that a backend has for itself.
pub struct Runtime(Option<tokio::runtime::Runtime>);

impl Runtime {
    /// A runtime whose thread is called `name`.
    pub fn new(name: &str) -> Result<Self> {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(THREADS).thread_name(name).enable_all();
        let runtime = builder.build().map_err(|error| {
            Error::internal("the runtime of a backend cannot be started").with_source(error)
        })?;
        Ok(Self(Some(runtime)))
    }

    /// Begins `work` over there; it ends when nobody waits for it any more. What waits
    /// is small, however large a client library's futures are.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Running<T> {
        Running(self.0.as_ref().map(|runtime| runtime.spawn(work)))
    }

    /// Begins `work` over there, which goes on though nobody waits for it.
    pub fn go_on(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.0 {
            drop(runtime.spawn(work));
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // Waiting for its thread is not allowed where another runtime works.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Runtime")
    }
}

/// What is worked at over there.
pub struct Running<T>(Option<JoinHandle<Result<T>>>);

impl<T> Future for Running<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        let Some(work) = &mut self.0 else {
            return Poll::Ready(Err(Error::internal("the runtime has ended")));
        };
        Pin::new(work).poll(context).map(|ended| {
            // A panic's message may quote anything.
            ended.unwrap_or_else(|_| Err(Error::internal("a client library panicked")))
        })
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        if let Some(work) = &self.0 {
            work.abort();
        }
    }
}

impl<T> fmt::Debug for Running<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Running")
    }
}
