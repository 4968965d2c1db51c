//! A client of the sidecar: the operations of an [`Engine`], over its Unix
//! socket, with values in guarded memory.
//!
//! ```no_run
//! # async fn example() -> strongroom_core::Result<()> {
//! use strongroom_client::Client;
//! use strongroom_core::Select;
//!
//! let client = Client::connect("/run/strongroom/sidecar.sock").await?;
//! let secret = client.get("account.db", &Select::Latest).await?;
//! assert!(!secret.stale);
//! # Ok(())
//! # }
//! ```
//!
//! Methods take and give what those of an [`Engine`] do, and errors keep their
//! kind, place and retryability, so that a program can use either. A call needs
//! a Tokio runtime; a connection that broke is made again by the next call.
//!
//! # Who is at the other end
//! Before a byte is sent, each connection's server is looked at (`SO_PEERCRED`,
//! unix(7)): it must run as this process's user, as root (systemd, where it
//! listens for the sidecar), or as one of [`ClientOptions::trusted_uids`].
//! Otherwise whoever makes a socket in a shared directory could collect what is
//! put, and hand out values of his own.
//!
//! # Where values are
//! A value that is sent is copied once, within guarded memory, and lent to
//! gRPC; one that arrives is copied into guarded memory, and the message
//! dropped, before the call returns. In between, tonic encodes a message into
//! a buffer of its own, h2 cuts it into frames and keeps those until the socket
//! takes them; on the way in, h2's frames and tonic's decoder hold it. These
//! buffers lie on the heap, and are freed when the call ends without being
//! wiped. A program whose global allocator is `strongroom_guard::WipingAllocator`
//! wipes them there.
//!
//! [`Engine`]: strongroom_core::Engine

mod client;
mod connect;
mod convert;
mod fault;
mod status;
mod transfer;
mod upkeep;
mod watch;

pub use client::{Client, ClientOptions};
pub use status::{SecretStatus, Status};
pub use transfer::Downloaded;
pub use watch::{Change, ChangeKind, Watch};
