//! No credential is said, at any level of any library's log, nor in an error.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use strongroom_kit::block_on;
use strongroom_kit::proxy::Fault;
use strongroom_vault::{AppRole, Auth, Jwt};

use super::jwt::{keys, signed};
use super::{RENEW, app_role, timed};
use crate::{HOUR, caller, connect, given, log, proxy, server, settings};

#[test]
fn no_level_of_the_log_tells_a_credential() {
    log::begin();
    let proxy = proxy();
    let answers = Arc::new(Mutex::new(Vec::new()));
    let note = {
        let answers = Arc::clone(&answers);
        move |body: &mut Vec<u8>| answers.lock().unwrap().push(body.clone())
    };
    let mut shown = Vec::new();
    // A session that is renewed.
    let (id, secret_id) = app_role(server(), "quiet", &json!({"token_ttl": "1h"}));
    let mut role = AppRole::new(&id, Some(given(&secret_id)));
    role.mount = "quiet".to_owned();
    let login = "POST /v1/auth/quiet/login";
    proxy.next(login, Fault::rewrite(note));
    let (timed, clock) = timed(&proxy, Auth::AppRole(role.clone()));
    let vault = connect(&timed);
    caller(&vault).unwrap();
    clock.advance(HOUR / 2);
    caller(&vault).unwrap();
    block_on(proxy.wait_for(RENEW, 1));
    shown.push(format!("{vault:?} {timed:?}"));
    // An answer to a login that makes no sense.
    proxy.next(login, Fault::rewrite(|body| body.truncate(body.len() - 2)));
    let mut once = timed.clone();
    once.retries = 0;
    let error = caller(&connect(&once)).unwrap_err();
    shown.push(format!("{error:?} {error}"));
    // What Vault refuses.
    let token = server().token(&["default"], HOUR, false);
    let jwt = signed(&keys().0, &json!({"sub": "app"}));
    server().auth_mount("quiet-jwt", "jwt");
    let mount = "quiet-jwt".to_owned();
    for auth in [
        Auth::Token(given("hvs.a-token-that-nobody-knows")),
        Auth::Jwt(Jwt { mount, role: None, token: given(&jwt) }),
        Auth::AppRole(AppRole::new("quiet", Some(given("a-secret-id-of-nobody")))),
    ] {
        let error = caller(&connect(&settings(&proxy.endpoint(), auth.clone()))).unwrap_err();
        shown.push(format!("{error:?} {error} {auth:?}"));
    }
    caller(&connect(&settings(&proxy.endpoint(), Auth::Token(given(&token))))).unwrap();

    let said = log::said();
    assert!(said.contains("TRACE") && said.contains("hyper"), "the log is on");
    let session: Value = serde_json::from_slice(&answers.lock().unwrap()[0]).unwrap();
    let session = session["auth"]["client_token"].as_str().unwrap();
    for (what, secret) in [
        ("the session's token", session),
        ("the secret id", &secret_id),
        ("a token", &token),
        ("a JWT", &jwt),
        ("a signature", jwt.rsplit('.').next().unwrap()),
        ("a token that is refused", "hvs.a-token-that-nobody-knows"),
        ("a secret id that is refused", "a-secret-id-of-nobody"),
    ] {
        assert!(secret.len() > 15, "{what}");
        assert!(!said.contains(secret), "{what} is in the log");
        assert!(!shown.iter().any(|shown| shown.contains(secret)), "{what} is in an error");
    }
}
