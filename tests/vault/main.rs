//! Vault: what is kept there beside others that use it, who logs in, and what becomes of
//! it when Vault fails; against a real one, and behind a proxy that fails as it is told.

#![allow(clippy::unwrap_used, reason = "a test's helpers panic as the test does")]

mod client;
mod leases;
mod log;
mod quiet;
mod transit;

use std::path::Path;

use strongroom_core::SecretBytes;
use strongroom_kit::proxy::FaultProxy;
use strongroom_kit::vault::Vault as Server;

fn within() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// The Vault of this process.
fn server() -> &'static Server {
    Server::shared(within())
}

fn proxy() -> FaultProxy {
    FaultProxy::start(server().address())
}

fn bytes(text: &str) -> SecretBytes {
    SecretBytes::copy_from(text.as_bytes()).unwrap()
}
