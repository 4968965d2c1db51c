//! What a check finds out: who calls, which regions there are, and which calls a key
//! does not allow.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use strongroom_aws::{
    Aws, AwsKms, AwsSecretsManager, AwsSettings, KmsOptions, Probe, Replica, SecretsManagerOptions,
};
use strongroom_core::ErrorKind;
use strongroom_kit::moto::{AccessKey, REGION};
use strongroom_kit::proxy::{Fault, FaultProxy};
use strongroom_kit::{binary, block_on};

use crate::{KEY, MULTI_REGION_KEY, connect, credential, key, moto, proxy, settings};

const ALL: [&str; 5] = [
    "kms:DescribeKey",
    "kms:GenerateDataKey",
    "kms:Encrypt",
    "kms:Decrypt",
    "kms:ReEncryptFrom and kms:ReEncryptTo",
];

fn probes(settings: &AwsSettings, key: &str, read_only: bool) -> Vec<Probe> {
    let kms = AwsKms::new(&connect(settings), key, KmsOptions::default()).unwrap();
    block_on(kms.probe(read_only))
}

fn failed(probes: &[Probe]) -> Vec<(&str, ErrorKind)> {
    let failed = |probe: &'_ Probe| Some((probe.action, probe.outcome.as_ref().err()?.kind()));
    probes.iter().filter_map(failed).collect()
}

/// A user who may do everything but `action`.
fn lacking(name: &str, action: &str) -> AccessKey {
    let policy = format!(
        r#"{{"Version": "2012-10-17", "Statement": [
            {{"Effect": "Allow", "Action": "*", "Resource": "*"}},
            {{"Effect": "Deny", "Action": "{action}", "Resource": "*"}}]}}"#
    );
    moto().0.create_user(name, &policy)
}

fn regions(aws: &Aws) -> strongroom_core::Result<Vec<String>> {
    block_on(aws.describe_regions(None))
}

#[test]
fn who_may_do_everything_sees_every_call_pass() {
    let (proxy, key) = (proxy(), key(KEY));
    let settings = settings(&proxy);
    let aws = connect(&settings);
    let caller = block_on(aws.caller()).unwrap();
    assert!(caller.arn.ends_with(":user/user") && caller.arn.contains(&caller.account));
    let names = regions(&aws).unwrap();
    assert!(names.len() > 10 && names.iter().any(|name| name == REGION), "{names:?}");
    let asked = proxy.requests();
    let asked = asked.iter().find(|one| one.operation == "DescribeRegions").unwrap();
    assert!(asked.header("authorization").unwrap().contains("/us-east-1/ec2/aws4_request"));
    assert_eq!(asked.upstream, Some(200), "moto has checked the signature");
    block_on(aws.describe_regions(Some("eu-west-1"))).unwrap();

    let probes = probes(&settings, &key, false);
    assert_eq!(probes.iter().map(|probe| probe.action).collect::<Vec<_>>(), ALL);
    assert!(failed(&probes).is_empty(), "{probes:?}");
    assert!(probes.iter().all(|probe| probe.region == REGION && probe.resource == key));
    let described = probes[0].outcome.as_ref().unwrap();
    assert!(described.contains(&key) && described.contains("SYMMETRIC_DEFAULT"), "{described}");
}

#[test]
fn a_test_region_of_another_partition_is_refused() {
    let proxy = proxy();
    for region in ["cn-north-1", "us-gov-west-1", "Frankfurt"] {
        let error = block_on(connect(&settings(&proxy)).describe_regions(Some(region)));
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Configuration, "{region}");
    }
    assert_eq!(proxy.count("DescribeRegions"), 0);
}

#[test]
fn one_denied_call_is_the_only_one_that_fails() {
    let (proxy, key) = (proxy(), key(KEY));
    let mut settings = settings(&proxy);
    settings.credential = credential(&lacking("no-encrypt", "kms:Encrypt"));
    let all = probes(&settings, &key, false);
    assert_eq!(failed(&all), [("kms:Encrypt", ErrorKind::AccessDenied)]);
    let error = all[2].outcome.as_ref().unwrap_err();
    assert!(error.message().contains("a policy has to allow kms:Encrypt"), "{error}");
    assert!(failed(&probes(&settings, &key, true)).is_empty(), "who reads does not need it");

    // What the others leave is what there is to decrypt.
    settings.credential = credential(&lacking("no-data-key", "kms:GenerateDataKey"));
    let denied = [("kms:GenerateDataKey", ErrorKind::AccessDenied)];
    assert_eq!(failed(&probes(&settings, &key, false)), denied);

    settings.credential = credential(&lacking("no-regions", "ec2:DescribeRegions"));
    let error = regions(&connect(&settings)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AccessDenied, "{error}");
    assert!(error.message().contains("has to allow ec2:DescribeRegions"), "{error}");
}

