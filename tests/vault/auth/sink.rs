//! The token of a Vault Agent, in a file that it writes.

use std::fs;
use std::time::Duration;

use serde_json::json;
use strongroom_core::ErrorKind;
use strongroom_vault::{Auth, Vault};

use super::{assert_refused, timed};
use crate::{caller, connect, proxy, server};

/// A token of this name.
fn token(name: &str) -> String {
    let wanted = json!({"policies": ["default"], "ttl": "1h", "display_name": name});
    let made = server().api("POST", "auth/token/create", &wanted);
    made["auth"]["client_token"].as_str().unwrap().to_owned()
}

fn name(vault: &Vault) -> String {
    caller(vault).unwrap().display_name
}

#[test]
fn what_the_agent_writes_is_used_and_a_token_that_has_ended_is_read_again_at_once() {
    let (proxy, dir) = (proxy(), tempfile::tempdir().unwrap());
    let sink = dir.path().join("sink");
    let (settings, clock) = timed(&proxy, Auth::AgentSink(sink.clone()));
    let vault = connect(&settings);
    let error = caller(&vault).unwrap_err();
    assert_refused(&error, "cannot be read", &[]);
    assert!(error.message().contains("sink"), "{error}");

    let first = token("first");
    fs::write(&sink, &first).unwrap();
    assert_eq!(name(&vault), "token-first");
    // As an agent does it: whoever reads has the old one or the new one.
    let second = token("second");
    fs::write(dir.path().join("new"), &second).unwrap();
    fs::rename(dir.path().join("new"), &sink).unwrap();
    clock.advance(Duration::from_mins(1));
    assert_eq!(name(&vault), "token-second", "it is read again after a minute");

    fs::write(&sink, token("third")).unwrap();
    assert_eq!(name(&vault), "token-second");
    server().api("POST", "auth/token/revoke", &json!({"token": second}));
    // Nobody waits for the minute, and nobody sees the refusal.
    assert_eq!(name(&vault), "token-third");

    let ended = fs::read_to_string(&sink).unwrap();
    server().api("POST", "auth/token/revoke", &json!({"token": ended}));
    assert_refused(&caller(&vault).unwrap_err(), "it has ended, or was revoked", &[&ended]);
    fs::write(&sink, token("fourth")).unwrap();
    assert_eq!(name(&vault), "token-fourth");
}

#[test]
fn a_sink_that_cannot_be_used_says_why() {
    let (proxy, dir) = (proxy(), tempfile::tempdir().unwrap());
    let sink = dir.path().join("sink");
    fs::write(&sink, r#"{"token": "hvs.wrapped", "ttl": 300}"#).unwrap();
    let (mut settings, _) = timed(&proxy, Auth::AgentSink(sink));
    let error = caller(&connect(&settings)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert!(error.message().contains("wrap_ttl") && !error.message().contains("hvs."), "{error}");
    settings.revoke_on_close = true;
    let error = Vault::connect(&settings).unwrap_err();
    assert!(error.message().contains("the token of the agent"), "{error}");
}
