//! Sessions that AWS ends before their time.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join, join_all};
use strongroom_aws::{
    AssumeRole, AwsKms, AwsSecretsManager, AwsSettings, Backoff, Credential, KmsOptions,
    SecretsManagerOptions, Token,
};
use strongroom_core::clock::ManualClock;
use strongroom_core::{
    Error, ErrorKind, KeyWrapper, PutOptions, Result, SecretName, SecretStore, Select, SystemClock,
};
use strongroom_kit::block_on;
use strongroom_kit::faults::Gate;
use strongroom_kit::moto::ALLOW_ALL;
use strongroom_kit::proxy::{Fault, FaultProxy};

use crate::{KEY, TRUST, bytes, connect, context, key, moto, proxy, settings};

const CALL: &str = "GenerateDataKey";

fn ended() -> Fault {
    Fault::aws_error(403, "ExpiredTokenException")
}

/// As a role of this name, without a retry.
fn as_role(proxy: &FaultProxy, role: &str) -> AwsSettings {
    let mut settings = settings(proxy);
    settings.role = Some(AssumeRole::new(&moto().0.create_role(role, TRUST, ALLOW_ALL)));
    settings.backoff = Backoff::FixedDelay { fixed_backoff: Duration::ZERO, retry_count: 0 };
    settings
}

fn kms(settings: &AwsSettings) -> AwsKms {
    AwsKms::new(&connect(settings), &key(KEY), KmsOptions::default()).unwrap()
}

fn call(kms: &AwsKms) -> Result<()> {
    block_on(kms.generate(&context("a"))).map(drop)
}

fn unauthenticated(kms: &AwsKms) -> Error {
    let error = call(kms).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    assert!(!error.is_retryable());
    error
}

#[test]
fn a_session_that_aws_ends_is_renewed_once_for_all_who_are_refused() {
    let proxy = proxy();
    let kms = kms(&as_role(&proxy, "ended-once"));
    call(&kms).unwrap();
    assert_eq!((proxy.count(CALL), proxy.count("AssumeRole")), (1, 1));
    let gate = Gate::closed();
    proxy.times(CALL, 8, ended().after(&gate));
    let calls = join_all((0..8).map(|_| async { kms.generate(&context("a")).await.map(drop) }));
    let refused = async {
        proxy.wait_for(CALL, 9).await;
        gate.open();
    };
    let (made, ()) = block_on(join(calls, refused));
    for made in made {
        made.unwrap();
    }
    assert_eq!((proxy.count(CALL), proxy.count("AssumeRole")), (17, 2));
    // It is the new session from now on.
    call(&kms).unwrap();
    assert_eq!((proxy.count(CALL), proxy.count("AssumeRole")), (18, 2));
    let requests = proxy.requests();
    let signed_by = |at: usize| {
        let calls = requests.iter().filter(|request| request.operation == CALL);
        let scope = calls.clone().nth(at).unwrap().header("authorization").unwrap();
        scope.split('/').next().unwrap().to_owned()
    };
    assert_eq!(signed_by(0), signed_by(8));
    assert_ne!(signed_by(0), signed_by(9));
    assert_eq!(signed_by(9), signed_by(17));
}

#[test]
fn what_is_refused_for_ever_ends_after_one_renewal() {
    let proxy = proxy();
    let clock = ManualClock::new(SystemClock::shared().now());
    let mut settings = as_role(&proxy, "ended-for-ever");
    settings.clock = Arc::new(clock.clone());
    let kms = kms(&settings);
    proxy.always(CALL, ended());
    let said = unauthenticated(&kms).to_string();
    assert!(said.contains("the session token has ended"), "{said}");
    assert_eq!((proxy.count(CALL), proxy.count("AssumeRole")), (2, 2));
    // Another session was no better a moment ago.
    unauthenticated(&kms);
    assert_eq!((proxy.count(CALL), proxy.count("AssumeRole")), (3, 2));
    clock.advance(Duration::from_secs(30));
    unauthenticated(&kms);
    assert_eq!((proxy.count(CALL), proxy.count("AssumeRole")), (5, 3));
    proxy.clear();
    call(&kms).unwrap();
    assert_eq!(proxy.count("AssumeRole"), 3);
}

