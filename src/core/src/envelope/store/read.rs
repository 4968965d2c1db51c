//! Reads of secrets, of their versions and of scopes.

use super::super::entries::{
    context, listing, missing_record, no_such_version, number, version, version_info,
};
use super::super::head::{Head, State};
use super::super::{Header, Record, keys};
use super::files::{StoredSegments, is_file};
use super::{EnvelopeStore, StoredHead};
use crate::error::{Error, ErrorKind, Result};
use crate::file::FileInfo;
use crate::name::{Scope, SecretName};
use crate::record::PageLimit;
use crate::secret::{Listing, Secret, Version, VersionInfo};
use crate::store::{Page, PageRequest, Select};

/// How many bytes of records one page of a list reads, whatever its limit.
const PAGE_BYTES: usize = 4 << 20;

impl EnvelopeStore {
    pub(super) async fn read(&self, name: &SecretName, select: &Select) -> Result<Secret> {
        match self.find(name, select).await? {
            Found::Value(secret) => Ok(secret),
            Found::File(info, segments) => self.whole(info, &segments).await,
        }
    }

    /// A version, opened; of a file, its manifest.
    pub(super) async fn find(&self, name: &SecretName, select: &Select) -> Result<Found> {
        loop {
            let stored = self.existing_head(name).await?;
            if let State::Deleted { .. } = stored.head.state {
                return Err(Error::not_found("the secret is deleted"));
            }
            let number = match select {
                Select::Latest => stored.head.latest,
                Select::Version(version) => number(version)?,
            };
            let found = match self.record(name, number).await? {
                Some(bytes) => self.open_of_secret(name, number, &bytes, &stored).await,
                None if (stored.head.first..=stored.head.latest).contains(&number) => {
                    Err(missing_record())
                }
                None => Err(no_such_version(number)),
            };
            // Head and record are read one after the other: what does not fit
            // together may have been purged or encrypted anew in between.
            match found {
                Err(error) if error.kind() == ErrorKind::Tampered => {
                    if self.existing_head(name).await?.revision == stored.revision {
                        return Err(error);
                    }
                }
                answer => return answer,
            }
        }
    }

    pub(super) async fn list_versions(
        &self,
        name: &SecretName,
        page: &PageRequest,
    ) -> Result<Page<VersionInfo>> {
        self.existing_head(name).await?;
        self.page_of_versions(name, page).await
    }

    /// Those that have a record, whatever the head says.
    pub(super) async fn page_of_versions(
        &self,
        name: &SecretName,
        page: &PageRequest,
    ) -> Result<Page<VersionInfo>> {
        let after = page.after.as_ref().map(|after| Version::new(after.as_str())).transpose()?;
        let after = after.map(|after| number(&after)).transpose()?;
        let after = after.map(|after| keys::version(name, after));
        let prefix = keys::versions(name);
        let limit = PageLimit { entries: page.limit.max(1), bytes: PAGE_BYTES };
        let found = self.records.scan(&prefix, after.as_deref(), limit).await?;
        let items = found.entries.iter();
        let items = items.map(|(key, stored)| version_info(&prefix, key, &stored.value));
        let items = items.collect::<Result<Vec<_>>>()?;
        let next = items.last().filter(|_| found.more).map(|last| last.version.to_string());
        Ok(Page { items, next })
    }

    pub(super) async fn list_scope(
        &self,
        scope: &Scope,
        include_deleted: bool,
        page: &PageRequest,
    ) -> Result<Page<Listing>> {
        self.owns(scope)?;
        let prefix = keys::heads(scope);
        let wanted_items = page.limit.max(1);
        let limit = PageLimit { entries: wanted_items, bytes: PAGE_BYTES };
        let now = self.clock.now();
        let mut after = page.after.as_ref().map(|id| [&prefix[..], id.as_bytes()].concat());
        let mut items = Vec::new();
        loop {
            let found = self.records.scan(&prefix, after.as_deref(), limit).await?;
            for (key, stored) in found.entries {
                let listing = listing(scope, &prefix, &key, &stored.value)?;
                let wanted = |(listing, head): &(Listing, Head)| {
                    head.exists()
                        && !head.is_expired(now)
                        && (include_deleted || listing.deleted.is_none())
                };
                items.extend(listing.filter(wanted).map(|(listing, _)| listing));
                after = Some(key);
                if items.len() == wanted_items {
                    let next = items.last().map(|last: &Listing| last.name.id().to_owned());
                    return Ok(Page { items, next });
                }
            }
            if !found.more {
                return Ok(Page { items, next: None });
            }
        }
    }

    /// Heads in the order of their keys: by depth, then by scope and name. A page
    /// ends with a name in full, `scope:name`.
    pub(super) async fn list_names(
        &self,
        scope: Option<&Scope>,
        page: &PageRequest,
    ) -> Result<Page<SecretName>> {
        if let Some(scope) = scope {
            self.owns(scope)?;
        }
        let (now, limit) = (self.clock.now(), PageLimit::entries(page.limit.max(1)));
        let mut after = page.after.as_deref().map(keys::head_of_full).transpose()?;
        let mut items: Vec<SecretName> = Vec::new();
        for prefix in keys::heads_within(scope) {
            // Past this range already.
            if after.as_ref().is_some_and(|after| !after.starts_with(&prefix) && *after > prefix) {
                continue;
            }
            loop {
                let found = self.records.scan(&prefix, after.as_deref(), limit).await?;
                for (key, stored) in found.entries {
                    let name = keys::parse_head(&key)?;
                    let head = Head::parse(&stored.value).map_err(|error| error.about(&name))?;
                    after = Some(key);
                    let is_kept = head.exists() || matches!(head.state, State::Moved { .. });
                    if !is_kept || head.is_expired(now) {
                        continue;
                    }
                    items.push(name);
                    if items.len() == limit.entries {
                        let last = items.last();
                        let next = last.map(|name| format!("{}:{}", name.scope(), name.id()));
                        return Ok(Page { items, next });
                    }
                }
                if !found.more {
                    break;
                }
            }
        }
        Ok(Page { items, next: None })
    }

    /// Opens one version of a secret that its head says is there: an older one only
    /// if the latest authenticates that head.
    async fn open_of_secret(
        &self,
        name: &SecretName,
        number: u64,
        bytes: &[u8],
        stored: &StoredHead,
    ) -> Result<Found> {
        if number != stored.head.latest {
            self.head_key(name, stored).await?;
        }
        self.open_version(name, number, bytes, Some(stored)).await
    }

    /// Opens one version; the latest also authenticates the head that named it.
    pub(super) async fn open_version(
        &self,
        name: &SecretName,
        number: u64,
        bytes: &[u8],
        stored: Option<&StoredHead>,
    ) -> Result<Found> {
        let record = Record::parse(bytes)?;
        let Header { kind, created, .. } = *record.header();
        let context = context(name, number, kind)?;
        let dek = record.unwrap(&*self.wrapper, &context).await?;
        if let Some(stored) = stored.filter(|stored| stored.head.latest == number) {
            Head::authenticate(&stored.bytes, &dek, &context)?;
        }
        if is_file(&record) {
            let (info, segments) = self.segments_of(name, number, &record, &dek)?;
            return Ok(Found::File(info, segments));
        }
        let value = record.open_with(&dek, &context)?;
        Ok(Found::Value(Secret::fresh(value, kind, version(number)?, created)))
    }
}

/// What a version is.
pub(super) enum Found {
    Value(Secret),
    File(FileInfo, StoredSegments),
}
