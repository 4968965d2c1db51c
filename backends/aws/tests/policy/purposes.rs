//! What each purpose allows, on what, and what it has to be told.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use strongroom_aws::policy::{
    Input, MANAGED_POLICY_CHARACTERS, Partition, Policy, PolicyError, PolicyFor, PolicyScope,
};

use super::{ACCOUNT, KEY_ID, json, strings, texts, whole};

/// Every pair of an action and a resource that a document allows.
fn pairs(document: &Value) -> BTreeSet<(String, String)> {
    let statements = document["Statement"].as_array().expect("a list");
    let pairs = statements.iter().flat_map(|statement| {
        let resources = strings(&statement["Resource"]);
        let of = move |action: &str| {
            let action = action.to_owned();
            let with = move |resource: &&str| (action.clone(), (*resource).to_owned());
            resources.iter().map(with).collect::<Vec<_>>()
        };
        strings(&statement["Action"]).into_iter().flat_map(of).collect::<Vec<_>>()
    });
    pairs.collect()
}

fn is_action(text: &str) -> bool {
    let Some((service, name)) = text.split_once(':') else { return false };
    let of_service = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !service.is_empty()
        && service.chars().all(of_service)
        && !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphabetic())
}

#[test]
fn documents_have_the_shape_that_iam_takes() {
    for (region, partition) in
        [("eu-central-1", "aws"), ("us-gov-east-1", "aws-us-gov"), ("cn-northwest-1", "aws-cn")]
    {
        let document = json(&PolicyFor::ALL, &whole(region));
        assert_eq!(document["Version"], "2012-10-17");
        let mut sids = BTreeSet::new();
        for statement in document["Statement"].as_array().expect("a list") {
            let sid = statement["Sid"].as_str().expect("a name");
            assert!(sid.chars().all(|c| c.is_ascii_alphanumeric()), "{sid}");
            assert!(sids.insert(sid.to_owned()), "{sid} twice");
            assert_eq!(statement["Effect"], "Allow");
            let actions = strings(&statement["Action"]);
            assert!(!actions.is_empty() && actions.iter().all(|one| is_action(one)), "{actions:?}");
            let resources = strings(&statement["Resource"]);
            assert!(!resources.is_empty(), "{sid}");
            for resource in resources {
                let arn = format!("arn:{partition}:");
                assert!(resource == "*" || resource.starts_with(&arn), "{resource}");
            }
        }
    }
}

#[test]
fn every_document_lets_regions_and_the_own_identity_be_asked_for() {
    for purpose in PolicyFor::ALL {
        let pairs = pairs(&json(&[purpose], &whole("eu-central-1")));
        for action in ["ec2:DescribeRegions", "sts:GetCallerIdentity"] {
            assert!(pairs.contains(&(action.to_owned(), "*".to_owned())), "{purpose}: {action}");
        }
        let role = "arn:aws:iam::444455556666:role/target";
        assert!(pairs.contains(&("sts:AssumeRole".to_owned(), role.to_owned())), "{purpose}");
    }
    let none = PolicyScope::default();
    let actions = pairs(&json(&[], &none)).into_iter().map(|(action, _)| action);
    assert_eq!(actions.collect::<Vec<_>>(), ["ec2:DescribeRegions", "sts:GetCallerIdentity"]);
}

/// The context is on every call but `DescribeKey`, and a check has one of its own.
#[test]
fn kms_is_bound_to_the_account_by_the_encryption_context() {
    let document = json(&[PolicyFor::Kms], &whole("eu-central-1"));
    let statements = document["Statement"].as_array().expect("a list");
    let with = |action: &str| {
        let has = |one: &&Value| strings(&one["Action"]).contains(&action);
        statements.iter().filter(has).map(|one| one["Condition"].clone()).collect::<Vec<_>>()
    };
    let account = json!({"StringEquals": {"kms:EncryptionContext:strongroom:account": "acme"}});
    let check = json!({"StringEquals": {"kms:EncryptionContext:strongroom:check": "1"}});
    assert_eq!(with("kms:DescribeKey"), [Value::Null]);
    let both = [account, check];
    for action in [
        "kms:Decrypt",
        "kms:GenerateDataKey",
        "kms:Encrypt",
        "kms:ReEncryptFrom",
        "kms:ReEncryptTo",
    ] {
        assert_eq!(with(action), both, "{action}");
    }
    let scope = PolicyScope { accounts: Vec::new(), ..whole("eu-central-1") };
    let document = json(&[PolicyFor::Kms], &scope);
    assert!(!document.to_string().contains("EncryptionContext"), "{document}");
}

/// The pairs that the engine gives a KMS have the key that the condition asks for.
#[test]
fn the_condition_asks_for_a_key_that_every_context_has() {
    use strongroom_core::{EncryptionContext, Kind, Scope, SecretName, Version};
    let scope: Scope = "acme/ops".parse().expect("a scope");
    let name = SecretName::new(scope, "db").expect("a name");
    let version = Version::new("1").expect("a version");
    let pairs = EncryptionContext::new(&name, &version, Kind::Text).pairs();
    assert!(pairs.contains(&("strongroom:account".into(), "acme".to_owned())));
}

