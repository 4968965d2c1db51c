//! Where the store works: on a runtime of its own, so that a backend that
//! blocks or hangs never delays the thread that serves what is cached.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use strongroom::cache::Spawn;
use strongroom::{
    CallerContext, Capabilities, Error, FileReader, FileSource, Listing, Metadata, MetadataChange,
    Page, PageRequest, PutOptions, Result, Scope, Secret, SecretBytes, SecretName, SecretStore,
    Select, Transfer, Upkeep, Version, VersionInfo,
};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// Runs the cache's background work on a tokio runtime.
#[derive(Clone, Debug)]
pub struct TokioSpawn(pub Handle);

impl Spawn for TokioSpawn {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.0.spawn(task);
    }
}

/// A secret store whose reads run on another runtime than their caller's.
/// Writes run where they are called: the sidecar runs a write as a whole over
/// there, so that it ends as it began even if its caller goes away.
#[derive(Debug)]
pub struct Offload {
    inner: Arc<dyn SecretStore>,
    runtime: Handle,
}

impl Offload {
    /// `inner`, reading on `runtime`.
    #[must_use]
    pub fn new(inner: Arc<dyn SecretStore>, runtime: Handle) -> Self {
        Self { inner, runtime }
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(Arc<dyn SecretStore>) -> BoxFuture<'static, Result<T>>,
    ) -> Result<T> {
        let task = self.runtime.spawn(work(Arc::clone(&self.inner)));
        AbortOnDrop(task).await
    }
}

/// A task that ends when nobody waits for it any more.
pub(crate) struct AbortOnDrop<T>(pub(crate) JoinHandle<Result<T>>);

impl<T> Future for AbortOnDrop<T> {
    type Output = Result<T>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        self.0.poll_unpin(context).map(joined)
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a task brought; one that panicked brings `Internal`.
pub(crate) fn joined<T>(
    answer: std::result::Result<Result<T>, tokio::task::JoinError>,
) -> Result<T> {
    answer.unwrap_or_else(|error| {
        // A panic's message may quote anything.
        let what = if error.is_panic() { "the store panicked" } else { "the store was stopped" };
        Err(Error::internal(what))
    })
}

#[async_trait]
impl SecretStore for Offload {
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
        self.inner.put(name, value, options).await
    }

    async fn get(&self, name: &SecretName, select: &Select) -> Result<Secret> {
        let (name, select) = (name.clone(), select.clone());
        self.run(|store| async move { store.get(&name, &select).await }.boxed()).await
    }

    async fn get_many(&self, wanted: &[(&SecretName, &Select)]) -> Vec<Result<Secret>> {
        let count = wanted.len();
        let wanted = wanted.iter().map(|&(name, select)| (name.clone(), select.clone()));
        let wanted: Vec<_> = wanted.collect();
        let read = move |store: Arc<dyn SecretStore>| {
            async move {
                let wanted: Vec<_> = wanted.iter().map(|(name, select)| (name, select)).collect();
                Ok(store.get_many(&wanted).await)
            }
            .boxed()
        };
        let lost = |error: Error| (0..count).map(|_| Err(error.clone())).collect();
        self.run(read).await.unwrap_or_else(lost)
    }

    async fn get_stored(&self, name: &SecretName, select: &Select) -> Result<Secret> {
        let (name, select) = (name.clone(), select.clone());
        self.run(|store| async move { store.get_stored(&name, &select).await }.boxed()).await
    }

    async fn put_file(
        &self,
        name: &SecretName,
        source: &mut dyn FileSource,
        options: &PutOptions,
    ) -> Result<VersionInfo> {
        self.inner.put_file(name, source, options).await
    }

    /// Whoever reads the segments does so over there too.
    async fn get_file(&self, name: &SecretName, select: &Select) -> Result<FileReader> {
        let (name, select) = (name.clone(), select.clone());
        self.run(|store| async move { store.get_file(&name, &select).await }.boxed()).await
    }

    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        let (name, page) = (name.clone(), page.clone());
        self.run(|store| async move { store.versions(&name, &page).await }.boxed()).await
    }

    async fn list(
        &self,
        scope: &Scope,
        include_deleted: bool,
        page: &PageRequest,
    ) -> Result<Page<Listing>> {
        let (scope, page) = (scope.clone(), page.clone());
        self.run(move |store| {
            async move { store.list(&scope, include_deleted, &page).await }.boxed()
        })
        .await
    }

    async fn names(&self, scope: Option<&Scope>, page: &PageRequest) -> Result<Page<SecretName>> {
        let (scope, page) = (scope.cloned(), page.clone());
        self.run(|store| async move { store.names(scope.as_ref(), &page).await }.boxed()).await
    }

    async fn change_metadata(
        &self,
        name: &SecretName,
        change: &MetadataChange,
    ) -> Result<Metadata> {
        self.inner.change_metadata(name, change).await
    }

    async fn delete(&self, name: &SecretName) -> Result<()> {
        self.inner.delete(name).await
    }

    async fn restore(&self, name: &SecretName) -> Result<()> {
        self.inner.restore(name).await
    }

    async fn purge(&self, name: &SecretName) -> Result<()> {
        self.inner.purge(name).await
    }

    async fn seal(&self, context: &CallerContext, value: &SecretBytes) -> Result<Vec<u8>> {
        self.inner.seal(context, value).await
    }

    async fn open(&self, context: &CallerContext, sealed: &[u8]) -> Result<SecretBytes> {
        self.inner.open(context, sealed).await
    }

    fn upkeep(&self) -> Option<&dyn Upkeep> {
        self.inner.upkeep()
    }

    fn transfer(&self) -> Option<&dyn Transfer> {
        self.inner.transfer()
    }

    async fn check(&self) -> Result<Vec<String>> {
        self.run(|store| async move { store.check().await }.boxed()).await
    }
}
