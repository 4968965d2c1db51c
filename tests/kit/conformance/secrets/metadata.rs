//! Descriptions and tags.

#![allow(clippy::wildcard_imports, reason = "one suite in several files")]

use futures_util::future::join_all;

use super::*;

fn tags(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn metadata(description: &str, pairs: &[(&str, &str)]) -> Metadata {
    Metadata::new(description, tags(pairs)).expect("valid metadata")
}

/// What a list says of `db`, deleted or not.
async fn listed(store: &Store) -> Metadata {
    let found = store.list(ACCOUNT, true, 10).await;
    let found = found.into_iter().find(|item| item.name == db());
    found.expect("the secret is listed").metadata
}

async fn described(store: &Store, metadata: Option<Metadata>) -> Version {
    let value = SecretBytes::copy_from(b"value").expect("guarded memory");
    let options = PutOptions { metadata, ..PutOptions::default() };
    store.0.put(&db(), &value, &options).await.expect("a put").version
}

/// Whether the store can do what these points ask for.
fn applies(store: &Store) -> bool {
    store.can().metadata && store.can().list
}

pub(super) async fn metadata_are_listed_and_stay(bench: &Bench) {
    let mut store = bench.open();
    if !applies(&store) {
        return;
    }
    let first = metadata("the database\nof the shop", &[("env", "prod"), ("pci", "")]);
    let version = described(&store, None).await;
    assert_eq!(listed(&store).await, Metadata::default());
    described(&store, Some(first.clone())).await;
    assert_eq!(listed(&store).await, first);
    // A version without a word about them leaves them, also one of another kind.
    described(&store, None).await;
    let info = store.put_unchecked(&db(), b"other://path", Kind::Reference).await.expect("a put");
    assert_eq!(listed(&store).await, first);
    store.put(&db(), b"newest").await;
    store.assert_latest(&db(), b"newest", "with metadata").await;
    assert!(store.holds(&db(), &Select::Version(version), b"value").await);
    assert!(is_before(&store, &info.version, &store.versions(&db(), 10).await.expect("all")[4]));
    if store.can().restore {
        store.0.delete(&db()).await.expect("a delete");
        assert_eq!(listed(&store).await, first, "of a deleted secret");
        let change = MetadataChange::default();
        let refused = store.0.change_metadata(&db(), &change).await;
        assert_kind(refused, ErrorKind::NotFound, "a deleted secret");
        store.0.restore(&db()).await.expect("a restore");
        assert_eq!(listed(&store).await, first, "of a restored secret");
    }
    if let Some(upkeep) = store.0.upkeep() {
        let what = strongroom_core::upkeep::Reencrypt::default();
        upkeep.reencrypt(&what, &|_| {}).await.expect("a re-encryption");
        assert_eq!(listed(&store).await, first, "after a re-encryption");
        store.assert_latest(&db(), b"newest", "after a re-encryption").await;
    }
    if bench.backend.persistent {
        drop(store);
        store = bench.open();
        assert_eq!(listed(&store).await, first, "of a reopened store");
    }
    described(&store, Some(Metadata::default())).await;
    assert_eq!(listed(&store).await, Metadata::default(), "after they were taken away");
}

pub(super) async fn metadata_are_changed_in_one_step(bench: &Bench) {
    let store = bench.open();
    if !applies(&store) {
        return;
    }
    let change = MetadataChange { tags: tags(&[("a", "1")]), ..MetadataChange::default() };
    let missing = store.0.change_metadata(&db(), &change).await;
    assert_kind(missing, ErrorKind::NotFound, "a name that was never used");
    let version = described(&store, None).await;
    let changed = store.0.change_metadata(&db(), &change).await.expect("a change");
    assert_eq!(changed, metadata("", &[("a", "1")]));
    let change = MetadataChange {
        description: Some("new".to_owned()),
        remove: ["a".to_owned()].into(),
        tags: tags(&[("b", "2")]),
        replace: false,
    };
    let changed = store.0.change_metadata(&db(), &change).await.expect("a change");
    assert_eq!(changed, metadata("new", &[("b", "2")]));
    assert_eq!(listed(&store).await, changed);
    let all = metadata("", &[("c", "")]);
    store.0.change_metadata(&db(), &all.clone().into()).await.expect("a change");
    assert_eq!(listed(&store).await, all);
    // No version came of it, and the value is there.
    assert_eq!(store.versions(&db(), 10).await.expect("versions"), [version]);
    store.assert_latest(&db(), b"value", "after changes of metadata").await;
}

pub(super) async fn metadata_go_with_a_purge(bench: &Bench) {
    let store = bench.open();
    if !applies(&store) || !store.can().purge {
        return;
    }
    described(&store, Some(metadata("old", &[("a", "1")]))).await;
    store.0.purge(&db()).await.expect("a purge");
    let change = MetadataChange::default();
    let purged = store.0.change_metadata(&db(), &change).await;
    assert_kind(purged, ErrorKind::NotFound, "a purged secret");
    described(&store, None).await;
    assert_eq!(listed(&store).await, Metadata::default());
}

pub(super) async fn metadata_beyond_the_limits_change_nothing(bench: &Bench) {
    let store = bench.open();
    if !applies(&store) {
        return;
    }
    let many: Vec<_> = (0..Metadata::MAX_TAGS).map(|n| n.to_string()).collect();
    let many: Vec<_> = many.iter().map(|key| (key.as_str(), "x")).collect();
    let most = metadata(&"x".repeat(Metadata::MAX_DESCRIPTION_BYTES), &many);
    described(&store, Some(most.clone())).await;
    let one_more = MetadataChange { tags: tags(&[("more", "")]), ..MetadataChange::default() };
    let refused = store.0.change_metadata(&db(), &one_more).await;
    assert_kind(refused, ErrorKind::LimitExceeded, "a tag too many");
    assert_eq!(listed(&store).await, most);
    store.assert_latest(&db(), b"value", "with as much as there may be").await;
}

pub(super) async fn changes_of_metadata_race_without_loss(bench: &Bench) {
    let store = bench.open();
    if !applies(&store) {
        return;
    }
    described(&store, Some(metadata("d", &[]))).await;
    let changes = (0..16).map(|n| {
        let store = &store;
        async move {
            if n % 4 == 0 {
                described(store, None).await;
            }
            let change =
                MetadataChange { tags: tags(&[(&n.to_string(), "")]), ..MetadataChange::default() };
            store.0.change_metadata(&db(), &change).await.expect("a change");
        }
    });
    join_all(changes).await;
    let found = listed(&store).await;
    assert_eq!((found.description(), found.tags().len()), ("d", 16));
    assert_eq!(store.versions(&db(), 10).await.expect("versions").len(), 5);
}

pub(super) async fn a_store_without_metadata_says_so(bench: &Bench) {
    let store = bench.open();
    if store.can().metadata {
        return;
    }
    store.put(&db(), b"value").await;
    let refused = store.0.change_metadata(&db(), &MetadataChange::default()).await;
    assert_kind(refused, ErrorKind::Unsupported, "metadata");
}
