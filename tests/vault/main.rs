//! Vault: what is kept there beside others that use it, who logs in, and what becomes of
//! it when Vault fails; against a real one, and behind a proxy that fails as it is told.

#![allow(clippy::unwrap_used, reason = "a test's helpers panic as the test does")]

mod kv;

use std::path::Path;
use std::sync::Arc;

use strongroom_core::SecretBytes;
use strongroom_kit::proxy::FaultProxy;
use strongroom_kit::vault::Vault as Server;
use strongroom_vault::{Auth, SecretText, Vault, VaultSettings};

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

fn with_token(token: &str) -> Auth {
    Auth::Token(SecretText::Given(Arc::new(bytes(token))))
}

/// At `address`, as root.
fn settings(address: &str) -> VaultSettings {
    VaultSettings::new(address, with_token(server().root_token()))
}

fn connect(settings: &VaultSettings) -> Vault {
    Vault::connect(settings).unwrap()
}
