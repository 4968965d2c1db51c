//! What callers seal and keep themselves.

#![allow(clippy::wildcard_imports, reason = "one suite in several files")]

use strongroom_core::CallerContext;

use crate::random::Random;

use super::*;

fn context(name: &SecretName, pairs: &[(&str, &str)]) -> CallerContext {
    let owned = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    CallerContext::new(name.clone(), owned.collect()).expect("a valid context")
}

async fn seal(store: &Store, context: &CallerContext, value: &[u8]) -> Vec<u8> {
    let value = SecretBytes::copy_from(value).expect("guarded memory");
    store.0.seal(context, &value).await.expect("sealed")
}

pub(super) async fn what_is_sealed_opens_and_is_nowhere_else(bench: &Bench) {
    let mut store = bench.open();
    if !store.can().seal {
        return;
    }
    let name = name(ACCOUNT, "sealed");
    let context = context(&name, &[("app", "web"), ("row", "17")]);
    let sizes = [0, 1, 32, 1 << 10, 4097, 1 << 20];
    let mut all = Vec::new();
    for size in sizes.into_iter().filter(|size| *size <= store.can().max_value_bytes) {
        let value = Random::new(3).bytes(size);
        let sealed = seal(&store, &context, &value).await;
        let shown = size >= 32 && sealed.windows(16).any(|window| window == &value[..16]);
        assert!(!shown, "{size} bytes: the value is in what was sealed");
        assert!(sealed != seal(&store, &context, &value).await, "sealed twice alike");
        all.push((value, sealed));
    }
    store.assert_missing(&name, "of the name that was sealed under").await;
    assert!(store.names(ACCOUNT, true).await.is_empty());
    if bench.backend.persistent {
        drop(store);
        store = bench.open();
    }
    for (value, sealed) in all {
        let opened = store.0.open(&context, &sealed).await.expect("opens");
        assert!(opened.expose() == value, "{} bytes: another value", value.len());
    }
}

pub(super) async fn sealed_bytes_open_for_whom_they_belong_to_only(bench: &Bench) {
    let store = bench.open();
    if !store.can().seal {
        return;
    }
    let name_here = name(ACCOUNT, "sealed");
    let sealed = seal(&store, &context(&name_here, &[("a", "1"), ("b", "2")]), b"value").await;
    let turned = context(&name_here, &[("b", "2"), ("a", "1")]);
    assert!(store.0.open(&turned, &sealed).await.expect("opens").expose() == b"value");
    let others = [
        context(&name_here, &[("a", "1")]),
        context(&name_here, &[("a", "1"), ("b", "2"), ("c", "")]),
        context(&name_here, &[("a", "2"), ("b", "1")]),
        context(&name_here, &[("a", "1b"), ("b", "2")]),
        context(&name(ACCOUNT, "other"), &[("a", "1"), ("b", "2")]),
        context(&name(&format!("{ACCOUNT}/org"), "sealed"), &[("a", "1"), ("b", "2")]),
    ];
    for other in others {
        assert_kind(store.0.open(&other, &sealed).await, ErrorKind::Tampered, format!("{other:?}"));
    }
    let own = context(&name_here, &[("a", "1"), ("b", "2")]);
    for at in [0, sealed.len() / 2, sealed.len() - 1] {
        let mut altered = sealed.clone();
        altered[at] ^= 1;
        assert_kind(store.0.open(&own, &altered).await, ErrorKind::Tampered, "altered");
        assert_kind(store.0.open(&own, &sealed[..at]).await, ErrorKind::Tampered, "cut");
    }
    let strange = context(&name("somebody-else", "sealed"), &[("a", "1")]);
    let value = SecretBytes::copy_from(b"value").expect("guarded memory");
    let refused = store.0.seal(&strange, &value).await;
    assert_kind(refused, ErrorKind::AccessDenied, "another account seals");
    let refused = store.0.open(&strange, &sealed).await;
    assert_kind(refused, ErrorKind::AccessDenied, "another account opens");
}

pub(super) async fn a_value_too_long_is_not_sealed(bench: &Bench) {
    let store = bench.open();
    let longest = store.can().max_value_bytes;
    if !store.can().seal || longest > 32 << 20 {
        return;
    }
    let context = context(&db(), &[("a", "1")]);
    let value = Random::new(4).bytes(longest + 1);
    let sealed = seal(&store, &context, &value[..longest]).await;
    let opened = store.0.open(&context, &sealed).await.expect("opens");
    assert!(opened.expose() == &value[..longest], "the longest value");
    let value = SecretBytes::copy_from(&value).expect("guarded memory");
    let refused = store.0.seal(&context, &value).await;
    assert_kind(refused, ErrorKind::LimitExceeded, "one byte too many");
}

pub(super) async fn a_store_that_cannot_seal_says_so(bench: &Bench) {
    let store = bench.open();
    if store.can().seal {
        return;
    }
    let context = context(&db(), &[("a", "1")]);
    let value = SecretBytes::copy_from(b"value").expect("guarded memory");
    assert_kind(store.0.seal(&context, &value).await, ErrorKind::Unsupported, "seal");
    assert_kind(store.0.open(&context, b"bytes").await, ErrorKind::Unsupported, "open");
}
