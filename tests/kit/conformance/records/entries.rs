//! Keys, values, scans, preconditions and revisions.

#![allow(clippy::wildcard_imports, reason = "one suite in several files")]

use super::*;

pub(super) async fn an_empty_store_holds_nothing(bench: &Bench) {
    let store = bench.open();
    assert!(value(&*store, b"absent").await.is_none());
    assert!(everything(&*store).await.is_empty());
}

pub(super) async fn values_of_every_size_are_read_back(bench: &Bench) {
    let store = bench.open();
    let mut random = Random::new(2);
    // Around the sizes at which stores split pages, chunks and segments.
    let around = [0, 64, 256, 1024, 4096, 8192, 16_384, 65_536, 1 << 20];
    let sizes = around.into_iter().flat_map(|n: usize| [n.saturating_sub(1), n, n + 1]);
    let sizes = sizes.filter(|size| *size <= store.max_value_bytes());
    let values: Vec<_> = sizes.map(|size| random.bytes(size)).collect();
    for (index, bytes) in values.iter().enumerate() {
        write(&*store, &[b'k', index as u8], bytes).await;
    }
    for (index, bytes) in values.iter().enumerate() {
        let found = value(&*store, &[b'k', index as u8]).await;
        assert!(found.as_ref() == Some(bytes), "{} bytes", bytes.len());
    }
    let scanned: Vec<_> = everything(&*store).await.into_iter().map(|(_, value)| value).collect();
    assert!(scanned == values, "a scan gives other values");
}

pub(super) async fn the_largest_value_is_taken(bench: &Bench) {
    let store = bench.open();
    let largest = Random::new(3).bytes(store.max_value_bytes());
    write(&*store, b"large", &largest).await;
    assert!(value(&*store, b"large").await.as_ref() == Some(&largest));
}

pub(super) async fn a_value_is_replaced_whole(bench: &Bench) {
    let store = bench.open();
    let mut random = Random::new(4);
    for size in [100_000, 3, 0, 20_000, 8192, 70_000, 1] {
        let bytes = random.bytes(size);
        write(&*store, b"key", &bytes).await;
        assert!(value(&*store, b"key").await.as_ref() == Some(&bytes), "{size} bytes");
        assert_eq!(everything(&*store).await.len(), 1);
    }
    store.commit(Batch::new().delete(b"key".to_vec())).await.expect("a delete");
    assert!(value(&*store, b"key").await.is_none());
    assert!(everything(&*store).await.is_empty());
}

pub(super) async fn of_several_changes_the_last_counts(bench: &Bench) {
    let store = bench.open();
    let batch = Batch::new()
        .write(b"a".to_vec(), b"1".to_vec())
        .write(b"a".to_vec(), vec![2; 30_000])
        .write(b"b".to_vec(), b"1".to_vec())
        .delete(b"b".to_vec())
        .delete(b"c".to_vec())
        .write(b"c".to_vec(), b"3".to_vec());
    store.commit(batch).await.expect("a batch");
    let expected: Entries = vec![(b"a".to_vec(), vec![2; 30_000]), (b"c".to_vec(), b"3".to_vec())];
    assert!(everything(&*store).await == expected);
}

pub(super) async fn removing_an_absent_key_is_no_error(bench: &Bench) {
    let store = bench.open();
    store.commit(Batch::new().delete(b"absent".to_vec())).await.expect("a delete");
}

pub(super) async fn an_empty_batch_succeeds(bench: &Bench) {
    let store = bench.open();
    store.commit(Batch::new()).await.expect("an empty batch");
    write(&*store, b"a", b"1").await;
    let batch = Batch::new().require(b"a".to_vec(), Precondition::Absent);
    assert_kind(store.commit(batch).await, ErrorKind::Conflict, "preconditions alone");
}

pub(super) async fn scan_gives_keys_in_order(bench: &Bench) {
    let store = bench.open();
    let model = with_awkward_keys(&*store).await;
    assert_eq!(everything(&*store).await, model.into_iter().collect::<Entries>());
}

pub(super) async fn scan_gives_exactly_a_prefix(bench: &Bench) {
    let store = bench.open();
    let model = with_awkward_keys(&*store).await;
    let cuts = model.keys().flat_map(|key| (0..=key.len().min(4)).map(|n| key[..n].to_vec()));
    let whole = model.keys().cloned();
    let none = [b"zz".to_vec(), vec![0xfe, 0xff, 0], vec![0xff; MAX_KEY_BYTES + 1]];
    for prefix in cuts.chain(whole).chain(none).collect::<BTreeSet<_>>() {
        let matching = model.iter().filter(|(key, _)| key.starts_with(&prefix));
        let expected: Entries = matching.map(|(k, v)| (k.clone(), v.clone())).collect();
        assert_eq!(pages(&*store, &prefix, 1000).await, expected, "prefix {prefix:02x?}");
    }
}

