//! [`VaultKv`]: secrets that live in a KV engine of Vault.

mod check;
mod data;
mod engine;
mod external;
mod list;
mod metadata;
mod mounts;
mod names;
mod one;
mod options;
mod time;
mod two;

use std::fmt;

use async_trait::async_trait;
use strongroom_core::{
    Capabilities, Error, Listing, Metadata, MetadataChange, Page, PageRequest, PutOptions, Result,
    Scope, Secret, SecretBytes, SecretName, SecretStore, Select, Version, VersionInfo,
};

use self::engine::{Engine, New};
use self::mounts::{Mounted, mount_of};
use self::names::Names;
use self::one::One;
use self::two::Two;
use crate::connection::Vault;

pub use self::external::VaultExternalSecrets;
pub use self::options::{KvOptions, KvVersion};

/// How many secrets of a page are asked about at the same time.
const CONCURRENT_READS: usize = 8;

/// The secrets of an account in a KV engine of Vault, one each, which Vault encrypts. A
/// text is under the key `value`, so that `vault kv` and every client of Vault reads and
/// writes it.
///
/// # Version 2 of the engine
/// - A version is Vault's number. Vault keeps ten of a secret unless `max_versions` of
///   the mount, or of the secret, says otherwise, and removes the oldest.
/// - Each call is decided by Vault's compare-and-swap, and of a put, a deletion and a
///   restoring in one process each waits for the other. In two processes, a put that
///   has looked at a secret which is deleted at the same moment still succeeds: the
///   secret lives then, and the version before is hidden until others undelete it.
/// - `delete` hides the latest version, as `vault kv delete`, and a secret whose latest
///   version is hidden is deleted. It stays so until it is restored or purged: there is
///   no window, unless `delete_version_after` makes one.
/// - `purge` destroys every version and leaves their count, so that no number is given
///   twice; the name stays in Vault, and is not listed here. `vault kv metadata delete`
///   takes the count away too, and numbers begin anew. A secret whose latest version is
///   destroyed does not exist.
/// - Of a deleted secret Vault tells no kind: it is listed as a text.
/// - A value and metadata are changed by separate calls. Of a put with both, an error
///   may come after the value was written.
/// - What a list tells is asked of each secret by itself, and no value travels.
///
/// # Version 1 of the engine
/// There is one value, and the id of its version stands beside it; what others wrote
/// has version `0`. `delete` removes for good. There are neither older versions,
/// expectations nor metadata. A list has to read each secret, value and all.
pub struct VaultKv {
    vault: Vault,
    engine: Box<dyn Engine>,
    names: Names,
    options: KvOptions,
    description: String,
}

impl VaultKv {
    /// The store that `options` describe. Vault is asked only if they do not say which
    /// engine it is.
    ///
    /// # Errors
    /// `Configuration` if the options cannot be true, or no KV engine is mounted there;
    /// `InvalidName` if the account is none; `AccessDenied` if the session sees nothing
    /// of the mount; whatever keeps Vault from answering.
    pub async fn open(vault: &Vault, options: KvOptions) -> Result<Self> {
        let names = options.names()?;
        let version = match options.version {
            Some(version) => version,
            None => detect(vault, &options.mount).await?,
        };
        let KvOptions { mount, value_key, max_value_bytes, .. } = &options;
        let engine: Box<dyn Engine> = match version {
            KvVersion::One => Box::new(One::new(vault.clone(), mount, value_key, *max_value_bytes)),
            KvVersion::Two => Box::new(Two::new(vault.clone(), mount, value_key, *max_value_bytes)),
        };
        let (number, address) = (engine.number(), vault.address());
        let folder = names.folder(None)?;
        let description = format!("KV {number} of Vault at {address} below {mount}/{folder}/");
        Ok(Self { vault: vault.clone(), engine, names, options, description })
    }

