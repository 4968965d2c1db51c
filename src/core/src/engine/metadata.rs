//! Descriptions and tags, and what is stored of a reference.

use super::{Engine, Named};
use crate::error::Result;
use crate::metadata::{Metadata, MetadataChange};
use crate::secret::Secret;
use crate::store::Select;

impl Engine {
    /// Changes a secret's description and tags, in one step, and returns what they
    /// are now.
    pub async fn describe(&self, name: impl Named, change: &MetadataChange) -> Result<Metadata> {
        let operation = "describe";
        let name = self.resolved(operation, &name)?;
        self.intend(operation, &name).await?;
        let result = self.store.change_metadata(&name, change).await;
        self.record(operation, &name, result, |_| None).await
    }

    /// Reads what is stored of a secret itself: of a reference, the reference and
    /// not what it leads to. It is recorded as a read.
    pub async fn get_stored(&self, name: impl Named, select: &Select) -> Result<Secret> {
        let name = self.resolved("get", &name)?;
        let result = self.store.get_stored(&name, select).await;
        self.record("get", &name, result, |secret| Some(&secret.version)).await
    }
}
