//! The contract of [`SecretStore`], point by point, as far as the store's
//! capabilities go.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use crate::block_on;
use strongroom_core::clock::ManualClock;
use strongroom_core::{
    Capabilities, Clock, ErrorKind, Expect, Kind, Listing, PageRequest, PutOptions, Result, Scope,
    SecretBytes, SecretName, SecretStore, Select, Timestamp, Version, VersionInfo,
};
use tempfile::TempDir;

use super::{assert_kind, points, temporary_directory};
use crate::random::Random;

pub use crate::embedded::ACCOUNT;

/// How long a store under test keeps a deleted secret, where that is ours to
/// set.
pub const RECOVERY_WINDOW: Duration = Duration::from_hours(24);

type OpenSecrets = dyn Fn(&Path, Arc<dyn Clock>) -> Result<Arc<dyn SecretStore>> + Send + Sync;

/// A secret store to be tested.
pub struct SecretsBackend {
    open: Box<OpenSecrets>,
    persistent: bool,
    follows_clock: bool,
}

impl SecretsBackend {
    /// `open` gives the store of [`ACCOUNT`] that belongs to a directory; it
    /// ends with its value.
    pub fn volatile(
        open: impl Fn(&Path, Arc<dyn Clock>) -> Result<Arc<dyn SecretStore>> + Send + Sync + 'static,
    ) -> Self {
        Self { open: Box::new(open), persistent: false, follows_clock: true }
    }

    /// `open` makes or opens the store of [`ACCOUNT`] in a directory.
    pub fn persistent(
        open: impl Fn(&Path, Arc<dyn Clock>) -> Result<Arc<dyn SecretStore>> + Send + Sync + 'static,
    ) -> Self {
        Self { persistent: true, ..Self::volatile(open) }
    }

    /// The store takes its time elsewhere: nothing is tested that waits for an
    /// expiry.
    #[must_use]
    pub fn on_its_own_clock(self) -> Self {
        Self { follows_clock: false, ..self }
    }
}

impl fmt::Debug for SecretsBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretsBackend").finish_non_exhaustive()
    }
}

points! { $ conformance_secrets for SecretsBackend as secrets:
    a_name_that_was_never_used_is_not_found,
    exactly_the_bytes_that_were_put_come_back,
    both_kinds_come_back,
    the_latest_version_is_the_newest,
    every_version_stays_readable,
    versions_that_do_not_exist_are_not_found,
    versions_are_listed_oldest_first_in_pages,
    versions_have_an_order,
    put_when_absent_makes_one,
    put_when_latest_swaps,
    a_wrong_expectation_writes_nothing,
    a_value_too_long_is_refused,
    a_deleted_secret_is_hidden,
    a_deleted_secret_refuses_a_put,
    deleting_what_is_not_there_is_not_found,
    restore_brings_every_version_back,
    restoring_what_is_not_deleted_is_refused,
    the_recovery_window_ends,
    a_put_after_the_window_begins_anew,
    purge_removes_every_version,
    a_purged_version_is_not_found_beside_a_newer_one,
    purge_takes_a_deleted_secret,
    purging_what_is_not_there_is_not_found,
    a_version_is_never_given_twice,
    names_do_not_meet,
    list_is_ordered_and_exact,
    list_gives_one_scope_only,
    list_pages_give_each_name_once,
    list_tells_the_latest_version,
    another_account_is_refused,
    concurrent_puts_give_distinct_versions,
    one_of_many_swappers_wins_each_round,
    readers_beside_a_writer_see_whole_values,
    deletes_and_restores_race_without_harm,
    a_reopened_store_holds_the_same,
    errors_say_where_and_never_what,
    the_store_names_and_checks_itself,
}

struct Bench {
    backend: SecretsBackend,
    clock: ManualClock,
    dir: TempDir,
}

impl Bench {
    fn new(backend: SecretsBackend) -> Self {
        let clock = ManualClock::new(Timestamp(1_700_000_000_000));
        Self { backend, clock, dir: temporary_directory() }
    }

    fn open(&self) -> Store {
        let clock = Arc::new(self.clock.clone());
        let store = (self.backend.open)(&self.dir.path().join("store"), clock);
        Store(store.expect("the store opens"))
    }
}

/// The store with what the points do all the time.
struct Store(Arc<dyn SecretStore>);

impl Store {
    fn can(&self) -> Capabilities {
        self.0.capabilities()
    }

    async fn put(&self, name: &SecretName, value: &[u8]) -> Version {
        self.put_as(name, value, Kind::Text, Expect::Any).await.expect("a put").version
    }

