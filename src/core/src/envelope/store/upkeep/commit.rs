//! Committing many changes together, and one by one where somebody else changed
//! one of them meanwhile.

use super::super::EnvelopeStore;
use crate::error::{ErrorKind, Result};
use crate::record::Batch;

/// The most bytes of one commit, if the record store takes that many.
const MAX_COMMIT_BYTES: usize = 4 << 20;

impl EnvelopeStore {
    /// Commits `changes`, each wholly, as many in one commit as the record store
    /// takes. Returns the positions of those that met somebody else's change.
    pub(super) async fn commit_all(&self, changes: &[Batch]) -> Result<Vec<usize>> {
        let most = self.records.max_batch_bytes().min(MAX_COMMIT_BYTES);
        let mut conflicts = Vec::new();
        let mut begin = 0;
        while begin < changes.len() {
            let (mut end, mut batch) = (begin, Batch::new());
            while let Some(change) = changes.get(end)
                && (end == begin || batch.bytes() + change.bytes() <= most)
            {
                batch.preconditions.extend_from_slice(&change.preconditions);
                batch.changes.extend_from_slice(&change.changes);
                end += 1;
            }
            match self.records.commit(batch).await {
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    for (index, change) in changes[begin..end].iter().enumerate() {
                        match self.records.commit(change.clone()).await {
                            Err(error) if error.kind() == ErrorKind::Conflict => {
                                conflicts.push(begin + index);
                            }
                            answer => answer?,
                        }
                    }
                }
                answer => answer?,
            }
            begin = end;
        }
        Ok(conflicts)
    }
}
