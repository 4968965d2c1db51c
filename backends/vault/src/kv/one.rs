//! KV version 1: one value for each secret, and nothing beside it.

use async_trait::async_trait;
use strongroom_core::{
    Capabilities, Error, Expect, Metadata, MetadataChange, Page, PageRequest, Result, Secret,
    Select, Timestamp, Version, VersionInfo,
};
use strongroom_remote::TimeId;

use super::data::{self, Data, Fields, Marks};
use super::engine::{Engine, New, Told, check_missing, no_secret, no_version};
use crate::connection::Vault;
use crate::message::{Request, nonsense};

/// The version of what others wrote. It is never one of ours.
const OF_OTHERS: &str = "0";

/// KV 1 at a mount.
#[derive(Clone, Debug)]
pub(crate) struct One {
    vault: Vault,
    mount: String,
    value_key: String,
    max_value_bytes: usize,
}

impl One {
    pub(super) fn new(vault: Vault, mount: &str, value_key: &str, max_value_bytes: usize) -> Self {
        let (mount, value_key) = (mount.to_owned(), value_key.to_owned());
        Self { vault, mount, value_key, max_value_bytes }
    }

    /// What is there, as the answer has it: `read` looks at it there.
    pub(super) async fn read<T>(
        &self,
        path: &str,
        read: impl FnOnce(&Fields<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        let answer = self.vault.ask(Request::get(self.path(path)).or_missing()).await?;
        if answer.is_missing() {
            return check_missing(&answer, &self.mount).map(|()| None);
        }
        let fields = answer.envelope::<Fields<'_>>()?.data;
        read(&fields.ok_or_else(|| nonsense("there is no data in it"))?).map(Some)
    }

    /// What the keys of a secret say.
    async fn marks(&self, path: &str) -> Result<Option<Marks>> {
        self.read(path, |fields| Marks::of(fields.keys())).await
    }

    async fn write(&self, path: &str, data: &Data<'_>) -> Result<()> {
        self.vault.ask(Request::post(self.path(path), data)?).await.map(drop)
    }

    fn path(&self, path: &str) -> String {
        format!("{}/{path}", self.mount)
    }
}

#[async_trait]
impl Engine for One {
    fn number(&self) -> u8 {
        1
    }

    fn abilities(&self) -> Capabilities {
        Capabilities { write: true, list: true, names: true, ..Capabilities::default() }
    }

    fn order(&self, _: &Version) -> Option<u64> {
        None
    }

    fn listing(&self, folder: &str) -> String {
        self.path(folder)
    }

    async fn get(&self, path: &str, select: &Select) -> Result<Secret> {
        let found = self.read(path, |fields| data::value(fields, &self.value_key)).await?;
        let (value, marks) = found.ok_or_else(no_secret)?;
        let VersionInfo { version, kind, created, .. } = info(marks)?;
        if matches!(select, Select::Version(wanted) if *wanted != version) {
            return Err(no_version());
        }
        Ok(Secret::fresh(value, kind, version, created))
    }

    async fn put(&self, path: &str, new: &New<'_>) -> Result<VersionInfo> {
        if *new.expect != Expect::Any {
            return Err(cannot("compare and swap"));
        }
        if new.metadata.is_some_and(|metadata| !metadata.is_empty()) {
            return Err(cannot("keep metadata"));
        }
        let id = TimeId::new()?;
        let max = self.max_value_bytes;
        let data = Data::new(&self.value_key, new.kind, new.value, max, Some(id))?;
        self.write(path, &data).await?;
        Ok(VersionInfo::new(Version::new(id.to_string())?, new.kind, id.created()))
    }

    async fn versions(&self, path: &str, page: &PageRequest) -> Result<Page<VersionInfo>> {
        let marks = self.marks(path).await?.ok_or_else(no_secret)?;
        let items = if page.after.is_none() { vec![info(marks)?] } else { Vec::new() };
        Ok(Page { items, next: None })
    }

    async fn told(&self, path: &str) -> Result<Option<Told>> {
        let Some(marks) = self.marks(path).await? else { return Ok(None) };
        let VersionInfo { version, kind, created, .. } = info(marks)?;
        let metadata = Metadata::default();
        Ok(Some(Told { latest: version, kind, updated: created, metadata, deleted: None }))
    }

    /// Nothing is listed that is not.
    async fn is_there(&self, _: &str) -> Result<bool> {
        Ok(true)
    }

    /// Vault deletes what is not there without a word.
    async fn delete(&self, path: &str) -> Result<()> {
        self.marks(path).await?.ok_or_else(no_secret)?;
        self.vault.ask(Request::delete(self.path(path))).await.map(drop)
    }

    async fn restore(&self, _: &str) -> Result<()> {
        Err(cannot("restore what was deleted"))
    }

    async fn purge(&self, _: &str) -> Result<()> {
        Err(Error::unsupported("KV version 1 has nothing to purge: delete removes for good"))
    }

    async fn redescribe(&self, _: &str, _: &MetadataChange) -> Result<Metadata> {
        Err(cannot("keep metadata"))
    }

    /// A write cannot be tried without leaving something: Vault is asked whether it is
    /// allowed.
    async fn probe(&self, nobody: &str, read_only: bool) -> Result<()> {
        let path = self.path(nobody);
        if self.read(nobody, |_| Ok(())).await?.is_some() {
            return Err(Error::configuration(format!("somebody made a secret at {path}")));
        }
        if read_only {
            return Ok(());
        }
        self.vault.ask(Request::delete(path.clone())).await?;
        super::check::demand(&self.vault, &path, &["create", "update"]).await
    }
}

fn info(marks: Marks) -> Result<VersionInfo> {
    let (version, created) = match marks.id {
        Some(id) => (id.to_string(), id.created()),
        None => (OF_OTHERS.to_owned(), Timestamp(0)),
    };
    Ok(VersionInfo::new(Version::new(version)?, marks.kind(), created))
}

fn cannot(what: &str) -> Error {
    Error::unsupported(format!("KV version 1 cannot {what}: version 2 can"))
}