    async fn put_if(&self, name: &SecretName, value: &[u8], expect: Expect) -> Result<VersionInfo> {
        self.put_as(name, value, Kind::Text, expect).await
    }

    async fn put_as(
        &self,
        name: &SecretName,
        value: &[u8],
        kind: Kind,
        expect: Expect,
    ) -> Result<VersionInfo> {
        let value = SecretBytes::copy_from(value).expect("guarded memory");
        self.0.put(name, &value, &PutOptions { kind, expect }).await
    }

    /// Whether `select` gives exactly `value`.
    async fn holds(&self, name: &SecretName, select: &Select, value: &[u8]) -> bool {
        let secret = self.0.get(name, select).await.expect("a get");
        secret.value.expose() == value
    }

    async fn assert_latest(&self, name: &SecretName, value: &[u8], what: &str) {
        assert!(self.holds(name, &Select::Latest, value).await, "{what}: another value");
    }

    async fn assert_missing(&self, name: &SecretName, what: &str) {
        assert_kind(self.0.get(name, &Select::Latest).await, ErrorKind::NotFound, what);
    }

    async fn versions(&self, name: &SecretName, limit: usize) -> Result<Vec<Version>> {
        let (mut all, mut page) = (Vec::new(), PageRequest::first(limit));
        loop {
            let found = self.0.versions(name, &page).await?;
            assert!(found.items.len() <= limit);
            all.extend(found.items.into_iter().map(|info| info.version));
            match found.next {
                Some(next) => page.after = Some(next),
                None => return Ok(all),
            }
        }
    }

    async fn list(&self, scope: &str, include_deleted: bool, limit: usize) -> Vec<Listing> {
        let scope: Scope = scope.parse().expect("a valid scope");
        let (mut all, mut page) = (Vec::new(), PageRequest::first(limit));
        loop {
            let found = self.0.list(&scope, include_deleted, &page).await.expect("a page");
            assert!(found.items.len() <= limit);
            all.extend(found.items);
            match found.next {
                Some(next) => page.after = Some(next),
                None => return all,
            }
        }
    }

    async fn names(&self, scope: &str, include_deleted: bool) -> Vec<String> {
        let found = self.list(scope, include_deleted, 100).await;
        found.into_iter().map(|listing| listing.name.id().to_owned()).collect()
    }
}

fn name(scope: &str, id: &str) -> SecretName {
    SecretName::new(scope.parse().expect("a valid scope"), id).expect("a valid name")
}

fn db() -> SecretName {
    name(ACCOUNT, "db")
}

fn is_before(store: &Store, a: &Version, b: &Version) -> bool {
    match (store.0.version_order(a), store.0.version_order(b)) {
        (Some(a), Some(b)) => a < b,
        _ => true,
    }
}

// === put and get ===

async fn a_name_that_was_never_used_is_not_found(bench: &Bench) {
    let store = bench.open();
    store.assert_missing(&db(), "get").await;
    let select = Select::Version(Version::new("1").expect("valid"));
    assert_kind(store.0.get(&db(), &select).await, ErrorKind::NotFound, "get of a version");
    assert_kind(store.versions(&db(), 10).await, ErrorKind::NotFound, "versions");
    assert!(store.names(ACCOUNT, true).await.is_empty());
}

async fn exactly_the_bytes_that_were_put_come_back(bench: &Bench) {
    let store = bench.open();
    let mut random = Random::new(1);
    let all_bytes: Vec<u8> = (0..=255).collect();
    let sizes = [0, 1, 31, 32, 33, 1 << 10, 4096, 4097, 8192, 64 << 10, 1 << 20];
    let sizes = sizes.into_iter().filter(|size| *size <= store.can().max_value_bytes);
    let mut values: Vec<_> = sizes.map(|size| random.bytes(size)).collect();
    values.extend([all_bytes, b"\0".to_vec(), b"line\r\n".to_vec(), "\u{1f512} s\u{e9}".into()]);
    for (index, value) in values.iter().enumerate() {
        let name = name(ACCOUNT, &format!("s{index}"));
        store.put(&name, value).await;
        store.assert_latest(&name, value, &format!("{} bytes", value.len())).await;
    }
    for (index, value) in values.iter().enumerate() {
        let name = name(ACCOUNT, &format!("s{index}"));
        store.assert_latest(&name, value, &format!("{} bytes, later", value.len())).await;
    }
}

async fn both_kinds_come_back(bench: &Bench) {
    let store = bench.open();
    for kind in [Kind::Text, Kind::File, Kind::Text] {
        let info = store.put_as(&db(), b"value", kind, Expect::Any).await.expect("a put");
        assert_eq!(info.kind, kind);
        let secret = store.0.get(&db(), &Select::Latest).await.expect("a get");
        assert_eq!((secret.kind, &secret.version), (kind, &info.version));
        assert_eq!(secret.created, info.created);
        assert!(!secret.stale);
    }
}

