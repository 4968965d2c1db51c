//! The calls of KV 2, each with what its answer means.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use strongroom_core::{Error, Kind, Result, SecretBytes, Timestamp};

use super::super::data::{self, Data, Fields, Marks};
use super::super::engine::check_missing;
use super::super::metadata::{Change, Custom};
use super::super::time::timestamp;
use crate::connection::Vault;
use crate::message::{Answer, Request, nonsense};

/// KV 2 at a mount.
#[derive(Clone, Debug)]
pub(crate) struct Calls {
    pub(crate) vault: Vault,
    pub(crate) mount: String,
}

/// A version that was read.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) value: SecretBytes,
    pub(super) kind: Kind,
    pub(super) version: u64,
    pub(super) created: Timestamp,
}

/// Why a version cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gone {
    /// There is none.
    Absent,
    /// It can be brought back.
    Deleted,
    /// It cannot.
    Destroyed,
}

/// Whether a version can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Live,
    Deleted,
    Destroyed,
}

/// How a version stands, by the server's clock: a version may end by itself
/// (`delete_version_after`).
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) state: State,
    pub(super) version: u64,
    pub(super) created: Timestamp,
    pub(super) deleted: Option<Timestamp>,
    /// Of one that is not live Vault tells no keys: it is taken for a text.
    pub(super) kind: Kind,
    pub(super) custom: Custom,
}

/// All of a secret but its values.
#[derive(Debug, Deserialize)]
pub(super) struct Secret {
    pub(super) current_version: u64,
    #[serde(default)]
    pub(super) versions: BTreeMap<u64, VersionOf>,
    #[serde(default)]
    pub(super) custom_metadata: Option<Custom>,
}

#[derive(Debug, Deserialize)]
pub(super) struct VersionOf {
    #[serde(default)]
    pub(super) destroyed: bool,
}

#[derive(Deserialize)]
struct VersionTold {
    version: u64,
    created_time: String,
    #[serde(default)]
    deletion_time: String,
    #[serde(default)]
    destroyed: bool,
    #[serde(default)]
    custom_metadata: Option<Custom>,
}

impl Calls {
    /// A value, as the answer has it: `read` looks at it there.
    pub(crate) async fn read<T>(
        &self,
        path: &str,
        version: Option<u64>,
        read: impl FnOnce(&Fields<'_>) -> Result<T>,
    ) -> Result<Result<(T, u64, Timestamp), Gone>> {
        #[derive(Deserialize)]
        struct Read<'a> {
            #[serde(borrow)]
            data: Option<Fields<'a>>,
            metadata: VersionTold,
        }
        let answer = self.ask_about(self.at("data", path, version)).await?;
        let Some(found) = self.told::<Read<'_>>(&answer)? else { return Ok(Err(Gone::Absent)) };
        let told = found.metadata;
        if answer.is_missing() {
            return Ok(Err(if told.destroyed { Gone::Destroyed } else { Gone::Deleted }));
        }
        let fields = found.data.ok_or_else(|| nonsense("a version has no data"))?;
        if version.is_some_and(|version| version != told.version) {
            return Err(nonsense("it is about another version"));
        }
        Ok(Ok((read(&fields)?, told.version, timestamp(&told.created_time)?)))
    }

    /// The value under `key`.
    pub(super) async fn value(
        &self,
        path: &str,
        version: Option<u64>,
        key: &str,
    ) -> Result<Result<Found, Gone>> {
        let found = self.read(path, version, |fields| data::value(fields, key)).await?;
        Ok(found.map(|((value, marks), version, created)| {
            let kind = marks.kind();
            Found { value, kind, version, created }
        }))
    }

