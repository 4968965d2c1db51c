//! What becomes of a call to KMS, and which key opens what.

use std::time::Duration;

use strongroom_aws::{AwsKms, KmsOptions, Replica};
use strongroom_core::wrapper::{KeyCacheOptions, WrappedDek};
use strongroom_core::{CachedKeys, ErrorKind, KeyWrapper, SystemClock};
use strongroom_kit::block_on;
use strongroom_kit::moto::REGION;
use strongroom_kit::proxy::{ANY, Fault, FaultProxy};

use crate::{KEY, MULTI_REGION_KEY, connect, context, key, moto, proxy, settings, shared};

fn kms(proxy: &FaultProxy, key: &str) -> AwsKms {
    AwsKms::new(&connect(&settings(proxy)), key, KmsOptions::default()).unwrap()
}

fn made(kms: &AwsKms, id: &str) -> (Vec<u8>, WrappedDek<'static>) {
    let (dek, wrapped) = block_on(kms.generate(&context(id))).unwrap();
    (dek.expose().to_vec(), wrapped)
}

fn open(kms: &dyn KeyWrapper, wrapped: &WrappedDek<'_>, id: &str) -> Result<Vec<u8>, ErrorKind> {
    let opened = block_on(kms.unwrap(wrapped, &context(id)));
    opened.map(|dek| dek.expose().to_vec()).map_err(|error| error.kind())
}

fn with(replicas: Vec<Replica>) -> KmsOptions {
    let mut options = KmsOptions::default();
    options.replicas = replicas;
    options
}

#[test]
fn what_passes_is_tried_again_and_told_as_what_it_is() {
    let proxy = proxy();
    let kms = kms(&proxy, &key(KEY));
    let (dek, wrapped) = made(&kms, "a");
    let passing = [
        (Fault::throttling(), ErrorKind::Throttled),
        (Fault::too_many_requests(), ErrorKind::Throttled),
        (Fault::internal_error(), ErrorKind::Unavailable),
        (Fault::service_unavailable(), ErrorKind::Unavailable),
        (Fault::aws_error(500, "KMSInternalException"), ErrorKind::Unavailable),
        (Fault::aws_error(500, "KeyUnavailableException"), ErrorKind::Unavailable),
        (Fault::Reset, ErrorKind::Unavailable),
        (Fault::ResetAfterForwarding, ErrorKind::Unavailable),
        (Fault::Truncate { bytes: 20 }, ErrorKind::Unavailable),
    ];
    for (fault, kind) in passing {
        proxy.reset_counts();
        proxy.next("Decrypt", fault.clone());
        assert!(open(&kms, &wrapped, "a").as_ref() == Ok(&dek), "{fault:?}");
        proxy.always("Decrypt", fault.clone());
        let error = block_on(kms.unwrap(&wrapped, &context("a"))).unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (kind, true), "{fault:?}: {error}");
        assert_eq!(proxy.count("Decrypt"), 4, "two attempts each: {fault:?}");
        proxy.clear();
    }
}

#[test]
fn what_lasts_is_not_tried_again() {
    let proxy = proxy();
    let kms = kms(&proxy, &key(KEY));
    let (_, wrapped) = made(&kms, "a");
    for (code, kind) in [
        ("DisabledException", ErrorKind::KeyUnavailable),
        ("KMSInvalidStateException", ErrorKind::KeyUnavailable),
        ("NotFoundException", ErrorKind::KeyUnavailable),
        ("InvalidCiphertextException", ErrorKind::Tampered),
        ("IncorrectKeyException", ErrorKind::Tampered),
        ("AccessDeniedException", ErrorKind::AccessDenied),
        ("UnrecognizedClientException", ErrorKind::Unauthenticated),
    ] {
        proxy.reset_counts();
        proxy.next("Decrypt", Fault::aws_error(400, code));
        let error = block_on(kms.unwrap(&wrapped, &context("a"))).unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (kind, false), "{code}: {error}");
        assert!(error.message().contains(code), "{error}");
        assert_eq!(proxy.count("Decrypt"), 1, "{code}");
    }
}

#[test]
fn nonsense_is_no_key() {
    let proxy = proxy();
    let kms = kms(&proxy, &key(KEY));
    let (_, wrapped) = made(&kms, "a");
    let other = key(KEY);
    let rewritten = move |from: &'static str, to: String| {
        Fault::rewrite(move |body| {
            let text = String::from_utf8(body.clone()).unwrap();
            let at = text.find(&format!("\"{from}\": \"")).unwrap() + from.len() + 5;
            let end = at + text[at..].find('"').unwrap();
            *body = [&text[..at], &to, &text[end..]].concat().into_bytes();
        })
    };
    for fault in [
        Fault::Garbage,
        Fault::NotHttp,
        Fault::rewrite(|body| *body = b"{}".to_vec()),
        rewritten("KeyId", other),
        rewritten("KeyId", String::new()),
    ] {
        proxy.always("Decrypt", fault.clone());
        let error = block_on(kms.unwrap(&wrapped, &context("a"))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{fault:?}: {error}");
        proxy.clear();
    }
    proxy.always("Decrypt", rewritten("Plaintext", "c2hvcnQ=".to_owned()));
    assert_eq!(open(&kms, &wrapped, "a"), Err(ErrorKind::Tampered), "a key of five bytes");
}

