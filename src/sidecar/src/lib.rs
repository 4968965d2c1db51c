//! The sidecar: the engine for programs in any language, as a gRPC service on a
//! Unix socket.
//!
//! [`run`] is the whole program. [`Server`] is the service alone, for a process
//! that has an engine of its own to serve.
//!
//! # Who may do what
//! A caller is known by the kernel's word on the process at the other end of the
//! socket ([`strongroom_rpc::Peer`]). The rules of the configuration decide for
//! each request, before the cache is asked; what no rule allows is denied and
//! recorded in the audit log.
//!
//! # Threads
//! One thread answers all requests, from the cache where it can. Whatever the
//! cache does not know, and every change, runs on other threads: a backend that
//! hangs delays nobody who can be answered without it. While requests follow each
//! other closely, the serving thread does not sleep between them (`busy_poll`).
//!
//! # Limits
//! Connections, requests, watches and bytes are counted for each user. Who
//! reaches a limit is refused, with a hint to try again; others are not.

mod authority;
mod body;
mod connection;
mod daemon;
mod exporter;
mod metrics;
mod offload;
mod pace;
mod routes;
pub mod rules;
mod server;
mod service;
mod service_manager;
mod socket;
mod state;
mod usage;
mod watch;

pub use daemon::{Ready, RunOptions, run};
pub use offload::{Offload, TokioSpawn};
pub use server::Server;
pub use socket::Socket;
pub use state::Serving;
