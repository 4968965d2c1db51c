//! Kubeconfigs for EKS.

use serde_json::{Value, json};
use strongroom_aws::EksCluster;
use strongroom_aws::policy::PolicyError;

use super::ACCOUNT;

const PEM: &str = "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n";
const PACKED: &str =
    "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1BTUNBUUU9Ci0tLS0tRU5EIENFUlRJRklDQVRFLS0tLS0K";

pub(super) fn cluster() -> EksCluster {
    EksCluster {
        cluster: "prod".to_owned(),
        endpoint: "https://0123ABCD.gr7.eu-central-1.eks.amazonaws.com".to_owned(),
        certificate_authority: PEM.as_bytes().to_vec(),
        region: "eu-central-1".to_owned(),
        aws_account: Some(ACCOUNT.to_owned()),
        role_arn: Some("arn:aws:iam::444455556666:role/deployer".to_owned()),
        external_id: Some("Example-987".to_owned()),
        session_name: None,
    }
}

fn value(cluster: &EksCluster) -> Value {
    serde_json::to_value(cluster.kubeconfig().expect("a kubeconfig")).expect("JSON")
}

#[test]
fn a_cluster_has_one_context_and_tokens_by_the_authenticator() {
    let name = "arn:aws:eks:eu-central-1:111122223333:cluster/prod";
    let expected = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": name, "cluster": {
            "server": "https://0123ABCD.gr7.eu-central-1.eks.amazonaws.com",
            "certificate-authority-data": PACKED,
        }}],
        "contexts": [{ "name": name, "context": { "cluster": name, "user": name } }],
        "current-context": name,
        "users": [{ "name": name, "user": { "exec": {
            "apiVersion": "client.authentication.k8s.io/v1beta1",
            "command": "aws-iam-authenticator",
            "args": [
                "token", "--cluster-id", "prod",
                "--role", "arn:aws:iam::444455556666:role/deployer",
                "--external-id", "Example-987",
            ],
            "env": [
                { "name": "AWS_REGION", "value": "eu-central-1" },
                { "name": "AWS_STS_REGIONAL_ENDPOINTS", "value": "regional" },
            ],
            "interactiveMode": "IfAvailable",
            "installHint": "aws-iam-authenticator makes the tokens for this cluster and is not \
                            installed",
        }}}],
    });
    assert_eq!(value(&cluster()), expected);
}

#[test]
fn without_an_account_the_cluster_names_the_context() {
    let plain = EksCluster { aws_account: None, role_arn: None, external_id: None, ..cluster() };
    let document = value(&plain);
    assert_eq!(document["current-context"], "prod");
    let args = &document["users"][0]["user"]["exec"]["args"];
    assert_eq!(*args, json!(["token", "--cluster-id", "prod"]));
    assert_eq!(plain.kubeconfig().expect("a kubeconfig").context(), "prod");
}

#[test]
fn certificates_come_as_pem_or_as_eks_gives_them() {
    let packed = EksCluster {
        certificate_authority: format!("{}\n{}\n", &PACKED[..40], &PACKED[40..]).into_bytes(),
        ..cluster()
    };
    assert_eq!(value(&packed), value(&cluster()));
    let two = EksCluster { certificate_authority: PEM.repeat(2).into_bytes(), ..cluster() };
    two.kubeconfig().expect("two certificates");
}

#[test]
fn what_is_no_certificate_does_not_come_in() {
    let key = "-----BEGIN PRIVATE KEY-----\nMAMCAQE=\n-----END PRIVATE KEY-----\n";
    let both = format!("{PEM}{key}");
    for given in [
        "",
        "x",
        "TUFNQ0FRRT0=",
        key,
        &both,
        &format!("{PEM}rest"),
        "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n",
        "-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----",
        "-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----",
    ] {
        let cluster = EksCluster { certificate_authority: given.as_bytes().to_vec(), ..cluster() };
        let error = cluster.kubeconfig().expect_err(given).to_string();
        assert!(!error.contains("MAMCAQE="), "{error}");
    }
    let cluster = EksCluster { certificate_authority: vec![0xff], ..cluster() };
    assert!(cluster.kubeconfig().is_err());
}

#[test]
fn endpoints_are_https_and_nothing_else() {
    for endpoint in [
        "http://a.example.com",
        "a.example.com",
        "https://",
        "https://user:pass@a.example.com",
        "https://a.example.com:0",
        "https://a.example.com:99999",
        "https://a.example.com/?x",
        "https://a.example.com\"\nusers: []",
        "https://a b",
    ] {
        let cluster = EksCluster { endpoint: endpoint.to_owned(), ..cluster() };
        assert!(matches!(cluster.kubeconfig(), Err(PolicyError::Invalid { .. })), "{endpoint}");
    }
    for endpoint in ["https://10.0.0.1:6443", "https://a.example.com/k8s/clusters/c-1"] {
        let cluster = EksCluster { endpoint: endpoint.to_owned(), ..cluster() };
        cluster.kubeconfig().expect(endpoint);
    }
}

#[test]
fn a_role_is_of_the_regions_partition_and_an_external_id_goes_with_one() {
    let other = EksCluster { region: "cn-north-1".to_owned(), ..cluster() };
    assert_eq!(other.kubeconfig(), Err(PolicyError::Partitions("aws-cn", "aws")));
    let lonely = EksCluster { role_arn: None, ..cluster() };
    assert!(matches!(lonely.kubeconfig(), Err(PolicyError::NotGiven { what: "role", .. })));
}
