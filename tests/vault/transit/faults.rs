//! What passes, what makes no sense, and what is bridged by a key that is cached.

use std::sync::Arc;
use std::time::Duration;

use strongroom_core::wrapper::KeyCacheOptions;
use strongroom_core::{CachedKeys, ErrorKind, KeyWrapper, SystemClock};
use strongroom_kit::block_on;
use strongroom_kit::proxy::{ANY, Fault};
use strongroom_vault::Vault;

use super::{KEY, context, derived, engine, generate, make, same, transit, unwrap, wrapper};
use crate::client::settings;
use crate::{proxy, server};

#[test]
fn what_passes_is_tried_again_and_told_as_what_it_is() {
    let (proxy, mount) = (proxy(), "passing");
    let key = wrapper(&proxy, mount, &derived());
    let (dek, wrapped) = generate(&key);
    let decrypt = format!("POST /v1/{mount}/decrypt/{KEY}");
    for (fault, kind) in [
        (Fault::too_many_requests(), ErrorKind::Throttled),
        (Fault::status(500), ErrorKind::Unavailable),
        (Fault::status(503), ErrorKind::Unavailable),
        (Fault::Reset, ErrorKind::Unavailable),
        (Fault::ResetAfterForwarding, ErrorKind::Unavailable),
        (Fault::Truncate { bytes: 20 }, ErrorKind::Unavailable),
        (Fault::NotHttp, ErrorKind::Unavailable),
    ] {
        proxy.reset_counts();
        proxy.next(&decrypt, fault.clone());
        assert!(same(&unwrap(&key, &wrapped).unwrap(), &dek), "{fault:?}");
        proxy.always(&decrypt, fault.clone());
        let error = unwrap(&key, &wrapped).unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (kind, true), "{fault:?}: {error}");
        assert_eq!(proxy.count(&decrypt), 4, "two attempts each: {fault:?}");
        proxy.clear();
    }
}

#[test]
fn nonsense_is_no_key() {
    let (proxy, mount) = (proxy(), "nonsense");
    let key = wrapper(&proxy, mount, &derived());
    let (_, wrapped) = generate(&key);
    let decrypt = format!("POST /v1/{mount}/decrypt/{KEY}");
    let made = format!("POST /v1/{mount}/datakey/plaintext/{KEY}");
    let answer = |text: &'static str| Fault::rewrite(move |body| *body = text.into());
    for fault in [
        Fault::Garbage,
        answer("{}"),
        answer(r#"{"data": null}"#),
        answer(r#"{"data": {"plaintext": 7}}"#),
        answer(r#"{"data": {"plaintext": "no Base64"}}"#),
    ] {
        proxy.next(&decrypt, fault.clone());
        let error = unwrap(&key, &wrapped).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{fault:?}: {error}");
    }
    proxy.next(&decrypt, answer(r#"{"data": {"plaintext": "c2hvcnQ="}}"#));
    let error = unwrap(&key, &wrapped).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tampered, "a key of five bytes: {error}");
    let rewritten = |from: &'static str, to: &'static str| {
        Fault::rewrite(move |body| {
            let text = String::from_utf8(body.clone()).unwrap();
            assert!(text.contains(from), "the answer has no {from}");
            *body = text.replacen(from, to, 1).into_bytes();
        })
    };
    for to in ["vault:v0:", "vault:v01:", "other:v1:", "vault:v1"] {
        proxy.next(&made, rewritten("vault:v1:", to));
        let error = block_on(key.generate(&context("a"))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{to}: {error}");
    }
}

#[test]
fn a_deadline_is_a_deadline_and_a_cached_key_does_not_wait() {
    let (proxy, mount) = (proxy(), "silent");
    engine(mount);
    make(mount, &derived());
    let mut settings = settings(&proxy, server().root_token());
    settings.attempt_timeout = Duration::from_millis(50);
    settings.timeout = Duration::from_millis(200);
    let key = transit(&Vault::connect(&settings).unwrap(), mount);
    let cached = CachedKeys::new(Arc::new(key), KeyCacheOptions::default(), SystemClock::shared());
    let (dek, wrapped) = loop {
        // So little time may be too little for a machine that has much to do.
        if let Ok(made) = block_on(cached.generate(&context("a"))) {
            break made;
        }
    };
    proxy.always(ANY, Fault::BlackHole);
    assert!(same(&block_on(cached.unwrap(&wrapped, &context("a"))).unwrap(), &dek));
    // In another context it is another key: Vault has to be asked.
    let error = block_on(cached.unwrap(&wrapped, &context("b"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("in time"), "{error}");
}