#[test]
fn a_key_is_named_by_id_arn_or_alias() {
    let of = |key: &str| {
        let scope = PolicyScope { kms_keys: texts([key]), ..whole("eu-central-1") };
        let document = json(&[PolicyFor::Kms], &scope);
        let statements = document["Statement"].as_array().expect("a list").clone();
        let describes = |one: &&Value| strings(&one["Action"]).contains(&"kms:DescribeKey");
        let one = statements.iter().find(describes).expect("a statement").clone();
        (one["Resource"].as_str().expect("one").to_owned(), one["Condition"].clone())
    };
    let arn = format!("arn:aws:kms:eu-central-1:{ACCOUNT}:key/{KEY_ID}");
    assert_eq!(of(KEY_ID), (arn.clone(), Value::Null));
    assert_eq!(of(&arn), (arn, Value::Null));
    // An alias is no resource: IAM looks at the key that it points at.
    let any = format!("arn:aws:kms:eu-central-1:{ACCOUNT}:key/*");
    let aliased = |name| json!({"ForAnyValue:StringEquals": {"kms:ResourceAliases": format!("alias/{name}")}});
    assert_eq!(of("alias/strongroom"), (any, aliased("strongroom")));
    let (resource, condition) = of("arn:aws:kms:us-east-1:999900001111:alias/x");
    assert_eq!(resource, "arn:aws:kms:us-east-1:999900001111:key/*");
    assert_eq!(condition, aliased("x"));
}

#[test]
fn aliases_of_several_places_are_not_mixed() {
    let kms_keys =
        texts(["arn:aws:kms:us-east-1:999900001111:alias/x", "alias/a", "alias/b", KEY_ID]);
    let document = json(&[PolicyFor::Kms], &PolicyScope { kms_keys, ..whole("eu-central-1") });
    let statements = document["Statement"].as_array().expect("a list");
    let describes = |one: &&Value| strings(&one["Action"]).contains(&"kms:DescribeKey");
    let aliases: Vec<_> = statements
        .iter()
        .filter(describes)
        .map(|one| &one["Condition"]["ForAnyValue:StringEquals"]["kms:ResourceAliases"])
        .collect();
    assert_eq!(aliases, [&Value::Null, &json!("alias/x"), &json!(["alias/a", "alias/b"])]);
}

#[test]
fn what_is_missing_is_named() {
    let whole = whole("eu-central-1");
    let missing =
        |purpose: PolicyFor, scope: PolicyScope| match Policy::allowing(&[purpose], &scope) {
            Err(PolicyError::Missing { purpose: told, input }) if told == purpose => input,
            other => panic!("{purpose}: {other:?}"),
        };
    let scope = || whole.clone();
    let regions = Vec::new();
    assert_eq!(missing(PolicyFor::EcrPull, PolicyScope { regions, ..scope() }), Input::Region);
    let aws_account = None;
    assert_eq!(missing(PolicyFor::Eks, PolicyScope { aws_account, ..scope() }), Input::Account);
    let kms_keys = Vec::new();
    assert_eq!(missing(PolicyFor::Kms, PolicyScope { kms_keys, ..scope() }), Input::KmsKey);
    let secret_prefixes = Vec::new();
    let lacking = PolicyScope { secret_prefixes, ..scope() };
    assert_eq!(missing(PolicyFor::SecretsManager, lacking), Input::SecretPrefix);
    let buckets = Vec::new();
    assert_eq!(missing(PolicyFor::S3Read, PolicyScope { buckets, ..scope() }), Input::Bucket);
    let repositories = Vec::new();
    let lacking = PolicyScope { repositories, ..scope() };
    assert_eq!(missing(PolicyFor::EcrPush, lacking), Input::Repository);
    let clusters = Vec::new();
    assert_eq!(missing(PolicyFor::Ecs, PolicyScope { clusters, ..scope() }), Input::Cluster);
    for purpose in [
        PolicyFor::AutoScaling,
        PolicyFor::CloudFormation,
        PolicyFor::EksProvision,
        PolicyFor::Ecs,
        PolicyFor::Lambda,
        PolicyFor::Serverless,
    ] {
        let lacking = PolicyScope { name_prefixes: Vec::new(), ..scope() };
        assert_eq!(missing(purpose, lacking), Input::NamePrefix);
    }
}

/// Any resource is still one of the service, the kind and the partition.
#[test]
fn any_resource_is_said_and_keeps_to_its_kind() {
    let scope = PolicyScope {
        any_resource: true,
        partition: Some(Partition::UsGov),
        ..PolicyScope::default()
    };
    let named = pairs(&json(&PolicyFor::ALL, &whole("us-gov-west-1")));
    let any = pairs(&json(&PolicyFor::ALL, &scope));
    let everywhere = |pairs: &BTreeSet<(String, String)>| {
        let of = |(action, resource): &(String, String)| (resource == "*").then(|| action.clone());
        pairs.iter().filter_map(of).collect::<BTreeSet<_>>()
    };
    assert_eq!(everywhere(&named), everywhere(&any));
    assert!(any.iter().all(|(_, arn)| arn == "*" || arn.starts_with("arn:aws-us-gov:")));
    let secrets = "arn:aws-us-gov:secretsmanager:*:*:secret:*".to_owned();
    assert!(any.contains(&("secretsmanager:GetSecretValue".to_owned(), secrets)));
}

