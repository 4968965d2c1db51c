//! Vault: what is kept there beside others that use it, who logs in, and what becomes of
//! it when Vault fails; against a real one, and behind a proxy that fails as it is told.

#![allow(clippy::unwrap_used, reason = "a test's helpers panic as the test does")]

mod auth;
mod client;
mod configured;
mod kv;
mod latency;
mod leases;
mod load;
mod log;
mod outages;
mod quiet;
mod transit;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use strongroom_core::{Result, SecretBytes};
use strongroom_kit::block_on;
use strongroom_kit::proxy::FaultProxy;
use strongroom_kit::vault::Vault as Server;
use strongroom_vault::{Auth, Caller, SecretText, Vault, VaultSettings};

const HOUR: Duration = Duration::from_hours(1);

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

fn given(text: &str) -> SecretText {
    SecretText::Given(Arc::new(bytes(text)))
}

/// Patient, for a machine that is busy.
fn settings(address: &str, auth: Auth) -> VaultSettings {
    let mut settings = VaultSettings::new(address, auth);
    settings.attempt_timeout = Duration::from_mins(1);
    settings.timeout = Duration::from_mins(2);
    settings
}

fn connect(settings: &VaultSettings) -> Vault {
    Vault::connect(settings).unwrap()
}

/// A request of the session.
fn caller(vault: &Vault) -> Result<Caller> {
    block_on(vault.caller())
}
