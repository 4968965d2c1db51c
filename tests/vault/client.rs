//! Connections that go through a proxy.

use std::sync::Arc;
use std::time::Duration;

use strongroom_kit::proxy::FaultProxy;
use strongroom_vault::{Auth, SecretText, Vault, VaultSettings};

use crate::{bytes, server};

/// Through `proxy`, as who has `token`, with one retry.
pub(crate) fn settings(proxy: &FaultProxy, token: &str) -> VaultSettings {
    let auth = Auth::Token(SecretText::Given(Arc::new(bytes(token))));
    let mut settings = VaultSettings::new(&proxy.endpoint(), auth);
    settings.retries = 1;
    settings.attempt_timeout = Duration::from_mins(1);
    settings.timeout = Duration::from_mins(2);
    settings
}

/// The same, connected, as who may do everything.
pub(crate) fn as_root(proxy: &FaultProxy) -> Vault {
    Vault::connect(&settings(proxy, server().root_token())).unwrap()
}

/// The same, connected, as who may do what `policy` says, in HCL; `name` is for this alone.
pub(crate) fn allowed(proxy: &FaultProxy, name: &str, policy: &str) -> Vault {
    server().policy(name, policy);
    let token = server().token(&[name], Duration::from_hours(1), true);
    Vault::connect(&settings(proxy, &token)).unwrap()
}
