//! What becomes of a call to Secrets Manager when the network or AWS fails.

use std::time::Duration;

use strongroom_aws::AwsSecretsManager;
use strongroom_core::{ErrorKind, Expect, Kind, PutOptions, Select};
use strongroom_kit::proxy::{ANY, Fault, FaultProxy};

use super::{get, of, options, put, versions};
use crate::{connect, proxy, settings};

fn open(proxy: &FaultProxy, prefix: &str) -> AwsSecretsManager {
    AwsSecretsManager::new(&connect(&settings(proxy)), options(prefix)).expect("options")
}

#[test]
fn what_passes_is_tried_again_and_told_as_what_it_is() {
    let proxy = proxy();
    let store = open(&proxy, "passing");
    put(&store, "db", b"value", &of(Kind::Text)).expect("put");
    for (fault, kind) in [
        (Fault::throttling(), ErrorKind::Throttled),
        (Fault::internal_error(), ErrorKind::Unavailable),
        (Fault::service_unavailable(), ErrorKind::Unavailable),
        (Fault::Reset, ErrorKind::Unavailable),
        (Fault::ResetAfterForwarding, ErrorKind::Unavailable),
        (Fault::Truncate { bytes: 20 }, ErrorKind::Unavailable),
    ] {
        proxy.reset_counts();
        proxy.next("GetSecretValue", fault.clone());
        let got = get(&store, "db", &Select::Latest).expect("the second time");
        assert!(got.value.expose() == b"value", "{fault:?}");
        proxy.always("GetSecretValue", fault.clone());
        let error = get(&store, "db", &Select::Latest).expect_err("it lasts");
        assert_eq!((error.kind(), error.is_retryable()), (kind, true), "{fault:?}: {error}");
        assert_eq!(proxy.count("GetSecretValue"), 4, "two attempts each: {fault:?}");
        proxy.clear();
    }
}

/// AWS has done it, and its answer is lost: the second attempt names the same version.
#[test]
fn a_put_whose_answer_is_lost_is_one_version() {
    let proxy = proxy();
    let store = open(&proxy, "lost");
    for fault in [Fault::ResetAfterForwarding, Fault::Truncate { bytes: 5 }] {
        proxy.next("CreateSecret", fault.clone());
        proxy.next("PutSecretValue", fault);
        let id = format!("db{}", proxy.count("CreateSecret"));
        let first = put(&store, &id, b"first", &of(Kind::Text)).expect("put");
        let second = put(&store, &id, b"second", &of(Kind::Text)).expect("put");
        let swap = PutOptions { expect: Expect::Latest(second.clone()), ..of(Kind::Text) };
        let third = put(&store, &id, b"third", &swap).expect("swapped");
        let there: Vec<_> = versions(&store, &id).into_iter().map(|info| info.version).collect();
        assert_eq!(there, [first, second, third]);
        proxy.clear();
    }
}

#[test]
fn a_deadline_is_a_deadline() {
    let proxy = proxy();
    let mut settings = settings(&proxy);
    settings.attempt_timeout = Duration::from_millis(50);
    settings.timeout = Duration::from_millis(200);
    let store = AwsSecretsManager::new(&connect(&settings), options("late")).expect("options");
    proxy.always(ANY, Fault::BlackHole);
    let error = get(&store, "db", &Select::Latest).expect_err("nobody answers");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("in time"), "{error}");
}