async fn the_latest_version_is_the_newest(bench: &Bench) {
    let store = bench.open();
    for round in 0..12u8 {
        let version = store.put(&db(), &[round]).await;
        let secret = store.0.get(&db(), &Select::Latest).await.expect("a get");
        assert!(secret.value.expose() == [round], "round {round}");
        assert_eq!(secret.version, version);
    }
}

async fn every_version_stays_readable(bench: &Bench) {
    let store = bench.open();
    if !store.can().versions {
        return;
    }
    let mut written = BTreeMap::new();
    for round in 0..12u8 {
        written.insert(store.put(&db(), &[round; 40]).await.to_string(), [round; 40]);
    }
    assert_eq!(written.len(), 12);
    for (version, value) in written {
        let select = Select::Version(Version::new(version.as_str()).expect("valid"));
        let secret = store.0.get(&db(), &select).await.expect("a get");
        assert_eq!(secret.version.as_str(), version);
        assert!(secret.value.expose() == value, "version {version}");
    }
}

async fn versions_that_do_not_exist_are_not_found(bench: &Bench) {
    let store = bench.open();
    let version = store.put(&db(), b"value").await;
    let near = [format!("+{version}"), format!("0{version}"), format!("{version}.0")];
    let texts = ["0", "+1", "01", "999", "x", "-1", "18446744073709551615", "18446744073709551616"];
    for text in texts.map(str::to_owned).into_iter().chain(near) {
        let select = Select::Version(Version::new(text.as_str()).expect("valid"));
        assert_kind(store.0.get(&db(), &select).await, ErrorKind::NotFound, text);
    }
}

async fn versions_are_listed_oldest_first_in_pages(bench: &Bench) {
    let store = bench.open();
    if !store.can().versions {
        return;
    }
    let mut written = Vec::new();
    for round in 0..12u8 {
        // The neighbours' versions are none of this secret's.
        store.put(&name(ACCOUNT, "d"), b"x").await;
        store.put(&name(ACCOUNT, "db2"), b"x").await;
        written.push(store.put(&db(), &[round]).await);
    }
    for limit in [1, 5, 6, 12, 13, 1000] {
        let found = store.versions(&db(), limit).await.expect("versions");
        assert_eq!(found, written, "in pages of {limit}");
    }
    let infos = store.0.versions(&db(), &PageRequest::first(20)).await.expect("versions");
    assert_eq!(infos.next, None);
    assert!(infos.items.iter().all(|info| info.created == bench.clock.now()));
}

async fn versions_have_an_order(bench: &Bench) {
    let store = bench.open();
    let mut last = store.put(&db(), b"0").await;
    for _ in 0..12 {
        let next = store.put(&db(), b"1").await;
        assert_ne!(next, last);
        assert!(is_before(&store, &last, &next), "{last} before {next}");
        last = next;
    }
}

// === expectations ===

async fn put_when_absent_makes_one(bench: &Bench) {
    let store = bench.open();
    if !store.can().compare_and_swap {
        return;
    }
    store.put_if(&db(), b"first", Expect::Absent).await.expect("there is none");
    let second = store.put_if(&db(), b"second", Expect::Absent).await;
    assert_kind(second, ErrorKind::AlreadyExists, "there is one");
    store.assert_latest(&db(), b"first", "after a refused put").await;
    if store.can().purge {
        store.0.purge(&db()).await.expect("a purge");
        store.put_if(&db(), b"third", Expect::Absent).await.expect("it was purged");
    }
}

async fn put_when_latest_swaps(bench: &Bench) {
    let store = bench.open();
    if !store.can().compare_and_swap {
        return;
    }
    let mut latest = store.put(&db(), b"0").await;
    for round in 1..5u8 {
        let info = store.put_if(&db(), &[round], Expect::Latest(latest)).await.expect("a swap");
        latest = info.version;
        store.assert_latest(&db(), &[round], "after a swap").await;
    }
}

