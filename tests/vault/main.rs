//! Vault: against a real server, and behind a proxy that fails as it is told.

#![allow(clippy::unwrap_used, reason = "a test's helpers panic as the test does")]

mod leases;
mod quiet;
mod transit;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use strongroom_core::SecretBytes;
use strongroom_kit::proxy::FaultProxy;
use strongroom_kit::vault::Vault as Server;
use strongroom_vault::{Auth, SecretText, Vault, VaultSettings};

fn within() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// A Vault for all tests that leave it as it is: each has mounts of its own.
fn server() -> &'static Server {
    Server::shared(within())
}

fn proxy() -> FaultProxy {
    FaultProxy::start(server().address())
}

fn bytes(text: &str) -> SecretBytes {
    SecretBytes::copy_from(text.as_bytes()).unwrap()
}

/// Through `proxy`, as who has `token`, with one retry.
fn settings(proxy: &FaultProxy, token: &str) -> VaultSettings {
    let auth = Auth::Token(SecretText::Given(Arc::new(bytes(token))));
    let mut settings = VaultSettings::new(&proxy.endpoint(), auth);
    settings.retries = 1;
    settings.attempt_timeout = Duration::from_mins(1);
    settings.timeout = Duration::from_mins(2);
    settings
}

/// The same, as who may do everything.
fn as_root(proxy: &FaultProxy) -> Vault {
    Vault::connect(&settings(proxy, server().root_token())).unwrap()
}

/// The same, as who may do what `policy` says, in HCL; `name` is for this alone.
fn allowed(proxy: &FaultProxy, name: &str, policy: &str) -> Vault {
    server().policy(name, policy);
    let token = server().token(&[name], Duration::from_hours(1), true);
    Vault::connect(&settings(proxy, &token)).unwrap()
}
