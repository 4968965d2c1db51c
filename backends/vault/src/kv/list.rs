//! Lists of secrets and names, by walking folders.

use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde::Deserialize;
use strongroom_core::{Listing, Page, PageRequest, Result, Scope, SecretName};

use super::engine::{Told, check_missing};
use super::{CONCURRENT_READS, VaultKv};
use crate::message::Request;

impl VaultKv {
    /// The page that follows `after`. Vault lists a folder as a whole, and what there is
    /// to tell of a secret is asked for each.
    pub(super) async fn list_scope(
        &self,
        scope: &Scope,
        include_deleted: bool,
        page: &PageRequest,
    ) -> Result<Page<Listing>> {
        let folder = self.names.folder(Some(scope))?;
        let is_after = |id: &str| page.after.as_deref().is_none_or(|after| id > after);
        let entries = self.entries(&folder).await?;
        let ids = entries.iter().filter_map(|entry| entry.strip_prefix('@'));
        let names = ids.filter(|id| is_after(id));
        let names = names.filter_map(|id| SecretName::new(scope.clone(), id).ok());
        let mut names: Vec<_> = names.collect();
        names.sort_by(|a, b| a.id().cmp(b.id()));
        let last = names.last().cloned();
        let limit = page.limit.max(1);
        let told = stream::iter(names).map(|name| self.told(name));
        let mut told = told.buffered(CONCURRENT_READS.min(limit));
        let mut items = Vec::new();
        while items.len() < limit
            && let Some(found) = told.try_next().await?
        {
            let is_shown = |found: &Listing| include_deleted || found.deleted.is_none();
            items.extend(found.filter(is_shown));
        }
        let filled = items.last().filter(|_| items.len() == limit);
        let next = filled.filter(|item| last.is_some_and(|last| last != item.name));
        let next = next.map(|item| item.name.id().to_owned());
        Ok(Page { items, next })
    }

    async fn told(&self, name: SecretName) -> Result<Option<Listing>> {
        let told = self.engine.told(&self.names.to_vault(&name)?).await?;
        Ok(told.map(|Told { latest, kind, updated, metadata, deleted }| Listing {
            name,
            latest,
            kind,
            updated,
            metadata,
            deleted,
        }))
    }

    /// Depth first, in the order of the paths: a page goes on behind the path that ended
    /// the one before.
    pub(super) async fn list_names(
        &self,
        scope: Option<&Scope>,
        page: &PageRequest,
    ) -> Result<Page<SecretName>> {
        let (limit, after) = (page.limit.max(1), page.after.as_deref());
        let mut walk = Walk { after, ahead: vec![format!("{}/", self.names.folder(scope)?)] };
        let mut items = Vec::new();
        let mut last = None;
        while items.len() < limit {
            let mut paths = Vec::new();
            while paths.len() < limit - items.len()
                && let Some(path) = walk.ahead.pop()
            {
                match path.strip_suffix('/') {
                    None => paths.push(path),
                    Some(folder) if self.names.scope_of(folder).is_some() => {
                        walk.enter(folder, self.entries(folder).await?);
                    }
                    Some(_) => {}
                }
            }
            let Some(end) = paths.last() else { break };
            last = Some(end.clone());
            let named =
                paths.into_iter().filter_map(|path| Some((self.names.of_vault(&path)?, path)));
            let there: Vec<_> = named.map(|(name, path)| self.is_there(name, path)).collect();
            let there = stream::iter(there).buffered(CONCURRENT_READS);
            let there: Vec<_> = there.try_collect().await?;
            items.extend(there.into_iter().flatten());
        }
        let next = last.filter(|_| !walk.ahead.is_empty());
        Ok(Page { items, next })
    }

    async fn is_there(&self, name: SecretName, path: String) -> Result<Option<SecretName>> {
        Ok(self.engine.is_there(&path).await?.then_some(name))
    }

    /// What is in a folder, in no order: secrets, and folders with a slash at their end.
    async fn entries(&self, folder: &str) -> Result<Vec<String>> {
        #[derive(Deserialize)]
        struct Keys {
            keys: Vec<String>,
        }
        let answer = self.vault.ask(Request::list(self.engine.listing(folder))).await?;
        if answer.is_missing() {
            return check_missing(&answer, &self.options.mount).map(|()| Vec::new());
        }
        Ok(answer.data::<Keys>()?.keys)
    }
}

/// A walk through folders.
struct Walk<'a> {
    after: Option<&'a str>,
    /// Paths of secrets and folders, the next one last.
    ahead: Vec<String>,
}

impl Walk<'_> {
    /// Goes into a folder, and past what is not behind `after`.
    fn enter(&mut self, folder: &str, entries: Vec<String>) {
        let paths = entries.into_iter().map(|entry| format!("{folder}/{entry}"));
        let is_ahead = |path: &String| {
            self.after.is_none_or(|after| {
                path.as_str() > after || (path.ends_with('/') && after.starts_with(path.as_str()))
            })
        };
        let mut paths: Vec<_> = paths.filter(is_ahead).collect();
        paths.sort_by(|a, b| b.cmp(a));
        self.ahead.append(&mut paths);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The paths of secrets that a walk gives which goes on behind `after`.
    fn walked(after: Option<&str>) -> Vec<String> {
        let all = ["r/@z", "r/a/@x", "r/a/b/@y", "r/a.b/@x", "r/a-b/@x", "r/@a", "r/b/@1"];
        let mut walk = Walk { after, ahead: vec!["r/".to_owned()] };
        let mut found = Vec::new();
        while let Some(path) = walk.ahead.pop() {
            let Some(folder) = path.strip_suffix('/') else {
                found.push(path);
                continue;
            };
            let inside = all.iter().filter_map(|one| one.strip_prefix(&path));
            let entries: std::collections::BTreeSet<_> =
                inside.map(|rest| rest.split_inclusive('/').next().unwrap_or(rest)).collect();
            walk.enter(folder, entries.into_iter().rev().map(str::to_owned).collect());
        }
        found
    }

    #[test]
    fn a_walk_goes_on_behind_every_path() {
        let all = walked(None);
        assert_eq!(all.len(), 7);
        assert!(all.is_sorted(), "{all:?}");
        for (place, path) in all.iter().enumerate() {
            assert_eq!(walked(Some(path)), all[place + 1..], "behind {path}");
        }
    }
}