async fn a_wrong_expectation_writes_nothing(bench: &Bench) {
    let store = bench.open();
    if !store.can().compare_and_swap {
        return;
    }
    let old = store.put(&db(), b"old").await;
    store.put(&db(), b"new").await;
    let before = store.versions(&db(), 10).await.expect("versions");
    let bogus = ["999", "x", "02", "+2", "0"].map(|text| Version::new(text).expect("valid"));
    for expected in std::iter::once(old).chain(bogus) {
        let what = format!("latest {expected}");
        let put = store.put_if(&db(), b"never", Expect::Latest(expected)).await;
        assert_kind(put, ErrorKind::Conflict, what);
    }
    assert_eq!(store.versions(&db(), 10).await.expect("versions"), before);
    store.assert_latest(&db(), b"new", "after refused swaps").await;
    let absent = name(ACCOUNT, "absent");
    let expected = Expect::Latest(Version::new("1").expect("valid"));
    let put = store.put_if(&absent, b"never", expected).await;
    let kind = put.expect_err("there is no such secret").kind();
    assert!(matches!(kind, ErrorKind::NotFound | ErrorKind::Conflict), "{kind}");
    store.assert_missing(&absent, "after a refused swap").await;
}

async fn a_value_too_long_is_refused(bench: &Bench) {
    let store = bench.open();
    let longest = store.can().max_value_bytes;
    if longest > 32 << 20 {
        return;
    }
    let value = Random::new(2).bytes(longest + 1);
    let put = store.put_if(&db(), &value, Expect::Any).await;
    assert_kind(put, ErrorKind::LimitExceeded, "one byte too many");
    store.assert_missing(&db(), "after a refused put").await;
    store.put(&db(), &value[..longest]).await;
    store.assert_latest(&db(), &value[..longest], "the longest value").await;
}

// === delete, restore, purge ===

async fn a_deleted_secret_is_hidden(bench: &Bench) {
    let store = bench.open();
    let version = store.put(&db(), b"value").await;
    store.put(&name(ACCOUNT, "other"), b"other").await;
    store.assert_latest(&db(), b"value", "before the delete").await;
    store.0.delete(&db()).await.expect("a delete");
    store.assert_missing(&db(), "the latest").await;
    let select = Select::Version(version.clone());
    assert_kind(store.0.get(&db(), &select).await, ErrorKind::NotFound, "a version");
    assert_eq!(store.names(ACCOUNT, false).await, ["other"]);
    store.assert_latest(&name(ACCOUNT, "other"), b"other", "another secret").await;
    if store.can().soft_delete {
        let all = store.list(ACCOUNT, true, 10).await;
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].name.clone(), all[0].deleted), (db(), Some(bench.clock.now())));
        assert_eq!(all[1].deleted, None);
        assert_eq!(store.versions(&db(), 10).await.expect("versions"), [version]);
    }
}

async fn a_deleted_secret_refuses_a_put(bench: &Bench) {
    let store = bench.open();
    if !store.can().restore {
        return;
    }
    let version = store.put(&db(), b"value").await;
    store.0.delete(&db()).await.expect("a delete");
    for expect in [Expect::Any, Expect::Absent, Expect::Latest(version.clone())] {
        let what = format!("{expect:?}");
        let put = store.put_if(&db(), b"never", expect).await;
        assert_kind(put, ErrorKind::AlreadyExists, what);
    }
    store.0.restore(&db()).await.expect("a restore");
    assert_eq!(store.versions(&db(), 10).await.expect("versions"), [version]);
    store.assert_latest(&db(), b"value", "after the restore").await;
}

async fn deleting_what_is_not_there_is_not_found(bench: &Bench) {
    let store = bench.open();
    assert_kind(store.0.delete(&db()).await, ErrorKind::NotFound, "never used");
    store.put(&db(), b"value").await;
    store.0.delete(&db()).await.expect("a delete");
    assert_kind(store.0.delete(&db()).await, ErrorKind::NotFound, "deleted");
    if store.can().purge {
        store.0.purge(&db()).await.expect("a purge");
        assert_kind(store.0.delete(&db()).await, ErrorKind::NotFound, "purged");
    }
}

async fn restore_brings_every_version_back(bench: &Bench) {
    let store = bench.open();
    if !store.can().restore {
        assert_kind(store.0.restore(&db()).await, ErrorKind::Unsupported, "restore");
        return;
    }
    for round in 0..3u8 {
        store.put(&db(), &[round]).await;
    }
    let before = store.versions(&db(), 10).await.expect("versions");
    store.0.delete(&db()).await.expect("a delete");
    store.0.restore(&db()).await.expect("a restore");
    assert_eq!(store.versions(&db(), 10).await.expect("versions"), before);
    for (round, version) in (0..3u8).zip(before) {
        assert!(store.holds(&db(), &Select::Version(version), &[round]).await);
    }
    let listed = store.list(ACCOUNT, false, 10).await;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].deleted, None);
    let next = store.put(&db(), b"next").await;
    store.assert_latest(&db(), b"next", "a put after the restore").await;
    assert_eq!(store.versions(&db(), 10).await.expect("versions").last(), Some(&next));
}