#[test]
fn one_document_is_for_one_partition() {
    let role = texts(["arn:aws-cn:iam::111122223333:role/x"]);
    for scope in [
        PolicyScope { regions: texts(["eu-central-1", "cn-north-1"]), ..PolicyScope::default() },
        PolicyScope { assume_roles: role.clone(), ..whole("eu-central-1") },
        PolicyScope { pass_roles: role, ..whole("us-gov-west-1") },
        PolicyScope { partition: Some(Partition::China), ..whole("us-east-1") },
    ] {
        let made = Policy::allowing(&[PolicyFor::Connector], &scope);
        assert!(matches!(made, Err(PolicyError::Partitions(_, _))), "{made:?}");
    }
    let scope = PolicyScope {
        assume_roles: texts(["arn:aws-cn:iam::111122223333:role/x"]),
        buckets: texts(["artifacts"]),
        ..PolicyScope::default()
    };
    let document = json(&[PolicyFor::S3Read], &scope);
    assert!(document.to_string().contains("arn:aws-cn:s3:::artifacts"), "{document}");
}

#[test]
fn a_purpose_given_twice_adds_nothing() {
    let scope = whole("eu-central-1");
    let once = json(&[PolicyFor::EcrPush], &scope);
    assert_eq!(once, json(&[PolicyFor::EcrPush, PolicyFor::EcrPull, PolicyFor::EcrPush], &scope));
    let both = json(&[PolicyFor::S3Read, PolicyFor::S3Write], &scope);
    let objects = both["Statement"].as_array().expect("a list");
    let of = objects.iter().filter(|one| one["Resource"] == "arn:aws:s3:::artifacts/*");
    assert_eq!(of.count(), 1);
}

#[test]
fn a_document_that_is_too_large_is_split_without_loss() {
    let scope = PolicyScope {
        regions: texts(["eu-central-1", "eu-west-1", "us-east-1"]),
        repositories: (0..200).map(|n| format!("team/service-{n}")).collect(),
        kms_keys: texts([KEY_ID]),
        ..whole("eu-central-1")
    };
    let policy = Policy::allowing(&PolicyFor::ALL, &scope).expect("a policy");
    let whole = pairs(&serde_json::to_value(&policy).expect("JSON"));
    let characters = policy.characters();
    let refused = policy.clone().within(MANAGED_POLICY_CHARACTERS);
    let limit = MANAGED_POLICY_CHARACTERS;
    assert_eq!(refused, Err(PolicyError::TooLarge { characters, limit }));
    let documents = policy.split(limit).expect("documents");
    assert!(documents.len() >= characters.div_ceil(limit), "{}", documents.len());
    let mut parts = BTreeSet::new();
    for document in &documents {
        let compact = serde_json::to_string(document).expect("JSON");
        assert!(compact.len() <= limit && document.characters() == compact.len());
        parts.extend(pairs(&serde_json::from_str(&compact).expect("JSON")));
    }
    assert!(parts == whole);
}

#[test]
fn what_cannot_be_split_is_refused() {
    let policy = Policy::allowing(&[PolicyFor::Kms], &whole("eu-central-1")).expect("a policy");
    assert!(matches!(policy.split(60), Err(PolicyError::TooLarge { limit: 60, .. })));
}

/// A configuration and a command line add up.
#[test]
fn scopes_add_up() {
    let one = PolicyScope {
        regions: texts(["eu-central-1"]),
        aws_account: Some(ACCOUNT.to_owned()),
        read_only: true,
        ..PolicyScope::default()
    };
    let other = PolicyScope {
        regions: texts(["eu-central-1", "eu-west-1"]),
        aws_account: Some("999900001111".to_owned()),
        buckets: texts(["artifacts"]),
        ..PolicyScope::default()
    };
    let both = one.and(other);
    assert_eq!(both.regions, ["eu-central-1", "eu-west-1"]);
    assert_eq!(both.aws_account.as_deref(), Some(ACCOUNT));
    assert_eq!(both.buckets, ["artifacts"]);
    assert!(both.read_only && !both.any_resource);
    let whole = whole("eu-central-1");
    assert_eq!(PolicyScope::default().and(whole.clone()), whole);
    assert_eq!(whole.clone().and(PolicyScope::default()), whole);
}

#[test]
fn purposes_go_by_their_names() {
    for purpose in PolicyFor::ALL {
        assert_eq!(purpose.as_str().parse(), Ok(purpose));
        assert!(!purpose.about().is_empty());
    }
    assert!("KMS".parse::<PolicyFor>().is_err());
}
