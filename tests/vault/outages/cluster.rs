//! Several servers: which one is asked.

use std::time::Duration;

use strongroom_core::ErrorKind;
use strongroom_kit::block_on;
use strongroom_kit::proxy::{ANY, Fault, FaultProxy};
use strongroom_kit::vault::{Standby, Vault as Server};
use strongroom_vault::Auth;

use super::{LOOKUP, as_root};
use crate::load::{self, Call};
use crate::{caller, connect, given, server, within};

/// Two nodes, with a proxy in front of each.
fn cluster(standby: Standby) -> (Server, [FaultProxy; 2]) {
    let server = Server::with_standby(within(), standby);
    let proxies = [0, 1].map(|node| FaultProxy::start(server.addresses()[node]));
    (server, proxies)
}

#[test]
fn a_standby_leads_to_the_active_server_and_that_one_is_asked_from_then_on() {
    let (server, [_, second]) = cluster(Standby::Redirects);
    let active = server.addresses()[0];
    let vault = connect(&as_root(&[&second.endpoint(), active], &server));
    for _ in 0..3 {
        caller(&vault).unwrap();
    }
    assert_eq!(second.count(LOOKUP), 1, "the login asks the standby, and nobody else");
    // An active server that is not among the addresses is found too, each time.
    let vault = connect(&as_root(&[&second.endpoint()], &server));
    second.reset_counts();
    caller(&vault).unwrap();
    caller(&vault).unwrap();
    assert_eq!(second.count(LOOKUP), 3);
    let lines = block_on(connect(&as_root(&server.addresses(), &server)).check()).unwrap();
    assert!(lines[0].contains("active") && lines[1].contains("stands by"), "{lines:?}");
}

#[test]
fn a_standby_that_forwards_is_as_good_as_the_active_server() {
    let (server, [first, second]) = cluster(Standby::Forwards);
    let vault = connect(&as_root(&[&second.endpoint(), &first.endpoint()], &server));
    caller(&vault).unwrap();
    assert_eq!((second.count(LOOKUP), first.count(LOOKUP)), (2, 0));
}

#[test]
fn another_server_is_asked_while_one_does_not_answer() {
    let [first, second] = [0, 1].map(|_| FaultProxy::start(server().address()));
    let mut settings = as_root(&[&first.endpoint(), &second.endpoint()], server());
    settings.retries = 0;
    let vault = connect(&settings);
    caller(&vault).unwrap();
    assert_eq!(second.count(LOOKUP), 0);
    for fault in [Fault::Reset, Fault::status(503), Fault::status(502)] {
        let vault = connect(&settings);
        first.always(ANY, fault);
        first.reset_counts();
        second.reset_counts();
        for _ in 0..5 {
            caller(&vault).unwrap();
        }
        assert_eq!(second.count(LOOKUP), 6);
        assert!(first.count(LOOKUP) <= 2, "only until it is known");
        first.clear();
    }
    first.always(ANY, Fault::BlackHole);
    settings.attempt_timeout = Duration::from_secs(2);
    caller(&connect(&settings)).unwrap();
    first.clear();
    drop(first);
    caller(&connect(&settings)).unwrap();
    // What a server refuses is not asked of another.
    second.reset_counts();
    settings.auth = Auth::Token(given("hvs.nobody"));
    settings.addresses.reverse();
    let error = caller(&connect(&settings)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    assert_eq!(second.count(LOOKUP), 1);
    drop(second);
    let error = caller(&connect(&settings)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.message().contains("cannot be reached"), "{error}");
}

#[test]
fn the_active_server_steps_down_and_is_sealed_under_load_and_nobody_sees_it() {
    let (server, [first, second]) = cluster(Standby::Redirects);
    let mut settings = as_root(&[&first.endpoint(), &second.endpoint()], &server);
    // A new leader is found within seconds, and a busy machine takes longer.
    (settings.retries, settings.timeout) = (60, Duration::from_mins(2));
    let vault = connect(&settings);
    let call = || -> Call<'_> { Box::new(|| !caller(&vault).unwrap().login.is_empty()) };
    load::under((0..4).map(|_| call()).collect(), |load| {
        load.progress(20);
        server.step_down();
        load.progress(20);
        server.seal();
        load.progress(20);
        server.unseal();
        load.progress(20);
    });
}
