//! Logins and sessions.

mod approle;
#[cfg(feature = "aws")]
mod aws;
mod certificate;
mod jwt;
mod kubernetes;
mod policy;
mod quiet;
mod session;
mod sink;
mod token;

use std::sync::Arc;

use serde_json::{Value, json};
use strongroom_core::clock::ManualClock;
use strongroom_core::{Error, ErrorKind, Timestamp};
use strongroom_kit::proxy::FaultProxy;
use strongroom_kit::vault::Vault as Server;
use strongroom_vault::{AppRole, Auth, VaultSettings};

use crate::{given, settings};

const LOOKUP: &str = "GET /v1/auth/token/lookup-self";
const RENEW: &str = "POST /v1/auth/token/renew-self";
const REVOKE: &str = "POST /v1/auth/token/revoke-self";

/// Settings whose time stands still, and their clock.
fn timed(proxy: &FaultProxy, auth: Auth) -> (VaultSettings, ManualClock) {
    let clock = ManualClock::new(Timestamp(1_000_000));
    let mut settings = settings(&proxy.endpoint(), auth);
    settings.clock = Arc::new(clock.clone());
    (settings, clock)
}

/// A role `app` at a mount of `AppRole`: its id, and a secret id.
pub(crate) fn app_role(server: &Server, mount: &str, role: &Value) -> (String, String) {
    server.auth_mount(mount, "approle");
    let path = format!("auth/{mount}/role/app");
    server.api("POST", &path, role);
    let id = server.api("GET", &format!("{path}/role-id"), &Value::Null);
    let secret = server.api("POST", &format!("{path}/secret-id"), &json!({}));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&id["data"]["role_id"]), text(&secret["data"]["secret_id"]))
}

/// That login; and how the proxy calls it.
pub(crate) fn login(server: &Server, mount: &str, role: &Value) -> (Auth, String) {
    let (id, secret) = app_role(server, mount, role);
    let mut login = AppRole::new(&id, Some(given(&secret)));
    mount.clone_into(&mut login.mount);
    (Auth::AppRole(login), format!("POST /v1/auth/{mount}/login"))
}

/// Ends every session of the mount.
pub(crate) fn revoke_all(server: &Server, mount: &str) {
    let path = format!("sys/leases/revoke-prefix/auth/{mount}/login");
    server.api("PUT", &path, &json!({"sync": true}));
}

/// The login was refused, and neither error nor source tells any of the secrets.
fn assert_refused(error: &Error, why: &str, secrets: &[&str]) {
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    assert!(error.message().contains(why), "{error}");
    let shown = format!("{error:?} {error}");
    for secret in secrets {
        assert!(!shown.contains(secret), "a secret is in the error");
    }
}