async fn restoring_what_is_not_deleted_is_refused(bench: &Bench) {
    let store = bench.open();
    if !store.can().restore {
        return;
    }
    assert_kind(store.0.restore(&db()).await, ErrorKind::NotFound, "never used");
    store.put(&db(), b"value").await;
    assert_kind(store.0.restore(&db()).await, ErrorKind::Conflict, "live");
    store.0.delete(&db()).await.expect("a delete");
    store.0.restore(&db()).await.expect("a restore");
    assert_kind(store.0.restore(&db()).await, ErrorKind::Conflict, "restored already");
    if store.can().purge {
        store.0.purge(&db()).await.expect("a purge");
        assert_kind(store.0.restore(&db()).await, ErrorKind::NotFound, "purged");
    }
}

async fn the_recovery_window_ends(bench: &Bench) {
    let store = bench.open();
    if !store.can().restore || !bench.backend.follows_clock {
        return;
    }
    store.put(&db(), b"value").await;
    store.0.delete(&db()).await.expect("a delete");
    bench.clock.advance(RECOVERY_WINDOW - Duration::from_millis(1));
    store.0.restore(&db()).await.expect("the last moment");
    store.assert_latest(&db(), b"value", "restored at the last moment").await;
    store.0.delete(&db()).await.expect("a delete");
    bench.clock.advance(RECOVERY_WINDOW);
    assert_kind(store.0.restore(&db()).await, ErrorKind::NotFound, "after the window");
    store.assert_missing(&db(), "after the window").await;
    assert_kind(store.0.delete(&db()).await, ErrorKind::NotFound, "after the window");
    assert!(store.names(ACCOUNT, true).await.is_empty(), "it is still listed");
}

async fn a_put_after_the_window_begins_anew(bench: &Bench) {
    let store = bench.open();
    if !store.can().restore || !bench.backend.follows_clock {
        return;
    }
    let old = store.put(&db(), b"old").await;
    store.0.delete(&db()).await.expect("a delete");
    bench.clock.advance(RECOVERY_WINDOW);
    let new = store.put_if(&db(), b"new", Expect::Absent).await.expect("a put").version;
    assert_ne!(new, old, "a version was given twice");
    assert!(is_before(&store, &old, &new));
    store.assert_latest(&db(), b"new", "after the window").await;
    assert_eq!(store.versions(&db(), 10).await.expect("versions"), [new]);
}

async fn purge_removes_every_version(bench: &Bench) {
    let store = bench.open();
    if !store.can().purge {
        assert_kind(store.0.purge(&db()).await, ErrorKind::Unsupported, "purge");
        return;
    }
    let neighbours = ["d", "db2", "dbb"].map(|id| name(ACCOUNT, id));
    for neighbour in &neighbours {
        store.put(neighbour, b"stays").await;
    }
    let mut versions = Vec::new();
    for round in 0..5u8 {
        versions.push(store.put(&db(), &[round]).await);
    }
    store.assert_latest(&db(), &[4], "before the purge").await;
    store.0.purge(&db()).await.expect("a purge");
    store.assert_missing(&db(), "after the purge").await;
    for version in versions {
        let select = Select::Version(version);
        assert_kind(store.0.get(&db(), &select).await, ErrorKind::NotFound, "a version");
    }
    assert_kind(store.versions(&db(), 10).await, ErrorKind::NotFound, "versions");
    assert_eq!(store.names(ACCOUNT, true).await, ["d", "db2", "dbb"]);
    for neighbour in &neighbours {
        store.assert_latest(neighbour, b"stays", "a neighbour").await;
    }
}

async fn a_purged_version_is_not_found_beside_a_newer_one(bench: &Bench) {
    let store = bench.open();
    if !store.can().purge {
        return;
    }
    let old = store.put(&db(), b"old").await;
    store.0.purge(&db()).await.expect("a purge");
    store.put(&db(), b"new").await;
    let select = Select::Version(old);
    assert_kind(store.0.get(&db(), &select).await, ErrorKind::NotFound, "the old version");
}

async fn purge_takes_a_deleted_secret(bench: &Bench) {
    let store = bench.open();
    if !store.can().purge {
        return;
    }
    store.put(&db(), b"value").await;
    store.0.delete(&db()).await.expect("a delete");
    store.0.purge(&db()).await.expect("a purge");
    assert!(store.names(ACCOUNT, true).await.is_empty());
    store.put(&db(), b"new").await;
    store.assert_latest(&db(), b"new", "a put after the purge").await;
}

