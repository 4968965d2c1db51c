//! Names of a whole store, and what comes in and goes out with every version.

#![allow(clippy::wildcard_imports, reason = "one suite in several files")]

use strongroom_core::transfer::{Deleted, Place, Standing};
use strongroom_core::{FileSource, Metadata, Transfer};

use super::*;

fn elsewhere() -> Place {
    Place::new("0123", "another store")
}

async fn stage(to: &dyn Transfer, name: &SecretName, number: u64, mut value: &[u8]) -> Result<()> {
    let version = Version::new(number.to_string()).expect("valid");
    let info = VersionInfo::new(version, Kind::File, Timestamp(5_000 + number));
    let source: &mut dyn FileSource = &mut value;
    to.stage(name, &info, source).await
}

pub(super) async fn names_are_told_of_a_scope_and_below(bench: &Bench) {
    let store = bench.open();
    let told = |scope: Option<&'static str>| {
        let store = &store;
        async move {
            let scope = scope.map(|scope| scope.parse::<Scope>().expect("valid"));
            let (mut all, mut page) = (BTreeSet::new(), PageRequest::first(2));
            loop {
                let found = store.0.names(scope.as_ref(), &page).await?;
                assert!(found.items.len() <= 2, "a page is too long");
                for name in found.items {
                    let full = format!("{}:{}", name.scope(), name.id());
                    assert!(all.insert(full), "a name comes twice");
                }
                match found.next {
                    Some(next) => page.after = Some(next),
                    None => return Ok(all),
                }
            }
        }
    };
    if !store.can().names {
        assert_kind(told(None).await, ErrorKind::Unsupported, "names");
        return;
    }
    let inside = ["acme/ops:a", "acme/ops:b", "acme/ops/web:c", "acme/ops/zoo:d"];
    let outside = ["acme:ops", "acme/op:a", "acme/opsx:a", "acme/other/ops:a"];
    for full in inside.iter().chain(&outside) {
        let (scope, id) = full.split_once(':').expect("in full");
        store.put(&name(scope, id), b"v").await;
    }
    if store.can().soft_delete {
        store.0.delete(&name("acme/ops", "b")).await.expect("a delete");
    }
    if store.can().purge {
        store.put(&name("acme/ops", "gone"), b"v").await;
        store.0.purge(&name("acme/ops", "gone")).await.expect("a purge");
    }
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(told(Some("acme/ops")).await.expect("names"), set(&inside));
    assert_eq!(told(Some("acme/ops/web")).await.expect("names"), set(&inside[2..3]));
    let all: Vec<_> = inside.into_iter().chain(outside).collect();
    assert_eq!(told(None).await.expect("names"), set(&all));
    assert_eq!(told(Some("acme")).await.expect("names"), set(&all));
}

pub(super) async fn a_store_that_moves_secrets_says_so(bench: &Bench) {
    let store = bench.open();
    assert_eq!(store.can().transfer, store.0.transfer().is_some());
}

pub(super) async fn what_is_staged_is_seen_when_it_is_published(bench: &Bench) {
    let store = bench.open();
    let Some(to) = store.0.transfer() else { return };
    let long = vec![7; 150_000];
    assert!(stage(to, &db(), 3, b"3").await.is_err(), "nothing is reserved");
    to.reserve(&db(), &elsewhere()).await.expect("reserved");
    assert_eq!(
        to.standing(&db()).await.expect("a standing"),
        Standing::Incoming { from: elsewhere() }
    );
    stage(to, &db(), 3, b"3").await.expect("staged");
    stage(to, &db(), 4, &long).await.expect("staged");
    assert!(stage(to, &db(), 6, b"6").await.is_err(), "a gap");
    for version in [Select::Latest, Select::Version(Version::new("3").expect("valid"))] {
        let error = store.0.get(&db(), &version).await.expect_err("not published");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.is_retryable(), "{error}");
    }
    assert!(store.names(ACCOUNT, true).await.is_empty(), "listed before it is published");
    let latest = Version::new("4").expect("valid");
    to.publish(&db(), &latest, None, &metadata()).await.expect("published");
    let third = Select::Version(Version::new("3").expect("valid"));
    assert!(store.holds(&db(), &third, b"3").await, "another value");
    let mut file = store.0.get_file(&db(), &Select::Latest).await.expect("a file");
    assert_eq!((file.info().length, file.info().created), (150_000, Timestamp(5_004)));
    while let Some(segment) = file.next().await.expect("a segment") {
        assert!(segment.expose().iter().all(|byte| *byte == 7), "another file");
    }
    let listed = store.list(ACCOUNT, false, 10).await;
    assert_eq!((&listed[0].latest, listed[0].updated), (&latest, Timestamp(5_004)));
    assert_eq!(listed[0].metadata, metadata());
    assert_eq!(store.put(&db(), b"5").await.as_str(), "5");
}

