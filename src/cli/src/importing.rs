//! Many values at a time, each looked at before it is written.

use futures_util::stream::{FuturesUnordered, StreamExt};
use strongroom::upkeep::Observer;
use strongroom::{
    Engine, Error, ErrorKind, Expect, Progress, PutOptions, Result, Secret, SecretBytes,
    SecretName, Select, VersionInfo,
};
use strongroom_client::Client;

/// How many are under way at a time: their commits share syncs.
const CONCURRENT: usize = 32;

/// How to import.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Import {
    /// Write a new version where there is another value; otherwise it is left.
    pub(crate) overwrite: bool,
    /// Write nothing.
    pub(crate) dry_run: bool,
}

/// What became of one value, or would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    New,
    Changed,
    Same,
    Left,
}

impl Fate {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Changed => "changed",
            Self::Same => "same",
            Self::Left => "left as it was",
        }
    }
}

/// Where values go.
pub(crate) enum Importer<'a> {
    Store(&'a Engine),
    Sidecar(&'a Client),
}

impl Importer<'_> {
    async fn get(&self, name: &str) -> Result<Secret> {
        match self {
            Self::Store(engine) => engine.get(name, &Select::Latest).await,
            Self::Sidecar(client) => client.get(name, &Select::Latest).await,
        }
    }

    async fn put(&self, name: &str, value: &SecretBytes, expect: Expect) -> Result<VersionInfo> {
        let options = PutOptions { expect, ..PutOptions::default() };
        match self {
            Self::Store(engine) => engine.put(name, value, &options).await,
            Self::Sidecar(client) => client.put(name, value, &options).await,
        }
    }

    async fn import(&self, name: &str, value: &SecretBytes, how: Import) -> Result<Fate> {
        let there = match self.get(name).await {
            Ok(secret) => Some(secret),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let (fate, expect) = match there {
            // In constant time.
            Some(secret) if secret.value == *value => return Ok(Fate::Same),
            Some(_) if !how.overwrite => return Ok(Fate::Left),
            Some(secret) => (Fate::Changed, Expect::Latest(secret.version)),
            None => (Fate::New, Expect::Absent),
        };
        if !how.dry_run {
            self.put(name, value, expect).await?;
        }
        Ok(fate)
    }
}

/// Every item's fate, in order. An outage ends it: the same import does the rest.
pub(crate) async fn import_all(
    importer: &Importer<'_>,
    items: &[(SecretName, SecretBytes)],
    how: Import,
    observer: &Observer<'_>,
) -> Result<Vec<Result<Fate>>> {
    let total = Some(items.len() as u64);
    let mut fates: Vec<_> = items.iter().map(|_| None).collect();
    let mut progress = Progress { total, ..Progress::default() };
    let (mut next, mut under_way) = (items.iter().enumerate(), FuturesUnordered::new());
    loop {
        while under_way.len() < CONCURRENT
            && let Some((at, (name, value))) = next.next()
        {
            let written = name.to_string();
            under_way.push(async move { (at, importer.import(&written, value, how).await) });
        }
        let Some((at, fate)) = under_way.next().await else { break };
        if let Err(error) = &fate
            && error.is_retryable()
        {
            return Err(error.clone());
        }
        progress.done += 1;
        progress.changed += u64::from(matches!(fate, Ok(Fate::New | Fate::Changed)));
        progress.failed += u64::from(fate.is_err());
        fates[at] = Some(fate);
        observer(&progress);
    }
    let lost = || Err(Error::internal("a value of the import was lost"));
    Ok(fates.into_iter().map(|fate| fate.unwrap_or_else(lost)).collect())
}
