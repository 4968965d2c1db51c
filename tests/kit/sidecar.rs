//! A sidecar in this process, composed as the daemon composes it: on a socket of
//! its own in a directory of its own, its serving runtime on one thread and the
//! store on others. Dropping it ends it and asserts that it ended in good order.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Once};
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use strongroom::config::{AllowRule, SidecarSection, Verb};
use strongroom_client::{Client, ClientOptions};
use strongroom_core::audit::AuditLog;
use strongroom_core::cache::{CacheOptions, CachedStore};
use strongroom_core::memory::MemoryRecords;
use strongroom_core::{
    Clock, Engine, EnvelopeOptions, PutOptions, Result, SecretBytes, SecretStore, SystemClock,
};
use strongroom_local::kek::LocalKek;
use strongroom_rpc::v1::strongroom_client::StrongroomClient;
use strongroom_sidecar::{Offload, Server, Serving, Socket, TokioSpawn};
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::runtime::Builder;
use tonic::transport::{Channel, Endpoint, Uri};
use tower_service::Service;

use crate::{block_on, embedded};

/// As the daemon has it.
const BACKEND_THREADS: usize = 4;
/// The first part of the names of the sidecar's threads.
const THREADS: &str = "sidecar-";

/// Panics on the sidecars' threads. The runtime catches them: without this
/// count nobody would see one.
static PANICS: AtomicUsize = AtomicUsize::new(0);

/// What a sidecar is made of.
#[derive(Debug)]
pub struct Setup {
    /// The store below the cache.
    pub store: Arc<dyn SecretStore>,
    /// The cache, if there is one.
    pub cache: Option<CacheOptions>,
    /// The cache's clock.
    pub clock: Arc<dyn Clock>,
    /// Limits and rules.
    pub section: SidecarSection,
    /// Whether there is an audit log.
    pub audit: bool,
}

/// A sidecar that runs.
#[derive(Debug)]
pub struct Sidecar {
    server: Server,
    engine: Engine,
    cache: Option<Arc<CachedStore>>,
    socket: PathBuf,
    serving: Option<JoinHandle<Result<()>>>,
    cut: bool,
    dir: TempDir,
}

/// Sealed records in memory, of [`embedded::ACCOUNT`].
#[must_use]
pub fn memory_store() -> Arc<dyn SecretStore> {
    let wrapper = Arc::new(LocalKek::in_memory().expect("a KEK"));
    let records = Arc::new(MemoryRecords::new());
    let store = embedded::envelope(records, wrapper, EnvelopeOptions::default());
    Arc::new(block_on(store).expect("a store"))
}

/// A value in guarded memory.
#[must_use]
pub fn secret(value: &str) -> SecretBytes {
    SecretBytes::copy_from(value.as_bytes()).expect("guarded memory")
}

/// A rule for everybody.
#[must_use]
pub fn anyone(names: &[&str], verbs: &[Verb]) -> AllowRule {
    let mut rule = AllowRule::default();
    rule.anyone = true;
    rule.names = names.iter().map(|name| (*name).to_owned()).collect();
    rule.verbs = verbs.to_vec();
    rule
}

impl Setup {
    /// `store` behind a cache as the defaults have it; everybody may do
    /// everything.
    #[must_use]
    pub fn new(store: Arc<dyn SecretStore>) -> Self {
        let mut section = SidecarSection::default();
        section.allow = vec![anyone(&["**"], &[Verb::All])];
        let (cache, clock) = (Some(CacheOptions::default()), SystemClock::shared());
        Self { store, cache, clock, section, audit: true }
    }

    /// Changes a limit or a rule.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut SidecarSection)) -> Self {
        change(&mut self.section);
        self
    }

    /// Starts it.
    pub fn start(self) -> Sidecar {
        watch_for_panics();
        let dir = tempfile::tempdir().expect("a directory");
        // Another user has to get as far as the socket, where its mode says so.
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(dir.path(), open).expect("the directory's mode");
        let path = dir.path().join("sidecar.sock");
        let socket = Socket::bind(&path, self.section.socket_mode).expect("a socket");
        let mut backend = Builder::new_multi_thread();
        backend.worker_threads(BACKEND_THREADS).thread_name(format!("{THREADS}store"));
        let backend = backend.enable_all().build().expect("a runtime");

        let Self { store, cache, clock, section, audit } = self;
        let below: Arc<dyn SecretStore> = Arc::new(Offload::new(store, backend.handle().clone()));
        let spawn = Arc::new(TokioSpawn(backend.handle().clone()));
        let cache = cache.map(|options| {
            let cache = CachedStore::new(below.clone(), options, clock.clone(), spawn);
            Arc::new(cache.expect("a cache"))
        });
        let top = cache.clone().map_or(below, |cache| cache as Arc<dyn SecretStore>);
        let mut engine = Engine::new(top, embedded::ACCOUNT.parse().expect("a scope"));
        if audit {
            let log = AuditLog::open(dir.path().join("audit.log"), None, clock).expect("a log");
            engine = engine.with_audit(Arc::new(log));
        }
        let (kept, cached) = (engine.clone(), cache.clone());
        let serving = Serving { engine: kept, cache: cached, section, moving_to: None };
        let server = Server::new(serving, backend.handle().clone()).expect("a server");
        let (handle, name) = (server.clone(), format!("{THREADS}serving"));
        let run = move || {
            let serving = Builder::new_current_thread().enable_all().build().expect("a runtime");
            let ended = serving.block_on(handle.serve(&socket));
            drop(serving);
            backend.shutdown_timeout(Duration::from_secs(1));
            ended
        };
        let serving = thread::Builder::new().name(name).spawn(run).expect("a thread");
        Sidecar { server, engine, cache, socket: path, serving: Some(serving), cut: false, dir }
    }
}

