//! Kinds: what has parts comes back with them, and what is none of its kind never
//! gets in.

#![allow(clippy::wildcard_imports, reason = "one suite in several files")]

use super::*;

const KEY: &str = "-----BEGIN PRIVATE KEY-----\nQUJD\n-----END PRIVATE KEY-----\n";
const CHAIN: &str = "-----BEGIN CERTIFICATE-----\nREVG\n-----END CERTIFICATE-----\n";

type Fields = Vec<(&'static str, String)>;

/// A value of each kind, and its fields.
fn values() -> [(Kind, Vec<u8>, Fields); 6] {
    let public = "ssh-ed25519 QUJD me\n";
    let fields = |pairs: &[(&'static str, &str)]| {
        pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
    };
    [
        (Kind::Text, b"value".to_vec(), Vec::new()),
        (Kind::File, vec![0xff, 0, 7], Vec::new()),
        (
            Kind::SshKey,
            format!("{KEY}{public}").into_bytes(),
            fields(&[("private-key", KEY), ("public-key", public)]),
        ),
        (
            Kind::Login,
            br#"{"user":"me","password":"\u0073ecret"}"#.to_vec(),
            fields(&[("user", "me"), ("password", "secret")]),
        ),
        (
            Kind::Certificate,
            format!("{CHAIN}{CHAIN}{KEY}").into_bytes(),
            fields(&[("certificate", &CHAIN.repeat(2)), ("key", KEY)]),
        ),
        (Kind::Reference, b"other://path#key.nested".to_vec(), Vec::new()),
    ]
}

pub(super) async fn every_kind_comes_back(bench: &Bench) {
    let store = bench.open();
    for (kind, value, fields) in values() {
        let name = name(ACCOUNT, kind.as_str());
        let info = store.put_unchecked(&name, &value, kind).await.expect("a put");
        assert_eq!(info.kind, kind);
        let secret = store.0.get_stored(&name, &Select::Latest).await.expect("a get");
        assert_eq!(secret.kind, kind);
        assert!(secret.value.expose() == value, "another {kind:?}");
        for (field, expected) in fields {
            let found = secret.field(field).expect("a field");
            assert!(found.expose() == expected.as_bytes(), "another {field} of {kind:?}");
        }
        let page = store.0.versions(&name, &PageRequest::first(1)).await.expect("versions");
        assert_eq!(page.items[0].kind, kind);
    }
    if store.can().list {
        let listed = store.list(ACCOUNT, false, 10).await;
        let told = listed.iter().map(|item| (item.name.id(), item.kind));
        assert!(told.clone().all(|(id, kind)| id == kind.as_str()), "{listed:?}");
        assert_eq!(told.count(), Kind::ALL.len());
    }
}

pub(super) async fn a_value_that_is_not_of_its_kind_is_refused(bench: &Bench) {
    let store = bench.open();
    for (kind, value, _) in values() {
        if matches!(kind, Kind::Text | Kind::File) {
            continue;
        }
        let (last, all) = value.split_last().expect("a value");
        let cut = if last.is_ascii_whitespace() { &all[..all.len() - 4] } else { all };
        let bad = if kind == Kind::Reference { b"no reference" } else { cut };
        let put = store.put_unchecked(&db(), bad, kind).await;
        assert_kind(put, ErrorKind::InvalidName, format!("a value that is no {kind:?}"));
        let options = PutOptions { kind, ..PutOptions::default() };
        let mut source = bad;
        let put = store.0.put_file(&db(), &mut source, &options).await;
        assert_kind(put, ErrorKind::InvalidName, format!("a file that is no {kind:?}"));
        let long = vec![b' '; 200_000];
        let put = store.0.put_file(&db(), &mut &long[..], &options).await;
        assert_kind(put, ErrorKind::LimitExceeded, format!("a long file that is no {kind:?}"));
    }
    store.assert_missing(&db(), "what was refused").await;
}
