//! A store of sealed records whose DEKs Transit wraps.

use std::sync::Arc;

use serde_json::json;
use strongroom_core::memory::MemoryRecords;
use strongroom_core::{
    EnvelopeOptions, EnvelopeStore, PutOptions, SecretName, SecretStore, Select, Upkeep,
};
use strongroom_kit::block_on;

use super::{KEY, configure, derived, engine, make, transit};
use crate::client::as_root;
use crate::{bytes, proxy};

const SECRETS: usize = 1000;

fn name(n: usize) -> SecretName {
    SecretName::new("acme/pay".parse().unwrap(), &format!("secret-{n}")).unwrap()
}

fn value(n: usize) -> String {
    format!("the value of secret {n}")
}

fn read_all(store: &EnvelopeStore) {
    for n in 0..SECRETS {
        let got = block_on(store.get(&name(n), &Select::Latest)).unwrap();
        assert!(got.value.expose() == value(n).as_bytes(), "secret {n} has another value");
    }
}

#[test]
fn a_thousand_secrets_are_stored_read_and_rewrapped() {
    let (proxy, mount) = (proxy(), "stored");
    engine(mount);
    make(mount, &derived());
    let records = Arc::new(MemoryRecords::new());
    let wrapper = || Arc::new(transit(&as_root(&proxy), mount));
    let options = EnvelopeOptions::default;
    let store = EnvelopeStore::create(records.clone(), wrapper(), "acme", options());
    let store = block_on(store).unwrap();
    let count = |operation: &str| proxy.count(&format!("POST /v1/{mount}/{operation}/{KEY}"));
    proxy.reset_counts();
    for n in 0..SECRETS {
        block_on(store.put(&name(n), &bytes(&value(n)), &PutOptions::default())).unwrap();
    }
    assert_eq!((count("datakey/plaintext"), count("decrypt")), (SECRETS, 0));
    let other = EnvelopeStore::open(records, wrapper(), "acme", options());
    let other = block_on(other).unwrap();
    proxy.reset_counts();
    read_all(&other);
    assert_eq!((count("decrypt"), count("datakey/plaintext")), (SECRETS, 0));

    let upkeep: &dyn Upkeep = &store;
    assert_eq!(block_on(upkeep.rotate(None)).unwrap().version, "2");
    proxy.reset_counts();
    let outcome = block_on(upkeep.rewrap(&|_| ())).unwrap();
    assert_eq!((outcome.changed, outcome.failed), (SECRETS as u64, 0), "{outcome:?}");
    assert!(count("rewrap") >= SECRETS);
    assert_eq!(count("datakey/plaintext") + count("encrypt"), 0, "no DEK has left Vault");
    configure(mount, &json!({"min_decryption_version": 2}));
    read_all(&other);
}
