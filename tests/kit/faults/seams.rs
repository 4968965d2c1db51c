//! The three seams with faults in front of them.

use std::sync::Arc;

use async_trait::async_trait;
use strongroom_core::wrapper::DEK_BYTES;
use strongroom_core::{
    Batch, CallerContext, Capabilities, Dek, EncryptionContext, FileReader, FileSource, KeyWrapper,
    Listing, Metadata, MetadataChange, Page, PageLimit, PageRequest, PutOptions, RecordPage,
    RecordStore, Result, Scope, Secret, SecretBytes, SecretName, SecretStore, Select, Snapshot,
    Stored, Transfer, Upkeep, Version, VersionInfo, WrappedDek,
};

use super::{Faults, Spoil, spoil_bytes};
use crate::random::Random;

/// A record store with faults.
#[derive(Debug)]
pub struct FaultyRecords {
    inner: Arc<dyn RecordStore>,
    faults: Faults,
}

impl FaultyRecords {
    /// `inner`, without a fault as yet.
    pub fn new(inner: Arc<dyn RecordStore>) -> Arc<Self> {
        Arc::new(Self { inner, faults: Faults::new() })
    }

    /// What goes wrong.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }
}

#[async_trait]
impl RecordStore for FaultyRecords {
    fn describe(&self) -> &str {
        self.inner.describe()
    }

    fn max_value_bytes(&self) -> usize {
        self.inner.max_value_bytes()
    }

    fn max_batch_bytes(&self) -> usize {
        self.inner.max_batch_bytes()
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Stored>> {
        let spoil = |answer: &mut Option<Stored>, how, random: &mut Random| {
            if let Some(stored) = answer {
                spoil_bytes(&mut stored.value, how, random);
            }
        };
        self.faults.around("get", self.inner.get(key), spoil).await
    }

    async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: PageLimit,
    ) -> Result<RecordPage> {
        let spoil = |answer: &mut RecordPage, how, random: &mut Random| {
            for (_, stored) in &mut answer.entries {
                spoil_bytes(&mut stored.value, how, random);
            }
        };
        self.faults.around("scan", self.inner.scan(prefix, after, limit), spoil).await
    }

    async fn commit(&self, batch: Batch) -> Result<()> {
        self.faults.around("commit", self.inner.commit(batch), |(), _, _| {}).await
    }

    async fn snapshot(&self) -> Result<Option<Box<dyn Snapshot>>> {
        self.faults.around("snapshot", self.inner.snapshot(), |_, _, _| {}).await
    }

    async fn check(&self) -> Result<()> {
        self.faults.around("check", self.inner.check(), |(), _, _| {}).await
    }
}

/// A key wrapper with faults. A spoilt `unwrap` gives another DEK.
#[derive(Debug)]
pub struct FaultyWrapper {
    inner: Arc<dyn KeyWrapper>,
    faults: Faults,
}

impl FaultyWrapper {
    /// `inner`, without a fault as yet.
    pub fn new(inner: Arc<dyn KeyWrapper>) -> Arc<Self> {
        Arc::new(Self { inner, faults: Faults::new() })
    }

    /// What goes wrong.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }
}

#[async_trait]
impl KeyWrapper for FaultyWrapper {
    fn identity(&self) -> &str {
        self.inner.identity()
    }

    async fn wrap(&self, dek: &Dek, context: &EncryptionContext) -> Result<WrappedDek<'static>> {
        self.faults.around("wrap", self.inner.wrap(dek, context), spoil_wrap).await
    }

    async fn unwrap(&self, wrapped: &WrappedDek<'_>, context: &EncryptionContext) -> Result<Dek> {
        let call = self.inner.unwrap(wrapped, context);
        let spoil = |dek: &mut Dek, _, random: &mut Random| {
            let other = SecretBytes::take(random.bytes(DEK_BYTES)).expect("guarded memory");
            *dek = Dek::from_secret(other).expect("32 bytes");
        };
        self.faults.around("unwrap", call, spoil).await
    }

    async fn generate(&self, context: &EncryptionContext) -> Result<(Dek, WrappedDek<'static>)> {
        let spoil = |(_, wrapped): &mut (Dek, WrappedDek<'static>), how, random: &mut Random| {
            spoil_wrap(wrapped, how, random);
        };
        self.faults.around("generate", self.inner.generate(context), spoil).await
    }

    async fn rewrap(
        &self,
        wrapped: &WrappedDek<'_>,
        context: &EncryptionContext,
    ) -> Result<WrappedDek<'static>> {
        self.faults.around("rewrap", self.inner.rewrap(wrapped, context), spoil_wrap).await
    }

    async fn current_version(&self) -> Result<String> {
        self.faults.around("current_version", self.inner.current_version(), |_, _, _| {}).await
    }

    async fn check(&self) -> Result<()> {
        self.faults.around("check", self.inner.check(), |(), _, _| {}).await
    }
}

fn spoil_wrap(wrapped: &mut WrappedDek<'static>, how: Spoil, random: &mut Random) {
    spoil_bytes(wrapped.bytes.to_mut(), how, random);
}

