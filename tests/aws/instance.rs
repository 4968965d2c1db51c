//! The role of an EC2 instance, whose sessions its metadata service gives; seen from the
//! program itself, which finds the service by its environment.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::OnceLock;

use strongroom_kit::binary;
use strongroom_kit::moto::{ALLOW_ALL, REGION};
use strongroom_kit::proxy::{Fault, FaultProxy, Request};

use crate::{moto, proxy};

const ROLES: &str = "GET /latest/meta-data/iam/security-credentials/";
const ROLE: &str = "GET /latest/meta-data/iam/security-credentials/default-role";
const NEW_TOKEN: &str = "PUT /latest/api/token";

/// Who calls first waits for moto to load its service, and the client has no patience
/// with it: a second.
const WARM_UP: &str = "
import os, urllib.request
url = os.environ['AWS_ENDPOINT_URL'] + '/latest/api/token'
ttl = {'X-aws-ec2-metadata-token-ttl-seconds': '1'}
urllib.request.urlopen(urllib.request.Request(url, method='PUT', headers=ttl)).read()
";

/// In front of moto, which is an instance that has a role.
fn instance() -> FaultProxy {
    static ROLE: OnceLock<String> = OnceLock::new();
    ROLE.get_or_init(|| {
        let trust = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
            "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]}"#;
        moto().0.boto3(WARM_UP, &[]);
        moto().0.create_role("default-role", trust, ALLOW_ALL)
    });
    proxy()
}

/// `strongroom aws check` on the instance, which has no other credential.
fn check(proxy: &FaultProxy) -> (bool, String) {
    check_with(proxy, "", [("AWS_EC2_METADATA_SERVICE_ENDPOINT", &proxy.endpoint())])
}

fn check_with<const N: usize>(
    proxy: &FaultProxy,
    settings: &str,
    variables: [(&str, &str); N],
) -> (bool, String) {
    let (dir, endpoint) = (tempfile::tempdir().unwrap(), proxy.endpoint());
    let file = dir.path().join("strongroom.toml");
    let text = format!(
        "[[aws.connectors]]\nname = \"host\"\nregion = \"{REGION}\"\nendpoint = \"{endpoint}\"\n\
         timeout = \"2m\"\nattempt_timeout = \"1m\"\n{settings}"
    );
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new(binary::strongroom());
    command.arg("--config").arg(&file).args(["aws", "check"]).env_clear();
    let output = command.env("HOME", dir.path()).envs(variables).output().unwrap();
    let told = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(told).unwrap())
}

/// The ids of the access keys that calls were signed with.
fn signed_by(requests: &[Request]) -> BTreeSet<String> {
    let signed = requests.iter().filter_map(|request| request.header("authorization"));
    let id = |header: &str| header.split(['=', '/']).nth(1).unwrap().to_owned();
    signed.map(id).collect()
}

#[test]
fn the_role_of_the_instance_is_who_calls() {
    let proxy = instance();
    let (passed, told) = check(&proxy);
    assert!(passed && told.contains(":assumed-role/default-role/i-fake, account "), "{told}");
    let requests = proxy.requests();
    for operation in [ROLES, ROLE] {
        let asked = requests.iter().find(|request| request.operation == operation).unwrap();
        assert!(asked.header("x-aws-ec2-metadata-token").is_some(), "{operation}");
        assert_eq!(asked.upstream, Some(200), "moto knows the token");
    }
    assert!(proxy.count("DescribeRegions") == 1 && signed_by(&requests).len() == 1);
}

#[test]
fn a_session_of_the_instance_that_aws_ends_is_asked_for_again() {
    let proxy = instance();
    proxy.next("GetCallerIdentity", Fault::aws_error(403, "ExpiredToken"));
    let (passed, told) = check(&proxy);
    assert!(passed, "{told}");
    assert_eq!((proxy.count("GetCallerIdentity"), signed_by(&proxy.requests()).len()), (2, 2));
}

#[test]
fn an_instance_without_a_role_is_no_credential() {
    let proxy = instance();
    proxy.always(ROLES, Fault::status(404));
    let (passed, told) = check(&proxy);
    assert!(!passed && told.contains("the host gives no AWS credential"), "{told}");
    assert!(proxy.count(NEW_TOKEN) > 0 && proxy.count(ROLE) == 0);
    assert!(signed_by(&proxy.requests()).is_empty());
}

/// It would ask its own host, and give us the role of that.
#[test]
fn what_the_host_gives_is_not_asked_of_a_proxy() {
    let proxy = proxy();
    let settings = "connect_timeout = \"10ms\"\nproxy = \"env:PROXY\"\n";
    let (passed, told) = check_with(
        &proxy,
        settings,
        [
            ("PROXY", &proxy.endpoint()),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/role"),
        ],
    );
    assert!(!passed && told.contains("the host gives no AWS credential"), "{told}");
    let asked: Vec<_> = proxy.requests().into_iter().map(|request| request.proxied).collect();
    assert!(asked.is_empty(), "{asked:?}");
}