async fn purging_what_is_not_there_is_not_found(bench: &Bench) {
    let store = bench.open();
    if !store.can().purge {
        return;
    }
    assert_kind(store.0.purge(&db()).await, ErrorKind::NotFound, "never used");
    store.put(&db(), b"value").await;
    store.0.purge(&db()).await.expect("a purge");
    assert_kind(store.0.purge(&db()).await, ErrorKind::NotFound, "purged");
}

async fn a_version_is_never_given_twice(bench: &Bench) {
    let mut store = bench.open();
    let mut seen = BTreeSet::new();
    let mut last = None::<Version>;
    for round in 0..12 {
        let version = store.put(&db(), b"value").await;
        assert!(seen.insert(version.to_string()), "round {round}: {version} again");
        if let Some(last) = &last {
            assert!(is_before(&store, last, &version), "round {round}");
        }
        last = Some(version);
        if store.can().purge && round % 3 == 2 {
            store.0.purge(&db()).await.expect("a purge");
        }
        if bench.backend.persistent && round % 4 == 3 {
            drop(store);
            store = bench.open();
        }
    }
}

// === names, scopes, lists ===

async fn names_do_not_meet(bench: &Bench) {
    let store = bench.open();
    // Pairs that look alike once something is joined with a separator.
    let names: Vec<_> = [
        ("acme", "a"),
        ("acme", "A"),
        ("acme", "a.b"),
        ("acme", "a_b"),
        ("acme", "a-b"),
        ("acme/a", "b"),
        ("acme/a/b", "c"),
        ("acme/a_b", "c"),
        ("acme/a", "b_c"),
        ("acme/a", "b.c"),
        ("acme/a/b", "c.d"),
        ("acme/a/b.c", "d"),
        ("acme/a.b/c", "d"),
        ("acme/org", "org"),
        ("acme/org/project", "project"),
        ("acme", "org"),
    ]
    .map(|(scope, id)| name(scope, id))
    .into();
    for (index, name) in names.iter().enumerate() {
        store.put(name, format!("value {index}").as_bytes()).await;
    }
    for (index, name) in names.iter().enumerate() {
        let value = format!("value {index}");
        store.assert_latest(name, value.as_bytes(), &format!("{name:?}")).await;
        assert_eq!(store.versions(name, 10).await.expect("versions").len(), 1, "{name:?}");
    }
    store.0.delete(&names[0]).await.expect("a delete");
    for name in &names[1..] {
        assert!(store.0.get(name, &Select::Latest).await.is_ok(), "{name:?} went with another");
    }
}

async fn list_is_ordered_and_exact(bench: &Bench) {
    let store = bench.open();
    if !store.can().list {
        return;
    }
    let ids = ["b", "a", "a.b", "a-b", "a_b", "A", "z", "0", "aa", "_x", "a$"];
    for id in ids {
        store.put(&name(ACCOUNT, id), b"value").await;
    }
    let mut sorted = ids.map(str::to_owned).to_vec();
    sorted.sort();
    assert_eq!(store.names(ACCOUNT, false).await, sorted);
    store.0.delete(&name(ACCOUNT, "aa")).await.expect("a delete");
    let rest: Vec<_> = sorted.iter().filter(|id| *id != "aa").cloned().collect();
    assert_eq!(store.names(ACCOUNT, false).await, rest);
}

async fn list_gives_one_scope_only(bench: &Bench) {
    let store = bench.open();
    if !store.can().list {
        return;
    }
    let scopes =
        ["acme", "acme/a", "acme/ab", "acme/a/b", "acme/a/bc", "acme/ab/b", "acme/b", "acme/a_b"];
    for (index, scope) in scopes.iter().enumerate() {
        store.put(&name(scope, "same"), b"value").await;
        store.put(&name(scope, &format!("own{index}")), b"value").await;
    }
    for (index, scope) in scopes.iter().enumerate() {
        let found = store.list(scope, true, 1).await;
        let scope: Scope = scope.parse().expect("valid");
        assert!(found.iter().all(|listing| *listing.name.scope() == scope), "{scope}");
        let ids: Vec<_> = found.iter().map(|listing| listing.name.id().to_owned()).collect();
        assert_eq!(ids, [format!("own{index}"), "same".to_owned()], "{scope}");
    }
    assert!(store.names("acme/none", true).await.is_empty());
    assert!(store.names("acme/a/none", true).await.is_empty());
}

