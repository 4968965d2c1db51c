//! What a configuration needs a policy for.

use strongroom_aws::policy::PolicyScope;

use super::AwsConnector;
use crate::config::{Config, StoreType};

impl Config {
    /// The resources that this configuration uses by way of `connector`: keys with their
    /// replicas, what names in Secrets Manager begin with, and the role to assume.
    #[must_use]
    pub fn policy_scope(&self, connector: &AwsConnector) -> PolicyScope {
        let mut scope = PolicyScope { regions: vec![connector.region.clone()], ..<_>::default() };
        let keks = if self.store.kind.is_embedded() { self.keks() } else { Vec::new() };
        for kek in keks.iter().filter(|kek| self.uses(kek, connector)) {
            for key in kek.key.into_iter().chain(kek.former_keys.iter().map(String::as_str)) {
                scope.kms_keys.push(key.to_owned());
                scope.kms_keys.extend(kek.replicas.iter().filter_map(|at| in_region(key, at)));
            }
            scope.accounts = vec![self.scope.account.clone()];
        }
        let of_store = self.aws.connector(self.store.connector.as_deref());
        if self.store.kind == StoreType::AwsSecretsManager
            && of_store.is_ok_and(|of| of.name == connector.name)
        {
            scope.secret_prefixes = vec![self.secret_prefix()];
            scope.secret_keys.extend(self.store.kms_key.clone());
        }
        scope.assume_roles.extend(connector.assume_role_arn.clone());
        scope.session_tags = !connector.session_tags.is_empty();
        // The account of what is worked on is that of the last role.
        let role = connector.assume_role_arn.as_ref().or(connector.role_arn.as_ref());
        let mut arns = scope.kms_keys.iter().chain(role);
        scope.aws_account = arns.find_map(|arn| part(arn, 4)).map(str::to_owned);
        scope
    }

    /// What the names of this configuration's secrets begin with in a store of a cloud.
    fn secret_prefix(&self) -> String {
        match &*self.store.prefix {
            "" => format!("{}/", self.scope.account),
            prefix => format!("{prefix}/{}/", self.scope.account),
        }
    }
}

/// The replica of a multi-Region key, if it is named by its ARN.
fn in_region(key: &str, region: &str) -> Option<String> {
    let own = part(key, 3)?;
    key.contains(":key/mrk-").then(|| key.replacen(own, region, 1))
}

/// A part of an ARN: the region is the third, the account the fourth.
fn part(arn: &str, index: usize) -> Option<&str> {
    arn.starts_with("arn:").then(|| arn.split(':').nth(index)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONNECTOR: &str = "[[aws.connectors]]\nname = \"a\"\nregion = \"eu-central-1\"\n";

    fn scope(text: &str) -> PolicyScope {
        let config = Config::parse(&format!("{text}\n{CONNECTOR}")).expect("valid");
        config.policy_scope(&config.aws.connectors[0])
    }

    #[test]
    fn keys_stand_with_their_replicas_and_former_ones() {
        let scope = scope(
            "[scope]\naccount = \"acme\"\n[kek]\ntype = \"aws-kms\"\n\
             key = \"arn:aws:kms:eu-central-1:111122223333:key/mrk-1\"\nreplicas = [\"eu-west-1\"]\n\
             former_keys = [\"arn:aws:kms:eu-central-1:111122223333:key/2\"]\n",
        );
        let arns = [
            "eu-central-1:111122223333:key/mrk-1",
            "eu-west-1:111122223333:key/mrk-1",
            "eu-central-1:111122223333:key/2",
        ];
        assert_eq!(scope.kms_keys, arns.map(|arn| format!("arn:aws:kms:{arn}")));
        assert_eq!(scope.aws_account.as_deref(), Some("111122223333"));
        assert_eq!((scope.accounts, scope.secret_prefixes), (vec!["acme".to_owned()], vec![]));
    }

    #[test]
    fn a_store_stands_with_its_prefix() {
        let scope = scope(
            "[scope]\naccount = \"acme\"\n[store]\ntype = \"aws-secrets-manager\"\n\
             kms_key = \"alias/secrets\"\n",
        );
        assert_eq!(scope.secret_prefixes, ["strongroom/acme/"]);
        assert_eq!(scope.secret_keys, ["alias/secrets"]);
        assert!(scope.kms_keys.is_empty() && scope.accounts.is_empty());
    }
}
