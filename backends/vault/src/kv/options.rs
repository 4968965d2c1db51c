//! How secrets are kept in a KV engine.

use strongroom_core::{Error, Result, Scope};

use super::data::RESERVED;
use super::names::{Names, is_path};

/// Which of the two KV engines a mount is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvVersion {
    /// One value for each secret, and nothing beside it.
    One,
    /// Versions, soft deletion, metadata.
    Two,
}

/// How a [`VaultKv`](super::VaultKv) behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KvOptions {
    /// The account whose secrets these are.
    pub account: String,
    /// Where the engine is mounted, without slashes around it.
    pub mount: String,
    /// What the paths in it begin with, without slashes around it; empty for nothing.
    pub base: String,
    /// Which engine it is; without it, Vault is asked when the store is opened.
    pub version: Option<KvVersion>,
    /// The key that has the value, beside which others may have keys of their own.
    pub value_key: String,
    /// The longest value, in bytes. What Vault stores of one is up to 4/3 of that, and
    /// at most 1 MiB (512 KiB on Consul) unless the server's `max_entry_size` says more.
    pub max_value_bytes: usize,
    /// Whether nothing is ever written.
    pub read_only: bool,
}

impl KvOptions {
    /// Four thirds of it are below Vault's longest request (`max_request_size`, 32 MiB).
    const MAX_VALUE_BYTES: usize = 16 << 20;

    /// The secrets of `account`, at `secret/strongroom/…`, with the value under `value`,
    /// at most 256 KiB long.
    #[must_use]
    pub fn new(account: &str) -> Self {
        Self {
            account: account.to_owned(),
            mount: "secret".to_owned(),
            base: "strongroom".to_owned(),
            version: None,
            value_key: "value".to_owned(),
            max_value_bytes: 256 << 10,
            read_only: false,
        }
    }

    /// The mapping of names, if everything is right.
    pub(super) fn names(&self) -> Result<Names> {
        let account = Scope::account(&self.account)?;
        if !is_path(&self.mount) {
            return Err(Error::configuration(format!(
                "{:?} is no mount of Vault: write its path without slashes around it",
                self.mount
            )));
        }
        check_value_key(&self.value_key)?;
        if !(1..=Self::MAX_VALUE_BYTES).contains(&self.max_value_bytes) {
            return Err(Error::configuration(format!(
                "a value in Vault has at most 1 to {} bytes, not {}",
                Self::MAX_VALUE_BYTES,
                self.max_value_bytes
            )));
        }
        Names::new(&self.base, account.account_id())
    }
}

/// # Errors
/// `Configuration` if values cannot be kept under this key.
pub(super) fn check_value_key(key: &str) -> Result<()> {
    if key.is_empty() || key.starts_with(RESERVED) || key.chars().any(char::is_control) {
        return Err(Error::configuration(format!(
            "{key:?} cannot be the key of values: it is not empty, and does not begin with \
             {RESERVED}"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use strongroom_core::ErrorKind;

    use super::*;

    #[test]
    fn what_cannot_be_true_is_told() {
        KvOptions::new("acme").names().expect("good");
        let wrong: [fn(&mut KvOptions); 6] = [
            |options| options.mount = String::new(),
            |options| options.mount = "secret/".to_owned(),
            |options| options.base = "/a".to_owned(),
            |options| options.value_key = String::new(),
            |options| options.value_key = "strongroom-kind:text".to_owned(),
            |options| options.max_value_bytes = 0,
        ];
        for wrong in wrong {
            let mut options = KvOptions::new("acme");
            wrong(&mut options);
            let error = options.names().expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::Configuration, "{options:?}");
        }
        let error = KvOptions::new("a b").names().expect_err("no account");
        assert_eq!(error.kind(), ErrorKind::InvalidName);
    }
}
