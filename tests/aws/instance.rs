//! The role of an EC2 instance, whose sessions its metadata service gives; seen from the
//! program itself, which finds the service by its environment.

use std::process::{Command, Output};
use std::sync::OnceLock;

use strongroom_kit::binary;
use strongroom_kit::moto::{ALLOW_ALL, REGION};
use strongroom_kit::proxy::{Fault, FaultProxy, Request};

use crate::{moto, proxy};

const ROLES: &str = "GET /latest/meta-data/iam/security-credentials/";
const ROLE: &str = "GET /latest/meta-data/iam/security-credentials/default-role";
const NEW_TOKEN: &str = "PUT /latest/api/token";

/// The role of the instance that moto is.
fn role() {
    static ROLE: OnceLock<String> = OnceLock::new();
    ROLE.get_or_init(|| {
        let trust = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
            "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]}"#;
        moto().0.create_role("default-role", trust, ALLOW_ALL)
    });
}

/// `strongroom aws check` on a host that has nothing but these variables.
fn check(proxy: &FaultProxy, more: &str, variables: &[(&str, &str)]) -> (Output, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("strongroom.toml");
    let text = format!(
        "[[aws.connectors]]\nname = \"host\"\nregion = \"{REGION}\"\nendpoint = \"{}\"\n{more}",
        proxy.endpoint()
    );
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new(binary::strongroom());
    command.arg("--config").arg(&file).args(["aws", "check"]).env_clear();
    let command = command.env("HOME", dir.path()).envs(variables.iter().copied());
    let output = command.output().unwrap();
    let told = [&*output.stdout, &*output.stderr].concat();
    (output, String::from_utf8(told).unwrap())
}

fn of<'a>(requests: &'a [Request], operation: &str) -> Vec<&'a Request> {
    requests.iter().filter(|request| request.operation == operation).collect()
}

#[test]
fn the_role_of_the_instance_is_who_calls() {
    role();
    let proxy = proxy();
    let endpoint = proxy.endpoint();
    let (output, told) = check(&proxy, "", &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &endpoint)]);
    assert!(output.status.success(), "{told}");
    assert!(told.contains(":assumed-role/default-role/i-fake, account "), "{told}");
    let counts = [NEW_TOKEN, ROLES, ROLE].map(|operation| proxy.count(operation));
    assert_eq!(counts, [1, 1, 1], "once for all calls");
    let requests = proxy.requests();
    for operation in [ROLES, ROLE] {
        let asked = of(&requests, operation)[0];
        assert!(asked.header("x-aws-ec2-metadata-token").is_some(), "{operation}");
        assert_eq!(asked.upstream, Some(200), "moto has seen the token");
    }
    let called = of(&requests, "GetCallerIdentity")[0];
    assert!(called.header("x-amz-security-token").is_some());
}

#[test]
fn a_session_of_the_instance_that_aws_ends_is_asked_for_again() {
    role();
    let proxy = proxy();
    let endpoint = proxy.endpoint();
    proxy.next("GetCallerIdentity", Fault::aws_error(403, "ExpiredToken"));
    let (output, told) = check(&proxy, "", &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &endpoint)]);
    assert!(output.status.success(), "{told}");
    assert_eq!((proxy.count(ROLE), proxy.count("GetCallerIdentity")), (2, 2));
}

#[test]
fn an_instance_without_a_role_is_no_credential() {
    let proxy = proxy();
    let endpoint = proxy.endpoint();
    proxy.always(ROLES, Fault::status(404));
    let (output, told) = check(&proxy, "", &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &endpoint)]);
    assert!(
        !output.status.success() && told.contains("the host gives no AWS credential"),
        "{told}"
    );
    assert_eq!((proxy.count(NEW_TOKEN), proxy.count(ROLE)), (1, 0));
}
