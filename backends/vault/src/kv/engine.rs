//! What the two KV engines have in common: [`Engine`], which knows paths and no names.

use std::fmt;

use async_trait::async_trait;
use strongroom_core::{
    Capabilities, Error, Expect, Kind, Metadata, MetadataChange, Page, PageRequest, Result, Secret,
    SecretBytes, Select, Timestamp, Version, VersionInfo,
};

use crate::error::words;
use crate::message::Answer;

/// A version that is to be written.
pub(super) struct New<'a> {
    pub(super) value: &'a SecretBytes,
    pub(super) kind: Kind,
    pub(super) expect: &'a Expect,
    pub(super) metadata: Option<&'a Metadata>,
}

/// What is told of a secret without its value.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) latest: Version,
    pub(super) kind: Kind,
    pub(super) updated: Timestamp,
    pub(super) metadata: Metadata,
    pub(super) deleted: Option<Timestamp>,
}

/// A KV engine at a mount. Paths are those within the mount.
#[async_trait]
pub(super) trait Engine: Send + Sync + fmt::Debug {
    /// `1` or `2`, as Vault counts its engines.
    fn number(&self) -> u8;

    /// What the engine can do, without regard to lengths.
    fn abilities(&self) -> Capabilities;

    /// A number that grows with every version, where versions have one.
    fn order(&self, version: &Version) -> Option<u64>;

    /// The path that lists what is in `folder`.
    fn listing(&self, folder: &str) -> String;

    async fn get(&self, path: &str, select: &Select) -> Result<Secret>;

    async fn put(&self, path: &str, new: &New<'_>) -> Result<VersionInfo>;

    async fn versions(&self, path: &str, page: &PageRequest) -> Result<Page<VersionInfo>>;

    /// What a list tells; `None` of a secret that is not there.
    async fn told(&self, path: &str) -> Result<Option<Told>>;

    /// Whether what is listed is there.
    async fn is_there(&self, path: &str) -> Result<bool>;

    async fn delete(&self, path: &str) -> Result<()>;

    async fn restore(&self, path: &str) -> Result<()>;

    async fn purge(&self, path: &str) -> Result<()>;

    async fn redescribe(&self, path: &str, change: &MetadataChange) -> Result<Metadata>;

    /// Makes every call on `nobody`, a secret that is not there, and changes nothing.
    async fn probe(&self, nobody: &str, read_only: bool) -> Result<()>;
}

/// # Errors
/// `Configuration` if an answer that there is nothing means that the whole mount is not
/// there, or is not what it was taken for.
pub(super) fn check_missing(answer: &Answer, mount: &str) -> Result<()> {
    #[derive(serde::Deserialize)]
    struct Warned {
        #[serde(default)]
        warnings: Option<Vec<String>>,
    }
    if words(answer).contains("no handler for route") {
        return Err(Error::configuration(format!("Vault has no engine mounted at {mount}")));
    }
    let warned = serde_json::from_slice::<Warned>(answer.body.expose()).ok();
    let warnings = warned.and_then(|warned| warned.warnings).unwrap_or_default();
    if warnings.iter().any(|warning| warning.contains("versioned K/V secrets engine")) {
        return Err(Error::configuration(format!(
            "the engine at {mount} is KV version 2, and not 1 as it was configured"
        )));
    }
    Ok(())
}

pub(super) fn no_secret() -> Error {
    Error::not_found("no secret has this name")
}

pub(super) fn no_version() -> Error {
    Error::not_found("the secret has no such version, or there is no such secret")
}

pub(super) fn is_deleted() -> Error {
    Error::not_found("the secret is deleted")
}
