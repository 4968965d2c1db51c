//! Who may assume a role.

use serde_json::{Value, json};
use strongroom_aws::policy::{
    CrossAccountTrust, OidcTrust, Partition, Policy, PolicyError, PolicyResult, SessionTag,
};

use super::{ACCOUNT, texts};

fn value(policy: PolicyResult<Policy>) -> Value {
    serde_json::to_value(policy.expect("a policy")).expect("JSON")
}

const ISSUER: &str = "https://manager.example.com/oidc/account/acme";

#[test]
fn tokens_of_one_subject_are_trusted() {
    let scope = "acme/ops/web".parse().expect("a scope");
    let mut trust = OidcTrust::new(ISSUER, ACCOUNT);
    trust.subjects.push(OidcTrust::subject_of(&scope));
    let expected = json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Sid": "TrustTokens",
            "Effect": "Allow",
            "Principal": {
                "Federated":
                    "arn:aws:iam::111122223333:oidc-provider/manager.example.com/oidc/account/acme"
            },
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": { "StringEquals": {
                "manager.example.com/oidc/account/acme:aud": "sts.amazonaws.com",
                "manager.example.com/oidc/account/acme:sub": "account/acme:org/ops:project/web",
            }},
        }],
    });
    assert_eq!(value(trust.policy()), expected);
}

/// The forms of the issuer's subjects at each level.
#[test]
fn the_subject_of_a_scope_has_all_levels() {
    for (scope, subject) in [
        ("acme", "account/acme:org/:project/"),
        ("acme/ops", "account/acme:org/ops:project/"),
        ("acme/ops/web", "account/acme:org/ops:project/web"),
    ] {
        assert_eq!(OidcTrust::subject_of(&scope.parse().expect("a scope")), subject);
    }
}

#[test]
fn patterns_are_compared_as_such_and_audiences_never() {
    let trust = OidcTrust {
        subjects: texts(["account/acme:org/ops:project/*", "account/acme:org/:project/"]),
        audiences: texts(["one", "two"]),
        partition: Partition::China,
        ..OidcTrust::new("https://oidc.eks.cn-north-1.amazonaws.com.cn/id/ABC", ACCOUNT)
    };
    let document = value(trust.policy());
    let condition = &document["Statement"][0]["Condition"];
    let host = "oidc.eks.cn-north-1.amazonaws.com.cn/id/ABC";
    assert_eq!(condition["StringEquals"][format!("{host}:aud")], json!(["one", "two"]));
    let subjects = condition["StringLike"][format!("{host}:sub")].as_array().expect("a list");
    assert_eq!(subjects.len(), 2);
    assert!(condition["StringEquals"].get(format!("{host}:sub")).is_none());
    let provider = &document["Statement"][0]["Principal"]["Federated"];
    assert_eq!(*provider, format!("arn:aws-cn:iam::{ACCOUNT}:oidc-provider/{host}"));
}

#[test]
fn everybody_is_trusted_only_where_that_is_said() {
    let nobody = OidcTrust::new(ISSUER, ACCOUNT);
    assert!(matches!(nobody.policy(), Err(PolicyError::NotGiven { what: "subject", .. })));
    for everybody in ["*", "**", "?*"] {
        let trust = OidcTrust { subjects: texts([everybody]), ..nobody.clone() };
        assert!(matches!(trust.policy(), Err(PolicyError::Invalid { .. })), "{everybody}");
    }
    let said = value(OidcTrust { any_subject: true, ..nobody }.policy());
    assert!(!said.to_string().contains(":sub"), "{said}");
}

