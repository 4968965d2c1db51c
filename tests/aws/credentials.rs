//! As whom AWS is asked: keys, roles, tokens, and when they end.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use strongroom_aws::{AssumeRole, AwsKms, AwsSettings, Credential, KmsOptions, Token};
use strongroom_core::clock::ManualClock;
use strongroom_core::{ErrorKind, KeyWrapper, SystemClock, Timestamp};
use strongroom_kit::block_on;
use strongroom_kit::moto::ALLOW_ALL;
use strongroom_kit::proxy::{Fault, FaultProxy};

use crate::{KEY, TRUST, bytes, connect, context, credential, key, moto, proxy, settings};

const WITH_EXTERNAL_ID: &str = r#"{"Version": "2012-10-17", "Statement": [{
    "Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole",
    "Condition": {"StringEquals": {"sts:ExternalId": "customer-7"}}
}]}"#;

const WEB_IDENTITY: &str = r#"{"Version": "2012-10-17", "Statement": [{
    "Effect": "Allow", "Principal": {"Federated": "*"},
    "Action": "sts:AssumeRoleWithWebIdentity"
}]}"#;

fn kms(settings: &AwsSettings, key: &str) -> AwsKms {
    AwsKms::new(&connect(settings), key, KmsOptions::default()).unwrap()
}

fn check(settings: &AwsSettings, key: &str) -> Result<(), ErrorKind> {
    block_on(kms(settings, key).check()).map_err(|error| error.kind())
}

#[test]
fn an_access_key_is_taken_for_what_it_is() {
    let (proxy, key) = (proxy(), key(KEY));
    assert_eq!(check(&settings(&proxy), &key), Ok(()));
    let mut wrong = settings(&proxy);
    wrong.credential = Credential::access_key(&moto().1.id, bytes("wrong"), None).unwrap();
    assert_eq!(check(&wrong, &key), Err(ErrorKind::Unauthenticated));
    wrong.credential = Credential::access_key("AKIAIOSFODNN7EXAMPLE", bytes("x"), None).unwrap();
    let error = block_on(kms(&wrong, &key).check()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.message().contains("GovCloud"), "it may be another partition's: {error}");

    let policy = r#"{"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Resource": "*", "Action": "kms:DescribeKey"}]}"#;
    let mut denied = settings(&proxy);
    denied.credential = credential(&moto().0.create_user("who-may-describe", policy));
    let error = block_on(kms(&denied, &key).check()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AccessDenied);
    assert!(error.message().contains("has to allow kms:GenerateDataKey"), "{error}");
}

#[test]
fn a_role_of_another_account_wants_its_external_id() {
    let (proxy, key) = (proxy(), key(KEY));
    let arn = moto().0.create_role("external", WITH_EXTERNAL_ID, ALLOW_ALL);
    let mut settings = settings(&proxy);
    let with = |id: Option<&str>| {
        let mut role = AssumeRole::new(&arn);
        role.external_id = id.map(str::to_owned);
        role.tags = vec![("team".to_owned(), "payments".to_owned())];
        Some(role)
    };
    settings.role = with(Some("customer-7"));
    assert_eq!(check(&settings, &key), Ok(()));
    for wrong in [None, Some("customer-8")] {
        settings.role = with(wrong);
        let error = block_on(kms(&settings, &key).check()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AccessDenied, "{error}");
        assert!(error.message().contains("sts:AssumeRole"), "{error}");
    }
}

#[test]
fn a_token_becomes_a_session_and_a_role_on_top_of_it() {
    let (proxy, key) = (proxy(), key(KEY));
    let web = moto().0.create_role("web", WEB_IDENTITY, ALLOW_ALL);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    fs::write(&file, "a.b.c\n").unwrap();
    let command = ["printf", "a.%s.c", "b"].map(str::to_owned).to_vec();
    let mut settings = settings(&proxy);
    for token in [Token::File(file.clone()), Token::Command(command)] {
        settings.credential = Credential::web_identity(&web, token);
        assert_eq!(check(&settings, &key), Ok(()));
    }
    assert_eq!(proxy.count("AssumeRoleWithWebIdentity"), 2);
    let above = moto().0.create_role("above", TRUST, ALLOW_ALL);
    settings.role = Some(AssumeRole::new(&above));
    assert_eq!(check(&settings, &key), Ok(()));
    assert_eq!((proxy.count("AssumeRoleWithWebIdentity"), proxy.count("AssumeRole")), (3, 1));

    fs::remove_file(&file).unwrap();
    let asked = proxy.requests().len();
    settings.credential = Credential::web_identity(&web, Token::File(file));
    let error = block_on(kms(&settings, &key).check()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.message().contains("the token file"), "{error}");
    assert_eq!(proxy.requests().len(), asked, "nobody is asked without a token");
}

