//! The server: takes connections in, counts them, and ends them in good order.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use strongroom::{Error, Result};
use strongroom_rpc::Peer;
use strongroom_rpc::v1::strongroom_server::StrongroomServer;
use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic_health::server::HealthReporter;

use crate::connection::{self, Common};
use crate::routes::Standard;
use crate::service::Service;
use crate::socket::Socket;
use crate::state::{Serving, Shared};

/// How long the socket is left alone when the process has no file descriptor
/// left: connections have to end first.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(50);

/// A client is asked whether it has sent more before its connection is closed. One
/// that does not answer for so long, while no request is under way, is a stopped
/// process and not waited for.
const QUIET: Duration = Duration::from_secs(1);

/// The sidecar's server. Clones are handles of the same one.
#[derive(Clone, Debug)]
pub struct Server {
    shared: Arc<Shared>,
    common: Common,
    health: HealthReporter,
}

impl Server {
    /// A server of `serving`. Reads that the cache does not answer and all
    /// changes run on `backend`; everything else where [`serve`](Self::serve)
    /// runs.
    ///
    /// # Errors
    /// `Configuration` if the rules make no sense.
    pub fn new(serving: Serving, backend: Handle) -> Result<Self> {
        let shared = Shared::new(serving, backend)?;
        let (standard, health) = Standard::new()?;
        let common = Common { shared: Arc::clone(&shared), standard };
        Ok(Self { shared, common, health })
    }

    /// Serves `socket` until [`end`](Self::end), and then waits for what is
    /// under way: `Ok` when all of it ended, `Unavailable` when the time
    /// (`drain_timeout`) was up first.
    ///
    /// # Errors
    /// `Unavailable` if the socket cannot be listened on.
    pub async fn serve(&self, socket: &Socket) -> Result<()> {
        let failed = |e: io::Error| {
            let what = format!("the socket {} cannot be used: {e}", socket.path().display());
            Error::unavailable(what).retryable(false).with_source(e)
        };
        let listener = socket.listener().map_err(failed)?;
        self.health.set_serving::<StrongroomServer<Service>>().await;
        let mut ending = self.shared.ending.subscribe();
        let mut pace = JoinSet::new();
        pace.spawn(Arc::clone(&self.shared.pace).keep());
        let mut connections = JoinSet::new();
        let mut refused = 0;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
                () = ended(&mut ending) => break,
            };
            match accepted {
                Ok((stream, _)) => self.take(stream, &mut connections, &mut refused),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(OUT_OF_DESCRIPTORS).await;
                }
            }
        }
        drop(listener);
        self.drain(connections).await
    }

    fn take(&self, stream: UnixStream, connections: &mut JoinSet<()>, refused: &mut u64) {
        let peer = match Peer::of(&stream) {
            Ok(peer) => peer,
            Err(error) => {
                tracing::warn!(%error, "a caller could not be identified and was turned away");
                return;
            }
        };
        let limits = Arc::clone(&self.shared.current().limits);
        match self.shared.usage.connect(peer.uid, &limits) {
            Ok(counted) => {
                let common = self.common.clone();
                connections.spawn(connection::serve(common, stream, peer, counted));
            }
            Err(refusal) => {
                self.shared.metrics.refused(refusal);
                *refused += 1;
                // One line for each power of two: a flood must not fill the log.
                if refused.is_power_of_two() {
                    tracing::warn!(
                        uid = peer.uid,
                        pid = peer.pid,
                        limit = refusal.setting(),
                        so_far = *refused,
                        "connection refused"
                    );
                }
            }
        }
    }

    async fn drain(&self, mut connections: JoinSet<()>) -> Result<()> {
        self.health.set_not_serving::<StrongroomServer<Service>>().await;
        let (usage, patience) = (&self.shared.usage, self.shared.current().limits.drain_timeout);
        let open = connections.len();
        tracing::info!(connections = open, "ending: waiting for requests under way");
        let end = tokio::time::Instant::now() + patience;
        let cut = |requests: usize| {
            let what = format!("requests cut, which took longer than drain_timeout: {requests}");
            Err(Error::unavailable(what).retryable(false))
        };
        loop {
            let look = end.min(tokio::time::Instant::now() + QUIET);
            match tokio::time::timeout_at(look, connections.join_next()).await {
                Ok(None) => break,
                Ok(Some(_)) => {}
                // Clients who have nothing under way, and do not go.
                Err(_) if usage.unfinished() == 0 => break,
                Err(_) if look < end => {}
                Err(_) => {
                    let requests = usage.unfinished();
                    connections.shutdown().await;
                    return cut(requests);
                }
            }
        }
        connections.shutdown().await;
        // Changes whose caller has gone away.
        match tokio::time::timeout_at(end, usage.idle()).await {
            Ok(()) => Ok(()),
            Err(_) => cut(usage.unfinished()),
        }
    }

    /// Serves `serving` from the next request on; what is under way ends as it
    /// began.
    ///
    /// # Errors
    /// `Configuration` if the rules make no sense; nothing has changed then.
    pub fn replace(&self, serving: Serving) -> Result<()> {
        self.shared.replace(serving)
    }

    /// Notes how a reload went, for metrics and `Status`: what it failed with.
    pub fn note_reload(&self, failed: Option<&Error>) {
        self.shared.note_reload(failed);
    }

    /// Ends [`serve`](Self::serve): nothing new is taken in, watches are told,
    /// what is under way ends.
    pub fn end(&self) {
        self.shared.ending.send_replace(true);
    }

    /// All figures in the `OpenMetrics` text format.
    #[must_use]
    pub fn metrics(&self) -> String {
        let (shared, current) = (&self.shared, self.shared.current());
        let cache = current.cache.as_ref().map(|cache| cache.stats());
        shared.metrics.render(shared.usage.connections(), shared.usage.requests(), cache)
    }
}

async fn ended(ending: &mut watch::Receiver<bool>) {
    // An error means that the server is gone, which ends it as well.
    let _ = ending.wait_for(|ending| *ending).await;
}
