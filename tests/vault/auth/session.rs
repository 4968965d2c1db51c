//! Sessions: how many logins there are, and when.

use std::thread;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use strongroom_core::{ErrorKind, SystemClock};
use strongroom_kit::block_on;
use strongroom_kit::proxy::Fault;
use strongroom_vault::Vault;

use super::{LOOKUP, RENEW, REVOKE, login, revoke_all, timed};
use crate::load::{self, Call};
use crate::{caller, connect, proxy, server, settings};

/// All of them at the same time.
fn callers(vault: &Vault, count: usize) {
    for caller in block_on(join_all((0..count).map(|_| vault.caller()))) {
        caller.unwrap();
    }
}

#[test]
fn a_hundred_callers_share_a_login_and_a_renewed_one() {
    let proxy = proxy();
    let (auth, login) = login(server(), "shared", &json!({"token_ttl": "1h"}));
    let (settings, clock) = timed(&proxy, auth);
    let vault = connect(&settings);
    callers(&vault, 100);
    assert_eq!((proxy.count(&login), proxy.count(LOOKUP)), (1, 100));
    clock.advance(Duration::from_mins(31));
    callers(&vault, 100);
    block_on(proxy.wait_for(RENEW, 1));
    callers(&vault, 100);
    assert_eq!((proxy.count(&login), proxy.count(RENEW)), (1, 1));
}

#[test]
fn a_failed_login_is_one_for_all_who_wait() {
    let proxy = proxy();
    let (auth, login) = login(server(), "failing", &json!({}));
    let (mut settings, _) = timed(&proxy, auth);
    settings.retries = 0;
    let vault = connect(&settings);
    let gate = strongroom_kit::faults::Gate::closed();
    proxy.next(&login, Fault::DelayAnswer(gate.clone()));
    proxy.always(&login, Fault::status(500));
    let first = thread::spawn({
        let vault = vault.clone();
        move || caller(&vault)
    });
    gate.wait_for_arrivals(1);
    gate.open();
    first.join().unwrap().unwrap();
    revoke_all(server(), "failing");
    proxy.reset_counts();
    for caller in block_on(join_all((0..100).map(|_| vault.caller()))) {
        assert_eq!(caller.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    // Who comes while it fails shares it; some come later.
    assert!(proxy.count(&login) < 50, "{} logins", proxy.count(&login));
    proxy.clear();
    caller(&vault).unwrap();
}

#[test]
fn a_session_that_is_revoked_in_the_middle_of_a_load_is_replaced_and_nobody_sees_it() {
    let proxy = proxy();
    let (auth, login) = login(server(), "revoked", &json!({}));
    let vault = connect(&settings(&proxy.endpoint(), auth));
    let call = || -> Call<'_> { Box::new(|| !caller(&vault).unwrap().login.is_empty()) };
    load::under((0..8).map(|_| call()).collect(), |load| {
        for revocations in 1..=3 {
            load.progress(50);
            revoke_all(server(), "revoked");
            block_on(proxy.wait_for(&login, 1 + revocations));
        }
        load.progress(50);
    });
    assert_eq!(proxy.count(&login), 4, "once, and once for each revocation");
}

#[test]
fn what_is_denied_names_the_line_that_is_missing_and_logs_in_once_in_a_while() {
    let proxy = proxy();
    // Nothing at all is allowed: also not to ask whether the token is accepted.
    let role = json!({"token_no_default_policy": true, "token_policies": ["nothing"]});
    let (auth, login) = login(server(), "denied", &role);
    let (settings, clock) = timed(&proxy, auth);
    let vault = connect(&settings);
    let ask = || {
        let error = caller(&vault).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AccessDenied, "{error}");
        let line = "path \"auth/token/lookup-self\" { capabilities = [\"read\"] }";
        assert!(error.message().ends_with(line), "{error}");
    };
    (0..10).for_each(|_| ask());
    assert_eq!(proxy.count(&login), 1);
    clock.advance(Duration::from_mins(2));
    (0..10).for_each(|_| ask());
    assert_eq!(proxy.count(&login), 2, "Vault might not have known the token any more");
}

#[test]
fn a_session_at_its_longest_life_is_followed_by_another() {
    let proxy = proxy();
    let lives = json!({"token_ttl": "2s", "token_max_ttl": "3s"});
    let (auth, login) = login(server(), "short", &lives);
    let mut settings = settings(&proxy.endpoint(), auth);
    settings.clock = SystemClock::shared();
    let vault = connect(&settings);
    while proxy.count(&login) < 3 {
        caller(&vault).unwrap();
    }
    assert!(proxy.count(RENEW) > 0);
}

#[test]
fn a_session_is_ended_with_its_connection_if_that_is_asked_for() {
    for is_asked in [false, true] {
        let proxy = proxy();
        let mount = format!("closed-{is_asked}");
        let (auth, _) = login(server(), &mount, &json!({}));
        let mut settings = settings(&proxy.endpoint(), auth);
        settings.revoke_on_close = is_asked;
        let vault = connect(&settings);
        let other = vault.clone();
        caller(&vault).unwrap();
        drop(vault);
        caller(&other).unwrap();
        assert_eq!(proxy.count(REVOKE), 0, "somebody uses it");
        drop(other);
        assert_eq!(proxy.count(REVOKE), usize::from(is_asked));
        let path = format!("sys/leases/lookup/auth/{mount}/login?list=true");
        let sessions = server().ask(0, server().root_token(), "GET", &path, &Value::Null);
        assert_eq!(sessions.status, if is_asked { 404 } else { 200 }, "{sessions:?}");
    }
    // Nobody has logged in: nothing is to be ended.
    let proxy = proxy();
    let (auth, _) = login(server(), "unused", &json!({}));
    let mut settings = settings(&proxy.endpoint(), auth);
    settings.revoke_on_close = true;
    drop(connect(&settings));
    assert!(proxy.requests().is_empty());
}

#[test]
fn the_namespace_is_told_with_each_request() {
    let proxy = proxy();
    let (auth, _) = login(server(), "spaced", &json!({}));
    let mut settings = settings(&proxy.endpoint(), auth);
    settings.namespace = Some("team/pay".to_owned());
    // The community's Vault has none, and takes no notice.
    caller(&connect(&settings)).unwrap();
    let asked = proxy.requests();
    assert!(!asked.is_empty());
    for request in asked {
        assert_eq!(request.header("x-vault-namespace"), Some("team/pay"), "{request:?}");
        assert_eq!(request.header("x-vault-request"), Some("true"), "{request:?}");
    }
    settings.namespace = Some("a\nb".to_owned());
    let error = Vault::connect(&settings).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
}
