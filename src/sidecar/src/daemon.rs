//! The sidecar as a process: from its configuration to the end, with the signals
//! and the service manager in between.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use strongroom::audit::Actor;
use strongroom::{Config, Error, Executor, Live, OpenOptions, Result, SecretBytes};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use crate::exporter::Exporter;
use crate::offload::{Offload, TokioSpawn};
use crate::server::Server;
use crate::service_manager as manager;
use crate::socket::Socket;
use crate::state::Serving;

/// How many threads the store works on: enough that one which blocks does not
/// stop the others, few enough for a small footprint.
const BACKEND_THREADS: usize = 4;

/// What a sidecar is started with.
pub struct RunOptions {
    /// The configuration file; read again at SIGHUP.
    pub config: PathBuf,
    /// The passphrase of the key file, where the configuration does not say
    /// where to find it.
    pub passphrase: Option<SecretBytes>,
    /// The same for the store that secrets are moving to.
    pub target_passphrase: Option<SecretBytes>,
    /// How long to wait while another process has the store open.
    pub wait: Duration,
    /// The socket, instead of the configured one.
    pub socket: Option<PathBuf>,
    /// Called once requests are answered.
    pub ready: Box<dyn FnOnce(&Ready) + Send>,
}

/// A sidecar that answers requests.
#[derive(Clone, Debug)]
pub struct Ready {
    /// Where.
    pub socket: PathBuf,
    /// Its process.
    pub pid: u32,
}

impl RunOptions {
    fn open(&self, wait: Duration) -> Result<OpenOptions> {
        let again =
            |secret: &Option<SecretBytes>| secret.as_ref().map(SecretBytes::try_clone).transpose();
        let uid = Some(rustix::process::getuid().as_raw());
        let actor = Actor { uid, pid: Some(std::process::id()), ..Actor::default() };
        Ok(OpenOptions {
            passphrase: again(&self.passphrase)?,
            target_passphrase: again(&self.target_passphrase)?,
            wait,
            actor: Arc::new(actor),
        })
    }
}

impl fmt::Debug for RunOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunOptions").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Runs a sidecar until SIGTERM or SIGINT, then lets what is under way end. A
/// second signal ends it at once.
///
/// Requests are served by the calling thread alone: one thread answers what the
/// cache has in less than half of the time that several need, since nothing
/// moves between them. The store works on threads of its own.
///
/// # Errors
/// As [`Config::open`], and what the socket and the rules are refused for.
pub fn run(options: RunOptions) -> Result<()> {
    let backend = runtime(
        Builder::new_multi_thread().worker_threads(BACKEND_THREADS).thread_name("strongroom-store"),
    )?;
    let serving = runtime(&mut Builder::new_current_thread())?;
    let ended = serving.block_on(Daemon::run(options, backend.handle().clone()));
    // A backend that hangs must not keep the process from ending.
    backend.shutdown_timeout(Duration::from_secs(1));
    ended
}

fn runtime(builder: &mut Builder) -> Result<Runtime> {
    let built = builder.enable_all().build();
    built.map_err(|e| Error::internal("the runtime cannot be started").with_source(e))
}

struct Daemon {
    options: RunOptions,
    executor: Executor,
    live: Live,
    server: Server,
    socket: PathBuf,
    exporter: Option<JoinHandle<()>>,
}

