//! How secrets are kept in AWS Secrets Manager.

use strongroom_core::{Error, Result, Scope};

use super::names::Names;

/// With which call a new version becomes the current one. The calls are different
/// permissions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpdateBy {
    /// `secretsmanager:PutSecretValue`.
    #[default]
    PutSecretValue,
    /// `secretsmanager:UpdateSecret`. Compare-and-swap still needs the other one.
    UpdateSecret,
}

/// How an [`AwsSecretsManager`](super::AwsSecretsManager) behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SecretsManagerOptions {
    /// The account whose secrets these are.
    pub account: String,
    /// What AWS's names begin with, without a slash at its end; empty for nothing.
    pub prefix: String,
    /// The KMS key of new secrets; without one, AWS's own of the account.
    pub kms_key_id: Option<String>,
    /// How many days a deleted secret can be restored, 7 to 30; 30 without a word.
    pub recovery_window_days: Option<u8>,
    /// Whether a deleted secret is gone at once.
    pub force_delete_without_recovery: bool,
    /// How a new version becomes the current one.
    pub update_by: UpdateBy,
}

impl SecretsManagerOptions {
    /// Days that AWS takes as a recovery window (API reference, `DeleteSecret`).
    const WINDOW_DAYS: std::ops::RangeInclusive<u8> = 7..=30;

    /// The secrets of `account`, named `strongroom/…`, kept for 30 days when they are
    /// deleted.
    #[must_use]
    pub fn new(account: &str) -> Self {
        Self {
            account: account.to_owned(),
            prefix: "strongroom".to_owned(),
            kms_key_id: None,
            recovery_window_days: None,
            force_delete_without_recovery: false,
            update_by: UpdateBy::default(),
        }
    }

    /// The mapping of names, if everything is right.
    pub(super) fn names(&self) -> Result<Names> {
        let account = Scope::account(&self.account)?;
        if self.force_delete_without_recovery && self.recovery_window_days.is_some() {
            return Err(Error::configuration(
                "a secret that is deleted without recovery has no recovery window: set \
                 recoveryWindowInDays or forceDeleteWithoutRecovery, not both",
            ));
        }
        if self.recovery_window_days.is_some_and(|days| !Self::WINDOW_DAYS.contains(&days)) {
            return Err(Error::configuration(
                "the recovery window of AWS Secrets Manager is 7 to 30 days",
            ));
        }
        Names::new(&self.prefix, account.account_id())
    }

    /// The recovery window; `None` if there is none.
    pub(super) fn window_days(&self) -> Option<u8> {
        let window = self.recovery_window_days.unwrap_or(*Self::WINDOW_DAYS.end());
        (!self.force_delete_without_recovery).then_some(window)
    }
}

#[cfg(test)]
mod tests {
    use strongroom_core::ErrorKind;

    use super::*;

    #[test]
    fn a_window_and_none_exclude_each_other() {
        let mut options = SecretsManagerOptions::new("acme");
        assert_eq!(options.window_days(), Some(30));
        for (days, force, good) in [
            (None, false, true),
            (None, true, true),
            (Some(7), false, true),
            (Some(30), false, true),
            (Some(6), false, false),
            (Some(31), false, false),
            (Some(7), true, false),
        ] {
            (options.recovery_window_days, options.force_delete_without_recovery) = (days, force);
            match options.names() {
                Ok(_) => assert!(good, "{days:?} {force}"),
                Err(error) => {
                    assert!(!good, "{error}");
                    assert_eq!(error.kind(), ErrorKind::Configuration);
                }
            }
        }
        options.recovery_window_days = None;
        assert_eq!(options.window_days(), None);
    }
}