    /// Names operation, secret and store in an error.
    fn place<'a>(
        &'a self,
        operation: &'static str,
        name: &'a SecretName,
    ) -> impl Fn(Error) -> Error + 'a {
        move |error| error.during(operation).about(name).in_store(&self.description)
    }

    /// The path of a secret that may be written.
    fn writable(&self, name: &SecretName) -> Result<String> {
        if self.options.read_only {
            return Err(Error::unsupported("this store is read-only"));
        }
        self.names.to_vault(name)
    }

    async fn put_value(
        &self,
        name: &SecretName,
        value: &SecretBytes,
        options: &PutOptions,
    ) -> Result<VersionInfo> {
        let (path, most) = (self.writable(name)?, self.options.max_value_bytes);
        if value.len() > most {
            return Err(Error::limit_exceeded(format!(
                "a value in this store has at most {most} bytes, and this one has {}",
                value.len()
            )));
        }
        let (expect, metadata) = (&options.expect, options.metadata.as_ref());
        self.engine.put(&path, &New { value, kind: options.kind, expect, metadata }).await
    }
}

/// Which engine is mounted at `mount`.
async fn detect(vault: &Vault, mount: &str) -> Result<KvVersion> {
    let found = mount_of(vault, mount).await?;
    match found.engine {
        Mounted::Kv(version) if found.path == mount => Ok(version),
        Mounted::Kv(_) => Err(Error::configuration(format!(
            "{mount} is no mount of Vault but a path in {}: make it part of the base",
            found.path
        ))),
        Mounted::Other(engine) => Err(Error::configuration(format!(
            "the engine at {} is of type {engine}: secrets are kept in one of type kv",
            found.path
        ))),
    }
}

#[async_trait]
impl SecretStore for VaultKv {
    fn describe(&self) -> &str {
        &self.description
    }

    fn capabilities(&self) -> Capabilities {
        let can = self.engine.abilities();
        let (write, max_value_bytes) = (!self.options.read_only, self.options.max_value_bytes);
        Capabilities {
            write: can.write && write,
            compare_and_swap: can.compare_and_swap && write,
            soft_delete: can.soft_delete && write,
            restore: can.restore && write,
            purge: can.purge && write,
            metadata: can.metadata && write,
            max_value_bytes,
            max_file_bytes: max_value_bytes as u64,
            ..can
        }
    }

    fn version_order(&self, version: &Version) -> Option<u64> {
        self.engine.order(version)
    }

    async fn put(
        &self,
        name: &SecretName,
        value: &SecretBytes,
        options: &PutOptions,
    ) -> Result<VersionInfo> {
        self.put_value(name, value, options).await.map_err(self.place("put", name))
    }

    async fn get(&self, name: &SecretName, select: &Select) -> Result<Secret> {
        let read = async { self.engine.get(&self.names.to_vault(name)?, select).await };
        read.await.map_err(self.place("get", name))
    }

    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        let read = async { self.engine.versions(&self.names.to_vault(name)?, page).await };
        read.await.map_err(self.place("list versions of", name))
    }

    async fn list(
        &self,
        scope: &Scope,
        include_deleted: bool,
        page: &PageRequest,
    ) -> Result<Page<Listing>> {
        let found = self.list_scope(scope, include_deleted, page).await;
        found.map_err(|error| error.during("list").in_store(&self.description))
    }

    async fn names(&self, scope: Option<&Scope>, page: &PageRequest) -> Result<Page<SecretName>> {
        let found = self.list_names(scope, page).await;
        found.map_err(|error| error.during("list names").in_store(&self.description))
    }

    async fn change_metadata(
        &self,
        name: &SecretName,
        change: &MetadataChange,
    ) -> Result<Metadata> {
        let write = async { self.engine.redescribe(&self.writable(name)?, change).await };
        write.await.map_err(self.place("describe", name))
    }

    async fn delete(&self, name: &SecretName) -> Result<()> {
        let write = async { self.engine.delete(&self.writable(name)?).await };
        write.await.map_err(self.place("delete", name))
    }

    async fn restore(&self, name: &SecretName) -> Result<()> {
        let write = async { self.engine.restore(&self.writable(name)?).await };
        write.await.map_err(self.place("restore", name))
    }

    async fn purge(&self, name: &SecretName) -> Result<()> {
        let write = async { self.engine.purge(&self.writable(name)?).await };
        write.await.map_err(self.place("purge", name))
    }

    async fn check(&self) -> Result<Vec<String>> {
        let checked = self.look().await;
        checked.map_err(|error| error.during("check").in_store(&self.description))
    }
}

impl fmt::Debug for VaultKv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultKv").field("store", &self.description).finish_non_exhaustive()
    }
}
