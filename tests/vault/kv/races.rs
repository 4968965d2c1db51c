//! Many writers in processes of their own: each has a store for itself.

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::thread;

use strongroom_core::{ErrorKind, Expect, Kind, PutOptions, SecretStore, Select, Version};
use strongroom_kit::block_on;
use strongroom_vault::{KvVersion, VaultKv};

use super::{get, hvac, name, of, open, put, versions};

const WRITERS: usize = 32;

fn writers(base: &str) -> Vec<VaultKv> {
    (0..WRITERS).map(|_| open(KvVersion::Two, base)).collect()
}

/// What every writer gives who begins at the same time as the others.
fn at_once<T: Send>(stores: &[VaultKv], write: impl Fn(usize, &VaultKv) -> T + Sync) -> Vec<T> {
    let barrier = Barrier::new(stores.len());
    let (barrier, write) = (&barrier, &write);
    thread::scope(|scope| {
        let threads = stores.iter().enumerate().map(|(writer, store)| {
            scope.spawn(move || {
                barrier.wait();
                write(writer, store)
            })
        });
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn one_of_many_who_expect_the_same_wins() {
    let stores = writers("swaps");
    let mut latest = None::<Version>;
    for round in 0..4 {
        let expect = latest.clone().map_or(Expect::Absent, Expect::Latest);
        let written = at_once(&stores, |writer, store| {
            let options = PutOptions { expect: expect.clone(), ..of(Kind::Text) };
            put(store, "db", format!("{round}:{writer}").as_bytes(), &options)
        });
        let lost = if round == 0 { ErrorKind::AlreadyExists } else { ErrorKind::Conflict };
        let mut won = Vec::new();
        for (writer, result) in written.into_iter().enumerate() {
            match result {
                Ok(version) => won.push((writer, version)),
                Err(error) => assert_eq!(error.kind(), lost, "{error}"),
            }
        }
        let [(writer, version)] = &won[..] else { panic!("{} have won", won.len()) };
        let found = get(&stores[0], "db", &Select::Latest).unwrap();
        assert!(found.value.expose() == format!("{round}:{writer}").as_bytes());
        assert_eq!(found.version, *version);
        latest = Some(version.clone());
    }
    assert_eq!(versions(&stores[0], "db").len(), 4);
}

#[test]
fn every_put_that_expects_nothing_is_a_version() {
    hvac("two.update_metadata('puts/acme/@db', max_versions=200)", &[]);
    let stores = writers("puts");
    let written = at_once(&stores, |writer, store| {
        let value = writer.to_string();
        put(store, "db", value.as_bytes(), &of(Kind::Text)).unwrap()
    });
    let distinct: BTreeSet<_> = written.iter().map(ToString::to_string).collect();
    assert_eq!(distinct.len(), WRITERS);
    for (writer, version) in written.into_iter().enumerate() {
        let found = get(&stores[0], "db", &Select::Version(version)).unwrap();
        assert!(found.value.expose() == writer.to_string().as_bytes());
    }
}

#[test]
fn a_purge_among_puts_leaves_all_or_nothing() {
    let stores = writers("purges");
    for _ in 0..4 {
        put(&stores[0], "db", b"value", &of(Kind::Text)).unwrap();
        at_once(&stores[..8], |writer, store| {
            if writer % 4 == 0 {
                match block_on(store.purge(&name("acme", "db"))) {
                    Ok(()) => {}
                    Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error}"),
                }
            } else {
                put(store, "db", b"value", &of(Kind::Text)).unwrap();
            }
        });
        match get(&stores[0], "db", &Select::Latest) {
            Ok(found) => assert!(found.value.expose() == b"value"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error}"),
        }
    }
    let last = put(&stores[0], "db", b"last", &of(Kind::Text)).unwrap();
    let order = stores[0].version_order(&last).unwrap();
    assert_eq!(order, 4 * (1 + 6) + 1, "a number was given twice, or left out");
}