pub(super) async fn a_deleted_secret_comes_with_its_window(bench: &Bench) {
    let store = bench.open();
    let Some(to) = store.0.transfer() else { return };
    let now = bench.clock.now();
    let until = now.plus(Duration::from_hours(1));
    to.reserve(&db(), &elsewhere()).await.expect("reserved");
    stage(to, &db(), 1, b"v").await.expect("staged");
    let deleted = Some(Deleted { since: now, until });
    to.publish(&db(), &Version::new("1").expect("valid"), deleted, &metadata())
        .await
        .expect("published");
    store.assert_missing(&db(), "deleted").await;
    store.0.restore(&db()).await.expect("a restore");
    store.assert_latest(&db(), b"v", "restored").await;
}

pub(super) async fn what_is_given_up_leaves_nothing(bench: &Bench) {
    let store = bench.open();
    let Some(to) = store.0.transfer() else { return };
    assert!(to.give_up(&db()).await.is_err(), "nothing is reserved");
    for attempt in 0..2 {
        to.reserve(&db(), &elsewhere()).await.expect("reserved");
        stage(to, &db(), 1, &vec![attempt; 150_000]).await.expect("staged");
        // Begun anew, it takes the number again.
        to.reserve(&db(), &elsewhere()).await.expect("reserved again");
        stage(to, &db(), 1, b"v").await.expect("staged again");
        to.give_up(&db()).await.expect("given up");
        assert_eq!(to.standing(&db()).await.expect("a standing"), Standing::Absent);
    }
    let latest = Version::new("1").expect("valid");
    assert!(to.publish(&db(), &latest, None, &metadata()).await.is_err(), "nothing is staged");
    assert_eq!(store.put(&db(), b"v").await.as_str(), "1");
    assert_kind(to.reserve(&db(), &elsewhere()).await, ErrorKind::AlreadyExists, "owned");
}

pub(super) async fn a_handed_over_secret_is_read_by_nobody(bench: &Bench) {
    let store = bench.open();
    let Some(from) = store.0.transfer() else { return };
    store.put(&db(), b"1").await;
    let Standing::Owned { mark, .. } = from.standing(&db()).await.expect("a standing") else {
        panic!("it is owned");
    };
    store.put(&db(), b"2").await;
    let late = from.hand_over(&db(), &elsewhere(), mark).await;
    assert_kind(late, ErrorKind::Conflict, "somebody wrote it meanwhile");
    store.assert_latest(&db(), b"2", "not handed over").await;
    let Standing::Owned { mark, latest, .. } = from.standing(&db()).await.expect("a standing")
    else {
        panic!("it is owned");
    };
    assert!(from.drop_versions(&db()).await.is_err(), "it was not handed over");
    from.hand_over(&db(), &elsewhere(), mark).await.expect("handed over");
    let again = from.hand_over(&db(), &elsewhere(), mark).await;
    assert!(again.is_err(), "handed over twice");
    store.assert_missing(&db(), "handed over").await;
    let put = store.put_if(&db(), b"3", Expect::Any).await;
    assert_kind(put, ErrorKind::Conflict, "a put");
    let moved = |has_versions| Standing::Moved {
        to: elsewhere(),
        latest: latest.clone(),
        deleted: None,
        metadata: Metadata::default(),
        has_versions,
    };
    assert_eq!(from.standing(&db()).await.expect("a standing"), moved(true));
    let page = PageRequest::first(10);
    assert_eq!(from.versions_of(&db(), &page).await.expect("versions").items.len(), 2);
    let mut file = from.read_version(&db(), &latest).await.expect("still there");
    assert!(file.next().await.expect("a segment").is_some_and(|one| one.expose() == b"2"));
    from.drop_versions(&db()).await.expect("dropped");
    assert_eq!(from.standing(&db()).await.expect("a standing"), moved(false));
    assert!(from.versions_of(&db(), &page).await.expect("versions").items.is_empty());
    from.drop_versions(&db()).await.expect("dropped again");
    store.assert_missing(&db(), "dropped").await;
    let put = store.put_if(&db(), b"3", Expect::Any).await;
    assert_kind(put, ErrorKind::Conflict, "a put after the versions went");
}

fn metadata() -> Metadata {
    let tags = [("env".to_owned(), "prod".to_owned())];
    Metadata::new("as it was there", tags.into()).expect("valid")
}
