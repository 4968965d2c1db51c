//! One call to the backend, whoever waits for it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::{self, BoxFuture, Either, FutureExt};

use super::lookup::Core;
use super::sealed::Sealed;
use super::table::Key;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::store::SecretStore;

/// One call to the backend.
pub(super) struct Call {
    /// Weak: a call that hangs must not keep the cache alive.
    pub(super) core: Weak<Core>,
    pub(super) inner: Arc<dyn SecretStore>,
    pub(super) timeout: BoxFuture<'static, ()>,
    pub(super) key: Key,
    pub(super) id: u64,
    pub(super) started: Duration,
    pub(super) started_at: Timestamp,
}

impl Call {
    pub(super) async fn fly(mut self) -> Result<Arc<Sealed>> {
        let timeout = std::mem::replace(&mut self.timeout, future::pending().boxed());
        let (name, select) = &self.key;
        let answer = match future::select(self.inner.get(name, select), timeout).await {
            Either::Left((answer, _)) => answer,
            Either::Right(_) => Err(Error::unavailable("the store did not answer in time")
                .during("get")
                .about(name)
                .in_store(self.inner.describe())),
        };
        match self.core.upgrade() {
            Some(core) => core.land(&self, answer),
            None => Err(Error::unavailable("the cache was closed").during("get").about(name)),
        }
    }
}

impl Drop for Call {
    /// Nobody waits any more: the table's mention of it would stay for ever.
    fn drop(&mut self) {
        if let Some(core) = self.core.upgrade()
            && let Some(mut table) = core.table()
        {
            table.arrive(&self.key, self.id);
        }
    }
}
