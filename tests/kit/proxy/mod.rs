//! A proxy in front of a local HTTP server that fails as it is told, and counts
//! what it is asked. Its clients see a server like any other: the `Host` header and
//! so what `SigV4` signs stay as they are. It speaks HTTP/1.1 and keeps a message
//! whole before it passes it on.
//!
//! It is a forward proxy too: whatever host a client asks it for, in the absolute
//! form or by `CONNECT`, it asks its one upstream.
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::{TcpListener, TcpStream};
//! use strongroom_kit::proxy::{ANY, Fault, FaultProxy};
//!
//! let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
//! let proxy = FaultProxy::start(&upstream.local_addr().unwrap().to_string());
//! proxy.next(ANY, Fault::service_unavailable());
//! let mut client = TcpStream::connect(proxy.address()).unwrap();
//! client.write_all(b"GET /health HTTP/1.0\r\n\r\n").unwrap();
//! let mut answer = String::new();
//! client.read_to_string(&mut answer).unwrap();
//! assert!(answer.starts_with("HTTP/1.1 503 "));
//! assert_eq!(proxy.counts()["GET /health"], 1);
//! ```

mod connection;
mod error;
mod fault;
mod http;
mod plan;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

pub use self::fault::{Fault, Rewrite};
use self::plan::Plan;

/// Every operation.
pub const ANY: &str = "*";

/// After this time something that was expected will not come any more.
const PATIENCE: Duration = Duration::from_mins(1);

/// A proxy that serves. Dropping it closes its connections and ends its thread.
///
/// Operations are named as AWS names them: by the last part of `X-Amz-Target`
/// (`Decrypt`), or by the `Action` of a form or of the query (`AssumeRole`); any
/// other request by its method and its path (`GET /health`).
pub struct FaultProxy {
    address: SocketAddr,
    plan: watch::Sender<Plan>,
    handle: Handle,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A request that came.
#[derive(Clone)]
pub struct Request {
    /// `POST`
    pub method: String,
    /// What follows the host, with the query.
    pub path: String,
    /// The name that rules and counts have for it.
    pub operation: String,
    /// The connection that it came by, from 0.
    pub connection: usize,
    /// The host that a client asked for which takes this for a forward proxy.
    pub proxied: Option<String>,
    /// The status that the upstream answered, if it was asked.
    pub upstream: Option<u16>,
    /// Whether the client gets the upstream's answer as it was.
    pub forwarded: bool,
    headers: Vec<(String, String)>,
}

impl FaultProxy {
    /// One in front of `upstream`: `127.0.0.1:1234`, or the same as an `http://` URL.
    /// It answers 502 while nobody listens there.
    ///
    /// # Panics
    /// If this is no address.
    #[must_use]
    pub fn start(upstream: &str) -> Self {
        let upstream = upstream.trim_start_matches("http://").trim_end_matches('/');
        let upstream: SocketAddr = upstream.parse().expect("an address");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("an address");
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let handle = runtime.handle().clone();
        let (plan, (end, ended)) = (watch::Sender::default(), oneshot::channel());
        let serving = plan.clone();
        let serve = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = connection::accept(listener, upstream, serving) => {}
                    _ = ended => {}
                }
            });
            // Its connections end with the runtime.
        };
        let thread = thread::Builder::new().name("fault-proxy".to_owned()).spawn(serve);
        let thread = Some(thread.expect("a thread"));
        Self { address, plan, handle, end: Some(end), thread }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, as a URL.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next request of `operation` that nothing is planned for fails so.
    pub fn next(&self, operation: &str, fault: Fault) {
        self.times(operation, 1, fault);
    }

    /// So many requests of `operation` that nothing is planned for fail so.
    pub fn times(&self, operation: &str, count: usize, fault: Fault) {
        self.plan.send_modify(|plan| plan.next(operation, count, Some(fault)));
    }

    /// The next request of `operation` that nothing is planned for goes well.
    pub fn pass(&self, operation: &str) {
        self.plan.send_modify(|plan| plan.next(operation, 1, None));
    }

    /// Every request of `operation` that nothing is planned for fails so, from now
    /// on. A fault of one operation goes before one of [`ANY`].
    pub fn always(&self, operation: &str, fault: Fault) {
        self.plan.send_modify(|plan| plan.always(operation, fault));
    }

    /// Nothing fails any more. The connections that a black hole keeps are closed.
    pub fn clear(&self) {
        self.plan.send_modify(Plan::clear);
    }

    /// How many requests of each operation came, however they ended.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for request in self.plan.borrow().requests() {
            *counts.entry(request.operation.clone()).or_default() += 1;
        }
        counts
    }

    /// How many requests of `operation` came.
    #[must_use]
    pub fn count(&self, operation: &str) -> usize {
        self.plan.borrow().count(operation)
    }

    /// Forgets the requests that came.
    pub fn reset_counts(&self) {
        self.plan.send_modify(Plan::forget);
    }

    /// The requests that came, in their order.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.plan.borrow().requests().cloned().collect()
    }

    /// How many connections came, and how many of these are open.
    #[must_use]
    pub fn connections(&self) -> (usize, usize) {
        let plan = self.plan.borrow();
        (plan.accepted, plan.open)
    }

    /// Waits until `count` requests of `operation` have come, since the counts were
    /// reset. They have not been answered.
    ///
    /// # Panics
    /// If they do not come within a minute.
    pub async fn wait_for(&self, operation: &str, count: usize) {
        let wanted = operation.to_owned();
        self.wait_until(operation, move |plan| plan.count(&wanted) >= count).await;
    }

    /// Waits until `count` connections are open, at most: the others were closed by
    /// their clients or by a fault.
    ///
    /// # Panics
    /// If that does not happen within a minute.
    pub async fn wait_for_open(&self, count: usize) {
        self.wait_until("closed connections", move |plan| plan.open <= count).await;
    }

    async fn wait_until(&self, what: &str, is_so: impl Fn(&Plan) -> bool + Send + Sync + 'static) {
        let mut plan = self.plan.subscribe();
        // On its own runtime: the caller may have none, or one whose time stands.
        let waiting = self.handle.spawn(async move {
            timeout(PATIENCE, plan.wait_for(|plan| is_so(plan))).await.is_ok()
        });
        let came = waiting.await.expect("the proxy serves");
        assert!(came, "no {what}: {:?}", self.requests());
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for FaultProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultProxy").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Request {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        http::header(&self.headers, name)
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("operation", &self.operation)
            .field("connection", &self.connection)
            .field("upstream", &self.upstream)
            .field("forwarded", &self.forwarded)
            .finish_non_exhaustive()
    }
}
