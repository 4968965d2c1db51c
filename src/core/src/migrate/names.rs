//! The names that a migration is about, page by page.

use super::Migrating;
use crate::error::{Error, Result};
use crate::name::{Scope, SecretName};
use crate::store::PageRequest;
use crate::upkeep::Selection;

const PAGE: usize = 1000;

/// The selected names, page by page.
pub(super) struct Names<'a> {
    migrating: &'a Migrating,
    selection: &'a Selection,
    scope: Option<Scope>,
    page: Option<PageRequest>,
}

impl<'a> Names<'a> {
    pub(super) fn new(migrating: &'a Migrating, selection: &'a Selection) -> Result<Self> {
        let scope = match selection {
            Selection::Within(scope) => Some(scope.parse()?),
            _ => None,
        };
        Ok(Self { migrating, selection, scope, page: Some(PageRequest::first(PAGE)) })
    }

    pub(super) async fn next(&mut self) -> Result<Option<Vec<SecretName>>> {
        let Some(page) = self.page.take() else { return Ok(None) };
        if let Selection::Names(names) = self.selection {
            let parse = |full: &String| {
                let (scope, id) = full
                    .split_once(':')
                    .ok_or_else(|| Error::invalid_name("a name in full is `scope:name`"))?;
                SecretName::new(scope.parse()?, id)
            };
            return names.iter().map(parse).collect::<Result<_>>().map(Some);
        }
        let found = self.migrating.source.names(self.scope.as_ref(), &page).await?;
        self.page = found.next.map(|next| PageRequest { after: Some(next), ..page });
        Ok(Some(found.items))
    }
}