#[test]
fn sessions_of_a_role_are_shared_and_renewed_before_they_end() {
    let proxy = proxy();
    let mut settings = settings(&proxy);
    settings.role = Some(AssumeRole::new(&moto().0.create_role("assumed", TRUST, ALLOW_ALL)));
    assert_renewed(&proxy, settings, "AssumeRole");
}

#[test]
fn sessions_for_a_token_are_shared_and_renewed_before_they_end() {
    let proxy = proxy();
    let mut settings = settings(&proxy);
    let role = moto().0.create_role("renewed", WEB_IDENTITY, ALLOW_ALL);
    let token = Token::Command(["printf", "a.b.c"].map(str::to_owned).to_vec());
    settings.credential = Credential::web_identity(&role, token);
    assert_renewed(&proxy, settings, "AssumeRoleWithWebIdentity");
}

/// STS's session lasts an hour from the real time, so the clock begins there.
fn assert_renewed(proxy: &FaultProxy, mut settings: AwsSettings, operation: &str) {
    let clock = ManualClock::new(Timestamp(SystemClock::shared().now().0));
    settings.clock = Arc::new(clock.clone());
    let kms = kms(&settings, &key(KEY));
    let many = |count: usize| {
        let calls = (0..count).map(|n| {
            let (kms, context) = (&kms, context(&format!("s{n}")));
            async move { kms.generate(&context).await.map(drop) }
        });
        for made in block_on(join_all(calls)) {
            made.unwrap();
        }
    };
    many(32);
    assert_eq!(proxy.count(operation), 1, "one flight");
    // In its last quarter it is still used while the next is fetched.
    clock.advance(Duration::from_mins(50));
    proxy.always(operation, Fault::service_unavailable());
    many(1);
    block_on(proxy.wait_for(operation, 3));
    many(1);
    proxy.clear();
    // What has ended is not.
    clock.advance(Duration::from_mins(11));
    proxy.next(operation, Fault::rewrite(four_years_more));
    many(8);
    assert_eq!(proxy.count(operation), 4);
    clock.advance(Duration::from_hours(5 * 365 * 24));
    proxy.always(operation, Fault::service_unavailable());
    let error = block_on(kms.generate(&context("late"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.is_retryable() && error.message().contains(operation), "{error}");
}

/// STS's time is the real one, and this test's clock is ahead of it.
fn four_years_more(answer: &mut Vec<u8>) {
    let text = String::from_utf8(answer.clone()).unwrap();
    let at = text.find("<Expiration>").unwrap() + "<Expiration>".len();
    let year: u32 = text[at..at + 4].parse().unwrap();
    *answer = format!("{}{}{}", &text[..at], year + 4, &text[at + 4..]).into_bytes();
}

#[test]
fn calls_go_through_the_proxy_that_is_named() {
    let (proxy, key) = (proxy(), key(KEY));
    let mut settings = settings(&proxy);
    settings.proxy = Some(Arc::new(bytes(&proxy.endpoint())));
    settings.endpoint = Some("http://kms.example.test".to_owned());
    block_on(kms(&settings, &key).current_version()).unwrap();
    let asked: Vec<_> = proxy.requests().into_iter().map(|request| request.proxied).collect();
    assert_eq!(asked, [Some("kms.example.test".to_owned())]);
    block_on(connect(&settings).describe_regions(None)).unwrap();
    let asked = proxy.requests().pop().unwrap();
    assert_eq!(asked.operation, "DescribeRegions");
    assert_eq!(asked.proxied.as_deref(), Some("kms.example.test"));
}

#[test]
fn a_private_ca_is_trusted_if_it_is_named_and_no_other() {
    let (dir, key) = (tempfile::tempdir().unwrap(), key(KEY));
    let (ca, other) = (dir.path().join("ca.pem"), dir.path().join("other.pem"));
    let front = moto().0.over_tls(&ca);
    let _other_front = moto().0.over_tls(&other);
    let mut settings = settings(&proxy());
    settings.endpoint = Some(front.endpoint().to_owned());
    settings.ca_file = Some(ca);
    assert_eq!(check(&settings, &key), Ok(()));
    for wrong in [Some(other), None] {
        settings.ca_file = wrong;
        let error = block_on(kms(&settings, &key).check()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.message().contains("certificate"), "{error}");
    }
}
