//! Where AWS's client library works: it needs tokio, and a caller may be on any
//! executor.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use strongroom_core::{Error, Result};
use tokio::runtime::Builder;
use tokio::task::JoinHandle;

/// How many threads wait for the network: answers are short.
const THREADS: usize = 1;

pub(crate) struct Runtime(Option<tokio::runtime::Runtime>);

impl Runtime {
    pub(crate) fn new() -> Result<Self> {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(THREADS).thread_name("strongroom-aws").enable_all();
        let runtime = builder.build().map_err(|error| {
            Error::internal("the runtime of the AWS client cannot be started").with_source(error)
        })?;
        Ok(Self(Some(runtime)))
    }

    /// Runs `work` over there; it ends when nobody waits for it any more.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let Some(runtime) = &self.0 else { return Err(Error::internal("the runtime has ended")) };
        AbortOnDrop(runtime.spawn(work)).await
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

struct AbortOnDrop<T>(JoinHandle<Result<T>>);

impl<T> Future for AbortOnDrop<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        Pin::new(&mut self.0).poll(context).map(|ended| {
            // A panic's message may quote anything.
            ended.unwrap_or_else(|_| Err(Error::internal("the AWS client panicked")))
        })
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
