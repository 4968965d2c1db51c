//! The documents for IAM and Kubernetes.

mod goldens;
mod hostile;
mod kubeconfig;
mod purposes;
mod trust;

use serde_json::Value;
use strongroom_aws::policy::{Partition, Policy, PolicyFor, PolicyScope};

const ACCOUNT: &str = "111122223333";
const KEY_ID: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";

fn texts<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).to_vec()
}

/// A scope that every purpose can do with.
fn whole(region: &str) -> PolicyScope {
    let partition = Partition::of_region(region).expect("a region").as_str();
    PolicyScope {
        regions: texts([region]),
        aws_account: Some(ACCOUNT.to_owned()),
        kms_keys: vec![format!("arn:{partition}:kms:{region}:{ACCOUNT}:key/{KEY_ID}")],
        accounts: texts(["acme"]),
        secret_prefixes: texts(["strongroom/"]),
        secret_keys: texts([KEY_ID]),
        buckets: texts(["artifacts"]),
        repositories: texts(["team/web"]),
        clusters: texts(["prod"]),
        name_prefixes: texts(["web-"]),
        pass_roles: vec![format!("arn:{partition}:iam::{ACCOUNT}:role/deployed")],
        assume_roles: vec![format!("arn:{partition}:iam::444455556666:role/target")],
        session_tags: true,
        ..PolicyScope::default()
    }
}

fn json(purposes: &[PolicyFor], scope: &PolicyScope) -> Value {
    serde_json::to_value(Policy::allowing(purposes, scope).expect("a policy")).expect("JSON")
}

/// The strings of a member, which is one or a list.
fn strings(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    }
}