async fn list_pages_give_each_name_once(bench: &Bench) {
    let store = bench.open();
    if !store.can().list {
        return;
    }
    let ids: Vec<_> = (0..30).map(|n| format!("s{n:02}")).collect();
    for id in &ids {
        store.put(&name("acme/ops", id), b"value").await;
        store.put(&name("acme/ops", &format!("t{id}")), b"value").await;
    }
    for id in &ids {
        // Pages must be filled although some of what lies between is hidden.
        store.0.delete(&name("acme/ops", &format!("t{id}"))).await.expect("a delete");
    }
    for limit in [1, 7, 10, 29, 30, 31, 1000] {
        let found = store.list("acme/ops", false, limit).await;
        let found: Vec<_> = found.iter().map(|listing| listing.name.id().to_owned()).collect();
        assert_eq!(found, ids, "in pages of {limit}");
    }
    let scope = "acme/ops".parse().expect("valid");
    let first = store.0.list(&scope, false, &PageRequest::first(10)).await.expect("a page");
    assert_eq!(first.items.len(), 10, "a page is filled");
}

async fn list_tells_the_latest_version(bench: &Bench) {
    let store = bench.open();
    if !store.can().list {
        return;
    }
    store.put(&db(), b"1").await;
    bench.clock.advance(Duration::from_secs(5));
    let info = store.put_as(&db(), b"2", Kind::File, Expect::Any).await.expect("a put");
    let found = store.list(ACCOUNT, false, 10).await;
    assert_eq!(found.len(), 1);
    assert_eq!((&found[0].latest, found[0].kind), (&info.version, Kind::File));
    assert_eq!(found[0].updated, info.created);
    if bench.backend.follows_clock {
        assert_eq!(info.created, bench.clock.now());
    }
}

async fn another_account_is_refused(bench: &Bench) {
    let store = bench.open();
    let foreign = name("other", "db");
    let refused = |kind| matches!(kind, ErrorKind::AccessDenied | ErrorKind::NotFound);
    let put = store.put_if(&foreign, b"value", Expect::Any).await;
    assert_kind(put, ErrorKind::AccessDenied, "put");
    let get = store.0.get(&foreign, &Select::Latest).await;
    assert!(refused(get.expect_err("another account's secret").kind()));
    let list = store.0.list(foreign.scope(), true, &PageRequest::first(1)).await;
    assert!(list.map_or_else(|error| refused(error.kind()), |page| page.items.is_empty()));
}

// === many at once ===

async fn concurrent_puts_give_distinct_versions(bench: &Bench) {
    const THREADS: usize = 16;
    const PUTS: usize = 10;
    let store = bench.open();
    let put_all = |thread: usize| {
        let mut versions = Vec::new();
        for round in 0..PUTS {
            let version = block_on(store.put(&db(), format!("{thread}:{round}").as_bytes()));
            versions.push((version, format!("{thread}:{round}")));
        }
        versions
    };
    let written: Vec<Vec<_>> = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..THREADS).map(|thread| scope.spawn(move || put_all(thread))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    for own in &written {
        let in_order = own.windows(2).all(|pair| is_before(&store, &pair[0].0, &pair[1].0));
        assert!(in_order, "a thread's later put has an earlier version");
    }
    let distinct: BTreeSet<_> =
        written.iter().flatten().map(|(version, _)| version.to_string()).collect();
    assert_eq!(distinct.len(), THREADS * PUTS);
    if store.can().versions {
        let listed = store.versions(&db(), 1000).await.expect("versions");
        assert_eq!(listed.len(), THREADS * PUTS);
        for (version, value) in written.into_iter().flatten() {
            assert!(store.holds(&db(), &Select::Version(version), value.as_bytes()).await);
        }
    }
}

async fn one_of_many_swappers_wins_each_round(bench: &Bench) {
    const THREADS: usize = 8;
    let store = bench.open();
    if !store.can().compare_and_swap {
        return;
    }
    let mut latest = store.put(&db(), b"start").await;
    let barrier = Barrier::new(THREADS);
    for round in 0..10 {
        let swap = |thread: usize, expect: Expect| {
            barrier.wait();
            let put = block_on(store.put_if(&db(), &[thread as u8], expect));
            put.map_err(|error| assert_eq!(error.kind(), ErrorKind::Conflict, "{error}")).ok()
        };
        let swap = &swap;
        let won: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let expect = Expect::Latest(latest.clone());
                    scope.spawn(move || swap(thread, expect).map(|info| (thread, info.version)))
                })
                .collect();
            threads.into_iter().filter_map(|thread| thread.join().expect("no panic")).collect()
        });
        assert_eq!(won.len(), 1, "round {round}");
        store.assert_latest(&db(), &[won[0].0 as u8], "the winner's value").await;
        latest = won[0].1.clone();
    }
}

