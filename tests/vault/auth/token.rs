//! Login with a token.

use std::time::Duration;

use serde_json::{Value, json};
use strongroom_kit::block_on;
use strongroom_kit::faults::Gate;
use strongroom_kit::proxy::Fault;
use strongroom_vault::Auth;

use super::{LOOKUP, RENEW, assert_refused, timed};
use crate::{HOUR, caller, connect, given, proxy, server, settings};

const MINUTE: Duration = Duration::from_mins(1);

/// What the server knows of a token.
fn looked_up(token: &str) -> Value {
    server().api("POST", "auth/token/lookup", &json!({"token": token}))["data"].clone()
}

#[test]
fn a_renewable_token_is_renewed_at_half_its_life_and_nobody_waits() {
    let proxy = proxy();
    let token = server().token(&["default"], HOUR, true);
    let (settings, clock) = timed(&proxy, Auth::Token(given(&token)));
    let vault = connect(&settings);
    caller(&vault).unwrap();
    clock.advance(29 * MINUTE);
    caller(&vault).unwrap();
    assert_eq!(proxy.count(RENEW), 0);

    let gate = Gate::closed();
    proxy.next(RENEW, Fault::DelayAnswer(gate.clone()));
    clock.advance(2 * MINUTE);
    caller(&vault).unwrap();
    gate.wait_for_arrivals(1);
    caller(&vault).unwrap();
    gate.open();
    // Without the renewal it would have ended by now, and would be looked up anew.
    clock.advance(29 * MINUTE + MINUTE / 2);
    caller(&vault).unwrap();
    assert_eq!(proxy.count(RENEW), 1);
    assert_eq!(proxy.count(LOOKUP), 1 + 5, "the login, and those who asked");
    assert!(looked_up(&token)["last_renewal_time"].is_number());
}

#[test]
fn a_token_with_a_period_is_renewed_for_another_period() {
    let proxy = proxy();
    let made = json!({"period": "1h", "policies": ["default"]});
    let made = server().api("POST", "auth/token/create", &made);
    let token = made["auth"]["client_token"].as_str().unwrap();
    let (settings, clock) = timed(&proxy, Auth::Token(given(token)));
    let vault = connect(&settings);
    let lines = block_on(vault.check()).unwrap();
    assert!(lines.last().unwrap().ends_with("each renewal makes it last for 1 h"), "{lines:?}");
    clock.advance(31 * MINUTE);
    caller(&vault).unwrap();
    block_on(proxy.wait_for(RENEW, 1));
    let looked_up = proxy.count(LOOKUP);
    clock.advance(29 * MINUTE + MINUTE / 2);
    caller(&vault).unwrap();
    assert_eq!(proxy.count(LOOKUP), looked_up + 1, "nobody had to log in again");
}

#[test]
fn a_token_that_cannot_be_renewed_is_told_of_and_so_is_its_end() {
    let proxy = proxy();
    let token = server().token(&["default"], HOUR, false);
    let (settings, clock) = timed(&proxy, Auth::Token(given(&token)));
    let vault = connect(&settings);
    let lines = block_on(vault.check()).unwrap();
    assert!(lines[0].contains(": version 1.") && lines[0].contains(", active"), "{lines:?}");
    assert!(lines[1].contains("logged in at auth/token/create, with policies default"));
    assert!(lines[2].contains("cannot be renewed: another one is needed"), "{lines:?}");
    clock.advance(31 * MINUTE);
    caller(&vault).unwrap();
    assert_eq!(proxy.count(RENEW), 0);

    server().api("POST", "auth/token/revoke", &json!({"token": token}));
    assert_refused(&caller(&vault).unwrap_err(), "it has ended, or was revoked", &[&token]);
}

#[test]
fn a_token_that_is_none_is_refused() {
    let token = "hvs.a-token-that-is-none";
    let vault = connect(&settings(server().address(), Auth::Token(given(token))));
    assert_refused(&caller(&vault).unwrap_err(), "does not accept the token", &[token]);
    let vault = connect(&settings(server().address(), Auth::Token(given("two\nlines"))));
    let error = caller(&vault).unwrap_err();
    assert!(error.message().contains("bytes that no token has"), "{error}");
}

#[test]
fn a_root_token_never_ends() {
    let auth = Auth::Token(given(server().root_token()));
    let lines = block_on(connect(&settings(server().address(), auth)).check()).unwrap();
    assert!(lines[1].starts_with("root, logged in at auth/token/root"), "{lines:?}");
    assert_eq!(lines[2], "the token never ends");
}