#[test]
fn a_deadline_is_a_deadline_and_a_cached_key_does_not_wait() {
    let proxy = proxy();
    let mut settings = settings(&proxy);
    settings.attempt_timeout = Duration::from_millis(50);
    settings.timeout = Duration::from_millis(200);
    let kms = AwsKms::new(&connect(&settings), &key(KEY), KmsOptions::default()).unwrap();
    let cached = CachedKeys::new(shared(kms), KeyCacheOptions::default(), SystemClock::shared());
    let (dek, wrapped) = loop {
        // So little time may be too little for a machine that has much to do.
        if let Ok(made) = block_on(cached.generate(&context("a"))) {
            break made;
        }
    };
    proxy.always(ANY, Fault::BlackHole);
    assert!(open(&cached, &wrapped, "a").as_deref() == Ok(dek.expose()));
    // In another context it is another key: KMS has to be asked.
    let error = block_on(cached.unwrap(&wrapped, &context("b"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("in time"), "{error}");
}

#[test]
fn the_exact_key_is_recorded_and_demanded() {
    let proxy = proxy();
    let (alias, arn) = ("alias/exact", key(KEY));
    moto().0.alias(alias);
    let (by_alias, by_arn) = (kms(&proxy, alias), kms(&proxy, &arn));
    let (dek, wrapped) = made(&by_alias, "a");
    assert!(wrapped.kek_version.starts_with("arn:aws:kms:"), "{wrapped:?}");
    assert_eq!(wrapped.kek, format!("aws-kms:{REGION}:{alias}"));
    moto().0.repoint(alias);
    let asked = proxy.requests().len();
    for change in [
        arn.replace(":123456789012:", ":210987654321:"),
        arn.replace(REGION, "eu-west-1"),
        arn.replace(":key/", ":alias/"),
        "alias/exact".to_owned(),
    ] {
        let kek = by_arn.identity().to_owned().into();
        let forged = WrappedDek { kek, kek_version: change.clone().into(), ..wrapped.clone() };
        let opened = open(&by_arn, &forged, "a");
        assert_eq!(opened, Err(ErrorKind::KeyUnavailable), "{change}");
    }
    assert_eq!(proxy.requests().len(), asked, "a key that is not ours is never asked for");

    // Where an alias leads opens, and not where it led, unless that is said.
    let old = wrapped.kek_version.split('#').next().unwrap().to_owned();
    let after = kms(&proxy, alias);
    let error = block_on(after.unwrap(&wrapped, &context("a"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyUnavailable);
    assert!(error.message().contains("former_keys"), "{error}");
    let mut options = KmsOptions::default();
    options.former_keys = vec![old];
    let knowing = AwsKms::new(&connect(&settings(&proxy)), alias, options).unwrap();
    assert!(open(&knowing, &wrapped, "a") == Ok(dek));
}

#[test]
fn a_rewrap_leaves_the_dek_in_kms() {
    let proxy = proxy();
    let alias = "alias/rewrapped";
    moto().0.alias(alias);
    let (dek, wrapped) = made(&kms(&proxy, alias), "a");
    moto().0.repoint(alias);
    let mut options = KmsOptions::default();
    options.former_keys = vec![wrapped.kek_version.split('#').next().unwrap().to_owned()];
    let kms = AwsKms::new(&connect(&settings(&proxy)), alias, options).unwrap();
    proxy.reset_counts();
    let rewrapped = block_on(kms.rewrap(&wrapped, &context("a"))).unwrap();
    let counts = proxy.counts();
    assert_eq!(counts.get("ReEncrypt"), Some(&1), "{counts:?}");
    assert!(!counts.contains_key("Decrypt") && !counts.contains_key("Encrypt"), "{counts:?}");
    assert!(rewrapped.kek_version != wrapped.kek_version && rewrapped.bytes != wrapped.bytes);
    assert!(open(&kms, &rewrapped, "a") == Ok(dek));
    let error = block_on(kms.rewrap(&wrapped, &context("b"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tampered, "{error}");
}

#[test]
fn a_region_that_is_down_is_bridged_by_a_replica() {
    let (home, away) = (proxy(), proxy());
    let arn = key(MULTI_REGION_KEY);
    let id = arn.rsplit('/').next().unwrap();
    let replicate = "import boto3, sys; boto3.client('kms').replicate_key(\
        KeyId=sys.argv[1], ReplicaRegion='eu-west-1')";
    moto().0.boto3(replicate, &[id]);
    let mut replica = Replica::new("eu-west-1");
    replica.endpoint = Some(away.endpoint());
    let kms = AwsKms::new(&connect(&settings(&home)), &arn, with(vec![replica])).unwrap();
    let (dek, wrapped) = made(&kms, "a");
    assert_eq!((home.count("GenerateDataKey"), away.requests().len()), (1, 0));
    home.always(ANY, Fault::Reset);
    let opened = block_on(kms.unwrap(&wrapped, &context("a"))).unwrap();
    assert!(opened.expose() == dek);
    let (other, by_replica) = made(&kms, "b");
    assert_eq!(by_replica.kek_version, wrapped.kek_version, "one key, wherever it is");
    let asked_home = home.requests().len();
    assert!(open(&kms, &by_replica, "b") == Ok(other.clone()));
    assert_eq!(home.requests().len(), asked_home, "a region that is down is asked last");
    away.always(ANY, Fault::service_unavailable());
    home.clear();
    assert!(open(&kms, &by_replica, "b") == Ok(other), "the first is back");
    home.always("Decrypt", Fault::aws_error(400, "DisabledException"));
    away.clear();
    away.reset_counts();
    assert_eq!(open(&kms, &wrapped, "a"), Err(ErrorKind::KeyUnavailable));
    assert_eq!(away.count("Decrypt"), 0, "a disabled key is no region that is down");
}

#[test]
fn names_that_cannot_be_right_are_refused_before_anybody_is_asked() {
    let aws = connect(&settings(&proxy()));
    let refused = |key: &str, replicas: &[Replica]| {
        let error = AwsKms::new(&aws, key, with(replicas.to_vec())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        error.message().to_owned()
    };
    let key = "arn:aws:kms:eu-central-1:123456789012:key/mrk-1";
    assert!(refused("", &[]).contains("1 to"));
    assert!(refused(&"x".repeat(300), &[]).contains("bytes"));
    assert!(refused("arn:aws:s3:::x", &[]).contains("no ARN"));
    assert!(refused(&key.replace("central", "west"), &[]).contains("is in eu-west-1"));
    let gov = "arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/mrk-1";
    assert!(refused(gov, &[]).contains("GovCloud"));
    assert!(refused("alias/x", &[Replica::new("eu-west-1")]).contains("multi-Region"));
    assert!(refused(key, &[Replica::new("us-gov-west-1")]).contains("of the partition aws"));
    assert!(refused(key, &[Replica::new(REGION)]).contains("named once"));
    assert!(AwsKms::new(&aws, key, with(vec![Replica::new("eu-west-1")])).is_ok());
}

/// What stands in the records is what KMS gave: AWS's own client opens it.
#[test]
fn boto3_opens_what_was_wrapped_and_the_reverse() {
    let proxy = proxy();
    let arn = key(KEY);
    let kms = kms(&proxy, &arn);
    let (dek, wrapped) = made(&kms, "a");
    let pairs: Vec<_> = context("a").pairs().into_iter().collect();
    let pairs = serde_json::to_string(&pairs.iter().cloned().collect::<Pairs>()).unwrap();
    let hex =
        |bytes: &[u8]| bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    let script = "import boto3, json, sys\n\
        kms = boto3.client('kms')\n\
        context = json.loads(sys.argv[2])\n\
        opened = kms.decrypt(KeyId=sys.argv[1], CiphertextBlob=bytes.fromhex(sys.argv[3]),\n\
                             EncryptionContext=context)['Plaintext']\n\
        made = kms.encrypt(KeyId=sys.argv[1], Plaintext=opened[::-1], EncryptionContext=context)\n\
        print(opened.hex(), made['CiphertextBlob'].hex(), end='')";
    let told = moto().0.boto3(script, &[&arn, &pairs, &hex(&wrapped.bytes)]);
    let (opened, made) = told.split_once(' ').unwrap();
    assert!(opened == hex(&dek));
    let made: Vec<_> = (0..made.len() / 2)
        .map(|at| u8::from_str_radix(&made[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    let theirs = WrappedDek { bytes: made.into(), ..wrapped };
    let reversed: Vec<_> = dek.iter().rev().copied().collect();
    assert!(open(&kms, &theirs, "a") == Ok(reversed));
}

type Pairs = std::collections::BTreeMap<std::borrow::Cow<'static, str>, String>;
