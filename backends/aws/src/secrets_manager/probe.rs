//! Which calls of AWS Secrets Manager are allowed, tried on a secret that cannot be:
//! whoever may make one is told that there is no such secret.

use strongroom_core::{ErrorKind, Result};

use super::api::{CURRENT, Which};
use super::metadata::Difference;
use super::names::NO_SECRET;
use super::value::Sent;
use super::{AwsExternalSecrets, AwsSecretsManager};
use crate::check::Probe;

/// A version of no secret.
const VERSION: &str = "00000000-0000-4000-8000-000000000000";

impl AwsSecretsManager {
    /// Makes the calls that reading needs, and unless `read_only` those of writing, and
    /// says what becomes of each. No secret is touched, and whether one may be created
    /// is not tried: it would be there then.
    pub async fn probes(&self, read_only: bool) -> Vec<Probe> {
        let (nobody, below) = match (self.names.of_no_secret(), self.names.below(None)) {
            (Ok(nobody), Ok(below)) => (nobody, below),
            (Err(error), _) | (_, Err(error)) => {
                return vec![Probe::new("connect", self.api.region(), "*", Err(error))];
            }
        };
        let mut probes = Vec::new();
        let mut note = |action, outcome: Result<()>| {
            probes.push(Probe::new(action, self.api.region(), &below, verdict(outcome)));
        };
        let (api, nobody) = (&self.api, nobody.as_str());
        let current = Which::Stage(CURRENT.to_owned());
        note("secretsmanager:GetSecretValue", api.value(nobody, &current).await.map(drop));
        note("secretsmanager:DescribeSecret", api.describe(nobody).await.map(drop));
        note("secretsmanager:ListSecrets", api.list(&below, true, None, 1).await.map(drop));
        let versions = api.versions(nobody, None).await.map(drop);
        note("secretsmanager:ListSecretVersionIds", versions);
        if read_only {
            return probes;
        }
        let text = || Sent::Text("x".to_owned());
        let put = api.put(nobody, VERSION, text(), CURRENT).await;
        note("secretsmanager:PutSecretValue", put);
        note("secretsmanager:UpdateSecret", api.update(nobody, VERSION, text()).await);
        let moved = api.move_stage(nobody, CURRENT, None, Some(VERSION)).await;
        note("secretsmanager:UpdateSecretVersionStage", moved);
        let tag = aws_sdk_secretsmanager::types::Tag::builder().key("x").value("x").build();
        let set = Difference { set: vec![tag], ..Difference::default() };
        note("secretsmanager:TagResource", api.change_metadata(nobody, set).await);
        let remove = Difference { remove: vec!["x".to_owned()], ..Difference::default() };
        note("secretsmanager:UntagResource", api.change_metadata(nobody, remove).await);
        note("secretsmanager:RestoreSecret", api.restore(nobody).await);
        // Without a window AWS says nothing of a secret that is not there.
        note("secretsmanager:DeleteSecret", api.delete(nobody, Some(7)).await);
        probes
    }
}

impl AwsExternalSecrets {
    /// Makes the one call that references need, for a name that no secret has, and says
    /// what becomes of it. Where only names that begin with something may be read, it
    /// begins so too; else this is about every secret. Whether the KMS key of a secret may
    /// be used is only seen by reading it.
    pub async fn probes(&self) -> Vec<Probe> {
        let below = self.only_below.as_deref();
        let nobody = format!("{}{NO_SECRET}", below.unwrap_or_default());
        let read = self.api.value(&nobody, &Which::Stage(CURRENT.to_owned())).await.map(drop);
        let (action, about) = ("secretsmanager:GetSecretValue", below.unwrap_or("*"));
        vec![Probe::new(action, self.api.region(), about, verdict(read))]
    }
}

/// Whoever is told that there is no such secret may ask for one.
fn verdict(outcome: Result<()>) -> Result<String> {
    match outcome {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok("allowed".to_owned()),
    }
}
