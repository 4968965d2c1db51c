//! Random histories, beside the reference store.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

for_each_kind! {
    random_histories_match_the_reference_store
}

#[derive(Clone, Debug)]
enum Step {
    /// Changes (key, and seed and length of a value), and a key that must have
    /// its current revision (`true`) or be absent.
    Commit(Vec<(u8, Option<(u8, usize)>)>, Option<(u8, bool)>),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let bytes = prop_oneof![0..100_usize, 8_000..8_400_usize, 8_192..40_000_usize];
    let change = (0..12_u8, prop::option::weighted(0.8, (any::<u8>(), bytes)));
    let required = prop::option::of((0..12_u8, any::<bool>()));
    let commit = (prop::collection::vec(change, 0..6), required);
    let step = prop_oneof![
        12 => commit.prop_map(|(changes, required)| Step::Commit(changes, required)),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..40)
}

/// Keys that are prefixes of one another, and at the ends of the order.
fn model_key(index: u8) -> Vec<u8> {
    let all: [&[u8]; 12] = [
        b"\x00",
        b"\x00\x00",
        b"a",
        b"a/",
        b"a/b",
        b"a/b\x00",
        b"a/b\xff",
        b"a0",
        b"b",
        b"\xfe\xff",
        b"\xff",
        b"\xff\xff",
    ];
    all[usize::from(index)].to_vec()
}

fn contents(store: &dyn RecordStore, prefix: &[u8]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut after = None;
    loop {
        let page = block_on(store.scan(prefix, after.as_deref(), PageLimit::entries(5))).unwrap();
        let RecordPage { entries: page, more } = page;
        after = page.last().map(|(key, _)| key.clone());
        all.extend(page.into_iter().map(|(key, stored)| (key, stored.value)));
        if !more {
            return all;
        }
    }
}

fn apply(
    store: &dyn RecordStore,
    changes: &[(u8, Option<(u8, usize)>)],
    required: Option<(u8, bool)>,
) -> Result<(), ErrorKind> {
    let mut batch = Batch::new();
    for (key, value) in changes {
        let value = value.map(|(seed, bytes)| pattern(seed, bytes));
        batch.changes.push((model_key(*key), value));
    }
    if let Some((key, current)) = required {
        let precondition = match get(store, &model_key(key)) {
            Some(stored) if current => Precondition::At(stored.revision),
            _ => Precondition::Absent,
        };
        batch = batch.require(model_key(key), precondition);
    }
    block_on(store.commit(batch)).map_err(|error| error.kind())
}

fn random_histories_match_the_reference_store(kind: RecordStoreKind) {
    let config =
        ProptestConfig { cases: 30, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let history = |steps: Vec<Step>| {
        let dir = tempfile::tempdir().unwrap();
        let reference = MemoryRecords::new();
        let mut store = open(kind, dir.path());
        for step in steps {
            match step {
                Step::Reopen => {
                    drop(store);
                    store = open(kind, dir.path());
                }
                Step::Commit(changes, required) => {
                    let verdict = apply(&*store, &changes, required);
                    prop_assert_eq!(verdict, apply(&reference, &changes, required));
                }
            }
            for prefix in [&b""[..], b"a", b"a/b", b"\xff"] {
                prop_assert!(contents(&*store, prefix) == contents(&reference, prefix));
            }
        }
        Ok(())
    };
    runner.run(&steps(), history).unwrap();
}