#[test]
fn a_key_that_cannot_wrap_is_told_with_its_state() {
    let proxy = proxy();
    let disabled = key("import boto3; kms = boto3.client('kms'); \
         made = kms.create_key()['KeyMetadata']; kms.disable_key(KeyId=made['KeyId']); \
         print(made['Arn'], end='')");
    let probes_of = |key: &str| probes(&settings(&proxy), key, false);
    let disabled = probes_of(&disabled);
    assert_eq!(disabled[0].outcome.as_ref().unwrap_err().kind(), ErrorKind::KeyUnavailable);
    assert!(format!("{disabled:?}").contains("Disabled"), "{disabled:?}");
    let signing =
        probes_of(&key("import boto3; print(boto3.client('kms').create_key(KeySpec='RSA_2048', \
         KeyUsage='SIGN_VERIFY')['KeyMetadata']['Arn'], end='')"));
    let error = signing[0].outcome.as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert!(error.message().contains("SIGN_VERIFY with RSA_2048"), "{error}");
}

#[test]
fn each_region_of_a_key_is_asked() {
    let (first, second) = (proxy(), proxy());
    let key = key(MULTI_REGION_KEY);
    let mut options = KmsOptions::default();
    let mut replica = Replica::new("us-east-1");
    replica.endpoint = Some(second.endpoint());
    options.replicas = vec![replica];
    let kms = AwsKms::new(&connect(&settings(&first)), &key, options).unwrap();
    let probes = block_on(kms.probe(false));
    // Nobody has made the replica.
    let own: Vec<_> = probes.iter().filter(|probe| probe.region == REGION).cloned().collect();
    assert!(own.len() == 5 && failed(&own).is_empty(), "{probes:?}");
    let there = &probes[5..];
    assert!(there.iter().all(|probe| probe.region == "us-east-1" && probe.outcome.is_err()));
    assert_eq!(there.len(), 5, "{probes:?}");
    assert!(there[0].resource.starts_with("arn:aws:kms:us-east-1:"));
    assert_eq!((first.count("DescribeKey"), second.count("DescribeKey")), (1, 1));
}

#[test]
fn a_wrong_signature_is_no_authentication() {
    let proxy = proxy();
    let mut settings = settings(&proxy);
    let AccessKey { id, .. } = &moto().1;
    settings.credential = credential(&AccessKey::new(id, "hunter2hunter2hunter2"));
    let error = regions(&connect(&settings)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    assert!(error.message().contains("credentials of GovCloud"), "{error}");
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
}

#[test]
fn what_passes_is_tried_again_and_what_lasts_is_told() {
    let proxy = proxy();
    let aws = connect(&settings(&proxy));
    let passing = [
        (Fault::aws_error(503, "RequestLimitExceeded"), ErrorKind::Throttled),
        (Fault::too_many_requests(), ErrorKind::Throttled),
        (Fault::aws_error(500, "InternalError"), ErrorKind::Unavailable),
        (Fault::service_unavailable(), ErrorKind::Unavailable),
        (Fault::Reset, ErrorKind::Unavailable),
        (Fault::Truncate { bytes: 20 }, ErrorKind::Unavailable),
    ];
    for (fault, kind) in passing {
        proxy.reset_counts();
        proxy.next("DescribeRegions", fault.clone());
        regions(&aws).unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_eq!(proxy.count("DescribeRegions"), 2, "{fault:?}");
        proxy.always("DescribeRegions", fault.clone());
        let error = regions(&aws).unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (kind, true), "{fault:?}: {error}");
        assert_eq!(proxy.count("DescribeRegions"), 4, "{fault:?}");
        proxy.clear();
    }
    for fault in [
        Fault::Garbage,
        Fault::NotHttp,
        Fault::rewrite(|body| *body = b"<DescribeRegionsResponse/>".to_vec()),
        Fault::rewrite(|body| body.resize((1 << 20) + 1, b' ')),
    ] {
        proxy.always("DescribeRegions", fault.clone());
        let error = regions(&aws).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{fault:?}: {error}");
        proxy.clear();
    }
}

