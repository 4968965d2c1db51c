//! Which line of a policy is missing.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use strongroom_core::Result;

use crate::connection::Vault;
use crate::message::Request;
use crate::policy::{Capability, Policy, Rule};

/// What a token is allowed at a path, beside what it has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Allowed {
    /// What it has to be allowed, and where.
    pub needed: Rule,
    /// What it is allowed, as Vault says: also `root`, `deny`, `sudo` and others.
    pub has: Vec<String>,
    /// What is missing.
    pub missing: BTreeSet<Capability>,
}

impl Vault {
    /// Asks Vault what this connection is allowed of `policy`, path by path. Nothing is
    /// tried. What is missing as HCL is `policy.only(...)` of those that are not
    /// [allowed](Allowed::is_enough).
    ///
    /// # Errors
    /// `AccessDenied` if no policy allows to ask; `Unauthenticated` if Vault does not
    /// accept the login; `Unavailable` or `Throttled` if it does not answer.
    pub async fn allowed(&self, policy: &Policy) -> Result<Vec<Allowed>> {
        #[derive(Serialize)]
        struct Body<'a> {
            paths: Vec<&'a str>,
        }
        let paths: Vec<_> = policy.rules().iter().map(|rule| &*rule.path).collect();
        if paths.is_empty() {
            return Ok(Vec::new());
        }
        let request = Request::post("sys/capabilities-self", &Body { paths })?.repeatable();
        let answer = self.ask(request).await?;
        let mut granted: BTreeMap<String, Vec<String>> = answer.data()?;
        let of_rule = |needed: &Rule| {
            let has = granted.remove(&needed.path).unwrap_or_default();
            Allowed::of(needed.clone(), has)
        };
        Ok(policy.rules().iter().map(of_rule).collect())
    }
}

impl Allowed {
    fn of(needed: Rule, has: Vec<String>) -> Self {
        let is_granted =
            |one: &Capability| has.iter().any(|has| has == "root" || has == one.as_str());
        let missing = needed.capabilities.iter().copied().filter(|one| !is_granted(one)).collect();
        Self { needed, has, missing }
    }

    /// Whether nothing is missing.
    #[must_use]
    pub fn is_enough(&self) -> bool {
        self.missing.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_granted_is_missing() {
        let rule = Policy::session().rules()[0].clone();
        let allowed = |has: &[&str]| {
            Allowed::of(rule.clone(), has.iter().map(|&has| has.to_owned()).collect())
        };
        assert!(allowed(&["root"]).is_enough());
        assert!(allowed(&["list", "read"]).is_enough());
        for has in [&[][..], &["deny"], &["list", "update"]] {
            let allowed = allowed(has);
            assert_eq!(allowed.missing, BTreeSet::from([Capability::Read]), "{has:?}");
        }
    }
}
