//! Names that somebody chose to widen a pattern or to break out of a document.

use proptest::prelude::*;
use strongroom_aws::EksCluster;
use strongroom_aws::policy::{CrossAccountTrust, OidcTrust, Policy, PolicyFor, PolicyScope};

use super::{kubeconfig, whole};

/// Valid beginnings with something in them that is not.
fn hostile() -> impl Strategy<Value = String> {
    let bad = prop::sample::select(vec![
        "*",
        "?",
        "${aws:username}",
        "\"",
        "\n",
        "\\",
        " ",
        "\u{7f}",
        "\u{2028}",
        "ä",
        "'",
        "{",
    ]);
    ("[a-z0-9]{0,12}", bad, "[a-z0-9]{0,12}").prop_map(|(one, bad, other)| one + bad + &other)
}

/// One field after the other of a scope, as all of what it takes.
fn scopes(text: &str) -> Vec<PolicyScope> {
    let base = whole("eu-central-1");
    let list = || vec![text.to_owned()];
    let role = || vec![format!("arn:aws:iam::111122223333:role/{text}")];
    let key = || vec![format!("arn:aws:kms:eu-central-1:111122223333:key/{text}")];
    vec![
        PolicyScope { regions: list(), ..base.clone() },
        PolicyScope { aws_account: Some(text.to_owned()), ..base.clone() },
        PolicyScope { kms_keys: list(), ..base.clone() },
        PolicyScope { kms_keys: key(), ..base.clone() },
        PolicyScope { kms_keys: vec![format!("alias/{text}")], ..base.clone() },
        PolicyScope { accounts: list(), ..base.clone() },
        PolicyScope { secret_prefixes: list(), ..base.clone() },
        PolicyScope { secret_keys: key(), ..base.clone() },
        PolicyScope { buckets: list(), ..base.clone() },
        PolicyScope { repositories: list(), ..base.clone() },
        PolicyScope { clusters: list(), ..base.clone() },
        PolicyScope { name_prefixes: list(), ..base.clone() },
        PolicyScope { pass_roles: role(), ..base.clone() },
        PolicyScope { assume_roles: role(), ..base },
    ]
}

proptest! {
    #[test]
    fn no_field_of_a_scope_takes_it(text in hostile()) {
        for scope in scopes(&text) {
            prop_assert!(Policy::allowing(&[PolicyFor::Kms], &scope).is_err(), "{scope:?}");
        }
    }

    /// Whatever is taken stands in the document as it was given.
    #[test]
    fn what_a_scope_takes_it_does_not_widen(text in "[a-z0-9/_.:*$-]{1,40}|[a-z-]{3,20}|\\PC{0,9}") {
        for scope in scopes(&text) {
            let Ok(policy) = Policy::allowing(&PolicyFor::ALL, &scope) else { continue };
            let plain = !text.contains(['*', '?', '"', '\\', '{']) && !text.is_empty();
            prop_assert!(plain, "{text}");
            let document = serde_json::to_string(&policy).expect("JSON");
            prop_assert!(document.contains(&text), "{text}");
            serde_json::from_str::<serde_json::Value>(&document).expect("JSON");
        }
    }

    #[test]
    fn no_field_of_a_kubeconfig_takes_it(text in hostile()) {
        let good = kubeconfig::cluster();
        let role = format!("arn:aws:iam::444455556666:role/{text}");
        for cluster in [
            EksCluster { cluster: text.clone(), ..good.clone() },
            EksCluster { endpoint: format!("https://{text}"), ..good.clone() },
            EksCluster { certificate_authority: text.clone().into_bytes(), ..good.clone() },
            EksCluster { region: text.clone(), ..good.clone() },
            EksCluster { aws_account: Some(text.clone()), ..good.clone() },
            EksCluster { role_arn: Some(role), ..good.clone() },
            EksCluster { external_id: Some(text.clone()), ..good.clone() },
            EksCluster { session_name: Some(text.clone()), ..good },
        ] {
            prop_assert!(cluster.kubeconfig().is_err(), "{cluster:?}");
        }
    }

    /// Subjects and audiences may have nearly anything in them: JSON keeps it inside.
    #[test]
    fn a_subject_stays_one_text(text in "[ -~]{1,60}") {
        let mut trust = OidcTrust::new("https://a.example.com", super::ACCOUNT);
        trust.subjects.push(text.clone());
        let Ok(policy) = trust.policy() else {
            let everybody = text.chars().all(|c| matches!(c, '*' | '?'));
            prop_assert!(text.contains("${") || everybody, "{text}");
            return Ok(());
        };
        let document = serde_json::to_value(&policy).expect("JSON");
        let condition = &document["Statement"][0]["Condition"];
        let operator = if text.contains(['*', '?']) { "StringLike" } else { "StringEquals" };
        prop_assert_eq!(&condition[operator]["a.example.com:sub"], &text);
    }

    #[test]
    fn no_principal_takes_it(text in hostile()) {
        let mut trust = CrossAccountTrust::default();
        trust.principals.push(text.clone());
        prop_assert!(trust.policy().is_err());
        trust.principals = vec![super::ACCOUNT.to_owned()];
        trust.external_ids.push(text);
        prop_assert!(trust.policy().is_err());
    }
}
