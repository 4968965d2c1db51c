//! Committing many changes together, and one by one where somebody else changed
//! one of them meanwhile.

use super::super::EnvelopeStore;
use crate::error::{ErrorKind, Result};
use crate::record::{Batch, Precondition, Revision};

/// The most bytes of one commit, if the record store takes that many.
const MAX_COMMIT_BYTES: usize = 4 << 20;

/// Writes that happen together: each of a key that still has this revision.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) writes: Vec<(Vec<u8>, Revision, Vec<u8>)>,
}

impl Change {
    fn add_to(&self, mut batch: Batch) -> Batch {
        for (key, revision, value) in &self.writes {
            batch = batch
                .require(key.clone(), Precondition::At(*revision))
                .write(key.clone(), value.clone());
        }
        batch
    }

    fn bytes(&self) -> usize {
        self.writes.iter().map(|(key, _, value)| key.len() + value.len() + 32).sum()
    }
}

impl EnvelopeStore {
    /// Commits `changes`, each wholly, as many in one commit as the record store
    /// takes. Returns the positions of those that met somebody else's change.
    pub(super) async fn commit_all(&self, changes: &[Change]) -> Result<Vec<usize>> {
        let most = self.records.max_batch_bytes().min(MAX_COMMIT_BYTES);
        let mut conflicts = Vec::new();
        let mut begin = 0;
        while begin < changes.len() {
            let (mut end, mut bytes, mut batch) = (begin, 0, Batch::new());
            while let Some(change) = changes.get(end)
                && (end == begin || bytes + change.bytes() <= most)
            {
                bytes += change.bytes();
                batch = change.add_to(batch);
                end += 1;
            }
            match self.records.commit(batch).await {
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    for (index, change) in changes[begin..end].iter().enumerate() {
                        match self.records.commit(change.add_to(Batch::new())).await {
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
