//! Keys and versions that cannot be had any more: each is told from the others, with
//! what to do.

use serde_json::{Value, json};
use strongroom_core::wrapper::WrappedDek;
use strongroom_core::{Dek, ErrorKind, KeyWrapper, Result};
use strongroom_kit::block_on;
use strongroom_vault::VaultTransit;

use super::{
    KEY, configure, context, derived, engine, generate, make, rotate, same, transit, unwrap,
    wrapper,
};
use crate::client::{allowed, as_root};
use crate::{proxy, server};

/// The words of an error that says that the key cannot be had.
fn lost(outcome: Result<impl Sized>) -> String {
    let error = outcome.err().unwrap();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::KeyUnavailable, false), "{error}");
    error.message().to_owned()
}

#[test]
fn a_version_that_may_not_decrypt_opens_what_was_rewrapped_and_nothing_else() {
    let proxy = proxy();
    for (mount, config) in [("minimum/derived", derived()), ("minimum/plain", json!({}))] {
        let key = wrapper(&proxy, mount, &config);
        let (dek, moved) = generate(&key);
        let (other, left) = generate(&key);
        rotate(mount);
        let moved = block_on(key.rewrap(&moved, &context("a"))).unwrap();
        assert_eq!(&*moved.kek_version, "2");

        configure(mount, &json!({"min_decryption_version": 2}));
        assert!(same(&unwrap(&key, &moved).unwrap(), &dek));
        let told = lost(unwrap(&key, &left));
        assert!(told.contains("version 1") && told.contains("which is 2"), "{told}");
        assert_eq!(lost(block_on(key.rewrap(&left, &context("a")))), told);
        // What it says helps.
        configure(mount, &json!({"min_decryption_version": 1}));
        assert!(same(&unwrap(&key, &left).unwrap(), &other));

        configure(mount, &json!({"min_decryption_version": 2, "min_encryption_version": 2}));
        let trim = json!({"min_available_version": 2});
        server().api("POST", &format!("{mount}/keys/{KEY}/trim"), &trim);
        let told = lost(unwrap(&key, &left));
        assert!(told.contains("was trimmed"), "{told}");
        assert!(same(&unwrap(&key, &moved).unwrap(), &dek));
        let versions = block_on(key.versions(key.identity())).unwrap();
        assert_eq!(versions.len(), 1, "{versions:?}");
    }
    // A version that the key has not had: it is older than the records.
    let key = wrapper(&proxy, "minimum/young", &derived());
    let (_, wrapped) = generate(&key);
    let later = WrappedDek { kek_version: "7".into(), ..wrapped };
    let told = lost(unwrap(&key, &later));
    assert!(told.contains("has no version 7"), "{told}");
}

fn delete(mount: &str) {
    configure(mount, &json!({"deletion_allowed": true}));
    server().api("DELETE", &format!("{mount}/keys/{KEY}"), &Value::Null);
}

#[test]
fn a_key_that_is_gone_is_said_to_be_and_is_not_made_again() {
    let proxy = proxy();
    for (mount, config) in [("gone/derived", derived()), ("gone/plain", json!({}))] {
        engine(mount);
        make(mount, &config);
        // As the documentation has it.
        let update = |operation: &str| {
            format!("path \"{mount}/{operation}/{KEY}\" {{ capabilities = [\"update\"] }}\n")
        };
        let read = format!("path \"{mount}/keys/{KEY}\" {{ capabilities = [\"read\"] }}\n");
        let operations = ["encrypt", "decrypt", "datakey/plaintext", "rewrap"];
        let policy = operations.map(update).concat() + &read;
        let vault = allowed(&proxy, &mount.replace('/', "-"), &policy);
        let key = transit(&vault, mount);
        let (_, wrapped) = generate(&key);
        delete(mount);
        let is_told = |told: String| {
            let place = format!("there is no key {mount}/keys/{KEY}: it was deleted");
            assert!(told.contains(&place) && told.contains("backup"), "{told}");
        };
        // The description is remembered, which an operation must not be misled by.
        is_told(lost(block_on(key.wrap(&Dek::random().unwrap(), &context("a")))));
        is_told(lost(unwrap(&key, &wrapped)));
        is_told(lost(block_on(transit(&vault, mount).generate(&context("a")))));
        is_told(lost(block_on(key.rewrap(&wrapped, &context("a")))));
        is_told(lost(block_on(key.check())));
        is_told(lost(block_on(key.current_version())));
        let path = format!("{mount}/keys/{KEY}");
        let there = server().ask(0, server().root_token(), "GET", &path, &Value::Null);
        assert_eq!(there.status, 404, "nobody has made it again");
    }
}

#[test]
fn a_key_of_the_same_name_opens_nothing_of_the_one_before() {
    let (proxy, mount) = (proxy(), "anew");
    let key = wrapper(&proxy, mount, &json!({}));
    let (_, wrapped) = generate(&key);
    delete(mount);
    make(mount, &json!({}));
    assert_eq!(unwrap(&key, &wrapped).unwrap_err().kind(), ErrorKind::Tampered);
    delete(mount);
    make(mount, &derived());
    // It is known as one that is not derived, until it says otherwise.
    let told = lost(unwrap(&key, &wrapped));
    assert!(told.contains("made anew"), "{told}");
    let (dek, wrapped) = generate(&key);
    assert!(same(&unwrap(&transit(&as_root(&proxy), mount), &wrapped).unwrap(), &dek));
}

#[test]
fn an_engine_that_is_not_there_is_said_to_be() {
    let proxy = proxy();
    let vault = as_root(&proxy);
    let key = VaultTransit::new(&vault, "nowhere", KEY).unwrap();
    let told = lost(block_on(key.check()));
    assert!(told.contains("vault secrets enable -path=nowhere transit"), "{told}");
}