async fn readers_beside_a_writer_see_whole_values(bench: &Bench) {
    let store = bench.open();
    store.put(&db(), &[0; 5000]).await;
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 1..=60u8 {
                block_on(store.put(&db(), &vec![round; 5000 - usize::from(round)]));
            }
        });
        let mut newest = 0;
        let mut is_last = false;
        while !is_last {
            is_last = writer.is_finished();
            let secret = block_on(store.0.get(&db(), &Select::Latest)).expect("a get");
            let bytes = secret.value.expose();
            let round = bytes[0];
            assert!(bytes.iter().all(|byte| *byte == round), "a value of two puts");
            assert!(bytes.len() == 5000 - usize::from(round), "another put's length");
            assert!(round >= newest, "an older value came after a newer one");
            newest = round;
        }
        assert_eq!(newest, 60);
    });
}

async fn deletes_and_restores_race_without_harm(bench: &Bench) {
    let store = bench.open();
    if !store.can().restore {
        return;
    }
    store.put(&db(), b"value").await;
    let good = [ErrorKind::NotFound, ErrorKind::Conflict, ErrorKind::AlreadyExists];
    let tolerate = |result: Result<()>| {
        if let Err(error) = result {
            assert!(good.contains(&error.kind()), "{error}");
        }
    };
    thread::scope(|scope| {
        for thread in 0..6 {
            let store = &store;
            scope.spawn(move || {
                for _ in 0..20 {
                    match thread % 3 {
                        0 => tolerate(block_on(store.0.delete(&db()))),
                        1 => tolerate(block_on(store.0.restore(&db()))),
                        _ => {
                            let put = block_on(store.put_if(&db(), b"value", Expect::Any));
                            tolerate(put.map(drop));
                            let get = block_on(store.0.get(&db(), &Select::Latest));
                            tolerate(get.map(|s| assert!(s.value.expose() == b"value")));
                        }
                    }
                }
            });
        }
    });
    if store.0.get(&db(), &Select::Latest).await.is_err() {
        store.0.restore(&db()).await.expect("a deleted secret can be restored");
    }
    store.assert_latest(&db(), b"value", "after the races").await;
    for version in store.versions(&db(), 1000).await.expect("versions") {
        assert!(store.holds(&db(), &Select::Version(version), b"value").await);
    }
}

// === the store ===

async fn a_reopened_store_holds_the_same(bench: &Bench) {
    if !bench.backend.persistent {
        return;
    }
    let store = bench.open();
    let names = [db(), name("acme/ops", "db"), name("acme/ops/web", "db")];
    for (index, name) in names.iter().enumerate() {
        for round in 0..3 {
            store.put(name, format!("{index}:{round}").as_bytes()).await;
        }
    }
    store.0.delete(&names[2]).await.expect("a delete");
    let before = store.list(ACCOUNT, true, 10).await;
    drop(store);

    let store = bench.open();
    assert_eq!(store.list(ACCOUNT, true, 10).await, before);
    for (index, name) in names[..2].iter().enumerate() {
        let versions = store.versions(name, 10).await.expect("versions");
        for (round, version) in versions.into_iter().enumerate() {
            let value = format!("{index}:{round}");
            assert!(store.holds(name, &Select::Version(version), value.as_bytes()).await);
        }
    }
    store.assert_missing(&names[2], "deleted before it was reopened").await;
    store.0.restore(&names[2]).await.expect("a restore");
    store.assert_latest(&names[2], b"2:2", "restored after it was reopened").await;
}

async fn errors_say_where_and_never_what(bench: &Bench) {
    let store = bench.open();
    let value = b"a-value-nobody-may-see";
    store.put(&db(), value).await;
    let refused = store.put_if(&db(), value, Expect::Absent).await;
    let refused = refused.err().filter(|_| store.can().compare_and_swap);
    let missing = store.0.get(&name(ACCOUNT, "absent"), &Select::Latest).await.err();
    for (error, operation) in [(refused, "put"), (missing, "get")] {
        let Some(error) = error else { continue };
        assert_eq!(error.operation(), Some(operation));
        assert!(error.secret().is_some_and(|name| name.starts_with("account.")), "{error}");
        assert!(error.store().is_some(), "{error}");
        let told = format!("{error} {error:?}");
        assert!(!told.contains("nobody-may-see"), "the value is in the error");
        assert!(!error.is_retryable(), "{error}");
    }
    let secret = store.0.get(&db(), &Select::Latest).await.expect("a get");
    let told = format!("{secret:?} {:?}", store.0);
    assert!(!told.contains("nobody-may-see"), "the value is in Debug");
}

async fn the_store_names_and_checks_itself(bench: &Bench) {
    let store = bench.open();
    assert!(!store.0.describe().is_empty());
    store.0.check().await.expect("a new store is sound");
    assert!(store.can().max_value_bytes > 0);
}