impl Daemon {
    async fn run(mut options: RunOptions, backend: Handle) -> Result<()> {
        let mut signals = Signals::new()?;
        raise_descriptors();
        let executor = Executor {
            spawn: Arc::new(TokioSpawn(backend.clone())),
            below_cache: {
                let backend = backend.clone();
                Arc::new(move |store| Arc::new(Offload::new(store, backend.clone())))
            },
        };
        let config = Config::load(&options.config)?;
        config.configure_memory()?;
        // The socket before the store: of two sidecars the second says so.
        let socket = if let Some(socket) = Socket::from_systemd()? {
            socket
        } else {
            let path = options.socket.clone().unwrap_or_else(|| config.socket_path());
            Socket::bind(&path, config.sidecar.socket_mode)?
        };
        let open = options.open(options.wait)?;
        let live = Live::open(config, open, &executor).await?;
        let server = Server::new(serving(&live), backend)?;
        let ready = std::mem::replace(&mut options.ready, Box::new(|_| ()));
        let path = socket.path().to_owned();
        let mut daemon =
            Self { options, executor, live, server, socket: path.clone(), exporter: None };
        daemon.export().await?;
        let server = daemon.server.clone();
        let mut service = std::pin::pin!(server.serve(&socket));
        // The socket takes connections in from here on: the first poll accepts.
        let pid = std::process::id();
        tracing::info!(socket = %path.display(), pid, "serving");
        manager::ready();
        ready(&Ready { socket: path, pid });
        loop {
            tokio::select! {
                ended = &mut service => return ended,
                asked = signals.next() => match asked {
                    Asked::Reload => daemon.reload().await,
                    Asked::End => {
                        manager::stopping();
                        server.end();
                        break;
                    }
                },
            }
        }
        tokio::select! {
            ended = service => ended,
            () = signals.end() => Err(Error::unavailable("ended at once, by a second signal")),
        }
    }

    /// Takes over the configuration as it stands now, or says why not and goes
    /// on with the old one.
    async fn reload(&mut self) {
        manager::reloading();
        let outcome = Box::pin(self.try_reload()).await;
        self.server.note_reload(outcome.as_ref().err());
        match outcome {
            Ok(()) => tracing::info!("the configuration was reloaded"),
            Err(error) => tracing::error!(%error, "the configuration stays as it was"),
        }
        manager::ready();
    }

    async fn try_reload(&mut self) -> Result<()> {
        let config = Config::load(&self.options.config)?;
        let moved = self.options.socket.is_none()
            && self.live.config().socket_path() == self.socket
            && config.socket_path() != self.socket;
        if moved {
            return Err(Error::configuration(
                "[sidecar] socket changed: that takes effect at a restart",
            ));
        }
        let open = self.options.open(Duration::ZERO)?;
        let live = self.live.reconfigure(config, open, &self.executor).await?;
        let moved = live.config().sidecar.metrics != self.live.config().sidecar.metrics;
        let exported = if moved { Some(exporter(&live).await?) } else { None };
        self.server.replace(serving(&live))?;
        self.live = live;
        if let Some(exporter) = exported {
            self.export_with(exporter);
        }
        Ok(())
    }

    async fn export(&mut self) -> Result<()> {
        let exporter = exporter(&self.live).await?;
        self.export_with(exporter);
        Ok(())
    }

    fn export_with(&mut self, exporter: Option<Exporter>) {
        if let Some(old) = self.exporter.take() {
            old.abort();
        }
        if let Some(exporter) = &exporter {
            // With port 0 the kernel has chosen one.
            tracing::info!(address = %exporter.address(), "metrics are served");
        }
        let server = self.server.clone();
        self.exporter = exporter.map(|exporter| tokio::spawn(exporter.serve(server)));
    }
}

async fn exporter(live: &Live) -> Result<Option<Exporter>> {
    match live.config().sidecar.metrics {
        Some(address) => Exporter::bind(address).await.map(Some),
        None => Ok(None),
    }
}

fn serving(live: &Live) -> Serving {
    Serving {
        engine: live.engine().clone(),
        cache: live.cache().cloned(),
        section: live.config().sidecar.clone(),
        moving_to: live.config().moving_to(),
    }
}

/// As many file descriptors as the kernel lets us have: a connection takes one.
fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of file descriptors stays as it is");
    }
}

enum Asked {
    Reload,
    End,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let listen = |kind| {
            signal(kind).map_err(|e| Error::internal("signals cannot be handled").with_source(e))
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::End,
            _ = self.interrupt.recv() => Asked::End,
            _ = self.hangup.recv() => Asked::Reload,
        }
    }

    async fn end(&mut self) {
        while !matches!(self.next().await, Asked::End) {}
    }
}