#[test]
fn a_service_account_is_one_subject() {
    let issuer = "https://oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF";
    let trust = OidcTrust::new(issuer, ACCOUNT).service_account("delegates", "delegate");
    let document = value(trust.expect("names").policy()).to_string();
    assert!(document.contains(r#":sub":"system:serviceaccount:delegates:delegate""#));
    for (namespace, name) in
        [("*", "x"), ("a:b", "x"), ("a.b", "x"), ("", "x"), ("a", "*"), ("a", "X"), ("a", "-x")]
    {
        let refused = OidcTrust::new(issuer, ACCOUNT).service_account(namespace, name);
        assert!(refused.is_err(), "{namespace} {name}");
    }
}

#[test]
fn issuers_that_iam_does_not_take_are_refused() {
    for issuer in [
        "http://a.example.com",
        "a.example.com",
        "https://a.example.com:8443",
        "https://user@a.example.com",
        "https://a.example.com/?q",
        "https://a.example.com/#f",
        "https://a.example.com/*",
        "https://*.example.com",
        "https://A.example.com",
        "https://localhost",
        "https://a.example.com/${aws:username}",
        "https://a.example.com/\n",
        "https:///x",
    ] {
        let trust = OidcTrust { any_subject: true, ..OidcTrust::new(issuer, ACCOUNT) };
        assert!(matches!(trust.policy(), Err(PolicyError::Invalid { .. })), "{issuer}");
    }
}

#[test]
fn accounts_and_roles_are_trusted_with_an_external_id() {
    let trust = CrossAccountTrust {
        principals: texts([ACCOUNT, "arn:aws:iam::444455556666:role/delegate"]),
        external_ids: texts(["Example-987"]),
        ..CrossAccountTrust::default()
    };
    let expected = json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Sid": "TrustAccounts",
            "Effect": "Allow",
            "Principal": { "AWS": [
                "arn:aws:iam::111122223333:root",
                "arn:aws:iam::444455556666:role/delegate",
            ]},
            "Action": "sts:AssumeRole",
            "Condition": { "StringEquals": { "sts:ExternalId": "Example-987" } },
        }],
    });
    assert_eq!(value(trust.policy()), expected);
}

#[test]
fn tags_of_a_session_are_a_statement_of_their_own() {
    let tag = |key: &str, value: Option<&str>| SessionTag {
        key: key.to_owned(),
        value: value.map(str::to_owned),
    };
    let trust = CrossAccountTrust {
        principals: texts([ACCOUNT]),
        external_ids: texts(["Example-987"]),
        session_tags: vec![tag("team", Some("web")), tag("build", None)],
        ..CrossAccountTrust::default()
    };
    let document = value(trust.policy());
    let tags = &document["Statement"][1];
    assert_eq!(tags["Action"], "sts:TagSession");
    let expected = json!({
        "ForAllValues:StringEquals": { "aws:TagKeys": ["build", "team"] },
        "StringEquals": { "aws:RequestTag/team": "web" },
    });
    assert_eq!(tags["Condition"], expected);
    let oidc = OidcTrust {
        any_subject: true,
        session_tags: vec![tag("team", None)],
        ..OidcTrust::new(ISSUER, ACCOUNT)
    };
    let document = value(oidc.policy());
    assert!(document["Statement"][1]["Principal"]["Federated"].is_string());
}

#[test]
fn whom_nobody_may_name_is_refused() {
    for principal in [
        "*",
        "11112222333",
        "arn:aws:iam::*:root",
        "arn:aws:iam::111122223333:role/*",
        "arn:aws:iam::111122223333:group/x",
        "arn:aws:sts::111122223333:assumed-role/x/y",
        "arn:aws:s3::111122223333:role/x",
        "arn:aws:iam::111122223333:role/${aws:username}",
        "arn:aws:iam::111122223333:role/",
    ] {
        let trust =
            CrossAccountTrust { principals: texts([principal]), ..CrossAccountTrust::default() };
        assert!(matches!(trust.policy(), Err(PolicyError::Invalid { .. })), "{principal}");
    }
    assert!(matches!(
        CrossAccountTrust::default().policy(),
        Err(PolicyError::NotGiven { what: "principal", .. })
    ));
    let other = CrossAccountTrust {
        principals: texts(["arn:aws-cn:iam::111122223333:role/x"]),
        ..CrossAccountTrust::default()
    };
    assert_eq!(other.policy(), Err(PolicyError::Partitions("aws", "aws-cn")));
    let many = CrossAccountTrust {
        principals: (0..90).map(|n| format!("arn:aws:iam::111122223333:role/r{n}")).collect(),
        ..CrossAccountTrust::default()
    };
    assert!(matches!(many.policy(), Err(PolicyError::TooLarge { limit: 2048, .. })));
}
