//! Stores that know nothing of moving: puts at the target, removal at the source.

use async_trait::async_trait;
use strongroom_core::upkeep::Selection;
use strongroom_core::{
    Capabilities, ErrorKind, FileReader, FileSource, Listing, Page, Scope, Secret, VersionInfo,
};
use strongroom_kit::conformance::assert_kind;

use super::*;

/// A store as a cloud has it.
#[derive(Debug)]
struct Plain {
    inner: Arc<EnvelopeStore>,
    versions: bool,
    purge: bool,
}

impl Plain {
    fn new() -> Arc<Self> {
        Arc::new(Self { inner: memory_store(), versions: true, purge: true })
    }
}

#[async_trait]
impl SecretStore for Plain {
    fn describe(&self) -> &'static str {
        "a plain store"
    }

    fn capabilities(&self) -> Capabilities {
        let (versions, purge) = (self.versions, self.purge);
        Capabilities { versions, purge, transfer: false, ..self.inner.capabilities() }
    }

    async fn put(
        &self,
        name: &SecretName,
        value: &SecretBytes,
        options: &PutOptions,
    ) -> Result<VersionInfo> {
        self.inner.put(name, value, options).await
    }

    async fn get(&self, name: &SecretName, select: &Select) -> Result<Secret> {
        self.inner.get(name, select).await
    }

    async fn put_file(
        &self,
        name: &SecretName,
        source: &mut dyn FileSource,
        options: &PutOptions,
    ) -> Result<VersionInfo> {
        self.inner.put_file(name, source, options).await
    }

    async fn get_file(&self, name: &SecretName, select: &Select) -> Result<FileReader> {
        self.inner.get_file(name, select).await
    }

    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        self.inner.versions(name, page).await
    }

    async fn list(
        &self,
        scope: &Scope,
        include_deleted: bool,
        page: &PageRequest,
    ) -> Result<Page<Listing>> {
        self.inner.list(scope, include_deleted, page).await
    }

    async fn names(&self, scope: Option<&Scope>, page: &PageRequest) -> Result<Page<SecretName>> {
        self.inner.names(scope, page).await
    }

    async fn delete(&self, name: &SecretName) -> Result<()> {
        self.inner.delete(name).await
    }

    async fn purge(&self, name: &SecretName) -> Result<()> {
        self.inner.purge(name).await
    }

    async fn check(&self) -> Result<Vec<String>> {
        self.inner.check().await
    }
}

fn run(
    source: Arc<dyn SecretStore>,
    target: Arc<dyn SecretStore>,
    what: &Migrate,
) -> Result<Migrated> {
    block_on(Migrating::new(source, target).migrate(what, &|_| {}))
}

fn values(store: &dyn SecretStore, name: &SecretName) -> Vec<String> {
    let page = PageRequest::first(100);
    let versions = block_on(store.versions(name, &page)).expect("versions").items;
    let value = |info: VersionInfo| {
        let got = block_on(store.get(name, &Select::Version(info.version))).expect("got");
        String::from_utf8(got.value.expose().to_vec()).expect("text of a test")
    };
    versions.into_iter().map(value).collect()
}

const REMOVE: Migrate = Migrate { selection: Selection::All, remove_source: true, dry_run: false };

#[test]
fn a_target_that_only_takes_puts_gets_every_version_in_order() {
    let (source, target) = (memory_store(), Plain::new());
    for value in ["a", "b", "c"] {
        put(&*source, &db(), value.as_bytes());
    }
    // A killed attempt has put the first.
    put(&*target, &db(), b"a");
    let report = run(source.clone(), target.clone(), &Migrate::default()).expect("migrated");
    assert_eq!((report.moved, report.versions, report.failed), (1, 3, 0));
    assert_eq!(values(&*target, &db()), ["a", "b", "c"]);
    let Standing::Moved { has_versions, .. } = standing(&source, &db()) else { panic!("moved") };
    assert!(has_versions);
    let report = run(source.clone(), target.clone(), &REMOVE).expect("migrated");
    assert_eq!((report.already, report.removed), (1, 1));
    assert_eq!(values(&*target, &db()), ["a", "b", "c"]);
}

#[test]
fn a_target_without_versions_gets_the_latest() {
    let inner = memory_store();
    let target = Arc::new(Plain { inner, versions: false, purge: true });
    let source = memory_store();
    for value in ["a", "b", "c"] {
        put(&*source, &db(), value.as_bytes());
    }
    let report = run(source.clone(), target.clone(), &Migrate::default()).expect("migrated");
    assert_eq!((report.moved, report.versions, report.versions_left), (1, 1, 2));
    assert_eq!(values(&*target, &db()), ["c"]);
}

#[test]
fn another_secret_of_the_name_is_never_written_over() {
    let (source, target) = (memory_store(), Plain::new());
    put(&*source, &db(), b"a");
    put(&*source, &db(), b"b");
    put(&*target, &db(), b"foreign");
    let report = run(source.clone(), target.clone(), &REMOVE).expect("migrated");
    assert_eq!(report.failures[0].kind, ErrorKind::AlreadyExists);
    assert!(is_owned(&source, &db()));
    assert_eq!(values(&*target, &db()), ["foreign"]);
}

#[test]
fn a_deleted_secret_stays_where_its_window_is_kept() {
    let (source, target) = (memory_store(), Plain::new());
    put(&*source, &db(), b"a");
    block_on(source.delete(&db())).expect("deleted");
    for dry_run in [true, false] {
        let what = Migrate { dry_run, ..Migrate::default() };
        let report = run(source.clone(), target.clone(), &what).expect("migrated");
        assert_eq!(report.failures[0].kind, ErrorKind::Unsupported);
    }
    assert!(is_owned(&source, &db()));
}

#[test]
fn a_source_that_cannot_hand_over_moves_only_what_it_may_remove() {
    let (source, target) = (Plain::new(), memory_store());
    let refused = run(source.clone(), target.clone(), &Migrate::default());
    assert_kind(refused, ErrorKind::Unsupported, "a copy is no migration");
    for value in ["a", "b"] {
        put(&*source, &db(), value.as_bytes());
    }
    let report = run(source.clone(), target.clone(), &REMOVE).expect("migrated");
    assert_eq!((report.moved, report.removed, report.failed), (1, 1, 0));
    assert_eq!(values(&*target, &db()), ["a", "b"]);
    assert_kind(get(&*source, &db()), ErrorKind::NotFound, "purged");
}

/// A kill between the copy's publication and the removal leaves both, equal.
#[test]
fn a_source_that_was_not_removed_yet_is_removed_by_the_next_run() {
    let (source, target) = (Plain::new(), memory_store());
    for store in [&*source as &dyn SecretStore, &*target] {
        put(store, &db(), b"a");
        put(store, &db(), b"b");
        put(store, &name("acme", "differs"), store.describe().as_bytes());
    }
    let report = run(source.clone(), target.clone(), &REMOVE).expect("migrated");
    assert_eq!((report.moved, report.failed), (1, 1));
    assert_kind(get(&*source, &db()), ErrorKind::NotFound, "purged");
    assert!(get(&*source, &name("acme", "differs")).is_ok());
}
