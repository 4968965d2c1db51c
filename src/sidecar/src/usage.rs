//! What each user has under way, so that a flood from one never takes what
//! another needs: connections, requests, watches and bytes are counted by user.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use strongroom::config::SidecarSection;
use strongroom::{Error, ErrorKind};
use tokio::sync::Notify;
use tonic::Status;

/// What all users have under way.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    users: Mutex<HashMap<u32, Arc<User>>>,
    connections: AtomicUsize,
    requests: AtomicUsize,
    /// Those of `requests` that are watches.
    watches: AtomicUsize,
    /// Tells that the last request has ended.
    idle: Notify,
}

/// What one user has under way.
#[derive(Debug, Default)]
pub(crate) struct User {
    connections: AtomicUsize,
    requests: AtomicUsize,
    watches: AtomicUsize,
    bytes: AtomicUsize,
}

/// Why something was refused. The texts are labels of a metric too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Refusal {
    Connections,
    ConnectionsOfUser,
    RequestsOfUser,
    WatchesOfUser,
    BytesOfUser,
}

impl Refusal {
    /// The setting that was reached.
    pub(crate) fn setting(self) -> &'static str {
        match self {
            Self::Connections => "max_connections",
            Self::ConnectionsOfUser => "max_connections_per_user",
            Self::RequestsOfUser => "max_requests_per_user",
            Self::WatchesOfUser => "max_watches_per_user",
            Self::BytesOfUser => "max_bytes_per_user",
        }
    }

    /// What the caller is told.
    pub(crate) fn status(self, limits: &SidecarSection) -> Status {
        let limit = match self {
            Self::Connections => limits.max_connections,
            Self::ConnectionsOfUser => limits.max_connections_per_user,
            Self::RequestsOfUser => limits.max_requests_per_user,
            Self::WatchesOfUser => limits.max_watches_per_user,
            Self::BytesOfUser => limits.max_bytes_per_user,
        };
        let setting = self.setting();
        let what =
            format!("{setting} = {limit} is reached: try again when other requests have ended");
        strongroom_rpc::status_of(&Error::new(ErrorKind::Throttled, what).after(RETRY_AFTER))
    }
}

/// How long who was refused is told to wait.
const RETRY_AFTER: Duration = Duration::from_millis(100);

impl Usage {
    /// Counts a connection of user `uid`, or says which limit stands against it.
    pub(crate) fn connect(
        self: &Arc<Self>,
        uid: u32,
        limits: &SidecarSection,
    ) -> Result<Connection, Refusal> {
        if !raise(&self.connections, limits.max_connections) {
            return Err(Refusal::Connections);
        }
        let user = {
            let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
            let user = Arc::clone(users.entry(uid).or_default());
            if !raise(&user.connections, limits.max_connections_per_user) {
                self.connections.fetch_sub(1, Relaxed);
                return Err(Refusal::ConnectionsOfUser);
            }
            user
        };
        Ok(Connection { usage: Arc::clone(self), user, uid })
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(SeqCst)
    }

    /// Requests that are no watches: those that somebody waits for the end of.
    pub(crate) fn unfinished(&self) -> usize {
        self.requests().saturating_sub(self.watches.load(SeqCst))
    }

    /// Waits until no request is under way.
    pub(crate) async fn idle(&self) {
        loop {
            let idle = self.idle.notified();
            if self.requests() == 0 {
                return;
            }
            idle.await;
        }
    }

    /// Forgets user `uid` once nothing of his is left.
    fn forget(&self, uid: u32, user: &User) {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if user.is_idle() {
            users.remove(&uid);
        }
    }
}

impl User {
    fn is_idle(&self) -> bool {
        [&self.connections, &self.requests, &self.watches].iter().all(|count| {
            // As it is decremented: of two that end at once, one sees both.
            count.load(SeqCst) == 0
        })
    }
}

/// A counted connection.
#[derive(Debug)]
pub(crate) struct Connection {
    usage: Arc<Usage>,
    user: Arc<User>,
    uid: u32,
}

impl Connection {
    /// Counts a request, or says which limit stands against it.
    pub(crate) fn begin(&self, limits: &SidecarSection, watch: bool) -> Result<Request, Refusal> {
        if self.user.bytes.load(Relaxed) >= limits.max_bytes_per_user {
            return Err(Refusal::BytesOfUser);
        }
        let (count, limit, refusal) = if watch {
            (&self.user.watches, limits.max_watches_per_user, Refusal::WatchesOfUser)
        } else {
            (&self.user.requests, limits.max_requests_per_user, Refusal::RequestsOfUser)
        };
        if !raise(count, limit) {
            return Err(refusal);
        }
        self.usage.requests.fetch_add(1, SeqCst);
        if watch {
            self.usage.watches.fetch_add(1, SeqCst);
        }
        let (usage, user) = (Arc::clone(&self.usage), Arc::clone(&self.user));
        Ok(Request { usage, user, uid: self.uid, watch, bytes: AtomicUsize::new(0) })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.usage.connections.fetch_sub(1, Relaxed);
        // Requests that outlive their connection keep the user alive: nobody has
        // more under way by coming again.
        if self.user.connections.fetch_sub(1, SeqCst) == 1 {
            self.usage.forget(self.uid, &self.user);
        }
    }
}