#[test]
fn a_region_that_does_not_answer_is_waited_for_once() {
    let (proxy, key) = (proxy(), key(KEY));
    let mut settings = settings(&proxy);
    settings.attempt_timeout = Duration::from_millis(200);
    settings.timeout = Duration::from_millis(500);
    proxy.always("*", Fault::BlackHole);
    let started = Instant::now();
    let error = regions(&connect(&settings)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("did not answer"), "{error}");
    let probes = probes(&settings, &key, false);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert_eq!(failed(&probes).len(), 5);
    let said = probes[4].outcome.as_ref().unwrap_err();
    assert!(said.message().contains("not tried"), "{said}");
    assert_eq!(proxy.count("GenerateDataKey") + proxy.count("Encrypt"), 0);
}

fn check(home: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(binary::strongroom());
    command.env_clear().env("STRONGROOM_HOME", home).stdin(Stdio::null());
    command.args(["aws", "check"]).args(args).output().unwrap()
}

/// A configuration with a connector as this user, and a key.
fn configure(home: &Path, proxy: &FaultProxy, user: &AccessKey, key: &str) {
    let secret = home.join("secret");
    std::fs::write(&secret, &user.secret).unwrap();
    std::fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
    let text = format!(
        "[scope]\naccount = \"acme\"\n[kek]\ntype = \"aws-kms\"\nkey = \"{key}\"\n\
         [[aws.connectors]]\nname = \"main\"\nregion = \"{REGION}\"\nendpoint = \"{}\"\n\
         credential = \"access-key\"\naccess_key_id = \"{}\"\n\
         secret_access_key = \"file:secret\"\n\
         timeout = \"2m\"\nattempt_timeout = \"1m\"\n",
        proxy.endpoint(),
        user.id
    );
    std::fs::write(home.join("strongroom.toml"), text).unwrap();
}

#[test]
fn the_command_tells_each_call_and_ends_with_the_code_of_what_failed() {
    let (proxy, key, home) = (proxy(), key(KEY), tempfile::tempdir().unwrap());
    let home = home.path();
    std::fs::write(home.join("strongroom.toml"), "[scope]\naccount = \"acme\"\n").unwrap();
    let nobody = check(home, &[]);
    assert_eq!(nobody.status.code(), Some(15), "{nobody:?}");
    assert!(text(&nobody.stderr).contains("there is no connector to AWS"), "{nobody:?}");

    configure(home, &proxy, &moto().1, &key);
    let passed = check(home, &[]);
    let said = text(&passed.stdout);
    assert!(passed.status.success(), "{passed:?}");
    assert_eq!(said.matches("ok  ").count(), 2 + ALL.len(), "{said}");
    assert!(said.contains(":user/user, account ") && said.contains(&key), "{said}");

    let user = lacking("no-encrypt-of-command", "kms:Encrypt");
    configure(home, &proxy, &user, &key);
    let denied = check(home, &[]);
    assert_eq!(denied.status.code(), Some(7), "{denied:?}");
    let (said, error) = (text(&denied.stdout), text(&denied.stderr));
    assert!(said.matches("ok  ").count() == 6 && said.contains("no  kms:Encrypt  "), "{said}");
    let missing = format!("1 of 7 calls failed; a policy has to allow kms:Encrypt on {key}");
    assert!(error.contains(&missing) && error.contains("strongroom aws policy"), "{error}");
    assert!(check(home, &["--read-only"]).status.success());

    let json = check(home, &["--json", "--connector", "main"]);
    let document: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(document["ok"], false);
    let calls = document["connectors"][0]["calls"].as_array().unwrap();
    let failed: Vec<_> = calls.iter().filter(|call| call["ok"] == false).collect();
    assert_eq!((failed.len(), &failed[0]["action"]), (1, &"kms:Encrypt".into()));
    assert_eq!(failed[0]["error"]["kind"], "access_denied");
    let all = [said, error, text(&json.stdout), text(&json.stderr)].concat();
    assert!(!all.contains(&user.secret), "the secret of the access key");

    let unknown = check(home, &["--connector", "other"]);
    assert_eq!(unknown.status.code(), Some(15), "{unknown:?}");
    assert!(text(&unknown.stderr).contains("known are main"), "{unknown:?}");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_store_that_lacks_one_permission_shows_this_one() {
    let proxy = proxy();
    let mut settings = settings(&proxy);
    let probes = |settings: &AwsSettings, read_only| {
        let mut options = SecretsManagerOptions::new("acme");
        "probed".clone_into(&mut options.prefix);
        let store = AwsSecretsManager::new(&connect(settings), options).unwrap();
        block_on(store.probes(read_only))
    };
    let all = probes(&settings, false);
    assert_eq!((all.len(), failed(&all)), (11, vec![]));
    let reading = probes(&settings, true);
    assert_eq!((reading.len(), failed(&reading)), (4, vec![]));
    let user = lacking("without-tags", "secretsmanager:TagResource");
    settings.credential = credential(&user);
    let one = probes(&settings, false);
    assert_eq!(failed(&one), [("secretsmanager:TagResource", ErrorKind::AccessDenied)]);
    let script = "import boto3; sm = boto3.client('secretsmanager')\n\
        print([s['Name'] for s in sm.list_secrets()['SecretList']], end='')";
    assert!(!moto().0.boto3(script, &[]).contains("probed"), "nothing was made");
}

#[test]
fn references_to_secrets_of_aws_are_checked_as_the_store_is() {
    let (proxy, key, home) = (proxy(), key(KEY), tempfile::tempdir().unwrap());
    let home = home.path();
    let file = home.join("strongroom.toml");
    let entry = |name: &str, more: &str| {
        format!("[[store.references]]\nname = \"{name}\"\ntype = \"aws-secrets-manager\"\n{more}")
    };
    let entries = [entry("all", ""), entry("prod", "below = \"prod/\"\n")].concat();
    let with_references = |user: &AccessKey| {
        configure(home, &proxy, user, &key);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text + &entries).unwrap();
    };
    with_references(&moto().1);
    let passed = check(home, &[]);
    let said = text(&passed.stdout);
    assert!(passed.status.success(), "{passed:?}");
    assert_eq!(said.matches("ok  ").count(), 2 + ALL.len() + 2, "{said}");
    assert!(said.contains("ok  secretsmanager:GetSecretValue  allowed, for references to all://"));
    assert!(said.contains("  prod/  "), "{said}");
    assert_eq!(proxy.count("GetSecretValue"), 2, "one call each");

    with_references(&lacking("without-values", "secretsmanager:GetSecretValue"));
    let denied = check(home, &["--read-only"]);
    assert_eq!(denied.status.code(), Some(7), "{denied:?}");
    let (said, error) = (text(&denied.stdout), text(&denied.stderr));
    assert_eq!(said.matches("no  secretsmanager:GetSecretValue").count(), 2, "{said}");
    assert_eq!(said.matches("with below = ").count(), 1, "prod has it: {said}");
    let missing = "2 of 7 calls failed; a policy has to allow secretsmanager:GetSecretValue, \
                   secretsmanager:GetSecretValue on prod/";
    assert!(error.contains(missing), "{error}");
}

