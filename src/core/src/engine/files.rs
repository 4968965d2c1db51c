//! Files: recorded as values are, before the first byte leaves.

use super::{Engine, Named};
use crate::error::Result;
use crate::file::{FileReader, FileSource};
use crate::secret::VersionInfo;
use crate::store::{PutOptions, Select};

impl Engine {
    /// Writes a new version of a secret from `source`, of which only a part is in
    /// memory at any time, if the store can do that.
    pub async fn put_file(
        &self,
        name: impl Named,
        source: &mut dyn FileSource,
        options: &PutOptions,
    ) -> Result<VersionInfo> {
        let name = self.resolved("put", &name)?;
        self.intend("put", &name).await?;
        let result = self.store.put_file(&name, source, options).await;
        self.record("put", &name, result, |info| Some(&info.version)).await
    }

    /// A version of a secret, to be read in segments. What is recorded is that
    /// it may be read, before any of it is.
    pub async fn get_file(&self, name: impl Named, select: &Select) -> Result<FileReader> {
        let name = self.resolved("get", &name)?;
        let result = self.store.get_file(&name, select).await;
        self.record("get", &name, result, |file| Some(&file.info().version)).await
    }
}
