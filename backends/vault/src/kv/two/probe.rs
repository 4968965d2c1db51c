//! Which calls of KV 2 are allowed, tried on a secret that is not there.

use std::collections::BTreeMap;

use strongroom_core::{Error, ErrorKind, Kind, Result, SecretBytes};

use super::super::check::demand;
use super::super::data::Data;
use super::Two;

impl Two {
    pub(super) async fn try_calls(&self, nobody: &str, read_only: bool) -> Result<()> {
        let calls = &self.calls;
        let is_there = calls.value(nobody, None, &self.value_key).await?.is_ok()
            || calls.standing(nobody, None).await?.is_some()
            || calls.secret(nobody).await?.is_some();
        if is_there {
            let path = calls.path("data", nobody);
            return Err(Error::configuration(format!("somebody made a secret at {path}")));
        }
        if read_only {
            return Ok(());
        }
        // It has no first version that could be the latest: nothing is written.
        let value = SecretBytes::copy_from(b"x")?;
        let data = Data::new(&self.value_key, Kind::Text, &value, self.max_value_bytes, None)?;
        match calls.write(nobody, 1, false, &data).await {
            Err(error) if error.kind() == ErrorKind::Conflict => {}
            written => {
                written?;
                return Err(Error::internal("Vault does not compare before it swaps"));
            }
        }
        // Of what is there, Vault demands another capability than of what is not.
        demand(&calls.vault, &calls.path("data", nobody), &["update"]).await?;
        calls.delete_latest(nobody).await?;
        calls.undelete(nobody, 1).await?;
        calls.destroy(nobody, &[1]).await?;
        match calls.describe(nobody, BTreeMap::from([("x".to_owned(), None)])).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            described => described,
        }
    }
}
