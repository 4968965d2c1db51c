//! A target that stores something else than it was given: what does not read back
//! is not switched.

use async_trait::async_trait;
use strongroom_core::transfer::{Deleted, Place};
use strongroom_core::{
    Capabilities, ErrorKind, FileReader, FileSource, Listing, Metadata, Page, Revision, Scope,
    Secret, Transfer, VersionInfo,
};

use super::*;

/// Alters the last byte of what it is given.
#[derive(Debug)]
struct Lying {
    inner: Arc<EnvelopeStore>,
    stages: bool,
    lies: bool,
}

impl Lying {
    fn moving(&self) -> &dyn Transfer {
        self.inner.transfer().expect("an envelope store moves secrets")
    }

    async fn taken(&self, source: &mut dyn FileSource) -> Result<Vec<u8>> {
        let mut bytes = vec![0; 1 << 20];
        let filled = source.fill(&mut bytes).await?;
        bytes.truncate(filled);
        if self.lies && filled > 0 {
            bytes[filled - 1] ^= 1;
        }
        Ok(bytes)
    }
}

#[async_trait]
impl SecretStore for Lying {
    fn describe(&self) -> &'static str {
        "a store that lies"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { transfer: self.stages, ..self.inner.capabilities() }
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
        let bytes = self.taken(source).await?;
        self.inner.put_file(name, &mut &bytes[..], options).await
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

    async fn delete(&self, name: &SecretName) -> Result<()> {
        self.inner.delete(name).await
    }

    fn transfer(&self) -> Option<&dyn Transfer> {
        self.stages.then_some(self)
    }

    async fn check(&self) -> Result<Vec<String>> {
        self.inner.check().await
    }
}

#[async_trait]
impl Transfer for Lying {
    fn place(&self) -> Place {
        self.moving().place()
    }

    async fn standing(&self, name: &SecretName) -> Result<Standing> {
        self.moving().standing(name).await
    }

    async fn versions_of(
        &self,
        name: &SecretName,
        page: &PageRequest,
    ) -> Result<Page<VersionInfo>> {
        self.moving().versions_of(name, page).await
    }

    async fn read_version(&self, name: &SecretName, version: &Version) -> Result<FileReader> {
        self.moving().read_version(name, version).await
    }

    async fn hand_over(&self, name: &SecretName, to: &Place, mark: Revision) -> Result<()> {
        self.moving().hand_over(name, to, mark).await
    }

    async fn drop_versions(&self, name: &SecretName) -> Result<()> {
        self.moving().drop_versions(name).await
    }

    async fn reserve(&self, name: &SecretName, from: &Place) -> Result<()> {
        self.moving().reserve(name, from).await
    }

    async fn stage(
        &self,
        name: &SecretName,
        info: &VersionInfo,
        source: &mut dyn FileSource,
    ) -> Result<()> {
        let bytes = self.taken(source).await?;
        self.moving().stage(name, info, &mut &bytes[..]).await
    }

    async fn publish(
        &self,
        name: &SecretName,
        latest: &Version,
        deleted: Option<Deleted>,
        metadata: &Metadata,
    ) -> Result<()> {
        self.moving().publish(name, latest, deleted, metadata).await
    }

    async fn give_up(&self, name: &SecretName) -> Result<()> {
        self.moving().give_up(name).await
    }
}

#[test]
fn what_does_not_read_back_is_not_switched() {
    for (stages, lies) in [(true, true), (false, true), (true, false), (false, false)] {
        let source = memory_store();
        put(&*source, &db(), b"value");
        let target = Arc::new(Lying { inner: memory_store(), stages, lies });
        let both = Migrating::new(source.clone(), target.clone());
        let report = block_on(both.migrate(&Migrate::default(), &|_| {})).expect("migrated");
        assert_eq!((report.moved, report.failed), if lies { (0, 1) } else { (1, 0) });
        assert_eq!(is_owned(&source, &db()), lies, "staged {stages}");
        assert!(get(&both, &db()).expect("served").expose() == b"value");
        if lies {
            assert_eq!(report.failures[0].kind, ErrorKind::Tampered);
        }
        if stages && lies {
            assert_eq!(standing(&target.inner, &db()), Standing::Absent, "it was taken back");
        }
    }
}
