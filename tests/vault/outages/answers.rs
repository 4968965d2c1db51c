//! Answers that are none, late, or of a server that is busy.

use std::time::Duration;

use strongroom_core::{Error, ErrorKind};
use strongroom_kit::block_on;
use strongroom_kit::proxy::{ANY, Fault, FaultProxy};
use strongroom_kit::vault::Vault as Server;
use strongroom_vault::Vault;

use super::{LOOKUP, through};
use crate::{caller, connect, server, within};

/// A connection that has a session, and the proxy in front of its server.
fn connected() -> (FaultProxy, Vault) {
    let proxy = FaultProxy::start(server().address());
    let vault = connect(&through(&proxy, server()));
    caller(&vault).unwrap();
    proxy.reset_counts();
    (proxy, vault)
}

/// What becomes of a request that fails each time, and how often it is made.
fn always(fault: Fault) -> (Error, usize) {
    let (proxy, vault) = connected();
    proxy.always(LOOKUP, fault);
    let error = caller(&vault).unwrap_err();
    (error, proxy.count(LOOKUP))
}

fn busy(seconds: &str) -> Fault {
    let headers = vec![("Retry-After".to_owned(), seconds.to_owned())];
    let body = br#"{"errors": ["request path \"x\": rate limit quota exceeded"]}"#.to_vec();
    Fault::Status { code: 429, body, headers }
}

#[test]
fn what_passes_is_asked_again_and_what_does_not_is_told() {
    let cut = || Fault::Truncate { bytes: 10 };
    for fault in [Fault::status(500), Fault::status(502), Fault::status(503), busy("0"), cut()] {
        let (proxy, vault) = connected();
        proxy.next(LOOKUP, fault.clone());
        caller(&vault).unwrap();
        assert_eq!(proxy.count(LOOKUP), 2, "{fault:?}");
        let (error, count) = always(fault.clone());
        assert!(error.is_retryable(), "{fault:?}: {error}");
        assert_eq!(count, 2, "{fault:?}");
    }
    for fault in [Fault::Reset, Fault::NotHttp] {
        let (error, count) = always(fault.clone());
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{fault:?}: {error}");
        assert!(count >= 2, "{fault:?}: {count}");
    }
}

#[test]
fn what_makes_no_sense_is_an_outage_and_is_not_quoted() {
    let (error, _) = always(Fault::Garbage);
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let page = b"<html>hunter2</html>".to_vec();
    let (error, _) = always(Fault::Status { code: 200, body: page.clone(), headers: Vec::new() });
    assert!(error.message().contains("makes no sense"), "{error}");
    assert!(!format!("{error:?}").contains("hunter2"), "{error}");
    let (error, _) = always(Fault::Status { code: 502, body: page, headers: Vec::new() });
    assert!(error.message().ends_with("status 502"), "{error}");
}

#[test]
fn an_answer_that_is_too_long_is_not_read() {
    let (error, count) = always(Fault::rewrite(|body| body.resize((32 << 20) + 1, b' ')));
    assert_eq!((error.kind(), count), (ErrorKind::LimitExceeded, 1), "{error}");
    // Guarded memory would have its own words for it.
    assert!(error.message().ends_with("has more than 33554432 bytes"), "{error}");
}

#[test]
fn a_server_that_is_busy_says_when_to_come_again() {
    let (error, count) = always(busy("3600"));
    assert_eq!((error.kind(), count), (ErrorKind::Throttled, 1), "nobody waits for an hour");
    assert_eq!(error.retry_after(), Some(Duration::from_hours(1)));
    assert!(error.message().contains("rate limit quota exceeded"), "{error}");
}

#[test]
fn a_rate_limit_of_the_server_is_such_an_answer() {
    let server = Server::start(within());
    let proxy = FaultProxy::start(server.address());
    let mut settings = through(&proxy, &server);
    settings.retries = 0;
    let vault = connect(&settings);
    caller(&vault).unwrap();
    let headers = serde_json::json!({"enable_rate_limit_response_headers": true});
    server.api("POST", "sys/quotas/config", &headers);
    let quota = serde_json::json!({"rate": 1, "interval": "1h"});
    server.api("POST", "sys/quotas/rate-limit/tight", &quota);
    let error = loop {
        if let Err(error) = caller(&vault) {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::Throttled, "{error}");
    assert!(error.retry_after().is_some(), "{error}");
}

#[test]
fn a_black_hole_has_a_deadline() {
    let proxy = FaultProxy::start(server().address());
    let mut settings = through(&proxy, server());
    (settings.retries, settings.attempt_timeout) = (0, Duration::from_millis(300));
    let vault = connect(&settings);
    while caller(&vault).is_err() {}
    proxy.always(ANY, Fault::BlackHole);
    let error = caller(&vault).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.message().contains("did not answer read auth/token/lookup-self in time"));
    // And so has a request with all attempts.
    (settings.retries, settings.attempt_timeout) = (9, Duration::from_hours(1));
    settings.timeout = Duration::from_millis(300);
    let error = caller(&connect(&settings)).unwrap_err();
    assert!(error.message().contains("in time"), "{error}");
    proxy.clear();
    while caller(&vault).is_err() {}
}

#[test]
fn a_request_with_an_effect_is_not_made_twice_unless_it_was_not_taken() {
    let (id, secret) = crate::auth::app_role(server(), "effects", &serde_json::json!({}));
    let proxy = FaultProxy::start(server().address());
    let login = "POST /v1/auth/effects/login";
    let mut settings = through(&proxy, server());
    let mut role = strongroom_vault::AppRole::new(&id, Some(crate::given(&secret)));
    role.mount = "effects".to_owned();
    settings.auth = strongroom_vault::Auth::AppRole(role);
    // The request that waits for the session has not been made: it may.
    proxy.next(login, Fault::status(503));
    caller(&connect(&settings)).unwrap();
    assert_eq!((proxy.count(login), proxy.count(LOOKUP)), (2, 1));
}

#[test]
fn a_sealed_server_says_so_and_is_back_when_it_is_unsealed() {
    let server = Server::start(within());
    let proxy = FaultProxy::start(server.address());
    let vault = connect(&through(&proxy, &server));
    caller(&vault).unwrap();
    server.seal();
    proxy.reset_counts();
    let error = caller(&vault).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.message().contains("Vault is sealed"), "{error}");
    assert_eq!(proxy.count(LOOKUP), 2);
    let error = block_on(vault.check()).unwrap_err();
    assert!(error.message().contains("no server of Vault is active"), "{error}");
    assert!(error.message().contains("sealed"), "{error}");
    server.unseal();
    caller(&vault).unwrap();
}