#[test]
fn a_renewal_is_beside_the_retries() {
    let proxy = proxy();
    let mut settings = as_role(&proxy, "ended-and-down");
    settings.backoff = Backoff::FixedDelay { fixed_backoff: Duration::ZERO, retry_count: 1 };
    let down = Fault::service_unavailable;
    for faults in [[ended(), down()], [down(), ended()]] {
        let kms = kms(&settings);
        proxy.reset_counts();
        for fault in faults {
            proxy.next(CALL, fault);
        }
        call(&kms).unwrap();
        assert_eq!((proxy.count(CALL), proxy.count("AssumeRole")), (3, 2));
    }
    let kms = kms(&settings);
    proxy.reset_counts();
    for fault in [down(), ended(), down()] {
        proxy.next(CALL, fault);
    }
    assert_eq!(call(&kms).unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(proxy.count(CALL), 3, "there is one retry");
}

#[test]
fn a_session_that_aws_has_forgotten_is_renewed_and_an_access_key_is_not() {
    let proxy = proxy();
    let mut settings = as_role(&proxy, "forgotten");
    let mut options = SecretsManagerOptions::new("acme");
    "forgotten".clone_into(&mut options.prefix);
    let store = AwsSecretsManager::new(&connect(&settings), options).unwrap();
    let name = SecretName::new("acme".parse().unwrap(), "db").unwrap();
    block_on(store.put(&name, &bytes("value"), &PutOptions::default())).unwrap();
    proxy.next("GetSecretValue", Fault::aws_error(400, "UnrecognizedClientException"));
    let got = block_on(store.get(&name, &Select::Latest)).unwrap();
    assert!(got.value.expose() == b"value");
    assert_eq!((proxy.count("GetSecretValue"), proxy.count("AssumeRole")), (2, 2));

    let aws = connect(&settings);
    proxy.next("GetCallerIdentity", Fault::aws_error(403, "InvalidClientTokenId"));
    block_on(aws.caller()).unwrap();
    assert_eq!((proxy.count("GetCallerIdentity"), proxy.count("AssumeRole")), (2, 4));

    settings.role = None;
    let alone = kms(&settings);
    for code in ["UnrecognizedClientException", "InvalidClientTokenId", "ExpiredTokenException"] {
        proxy.reset_counts();
        proxy.next(CALL, Fault::aws_error(403, code));
        unauthenticated(&alone);
        assert_eq!(proxy.count(CALL), 1, "{code}");
    }
}

#[test]
fn a_session_token_that_was_set_is_said_to_have_ended() {
    let proxy = proxy();
    let mut settings = settings(&proxy);
    let (id, secret) = (&moto().1.id, bytes(&moto().1.secret));
    settings.credential = Credential::access_key(id, secret, Some(bytes("hunter2"))).unwrap();
    let kms = kms(&settings);
    proxy.always(CALL, ended());
    let error = unauthenticated(&kms);
    assert_eq!(proxy.count(CALL), 1);
    assert!(error.message().contains("is not renewed here: set a new one"), "{error}");
    assert!(!error.message().contains("GovCloud"), "{error}");
    assert!(!format!("{error:?}").contains("hunter2"));
}

#[test]
fn the_session_below_a_role_is_renewed_too() {
    let proxy = proxy();
    let trust = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
        "Principal": {"Federated": "*"}, "Action": "sts:AssumeRoleWithWebIdentity"}]}"#;
    let web = moto().0.create_role("ended-web", trust, ALLOW_ALL);
    let mut settings = as_role(&proxy, "above-ended-web");
    let token = Token::Command(["printf", "a.b.c"].map(str::to_owned).to_vec());
    settings.credential = Credential::web_identity(&web, token);
    let kms = kms(&settings);
    proxy.next("AssumeRole", Fault::aws_error(403, "ExpiredToken"));
    call(&kms).unwrap();
    assert_eq!((proxy.count("AssumeRoleWithWebIdentity"), proxy.count("AssumeRole")), (2, 2));

    // What is exchanged for a session is no session.
    proxy.always("AssumeRoleWithWebIdentity", Fault::aws_error(400, "ExpiredTokenException"));
    settings.role = None;
    let kms = self::kms(&settings);
    proxy.reset_counts();
    let error = unauthenticated(&kms);
    assert!(error.message().contains("the issuer's token has ended"), "{error}");
    assert_eq!((proxy.count("AssumeRoleWithWebIdentity"), proxy.count(CALL)), (1, 0));
}