/// The host's own credentials, in the order of AWS's own tools: what the environment
/// says, and what the container's role gives.
#[test]
fn the_hosts_credentials_are_found() {
    let (proxy, user) = (proxy(), &moto().1);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("strongroom.toml");
    let text = format!(
        "[[aws.connectors]]\nname = \"host\"\nregion = \"{REGION}\"\nendpoint = \"{}\"\n",
        proxy.endpoint()
    );
    std::fs::write(&file, text).unwrap();
    let check = |variables: &[(&str, &str)]| {
        let mut command = Command::new(binary::strongroom());
        command.arg("--config").arg(&file).args(["aws", "check"]).env_clear();
        command.env("AWS_EC2_METADATA_DISABLED", "true").env("HOME", dir.path());
        let output = command.envs(variables.iter().copied()).output().unwrap();
        let told = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(told).unwrap())
    };
    let key = [("AWS_ACCESS_KEY_ID", &*user.id), ("AWS_SECRET_ACCESS_KEY", &*user.secret)];
    let (code, told) = check(&key);
    assert_eq!(code, Some(0), "{told}");
    let keys = serde_json::json!({
        "AccessKeyId": user.id, "SecretAccessKey": user.secret, "Token": "",
        "Expiration": "2999-01-01T00:00:00Z",
    });
    let keys = keys.to_string().into_bytes();
    let container = FaultProxy::start(moto().0.endpoint());
    container.always("GET /role", Fault::Status { code: 200, body: keys, headers: vec![] });
    let uri = format!("{}/role", container.endpoint());
    let (code, told) = check(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &uri)]);
    assert!(container.count("GET /role") > 0, "{told}");
    assert!(!told.contains(&user.secret));
    assert_eq!(code, Some(0), "{told}");
    let (code, told) = check(&[]);
    assert!(told.contains("the host gives no AWS credential"), "{told}");
    assert_ne!(code, Some(0));
}
