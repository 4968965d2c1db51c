//! Walking every version's record, page by page, in flat memory.

use std::sync::Arc;

use super::super::super::keys;
use crate::error::Result;
use crate::name::SecretName;
use crate::record::{PageLimit, RecordStore, Stored};

/// Pages are short enough for a small footprint, and long enough that a commit
/// of one is worth its sync.
/// Tests walk several.
const PAGE: PageLimit = PageLimit { entries: if cfg!(test) { 64 } else { 8192 }, bytes: 4 << 20 };

/// Where a walk through the records is.
pub(super) struct Walk {
    records: Arc<dyn RecordStore>,
    after: Option<Vec<u8>>,
    more: bool,
}

/// One version's record.
pub(super) struct Found {
    pub(super) key: Vec<u8>,
    pub(super) name: SecretName,
    pub(super) number: u64,
    pub(super) stored: Stored,
}

impl Walk {
    /// Begins after this key, or with the first.
    pub(super) fn new(records: &Arc<dyn RecordStore>, after: Option<Vec<u8>>) -> Self {
        Self { records: Arc::clone(records), after, more: true }
    }

    /// The next page; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Found>>> {
        if !self.more {
            return Ok(None);
        }
        let page = self.records.scan(keys::ALL_VERSIONS, self.after.as_deref(), PAGE).await?;
        self.more = page.more;
        if let Some((last, _)) = page.entries.last() {
            self.after = Some(last.clone());
        }
        let found = page.entries.into_iter().map(|(key, stored)| {
            let (name, number) = keys::parse_version(&key)?;
            Ok(Found { key, name, number, stored })
        });
        found.collect::<Result<_>>().map(Some)
    }
}
