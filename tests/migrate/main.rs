//! Secrets move from store to store, and each has one owner all the time.

mod crashes;
mod lies;
mod plain;
mod races;
mod rules;

use std::sync::Arc;

use sha2::{Digest, Sha256};
use strongroom_core::memory::MemoryRecords;
use strongroom_core::transfer::Standing;
use strongroom_core::{
    EnvelopeOptions, EnvelopeStore, Kind, Migrate, Migrated, Migrating, PageRequest, PutOptions,
    RecordStore, Result, SecretBytes, SecretName, SecretStore, Select, Version,
};
use strongroom_kit::block_on;
use strongroom_kit::conformance::prepare_memory;
use strongroom_local::kek::LocalKek;

const SCOPES: [&str; 4] = ["acme", "acme/ops", "acme/ops/web", "acme/sales"];

fn name(scope: &str, id: &str) -> SecretName {
    SecretName::new(scope.parse().expect("valid"), id).expect("valid")
}

fn db() -> SecretName {
    name("acme", "db")
}

fn secret(text: &str) -> SecretBytes {
    SecretBytes::copy_from(text.as_bytes()).expect("guarded memory")
}

fn new_kek() -> Arc<LocalKek> {
    prepare_memory();
    Arc::new(LocalKek::in_memory().expect("a KEK"))
}

/// A store on `records`, made or opened under a KEK of its own.
fn store_on(records: Arc<dyn RecordStore>, kek: &Arc<LocalKek>) -> Result<Arc<EnvelopeStore>> {
    let (wrapper, options) = (Arc::clone(kek), EnvelopeOptions::default());
    block_on(strongroom_kit::embedded::envelope(records, wrapper, options)).map(Arc::new)
}

fn memory_store() -> Arc<EnvelopeStore> {
    let kek = new_kek();
    store_on(Arc::new(MemoryRecords::new()), &kek).expect("a store")
}

fn migrating(source: &Arc<EnvelopeStore>, target: &Arc<EnvelopeStore>) -> Migrating {
    Migrating::new(source.clone(), target.clone())
}

fn migrate(source: &Arc<EnvelopeStore>, target: &Arc<EnvelopeStore>, what: &Migrate) -> Migrated {
    block_on(migrating(source, target).migrate(what, &|_| {})).expect("migrated")
}

fn put(store: &dyn SecretStore, name: &SecretName, value: &[u8]) -> Version {
    put_as(store, name, value, Kind::Text)
}

fn put_as(store: &dyn SecretStore, name: &SecretName, mut value: &[u8], kind: Kind) -> Version {
    let options = PutOptions { kind, ..PutOptions::default() };
    block_on(store.put_file(name, &mut value, &options)).expect("a put").version
}

fn get(store: &dyn SecretStore, name: &SecretName) -> Result<SecretBytes> {
    block_on(store.get(name, &Select::Latest)).map(|secret| secret.value)
}

fn standing(store: &EnvelopeStore, name: &SecretName) -> Standing {
    let transfer = store.transfer().expect("an envelope store moves secrets");
    block_on(transfer.standing(name)).expect("a standing")
}

fn is_owned(store: &EnvelopeStore, name: &SecretName) -> bool {
    matches!(standing(store, name), Standing::Owned { .. })
}

/// Every version of every secret that a store owns: number, kind, time, digest.
type Contents = Vec<(String, String, u8, u64, [u8; 32])>;

fn contents(store: &EnvelopeStore) -> Contents {
    let mut all = Contents::new();
    let transfer = store.transfer().expect("an envelope store moves secrets");
    for name in names(store) {
        if !is_owned(store, &name) {
            continue;
        }
        let page = PageRequest::first(1000);
        let versions = block_on(transfer.versions_of(&name, &page)).expect("versions");
        for info in versions.items {
            let file = block_on(transfer.read_version(&name, &info.version));
            let mut file = file.expect("readable");
            let mut digest = Sha256::new();
            while let Some(segment) = block_on(file.next()).expect("a segment") {
                digest.update(segment.expose());
            }
            let full = format!("{}:{}", name.scope(), name.id());
            let digest = digest.finalize().into();
            all.push((full, info.version.to_string(), info.kind as u8, info.created.0, digest));
        }
    }
    all.sort();
    all
}

fn names(store: &dyn SecretStore) -> Vec<SecretName> {
    let (mut all, mut page) = (Vec::new(), PageRequest::first(7));
    loop {
        let found = block_on(store.names(None, &page)).expect("names");
        all.extend(found.items);
        match found.next {
            Some(next) => page.after = Some(next),
            None => return all,
        }
    }
}

/// Secrets of every shape: many versions, files, deleted, purged and begun anew.
fn fill(store: &EnvelopeStore) {
    fill_scopes(store, &SCOPES);
}

fn fill_scopes(store: &EnvelopeStore, scopes: &[&str]) {
    for scope in scopes {
        for id in 0..4 {
            let name = name(scope, &format!("s{id}"));
            for round in 0..=id {
                put(store, &name, format!("{scope} {id} {round}").as_bytes());
            }
        }
        let file = name(scope, "file");
        put_as(store, &file, &vec![7; 200_000], Kind::File);
        put_as(store, &file, b"a short one", Kind::File);
        put_as(store, &file, &vec![9; 70_000], Kind::File);
        let deleted = name(scope, "deleted");
        put(store, &deleted, b"deleted");
        block_on(store.delete(&deleted)).expect("deleted");
        let anew = name(scope, "anew");
        put(store, &anew, b"old");
        put(store, &anew, b"older");
        block_on(store.purge(&anew)).expect("purged");
        put(store, &anew, b"new");
        let purged = name(scope, "purged");
        put(store, &purged, b"purged");
        block_on(store.purge(&purged)).expect("purged");
    }
}
