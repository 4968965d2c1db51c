//! Lists of secrets, names and versions.

use std::collections::BTreeMap;

use aws_sdk_secretsmanager::types::{SecretListEntry, SecretVersionsListEntry};
use strongroom_core::{
    Error, ErrorKind, Kind, Listing, Page, PageRequest, Result, Scope, SecretName, Timestamp,
    Version, VersionInfo,
};

use super::AwsSecretsManager;
use super::api::{CURRENT, PREVIOUS, at_stage, nonsense, timestamp};
use super::metadata;
use super::read::no_secret;
use super::version::{self, Written};
use super::write::is_private;

impl AwsSecretsManager {
    /// The page that follows `after`: the smallest names behind it of all that AWS
    /// lists, which it does in an order of its own.
    pub(super) async fn list_scope(
        &self,
        scope: &Scope,
        include_deleted: bool,
        page: &PageRequest,
    ) -> Result<Page<Listing>> {
        let prefix = self.names.of_exactly(scope)?;
        let limit = page.limit.max(1);
        let mut found = BTreeMap::<String, Listing>::new();
        let mut is_last = true;
        let mut after = None;
        loop {
            let answer = self.api.list(&prefix, include_deleted, after.clone(), usize::MAX).await?;
            for entry in answer.secret_list.unwrap_or_default() {
                let Some(name) = entry.name().and_then(|name| self.names.of_aws(name)) else {
                    continue;
                };
                let is_before = page.after.as_deref().is_some_and(|after| name.id() <= after);
                if name.scope() != scope || is_before {
                    continue;
                }
                let Some(listing) = listing(name, &entry)? else { continue };
                found.insert(listing.name.id().to_owned(), listing);
                if found.len() > limit {
                    found.pop_last();
                    is_last = false;
                }
            }
            after = following(after.as_ref(), answer.next_token)?;
            if after.is_none() {
                break;
            }
        }
        let next = found.last_key_value().map(|(id, _)| id.clone()).filter(|_| !is_last);
        Ok(Page { items: found.into_values().collect(), next })
    }

    /// A page of AWS's own, in its order.
    pub(super) async fn list_names(
        &self,
        scope: Option<&Scope>,
        page: &PageRequest,
    ) -> Result<Page<SecretName>> {
        let prefix = self.names.below(scope)?;
        let answer = self.api.list(&prefix, true, page.after.clone(), page.limit).await?;
        let next = following(page.after.as_ref(), answer.next_token)?;
        let entries = answer.secret_list.unwrap_or_default();
        let names = entries.iter().filter(|entry| current(entry).is_some());
        let names = names.filter_map(|entry| self.names.of_aws(entry.name()?));
        Ok(Page { items: names.collect(), next })
    }

    /// All versions are read for a page: AWS gives them in no order, and keeps some
    /// hundred of a secret.
    pub(super) async fn list_versions(
        &self,
        name: &SecretName,
        page: &PageRequest,
    ) -> Result<Page<VersionInfo>> {
        let id = self.names.to_aws(name)?;
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let answer = self.api.versions(&id, after.clone()).await;
            let answer = answer.map_err(|error| match error.kind() {
                ErrorKind::NotFound => no_secret().with_source(error),
                _ => error,
            })?;
            let entries = answer.versions.unwrap_or_default().into_iter();
            all.extend(entries.filter(|entry| !was_never_current(entry)));
            after = following(after.as_ref(), answer.next_token)?;
            if after.is_none() {
                break;
            }
        }
        let mut known = all.iter().map(known_version).collect::<Result<Vec<_>>>()?;
        known.sort_by_key(|(id, created)| version::place(*created, id));
        let start = page.after.as_deref().map(cursor).transpose()?;
        let start = start.map(|(created, id)| version::place(created, id));
        let rest = known
            .iter()
            .filter(|(id, created)| start.is_none_or(|start| version::place(*created, id) > start));
        let rest: Vec<_> = rest.collect();
        let shown = &rest[..rest.len().min(page.limit.max(1))];
        let is_last = shown.len() == rest.len();
        let next = shown.last().filter(|_| !is_last);
        let next = next.map(|(id, created)| format!("{}:{id}", created.0));
        let items = shown.iter().map(|(id, created)| info(id, *created));
        Ok(Page { items: items.collect::<Result<_>>()?, next })
    }
}

/// The token that continues a list, if it does.
fn following(before: Option<&String>, next: Option<String>) -> Result<Option<String>> {
    if next.is_some() && next.as_ref() == before {
        return Err(nonsense("a list has no end"));
    }
    Ok(next)
}

fn current(entry: &SecretListEntry) -> Option<&str> {
    at_stage(entry.secret_versions_to_stages(), CURRENT)
}

/// What is told of a secret; `None` of one that never had a value.
fn listing(name: SecretName, entry: &SecretListEntry) -> Result<Option<Listing>> {
    let Some(latest) = current(entry) else { return Ok(None) };
    let changed = entry.last_changed_date().or(entry.created_date()).and_then(timestamp);
    let VersionInfo { version, kind, created, .. } = info(latest, changed.unwrap_or(Timestamp(0)))?;
    Ok(Some(Listing {
        name,
        latest: version,
        kind,
        updated: created,
        metadata: metadata::given(entry.description(), entry.tags.as_deref()),
        deleted: entry.deleted_date().and_then(timestamp),
    }))
}

fn known_version(entry: &SecretVersionsListEntry) -> Result<(&str, Timestamp)> {
    let created = entry.created_date().and_then(timestamp);
    let (Some(id), Some(created)) = (entry.version_id(), created) else {
        return Err(nonsense("a version has no id or no date"));
    };
    Ok((id, created))
}

fn info(id: &str, created: Timestamp) -> Result<VersionInfo> {
    let (kind, created) = match version::read(id)? {
        Written::ByUs(own) => (own.kind, own.created()),
        Written::Elsewhere => (Kind::Text, created),
    };
    Ok(VersionInfo::new(Version::new(id)?, kind, created))
}

/// Whether this is what a swap wrote that is not done, or that lost.
fn was_never_current(entry: &SecretVersionsListEntry) -> bool {
    let has = |stage: &str| entry.version_stages().iter().any(|known| known == stage);
    let is_candidate = entry.version_stages().iter().any(|stage| is_private(stage));
    is_candidate && !has(CURRENT) && !has(PREVIOUS)
}

/// Where a page of versions ended.
fn cursor(text: &str) -> Result<(Timestamp, &str)> {
    let parts = text.split_once(':').and_then(|(time, id)| Some((time.parse().ok()?, id)));
    let (time, id) = parts.ok_or_else(|| Error::invalid_name("this page is of another list"))?;
    Ok((Timestamp(time), id))
}