pub(super) async fn scan_pages_give_each_key_once(bench: &Bench) {
    let store = bench.open();
    let model = with_awkward_keys(&*store).await;
    for prefix in [&b""[..], b"a", b"\xff", b"\0"] {
        let matching = model.iter().filter(|(key, _)| key.starts_with(prefix));
        let expected: Entries = matching.map(|(k, v)| (k.clone(), v.clone())).collect();
        for limit in [1, 2, 3, expected.len(), expected.len() + 1, usize::MAX] {
            let found = pages(&*store, prefix, limit.max(1)).await;
            assert_eq!(found, expected, "prefix {prefix:02x?} in pages of {limit}");
        }
    }
}

pub(super) async fn scan_pages_begin_anywhere(bench: &Bench) {
    let store = bench.open();
    let model = with_awkward_keys(&*store).await;
    let present = model.keys().cloned();
    let absent = [&b"A"[..], b"a\x01", b"aaa", b"zzz", b"\0i", b""].map(<[u8]>::to_vec);
    for after in present.chain(absent) {
        for prefix in [&b""[..], b"a", b"\xff", b"b"] {
            let matching = model.iter().filter(|(key, _)| key.starts_with(prefix) && **key > after);
            let expected: Vec<_> = matching.map(|(key, _)| key.clone()).take(3).collect();
            let page =
                store.scan(prefix, Some(&after), PageLimit::entries(3)).await.expect("a page");
            let found: Vec<_> = page.entries.into_iter().map(|(key, _)| key).collect();
            assert_eq!(found, expected, "prefix {prefix:02x?} after {after:02x?}");
        }
    }
}

pub(super) async fn a_page_ends_at_its_bytes(bench: &Bench) {
    let store = bench.open();
    for key in 0..6_u8 {
        write(&*store, &[b'k', key], &vec![key; 1000]).await;
    }
    let page = async |after: Option<&[u8]>, bytes| {
        let limit = PageLimit { entries: 100, bytes };
        store.scan(b"k", after, limit).await.expect("a page")
    };
    for (bytes, expected) in [(0, 1), (1, 1), (1002, 1), (1003, 2), (2005, 3), (6011, 6)] {
        let found = page(None, bytes).await;
        assert_eq!(found.entries.len(), expected, "in pages of {bytes} bytes");
        assert!(found.more, "in pages of {bytes} bytes");
        let last = &found.entries[expected - 1].0;
        let rest = page(Some(last), usize::MAX).await;
        assert_eq!(rest.entries.len(), 6 - expected, "after {bytes} bytes");
        assert!(!rest.more);
    }
}

pub(super) async fn a_batch_of_the_promised_bytes_fits(bench: &Bench) {
    let store = bench.open();
    assert!(store.max_batch_bytes() >= store.max_value_bytes() + (16 << 10));
    let mut batch = Batch::new().write(b"v".to_vec(), vec![7; store.max_value_bytes()]);
    let mut count = 0_u32;
    while count < 1000 && batch.bytes() + 1000 <= store.max_batch_bytes() {
        batch = batch.write(count.to_be_bytes().to_vec(), vec![1; 1000 - 36]);
        count += 1;
    }
    store.commit(batch).await.expect("a long batch");
    assert_eq!(everything(&*store).await.len(), count as usize + 1);
}

pub(super) async fn limits_are_refused_and_nothing_changes(bench: &Bench) {
    let store = bench.open();
    write(&*store, b"before", b"1").await;
    let before = everything(&*store).await;
    let good = || Batch::new().write(b"good".to_vec(), b"2".to_vec()).delete(b"before".to_vec());
    let long = vec![b'k'; MAX_KEY_BYTES + 1];
    let bad = [
        ("an empty key", good().write(Vec::new(), b"x".to_vec())),
        ("a long key", good().write(long.clone(), b"x".to_vec())),
        ("a delete of a long key", good().delete(long)),
        ("a long value", good().write(b"v".to_vec(), vec![0; store.max_value_bytes() + 1])),
    ];
    for (what, batch) in bad {
        assert_kind(store.commit(batch).await, ErrorKind::LimitExceeded, what);
        assert_eq!(everything(&*store).await, before, "{what}");
    }
}

type Demand<'a> = (&'a [u8], Precondition);

