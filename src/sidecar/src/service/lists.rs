//! `List` and `Versions`.

use strongroom::config::Verb;
use strongroom::{PageRequest, Result};
use strongroom_rpc::{kind_to_wire, metadata_to_wire, timestamp, v1};

use super::Service;

/// The most items of a page, and how many there are where nobody says.
const MAX_PAGE: usize = 1_000;

impl Service {
    pub(super) async fn list_scope(&self, request: v1::ListRequest) -> Result<v1::ListResponse> {
        let session = self.session();
        let operation = Verb::List.as_str();
        let engine = session.engine_at(&request.scope).map_err(|e| e.during(operation))?;
        let scope = engine.scope().clone();
        if !session.reaches(Verb::List, &scope) {
            return Err(engine.refuse_within(operation, &scope).await);
        }
        let page = page(request.page_size, request.page_token);
        let page = engine.list(&scope, request.include_deleted, &page).await?;
        // A caller does not learn of names that no rule gives him.
        let visible = page.items.into_iter().filter(|item| session.allows(Verb::List, &item.name));
        let secrets = visible.map(|item| v1::Listing {
            name: item.name.to_string(),
            version: item.latest.to_string(),
            kind: kind_to_wire(item.kind),
            updated: Some(timestamp(item.updated)),
            deleted: item.deleted.map(timestamp),
            metadata: (!item.metadata.is_empty()).then(|| metadata_to_wire(&item.metadata)),
        });
        Ok(v1::ListResponse {
            secrets: secrets.collect(),
            next_page_token: page.next.unwrap_or_default(),
        })
    }

    pub(super) async fn list_versions(
        &self,
        request: v1::VersionsRequest,
    ) -> Result<v1::VersionsResponse> {
        let session = self.session();
        let (engine, name) =
            Self::admit(&session, Verb::Versions, &request.scope, &request.name).await?;
        let page = engine.versions(&name, &page(request.page_size, request.page_token)).await?;
        let versions = page.items.into_iter().map(|info| v1::VersionInfo {
            version: info.version.to_string(),
            kind: kind_to_wire(info.kind),
            created: Some(timestamp(info.created)),
        });
        Ok(v1::VersionsResponse {
            versions: versions.collect(),
            next_page_token: page.next.unwrap_or_default(),
        })
    }
}

fn page(size: i32, token: String) -> PageRequest {
    let size = usize::try_from(size).unwrap_or(0);
    let limit = if size == 0 { MAX_PAGE } else { size.min(MAX_PAGE) };
    PageRequest { after: (!token.is_empty()).then_some(token), limit }
}