fn spoil_value(value: &mut SecretBytes, how: Spoil, random: &mut Random) {
    let bytes = value.len();
    match how {
        Spoil::Torn => value.truncate(bytes / 2),
        Spoil::Garbage => {
            *value = SecretBytes::take(random.bytes(bytes)).expect("guarded memory");
        }
    }
}

/// A secret store with faults. A spoilt `get` gives another value, which no
/// real store may: it is for what stands in front of one.
#[derive(Debug)]
pub struct FaultyStore {
    inner: Arc<dyn SecretStore>,
    faults: Faults,
}

impl FaultyStore {
    /// `inner`, without a fault as yet.
    pub fn new(inner: Arc<dyn SecretStore>) -> Arc<Self> {
        Arc::new(Self { inner, faults: Faults::new() })
    }

    /// What goes wrong.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }
}

#[async_trait]
impl SecretStore for FaultyStore {
    fn describe(&self) -> &str {
        self.inner.describe()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn version_order(&self, version: &Version) -> Option<u64> {
        self.inner.version_order(version)
    }

    async fn put(
        &self,
        name: &SecretName,
        value: &SecretBytes,
        options: &PutOptions,
    ) -> Result<VersionInfo> {
        self.faults.around("put", self.inner.put(name, value, options), |_, _, _| {}).await
    }

    async fn get(&self, name: &SecretName, select: &Select) -> Result<Secret> {
        let spoil = |secret: &mut Secret, how, random: &mut Random| {
            spoil_value(&mut secret.value, how, random);
        };
        self.faults.around("get", self.inner.get(name, select), spoil).await
    }

    async fn get_many(&self, wanted: &[(&SecretName, &Select)]) -> Vec<Result<Secret>> {
        let call = async { Ok(self.inner.get_many(wanted).await) };
        let spoil = |answers: &mut Vec<Result<Secret>>, how, random: &mut Random| {
            for secret in answers.iter_mut().flatten() {
                spoil_value(&mut secret.value, how, random);
            }
        };
        let answers = self.faults.around("get_many", call, spoil).await;
        answers.unwrap_or_else(|error| wanted.iter().map(|_| Err(error.clone())).collect())
    }

    async fn get_stored(&self, name: &SecretName, select: &Select) -> Result<Secret> {
        self.faults.around("get_stored", self.inner.get_stored(name, select), |_, _, _| {}).await
    }

    async fn put_file(
        &self,
        name: &SecretName,
        source: &mut dyn FileSource,
        options: &PutOptions,
    ) -> Result<VersionInfo> {
        let call = self.inner.put_file(name, source, options);
        self.faults.around("put_file", call, |_, _, _| {}).await
    }

    async fn get_file(&self, name: &SecretName, select: &Select) -> Result<FileReader> {
        self.faults.around("get_file", self.inner.get_file(name, select), |_, _, _| {}).await
    }

    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        self.faults.around("versions", self.inner.versions(name, page), |_, _, _| {}).await
    }

    async fn list(
        &self,
        scope: &Scope,
        include_deleted: bool,
        page: &PageRequest,
    ) -> Result<Page<Listing>> {
        let call = self.inner.list(scope, include_deleted, page);
        self.faults.around("list", call, |_, _, _| {}).await
    }

    async fn names(&self, scope: Option<&Scope>, page: &PageRequest) -> Result<Page<SecretName>> {
        self.faults.around("names", self.inner.names(scope, page), |_, _, _| {}).await
    }

    async fn change_metadata(
        &self,
        name: &SecretName,
        change: &MetadataChange,
    ) -> Result<Metadata> {
        let call = self.inner.change_metadata(name, change);
        self.faults.around("change_metadata", call, |_, _, _| {}).await
    }

    async fn delete(&self, name: &SecretName) -> Result<()> {
        self.faults.around("delete", self.inner.delete(name), |(), _, _| {}).await
    }

    async fn restore(&self, name: &SecretName) -> Result<()> {
        self.faults.around("restore", self.inner.restore(name), |(), _, _| {}).await
    }

    async fn purge(&self, name: &SecretName) -> Result<()> {
        self.faults.around("purge", self.inner.purge(name), |(), _, _| {}).await
    }

    async fn seal(&self, context: &CallerContext, value: &SecretBytes) -> Result<Vec<u8>> {
        self.faults.around("seal", self.inner.seal(context, value), spoil_bytes).await
    }

    async fn open(&self, context: &CallerContext, sealed: &[u8]) -> Result<SecretBytes> {
        self.faults.around("open", self.inner.open(context, sealed), spoil_value).await
    }

    fn upkeep(&self) -> Option<&dyn Upkeep> {
        self.inner.upkeep()
    }

    fn transfer(&self) -> Option<&dyn Transfer> {
        self.inner.transfer()
    }

    async fn check(&self) -> Result<Vec<String>> {
        self.faults.around("check", self.inner.check(), |_, _, _| {}).await
    }
}