    /// How the latest version stands, or this one; `None` if there is none.
    pub(super) async fn standing(
        &self,
        path: &str,
        version: Option<u64>,
    ) -> Result<Option<Standing>> {
        #[derive(Deserialize)]
        struct Keys {
            subkeys: Option<BTreeMap<String, Option<serde::de::IgnoredAny>>>,
            metadata: VersionTold,
        }
        let request = self.at("subkeys", path, version);
        let query = match &request.query {
            Some(query) => format!("{query}&depth=1"),
            None => "depth=1".to_owned(),
        };
        let answer = self.ask_about(request.with_query(query)).await?;
        let Some(Keys { subkeys, metadata: told }) = self.told(&answer)? else { return Ok(None) };
        let state = match (answer.is_missing(), told.destroyed) {
            (false, _) => State::Live,
            (true, false) => State::Deleted,
            (true, true) => State::Destroyed,
        };
        let deleted = (state == State::Deleted).then(|| timestamp(&told.deletion_time));
        Ok(Some(Standing {
            state,
            version: told.version,
            created: timestamp(&told.created_time)?,
            deleted: deleted.transpose()?,
            kind: Marks::of(subkeys.unwrap_or_default().keys())?.kind(),
            custom: told.custom_metadata.unwrap_or_default(),
        }))
    }

    /// All of a secret but its values; `None` if there is none.
    pub(super) async fn secret(&self, path: &str) -> Result<Option<Secret>> {
        let answer = self.ask_about(self.at("metadata", path, None)).await?;
        self.told(&answer)
    }

    /// A new version, if `cas` is the latest one still, or 0 and there is none.
    ///
    /// # Errors
    /// `Conflict` if it is not.
    pub(super) async fn write(
        &self,
        path: &str,
        cas: u64,
        is_known: bool,
        data: &Data<'_>,
    ) -> Result<(u64, Timestamp)> {
        #[derive(Serialize)]
        struct Body<'a> {
            options: BTreeMap<&'a str, u64>,
            data: &'a Data<'a>,
        }
        #[derive(Deserialize)]
        struct Written {
            version: u64,
            created_time: String,
        }
        let body = Body { options: BTreeMap::from([("cas", cas)]), data };
        let mut request = Request::post(self.path("data", path), &body)?;
        if !is_known {
            request.capability = "create";
        }
        let answer = self.vault.ask(request).await?;
        if answer.body.is_empty() {
            return Err(Error::configuration(format!(
                "the engine at {} is KV version 1, and not 2 as it was configured: it has kept \
                 something at {} that is none of ours",
                self.mount,
                self.path("data", path)
            )));
        }
        let Written { version, created_time } = answer.data()?;
        Ok((version, timestamp(&created_time)?))
    }

    /// Changes keys of what is told of a secret.
    pub(super) async fn describe(&self, path: &str, change: Change) -> Result<()> {
        let body = BTreeMap::from([("custom_metadata", change)]);
        self.vault.ask(Request::patch(self.path("metadata", path), &body)?).await.map(drop)
    }

    pub(super) async fn delete_latest(&self, path: &str) -> Result<()> {
        self.vault.ask(Request::delete(self.path("data", path))).await.map(drop)
    }

    pub(super) async fn undelete(&self, path: &str, version: u64) -> Result<()> {
        self.for_versions("undelete", path, &[version]).await
    }

    pub(super) async fn destroy(&self, path: &str, versions: &[u64]) -> Result<()> {
        self.for_versions("destroy", path, versions).await
    }

    async fn for_versions(&self, verb: &str, path: &str, versions: &[u64]) -> Result<()> {
        let body = BTreeMap::from([("versions", versions)]);
        let request = Request::post(self.path(verb, path), &body)?.repeatable();
        self.vault.ask(request).await.map(drop)
    }

    pub(super) fn path(&self, verb: &str, path: &str) -> String {
        format!("{}/{verb}/{path}", self.mount)
    }

    fn at(&self, verb: &str, path: &str, version: Option<u64>) -> Request {
        let request = Request::get(self.path(verb, path)).or_missing();
        match version {
            Some(version) => request.with_query(format!("version={version}")),
            None => request,
        }
    }

    async fn ask_about(&self, request: Request) -> Result<Answer> {
        self.vault.ask(request).await
    }

    /// What an answer tells, also one that something is gone; `None` if it tells nothing.
    fn told<'a, T: Deserialize<'a>>(&self, answer: &'a Answer) -> Result<Option<T>> {
        let told = answer.envelope()?.data;
        match told {
            None if answer.is_missing() => check_missing(answer, &self.mount).map(|()| None),
            None => Err(nonsense("there is no data in it")),
            told => Ok(told),
        }
    }
}
