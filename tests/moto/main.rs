//! The kit's moto: what it does as AWS does, judged by boto3, and that it ends.

#![allow(clippy::unwrap_used, reason = "a test's helpers panic as the test does")]

use std::env;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use strongroom_kit::moto::{ALLOW_ALL, AccessKey, Moto};
use strongroom_kit::proxy::{Fault, FaultProxy};

/// Set in the process that is killed.
const VICTIM: &str = "STRONGROOM_MOTO_VICTIM";

const MAKE_KEY: &str = "import boto3; \
    print(boto3.client('kms').create_key()['KeyMetadata']['KeyId'], end='')";

const ALIASES: &str = "import boto3; \
    print([each['AliasName'] for each in boto3.client('kms').list_aliases()['Aliases'] \
           if not each['AliasName'].startswith('alias/aws/')], end='')";

fn within() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// A connection that ends with the server.
fn connect(endpoint: &str) -> TcpStream {
    let stream = TcpStream::connect(endpoint.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    stream
}

fn assert_ends(mut stream: TcpStream) {
    match stream.read(&mut [0]) {
        Ok(len) => assert_eq!(len, 0),
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
    }
}

#[test]
fn each_server_has_a_state_of_its_own() {
    let (one, shared) = (Moto::start(within()), Moto::shared(within()));
    one.alias("alias/one");
    assert_eq!(one.boto3(ALIASES, &[]), "['alias/one']");
    assert_eq!(shared.boto3(ALIASES, &[]), "[]");
    assert!(one.log().contains("POST / HTTP/1.1"), "{}", one.log());
    let stream = connect(one.endpoint());
    drop(one);
    assert_ends(stream);
    assert_eq!(shared.boto3(ALIASES, &[]), "[]");
}

#[test]
fn it_ends_with_the_process_that_started_it() {
    if env::var_os(VICTIM).is_some() {
        let moto = Moto::start(within());
        writeln!(io::stdout(), "{}", moto.endpoint()).unwrap();
        // It ends with the test, should that not kill it.
        io::stdin().read_to_end(&mut Vec::new()).unwrap();
        return;
    }
    let mut victim = Command::new(env::current_exe().unwrap());
    victim.args(["it_ends_with_the_process_that_started_it", "--exact", "--nocapture"]);
    let mut victim =
        victim.env(VICTIM, "1").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let mut endpoints =
        lines.filter_map(|line| line.unwrap().split_once("http://").map(|line| line.1.to_owned()));
    let stream = connect(&endpoints.next().unwrap());
    victim.kill().unwrap();
    victim.wait().unwrap();
    assert_ends(stream);
}

#[test]
fn with_auth_it_refuses_as_aws_does() {
    let policy = r#"{"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Resource": "*",
        "Action": ["kms:ListKeys", "ec2:DescribeRegions", "sts:AssumeRole"]
    }]}"#;
    let trust = r#"{"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"sts:ExternalId": "right"}}
    }]}"#;
    let encrypt = r#"{"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Resource": "*", "Action": "kms:Encrypt"
    }]}"#;
    let (moto, user) = Moto::with_auth(within(), policy);
    let key = moto.boto3(MAKE_KEY, &[]);
    let role = moto.create_role("role", trust, encrypt);
    let arguments = [&key, &role, "AKIAIOSFODNN7EXAMPLE"];
    let script = include_str!("refusals.py");
    let told = moto.boto3_as(&user, moto.endpoint(), script, &arguments);
    let expected = "\
        kms, allowed: done\n\
        sts, allowed: done\n\
        ec2, allowed: done\n\
        kms, unsigned: 400 MissingAuthenticationTokenException\n\
        sts, unsigned: 403 MissingAuthenticationToken\n\
        ec2, unsigned: 403 MissingAuthenticationToken\n\
        kms, wrong secret: 400 InvalidSignatureException\n\
        sts, wrong secret: 403 SignatureDoesNotMatch\n\
        ec2, wrong secret: 401 AuthFailure\n\
        kms, unknown: 400 UnrecognizedClientException\n\
        sts, unknown: 403 InvalidClientTokenId\n\
        ec2, unknown: 401 AuthFailure\n\
        encrypt: 400 AccessDeniedException\n\
        secret: 400 AccessDeniedException\n\
        user: 403 AccessDenied\n\
        assume, without an external id: 403 AccessDenied\n\
        assume, wrong external id: 403 AccessDenied\n\
        assume, right external id: done\n\
        session, encrypt: done\n\
        session, list: 400 AccessDeniedException\n\
        session, without its token: 400 UnrecognizedClientException\n\
        session, wrong token: 400 UnrecognizedClientException\n\
        session, wrong secret: 400 InvalidSignatureException\n\
        web identity: done\n";
    assert_eq!(told, expected);
}

#[test]
fn the_metadata_of_an_instance_want_a_token() {
    let (moto, _) = Moto::with_auth(within(), ALLOW_ALL);
    let trust = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
        "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]}"#;
    let role = moto.create_role("default-role", trust, ALLOW_ALL);
    let told = moto.boto3(include_str!("metadata.py"), &[]);
    let (account, _) = role.split_once(":role/").unwrap();
    let account = account.replace(":iam:", ":sts:");
    let expected = format!(
        "no token: 401\n\
         wrong token: 401\n\
         role without a token: 401\n\
         token without a time: 400\n\
         token for too long: 400\n\
         token without PUT: 400\n\
         token: 200 60\n\
         roles: 200\n\
         default-role\n\
         nothing: 404\n\
         {account}:assumed-role/default-role/i-fake\n"
    );
    assert_eq!(told, expected);
}

#[test]
fn signatures_hold_behind_the_proxy() {
    let (moto, user) = Moto::with_auth(within(), ALLOW_ALL);
    let proxy = FaultProxy::start(moto.endpoint());
    proxy.next("CreateKey", Fault::throttling());
    proxy.next("CreateKey", Fault::service_unavailable());
    moto.boto3_as(&user, &proxy.endpoint(), MAKE_KEY, &[]);
    assert_eq!(proxy.count("CreateKey"), 3);
    let answers: Vec<_> = proxy.requests().iter().map(|request| request.upstream).collect();
    assert_eq!(answers, [None, None, Some(200)]);

    let denied = AccessKey::new(&user.id, "wrong");
    let script = "import boto3\n\
        try: boto3.client('kms').list_keys()\n\
        except Exception as error: print(error.response['Error']['Code'], end='')";
    let told = moto.boto3_as(&denied, &proxy.endpoint(), script, &[]);
    assert_eq!((told.as_str(), proxy.count("ListKeys")), ("InvalidSignatureException", 1));
}
