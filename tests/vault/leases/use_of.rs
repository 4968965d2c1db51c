//! While a lease lasts: one for all, renewed, and replaced when it has to be.

use std::thread;
use std::time::Duration;

use serde_json::json;
use strongroom_core::{ErrorKind, ExternalStore, Kind};
use strongroom_kit::block_on;
use strongroom_kit::proxy::Fault;
use strongroom_vault::{LeaseOptions, VaultLeases};

use super::{LIFE, RENEW, Role, eventually};
use crate::client::allowed;
use crate::server;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn whoever_asks_again_gets_the_same_credentials() {
    let role = Role::new("same");
    let leases = role.leases(LeaseOptions::default());
    let first = thread::scope(|scope| {
        let ask = || scope.spawn(|| role.read(&leases).0);
        let asked: Vec<_> = (0..20).map(|_| ask()).collect();
        let mut read = asked.into_iter().map(|one| one.join().unwrap());
        let first = read.next().unwrap();
        assert!(read.all(|other| other == first), "there are others");
        first
    });
    assert!(first.let_in());
    assert_eq!((role.users(), role.reads()), (1, 1));
    let (again, valid_for) = role.read(&leases);
    assert!(again == first);
    assert_eq!(valid_for, LIFE);
    let read = block_on(leases.read(&role.path)).unwrap();
    assert_eq!(read.kind, Kind::Text);
}

#[test]
fn a_lease_is_renewed_at_half_its_life_and_at_its_longest_there_are_others() {
    let role = Role::new("renewed");
    let leases = role.leases(LeaseOptions::default());
    let (first, _) = role.read(&leases);
    role.clock.advance((LIFE / 2).saturating_sub(SECOND));
    assert_eq!(role.read(&leases).1, LIFE / 2 + SECOND);
    assert_eq!(role.proxy.count(RENEW), 0, "it is too early");
    role.clock.advance(2 * SECOND);
    // The one who finds it due does not wait for it.
    assert!(role.read(&leases).0 == first);
    eventually("a renewal", || role.read(&leases).1 == LIFE);
    assert!(role.read(&leases).0 == first, "the same credentials last for longer");
    assert_eq!((role.proxy.count(RENEW), role.reads()), (1, 1));

    // Vault gives what is left of their longest life.
    role.proxy.next(RENEW, rewritten("\"lease_duration\":60", "\"lease_duration\":5"));
    role.clock.advance(LIFE / 2);
    assert!(role.read(&leases).0 == first);
    eventually("other credentials", || role.read(&leases).0 != first);
    let (other, valid_for) = role.read(&leases);
    assert_eq!(valid_for, LIFE);
    assert!(first.let_in() && other.let_in(), "who has the former ones may go on");
    assert_eq!(role.users(), 2);
}

#[test]
fn what_was_revoked_over_there_is_replaced_when_it_is_to_be_renewed() {
    let role = Role::new("taken");
    let leases = role.leases(LeaseOptions::default());
    let (first, _) = role.read(&leases);
    let prefix = format!("sys/leases/revoke-prefix/{}", role.path);
    server().api("PUT", &prefix, &json!({"sync": true}));
    assert!(!first.let_in());
    role.clock.advance(LIFE / 2);
    eventually("other credentials", || role.read(&leases).0 != first);
    assert!(role.read(&leases).0.let_in());
}

#[test]
fn a_server_that_is_away_is_bridged_until_the_end_and_not_beyond() {
    let role = Role::new("bridged");
    let leases = role.leases(LeaseOptions::default());
    let (first, _) = role.read(&leases);
    role.proxy.always(RENEW, Fault::status(503));
    role.clock.advance(LIFE / 2);
    assert!(role.read(&leases).0 == first);
    block_on(role.proxy.wait_for(RENEW, 1));
    role.proxy.always(&format!("GET /v1/{}", role.path), Fault::status(503));
    role.clock.advance(LIFE / 4);
    assert!(role.read(&leases).0 == first);
    role.clock.advance(LIFE / 4);
    let error = block_on(leases.read(&role.path)).unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unavailable, true), "{error}");
    role.proxy.clear();
    assert!(role.read(&leases).0 != first);
}

/// An answer that was lost on its way: the next question makes other credentials, and
/// so it is not asked unless the caller does.
#[test]
fn credentials_are_asked_for_once() {
    let role = Role::new("once");
    let leases = role.leases(LeaseOptions::default());
    role.proxy.next(&format!("GET /v1/{}", role.path), Fault::ResetAfterForwarding);
    let error = block_on(leases.read(&role.path)).unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unavailable, true), "{error}");
    assert_eq!((role.reads(), role.users()), (1, 1));
    assert!(role.read(&leases).0.let_in());
}

#[test]
fn what_is_no_dynamic_secret_is_refused() {
    let role = Role::new("refused");
    server().mount("leases-kv", "kv", &json!({"version": "1"}));
    server().api("POST", "leases-kv/app", &json!({"username": "a", "password": "b"}));
    let leases = role.leases(LeaseOptions::default());
    let refused = |leases: &VaultLeases, path: &str| {
        let error = block_on(leases.read(path)).unwrap_err();
        (error.kind(), error.message().to_owned())
    };
    let (kind, told) = refused(&leases, "leases-kv/app");
    assert_eq!(kind, ErrorKind::Unsupported);
    assert!(told.contains("leases-kv/app has no lease"), "{told}");
    for path in ["leases-kv/other", "nowhere/creds/app", &role.path.replace("/refused", "/other")] {
        let (kind, told) = refused(&leases, path);
        assert_eq!(kind, ErrorKind::NotFound, "{path}: {told}");
    }
    for path in ["", "/a", "a/", "a//b", "a/../b", "a/./b", "a\nb"] {
        assert_eq!(refused(&leases, path).0, ErrorKind::InvalidName, "{path:?}");
    }
    let mut options = LeaseOptions::default();
    options.only_below = vec!["database-".to_owned()];
    let below = role.leases(options);
    role.read(&below);
    assert_eq!(refused(&below, "leases-kv/app").0, ErrorKind::AccessDenied);

    let vault = allowed(&role.proxy, "no-leases", "# Nothing.");
    let (kind, told) = refused(&VaultLeases::new(&vault, LeaseOptions::default()), &role.path);
    assert_eq!(kind, ErrorKind::AccessDenied);
    let line = format!("path \"{}\" {{ capabilities = [\"read\"] }}", role.path);
    assert!(told.ends_with(&line), "{told}");
}

fn rewritten(from: &'static str, to: &'static str) -> Fault {
    Fault::rewrite(move |body| {
        let text = String::from_utf8(body.clone()).unwrap();
        assert!(text.contains(from), "the answer has no {from}");
        *body = text.replacen(from, to, 1).into_bytes();
    })
}