impl Sidecar {
    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.socket
    }

    /// The server itself.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The engine behind it: what is done with it passes the socket by.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Its cache.
    ///
    /// # Panics
    /// If it was started without.
    #[must_use]
    pub fn cache(&self) -> &CachedStore {
        self.cache.as_ref().expect("a cache")
    }

    /// Puts a secret, passing the socket and the rules by.
    pub fn seed(&self, name: &str, value: &str) {
        let (value, options) = (secret(value), PutOptions::default());
        block_on(self.engine.put(name, &value, &options)).expect("a put");
    }

    /// A new connection. It waits for ever, so that a test that hangs is seen
    /// to hang.
    pub async fn client(&self) -> Client {
        connect(&self.socket).await
    }

    /// A new connection, as the generated code has it: with codes and details.
    pub async fn grpc(&self) -> StrongroomClient<Channel> {
        let endpoint = Endpoint::from_static("http://localhost");
        let channel = endpoint.connect_with_connector(Connect(self.socket.clone())).await;
        StrongroomClient::new(channel.expect("a connection")).max_decoding_message_size(64 << 20)
    }

    /// Serves with other limits and rules from the next request on.
    pub fn replace(&self, section: SidecarSection) -> Result<()> {
        let (engine, cache) = (self.engine.clone(), self.cache.clone());
        self.server.replace(Serving { engine, cache, section, moving_to: None })
    }

    /// The figure `name` of its metrics, with its labels if it has any.
    ///
    /// # Panics
    /// If there is no such figure.
    #[must_use]
    pub fn metric(&self, name: &str) -> u64 {
        metric(&self.server.metrics(), name).unwrap_or_else(|| panic!("no figure {name}"))
    }

    /// The audit log as it stands.
    #[must_use]
    pub fn audit(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("audit.log")).expect("the audit log")
    }

    /// Ends it and waits: what it says of how it ended. Its counts are those
    /// that it ended with.
    pub fn end(&mut self) -> Result<()> {
        self.server.end();
        let serving = self.serving.take().expect("it runs");
        let ended = serving.join().expect("no panic");
        self.cut = ended.is_err();
        ended
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        if thread::panicking() {
            self.server.end();
            return;
        }
        if self.serving.is_some() {
            self.end().expect("everything under way ended in time");
        }
        assert_eq!(self.metric("strongroom_connections"), 0, "connections are left");
        if !self.cut {
            assert_eq!(self.metric("strongroom_requests_in_flight"), 0, "requests are left");
        }
        assert_no_panic();
    }
}

/// # Panics
/// If a sidecar's thread has panicked in this process.
pub fn assert_no_panic() {
    assert_eq!(PANICS.load(Ordering::Relaxed), 0, "a sidecar's thread panicked");
}

/// A new connection to the sidecar at `socket`, without a deadline.
pub async fn connect(socket: &Path) -> Client {
    let mut options = ClientOptions::default();
    options.timeout = None;
    Client::connect_with(socket, &options).await.expect("a connection")
}

/// The figure `name` in the text of metrics.
#[must_use]
pub fn metric(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok())
}

fn watch_for_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if thread::current().name().is_some_and(|name| name.starts_with(THREADS)) {
                PANICS.fetch_add(1, Ordering::Relaxed);
            }
            before(panic);
        }));
    });
}

/// Connects to one socket, whatever the URI.
#[derive(Clone, Debug)]
struct Connect(PathBuf);

impl Service<Uri> for Connect {
    type Response = TokioIo<UnixStream>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let path = self.0.clone();
        Box::pin(async move { UnixStream::connect(path).await.map(TokioIo::new) })
    }
}