pub(super) async fn preconditions_that_fail_change_nothing(bench: &Bench) {
    let store = bench.open();
    write(&*store, b"a", b"1").await;
    let old = revision(&*store, b"a").await;
    write(&*store, b"a", b"2").await;
    let current = revision(&*store, b"a").await;
    let before = everything(&*store).await;

    let (at, absent) = (Precondition::At, Precondition::Absent);
    let never = Revision(u64::MAX);
    let cases: [(&str, &[Demand<'_>]); 6] = [
        ("present", &[(b"a", absent)]),
        ("an older revision", &[(b"a", at(old))]),
        ("a revision that never was", &[(b"a", at(never))]),
        ("an absent key", &[(b"b", at(current))]),
        ("the second of two", &[(b"a", at(current)), (b"b", at(current))]),
        ("the first of two", &[(b"a", absent), (b"b", absent)]),
    ];
    for (what, preconditions) in cases {
        let mut batch = Batch::new()
            .write(b"a".to_vec(), b"3".to_vec())
            .write(b"b".to_vec(), b"3".to_vec())
            .write(b"c".to_vec(), vec![3; 50_000]);
        for (key, precondition) in preconditions {
            batch = batch.require(key.to_vec(), *precondition);
        }
        assert_kind(store.commit(batch).await, ErrorKind::Conflict, what);
        assert_eq!(everything(&*store).await, before, "{what}");
        assert_eq!(revision(&*store, b"a").await, current, "{what}");
    }
}

pub(super) async fn preconditions_that_hold_let_the_batch_pass(bench: &Bench) {
    let store = bench.open();
    let batch = Batch::new()
        .require(b"a".to_vec(), Precondition::Absent)
        .write(b"a".to_vec(), b"1".to_vec());
    store.commit(batch).await.expect("the key is absent");
    let at = Precondition::At(revision(&*store, b"a").await);
    let batch = Batch::new().require(b"a".to_vec(), at).write(b"a".to_vec(), b"2".to_vec());
    store.commit(batch).await.expect("the revision is right");
    let at = Precondition::At(revision(&*store, b"a").await);
    let batch = Batch::new().require(b"a".to_vec(), at).delete(b"a".to_vec());
    store.commit(batch).await.expect("the revision is right");
    let batch = Batch::new()
        .require(b"a".to_vec(), Precondition::Absent)
        .write(b"a".to_vec(), b"3".to_vec());
    store.commit(batch).await.expect("the key is absent again");
    assert_eq!(value(&*store, b"a").await.as_deref(), Some(&b"3"[..]));
}

pub(super) async fn a_precondition_guards_a_key_that_is_not_written(bench: &Bench) {
    let store = bench.open();
    write(&*store, b"guard", b"1").await;
    let at = Precondition::At(revision(&*store, b"guard").await);
    let batch = || Batch::new().require(b"guard".to_vec(), at).write(b"a".to_vec(), b"1".to_vec());
    store.commit(batch()).await.expect("it is unchanged");
    write(&*store, b"guard", b"2").await;
    assert_kind(store.commit(batch()).await, ErrorKind::Conflict, "it was changed");
}

pub(super) async fn every_write_gives_a_new_revision(bench: &Bench) {
    let store = bench.open();
    let mut seen = BTreeSet::new();
    for round in 0..50 {
        let mut batch = Batch::new().write(b"a".to_vec(), b"same".to_vec());
        if round % 3 == 0 {
            batch = batch.write(b"a".to_vec(), b"same".to_vec());
        }
        store.commit(batch).await.expect("a write");
        assert!(seen.insert(revision(&*store, b"a").await.0), "round {round}");
    }
    let scanned = store.scan(b"a", None, PageLimit::entries(1)).await.expect("a page");
    assert_eq!(scanned.entries[0].1.revision, revision(&*store, b"a").await, "scan and get agree");
}

pub(super) async fn a_revision_is_not_reused_after_a_delete(bench: &Bench) {
    let mut store = bench.open();
    let mut seen = BTreeSet::new();
    for round in 0..20 {
        write(&*store, b"a", b"1").await;
        assert!(seen.insert(revision(&*store, b"a").await.0), "round {round}");
        store.commit(Batch::new().delete(b"a".to_vec())).await.expect("a delete");
        if bench.backend.persistent && round % 5 == 4 {
            drop(store);
            store = bench.open();
        }
    }
}

pub(super) async fn a_snapshot_stays_as_it_was(bench: &Bench) {
    let store = bench.open();
    write(&*store, b"a", b"1").await;
    write(&*store, b"b", b"1").await;
    let Some(moment) = store.snapshot().await.expect("a snapshot") else { return };
    let batch = Batch::new().write(b"a".to_vec(), b"2".to_vec()).delete(b"b".to_vec());
    store.commit(batch.write(b"c".to_vec(), b"2".to_vec())).await.expect("a batch");
    let held = moment.get(b"a").await.expect("a get").expect("there");
    assert_eq!(held.value, b"1");
    assert!(moment.get(b"c").await.expect("a get").is_none());
    let page = moment.scan(b"", None, PageLimit::entries(10)).await.expect("a page");
    let keys: Vec<_> = page.entries.iter().map(|(key, _)| key.as_slice()).collect();
    assert_eq!(keys, [b"a", b"b"]);
    let page = moment.scan(b"", Some(b"a"), PageLimit::entries(10)).await.expect("a page");
    assert_eq!(page.entries.len(), 1);
    drop(moment);
    let now = store.get(b"a").await.expect("a get").expect("there");
    assert_eq!(now.value, b"2");
}
