//! The way to a sidecar: a connection, and what runs it.

use std::io::{self, Read, Write};
use std::path::Path;
use std::pin::Pin;
use std::task::{self, Poll};

use strongroom::{Error, ErrorKind, Scope};
use strongroom_client::{Change, Client, ClientOptions, Status, Watch};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::{Builder, Runtime};

use crate::context::Context;
use crate::failure::{Failure, Result};

/// A connection and its runtime, which is made only where it is used: the store
/// itself needs none.
#[derive(Debug)]
pub(crate) struct Sidecar {
    runtime: Runtime,
    pub(crate) client: Client,
}

impl Sidecar {
    pub(crate) fn connect(context: &Context, socket: &Path) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| {
            Error::internal("the connection's runtime cannot be started").with_source(error)
        })?;
        let mut options = ClientOptions::default();
        options.trusted_uids = context.socket_users()?;
        let client = runtime.block_on(Client::connect_with(socket, &options))?;
        Ok(Self { runtime, client })
    }

    /// The sidecar at `socket`, if somebody answers there whom we may ask.
    /// Somebody who is not to be trusted there is an error.
    pub(crate) fn find(context: &Context, socket: &Path) -> Result<Option<Self>> {
        if !socket.exists() {
            return Ok(None);
        }
        match Self::connect(context, socket) {
            Err(Failure::Engine(error))
                if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::AccessDenied) =>
            {
                Ok(None)
            }
            answer => answer.map(Some),
        }
    }

    pub(crate) fn at(self, scope: &Scope) -> Self {
        Self { client: self.client.at(scope), ..self }
    }

    /// Runs a call to its end.
    pub(crate) fn wait<T>(&self, call: impl Future<Output = T>) -> T {
        self.runtime.block_on(call)
    }

    /// The socket.
    pub(crate) fn path(&self) -> &Path {
        self.client.path()
    }

    pub(crate) fn status(&self, names: &[&str]) -> Result<Status> {
        Ok(self.wait(self.client.status(names))?)
    }

    pub(crate) fn watch(&self, names: &[&str]) -> Result<Watch> {
        Ok(self.wait(self.client.watch(names))?)
    }

    /// Waits for the next change.
    pub(crate) fn next_change(&self, watch: &mut Watch) -> Result<Change> {
        let change = self.wait(watch.next());
        let ended = || Error::unavailable("the sidecar ended the watch").during("watch");
        Ok(change.unwrap_or_else(|| Err(ended()))?)
    }
}

/// A reader or writer where an asynchronous one is asked for. The command does nothing else
/// while it reads or writes, and there is no buffer between file and caller.
pub(crate) struct Blocking<'a, T>(pub(crate) &'a mut T);

impl<T: Read> AsyncRead for Blocking<'_, T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut task::Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = uninterrupted(|| self.0.read(into.initialize_unfilled()))?;
        into.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl<T: Write> AsyncWrite for Blocking<'_, T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut task::Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(uninterrupted(|| self.0.write(bytes)))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn uninterrupted<T>(mut work: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match work() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            answer => return answer,
        }
    }
}
