//! A connection to the socket, and who serves it.

use std::future::Future;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use strongroom_core::Error;
use tokio::net::UnixStream;
use tonic::transport::Uri;
use tower_service::Service;

use crate::fault::Refused;

/// Makes connections to one socket.
#[derive(Clone, Debug)]
pub(crate) struct Connector(Arc<Place>);

#[derive(Debug)]
struct Place {
    path: PathBuf,
    trusted: Vec<u32>,
}

impl Connector {
    /// Connections to `path`, where a server of this process's user, of root or
    /// of `others` is believed.
    pub(crate) fn new(path: &Path, others: &[u32]) -> Self {
        let ours = [rustix::process::geteuid().as_raw(), 0];
        let trusted = ours.into_iter().chain(others.iter().copied()).collect();
        Self(Arc::new(Place { path: path.to_owned(), trusted }))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0.path
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<UnixStream>;
    type Error = Refused;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Refused>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let place = Arc::clone(&self.0);
        Box::pin(async move { place.connect().await.map(TokioIo::new).map_err(Refused) })
    }
}

impl Place {
    async fn connect(&self) -> Result<UnixStream, Error> {
        let stream = UnixStream::connect(&self.path).await.map_err(|e| self.unreachable(e))?;
        // The user of the process that called listen(2); it cannot be another
        // one's choice.
        let server = stream.peer_cred().map_err(|e| self.unreachable(e))?.uid();
        if self.trusted.contains(&server) {
            return Ok(stream);
        }
        let path = self.path.display();
        let what = format!(
            "user {server} serves the socket {path}, who is neither you nor root: nothing was sent"
        );
        Err(Error::unauthenticated(what))
    }

    fn unreachable(&self, error: io::Error) -> Error {
        let path = self.path.display();
        let found = self.path.metadata();
        if found.is_ok_and(|found| !found.file_type().is_socket()) {
            let what = format!("{path} is not a socket");
            return Error::unavailable(what).retryable(false).with_source(error);
        }
        let what = match error.kind() {
            io::ErrorKind::NotFound => format!("there is no socket {path}"),
            io::ErrorKind::ConnectionRefused => format!("nobody serves the socket {path}"),
            io::ErrorKind::PermissionDenied => {
                let what = format!("this user may not open the socket {path}");
                return Error::access_denied(what).with_source(error);
            }
            // sockaddr_un has 108 bytes for it (unix(7)).
            io::ErrorKind::InvalidInput => {
                let what = format!("{path} is too long for a socket's path: 107 bytes are allowed");
                return Error::configuration(what).with_source(error);
            }
            _ => format!("the socket {path} cannot be used: {error}"),
        };
        Error::unavailable(what).with_source(error)
    }
}
