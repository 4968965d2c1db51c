//! KV version 2: versions are Vault's numbers, and so is compare-and-swap.

mod calls;
mod probe;
mod write;

use std::hash::{BuildHasher, RandomState};

use async_trait::async_trait;
use futures_util::future;
use futures_util::lock::{Mutex, MutexGuard};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use strongroom_core::{
    Capabilities, Metadata, MetadataChange, Page, PageRequest, Result, Secret, Select, Version,
    VersionInfo,
};

pub(super) use self::calls::{Calls, Gone};
use self::calls::{Found, Standing, State};
use super::CONCURRENT_READS;
use super::engine::{Engine, New, Told, is_deleted, no_secret, no_version};
use super::metadata::given;
use crate::connection::Vault;

/// Changes of one secret wait for each other; secrets share this many locks.
const LOCKS: usize = 64;

/// KV 2 at a mount.
#[derive(Debug)]
pub(super) struct Two {
    calls: Calls,
    value_key: String,
    max_value_bytes: usize,
    locks: Box<[Mutex<()>]>,
    hasher: RandomState,
}

impl Two {
    pub(super) fn new(vault: Vault, mount: &str, value_key: &str, max_value_bytes: usize) -> Self {
        let calls = Calls { vault, mount: mount.to_owned() };
        let value_key = value_key.to_owned();
        let locks = (0..LOCKS).map(|_| Mutex::new(())).collect();
        Self { calls, value_key, max_value_bytes, locks, hasher: RandomState::new() }
    }

    async fn lock(&self, path: &str) -> MutexGuard<'_, ()> {
        let index = self.hasher.hash_one(path) % LOCKS as u64;
        self.locks[index as usize].lock().await
    }

    /// A version by itself. Deletion is of the latest one, and hides all.
    async fn get_version(&self, path: &str, number: u64) -> Result<Found> {
        let found = self.calls.value(path, Some(number), &self.value_key);
        let (found, latest) = future::join(found, self.calls.standing(path, None)).await;
        live(latest?)?;
        found?.map_err(|_| no_version())
    }

    /// Version `number`, which exists: what it is by its keys. `None` of one that others
    /// deleted by itself: it is not there until they bring it back.
    async fn info(&self, path: &str, number: u64, is_latest: bool) -> Result<Option<VersionInfo>> {
        let Some(standing) = self.calls.standing(path, Some(number)).await? else {
            return Ok(None);
        };
        let is_shown = match standing.state {
            State::Live => true,
            State::Deleted => is_latest,
            State::Destroyed => false,
        };
        let info = VersionInfo::new(version(number)?, standing.kind, standing.created);
        Ok(is_shown.then_some(info))
    }
}

#[async_trait]
impl Engine for Two {
    fn number(&self) -> u8 {
        2
    }

    fn abilities(&self) -> Capabilities {
        Capabilities {
            write: true,
            versions: true,
            compare_and_swap: true,
            soft_delete: true,
            restore: true,
            purge: true,
            list: true,
            names: true,
            metadata: true,
            ..Capabilities::default()
        }
    }

    fn order(&self, version: &Version) -> Option<u64> {
        number(version)
    }

    fn listing(&self, folder: &str) -> String {
        self.calls.path("metadata", folder)
    }

    async fn get(&self, path: &str, select: &Select) -> Result<Secret> {
        let found = match select {
            Select::Latest => {
                let found = self.calls.value(path, None, &self.value_key).await?;
                found.map_err(|gone| match gone {
                    Gone::Deleted => is_deleted(),
                    Gone::Absent | Gone::Destroyed => no_secret(),
                })?
            }
            Select::Version(version) => {
                self.get_version(path, number(version).ok_or_else(no_version)?).await?
            }
        };
        let Found { value, kind, version: number, created } = found;
        Ok(Secret::fresh(value, kind, version(number)?, created))
    }

    async fn put(&self, path: &str, new: &New<'_>) -> Result<VersionInfo> {
        self.put_version(path, new).await
    }

    async fn versions(&self, path: &str, page: &PageRequest) -> Result<Page<VersionInfo>> {
        let secret = self.calls.secret(path).await?.ok_or_else(no_secret)?;
        let latest = secret.current_version;
        if secret.versions.get(&latest).is_none_or(|version| version.destroyed) {
            return Err(no_secret());
        }
        let after = page.after.as_deref().map_or(0, |after| after.parse().unwrap_or(u64::MAX));
        let all = secret.versions.iter().filter(|(_, version)| !version.destroyed);
        let rest: Vec<_> = all.map(|(number, _)| *number).filter(|n| *n > after).collect();
        let shown = &rest[..rest.len().min(page.limit.max(1))];
        let next = shown.last().filter(|_| shown.len() < rest.len()).map(u64::to_string);
        let mut infos = Vec::with_capacity(shown.len());
        for &number in shown {
            infos.push(self.info(path, number, number == latest));
        }
        let infos: Vec<_> = stream::iter(infos).buffered(CONCURRENT_READS).try_collect().await?;
        Ok(Page { items: infos.into_iter().flatten().collect(), next })
    }

    async fn told(&self, path: &str) -> Result<Option<Told>> {
        let Some(standing) = self.calls.standing(path, None).await? else { return Ok(None) };
        if standing.state == State::Destroyed {
            return Ok(None);
        }
        Ok(Some(Told {
            latest: version(standing.version)?,
            kind: standing.kind,
            updated: standing.created,
            metadata: given(&standing.custom),
            deleted: standing.deleted,
        }))
    }

    async fn is_there(&self, path: &str) -> Result<bool> {
        let standing = self.calls.standing(path, None).await?;
        Ok(standing.is_some_and(|standing| standing.state != State::Destroyed))
    }

    async fn delete(&self, path: &str) -> Result<()> {
        self.delete_secret(path).await
    }

    async fn restore(&self, path: &str) -> Result<()> {
        self.restore_secret(path).await
    }

    async fn purge(&self, path: &str) -> Result<()> {
        self.purge_secret(path).await
    }

    async fn redescribe(&self, path: &str, change: &MetadataChange) -> Result<Metadata> {
        self.change_metadata(path, change).await
    }

    async fn probe(&self, nobody: &str, read_only: bool) -> Result<()> {
        self.try_calls(nobody, read_only).await
    }
}

/// A secret that exists and is not deleted.
fn live(latest: Option<Standing>) -> Result<Standing> {
    match latest {
        Some(latest) if latest.state == State::Live => Ok(latest),
        Some(latest) if latest.state == State::Deleted => Err(is_deleted()),
        _ => Err(no_secret()),
    }
}

fn version(number: u64) -> Result<Version> {
    Version::new(number.to_string())
}

/// Vault's number of a version; `None` if it can have none that is written so.
fn number(version: &Version) -> Option<u64> {
    let number: u64 = version.as_str().parse().ok()?;
    let is_possible = number > 0 && i64::try_from(number).is_ok();
    (is_possible && number.to_string() == version.as_str()).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_a_number_as_vault_writes_it() {
        for (text, expected) in [
            ("1", Some(1)),
            ("9223372036854775807", Some(i64::MAX as u64)),
            ("9223372036854775808", None),
            ("0", None),
            ("01", None),
            ("+1", None),
            ("-1", None),
            ("1.0", None),
        ] {
            assert_eq!(number(&Version::new(text).expect("valid")), expected, "{text}");
        }
    }
}