/// A counted request, until the last byte of its answer has left and what it
/// set going has ended.
#[derive(Debug)]
pub(crate) struct Request {
    usage: Arc<Usage>,
    user: Arc<User>,
    uid: u32,
    watch: bool,
    bytes: AtomicUsize,
}

impl Request {
    /// Counts bytes that are held for this request.
    fn hold(&self, bytes: usize) {
        self.user.bytes.fetch_add(bytes, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    /// Takes back some of what was held.
    pub(crate) fn release(&self, bytes: usize) {
        self.user.bytes.fetch_sub(bytes, Relaxed);
        self.bytes.fetch_sub(bytes, Relaxed);
    }

    /// Whether the user holds more than he may.
    fn is_over(&self, limits: &SidecarSection) -> bool {
        self.user.bytes.load(Relaxed) > limits.max_bytes_per_user
    }

    /// Counts bytes that are held for this request, or says that they are too
    /// many: then they are not counted.
    pub(crate) fn try_hold(&self, bytes: usize, limits: &SidecarSection) -> Result<(), Refusal> {
        self.hold(bytes);
        if self.is_over(limits) {
            self.release(bytes);
            return Err(Refusal::BytesOfUser);
        }
        Ok(())
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.user.bytes.fetch_sub(self.bytes.load(Relaxed), Relaxed);
        let count = if self.watch { &self.user.watches } else { &self.user.requests };
        count.fetch_sub(1, SeqCst);
        if self.user.connections.load(SeqCst) == 0 {
            self.usage.forget(self.uid, &self.user);
        }
        if self.watch {
            self.usage.watches.fetch_sub(1, SeqCst);
        }
        if self.usage.requests.fetch_sub(1, SeqCst) == 1 {
            self.usage.idle.notify_waiters();
        }
    }
}

/// Counts one more, unless there are `limit`.
fn raise(count: &AtomicUsize, limit: usize) -> bool {
    count.fetch_update(SeqCst, SeqCst, |now| (now < limit).then_some(now + 1)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> SidecarSection {
        let mut limits = SidecarSection::default();
        limits.max_connections = 3;
        limits.max_connections_per_user = 2;
        limits.max_requests_per_user = 2;
        limits.max_watches_per_user = 1;
        limits.max_bytes_per_user = 10;
        limits
    }

    #[test]
    fn a_user_who_has_all_that_he_may_takes_nothing_from_another() {
        let (usage, limits) = (Arc::new(Usage::default()), limits());
        let first = usage.connect(1, &limits).expect("the first");
        let second = usage.connect(1, &limits).expect("the second");
        assert_eq!(usage.connect(1, &limits).err(), Some(Refusal::ConnectionsOfUser));
        let other = usage.connect(2, &limits).expect("another user");
        assert_eq!(usage.connect(3, &limits).err(), Some(Refusal::Connections));

        // Requests are counted over all connections of a user.
        let requests = [first.begin(&limits, false), second.begin(&limits, false)];
        assert!(requests.iter().all(Result::is_ok));
        assert_eq!(first.begin(&limits, false).err(), Some(Refusal::RequestsOfUser));
        assert!(other.begin(&limits, false).is_ok());
        let watch = first.begin(&limits, true).expect("a watch is counted apart");
        assert_eq!(second.begin(&limits, true).err(), Some(Refusal::WatchesOfUser));

        watch.try_hold(10, &limits).expect("as many as there may be");
        assert_eq!(watch.try_hold(1, &limits).err(), Some(Refusal::BytesOfUser));
        watch.release(5);
        watch.try_hold(1, &limits).expect("five of them are free");
        assert_eq!(usage.unfinished(), 2);
        drop(requests);
        assert!(first.begin(&limits, false).is_ok());

        // A request that outlives its connection counts for the next one.
        drop((first, second, other));
        assert_eq!((usage.connections(), usage.requests()), (0, 1));
        let again = usage.connect(1, &limits).expect("he comes again");
        assert_eq!(again.begin(&limits, true).err(), Some(Refusal::WatchesOfUser));
        drop(again);
        drop(watch);
        assert_eq!((usage.connections(), usage.requests()), (0, 0));
        assert!(usage.users.lock().expect("not poisoned").is_empty());
        assert!(usage.connect(1, &limits).is_ok());
    }
}
