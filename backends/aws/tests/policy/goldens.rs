//! A document of each purpose, in a file.

use std::path::PathBuf;

use strongroom_aws::policy::{Policy, PolicyFor, PolicyScope};

use super::whole;

/// With `STRONGROOM_WRITE_GOLDENS` set it is written, for a person to read the difference.
fn compare(name: &str, document: &impl serde::Serialize) {
    let file = format!("tests/policy/golden/{name}.json");
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = serde_json::to_string_pretty(document).expect("JSON") + "\n";
    if std::env::var_os("STRONGROOM_WRITE_GOLDENS").is_some() {
        std::fs::write(&path, &text).expect("written");
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, golden, "{}", path.display());
}

#[test]
fn each_purpose_has_its_document() {
    for purpose in PolicyFor::ALL {
        let policy = Policy::allowing(&[purpose], &whole("eu-central-1")).expect("a policy");
        compare(purpose.as_str(), &policy);
    }
}

#[test]
fn reading_only_has_documents_of_its_own() {
    let scope = PolicyScope { read_only: true, ..whole("eu-central-1") };
    for purpose in [PolicyFor::Kms, PolicyFor::SecretsManager] {
        let policy = Policy::allowing(&[purpose], &scope).expect("a policy");
        compare(&format!("{purpose}-read-only"), &policy);
    }
}

#[test]
fn other_partitions_have_arns_and_services_of_their_own() {
    for region in ["us-gov-west-1", "cn-north-1"] {
        let all = Policy::allowing(&PolicyFor::ALL, &whole(region)).expect("a policy");
        compare(&format!("all-{region}"), &all);
    }
}
