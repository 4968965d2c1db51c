//! How often KMS and Secrets Manager are asked, by the ways to ask them less.

use std::collections::BTreeMap;
use std::sync::Arc;

use strongroom_aws::{AwsKms, AwsSecretsManager, KmsOptions, SecretsManagerOptions};
use strongroom_core::memory::MemoryRecords;
use strongroom_core::wrapper::{BranchOptions, KeyCacheOptions};
use strongroom_core::{
    BranchKeys, CachedKeys, EnvelopeOptions, EnvelopeStore, KeyWrapper, PutOptions, SecretName,
    SecretStore, Select, SystemClock,
};
use strongroom_kit::proxy::FaultProxy;
use strongroom_kit::sidecar::Setup;
use strongroom_kit::{block_on, embedded};

use crate::{KEY, bytes, connect, key, proxy, settings};

/// As many as the documentation tells of, in the long version.
fn how_many() -> usize {
    if std::env::var_os("STRONGROOM_NIGHTLY").is_some() { 10_000 } else { 200 }
}

fn name(n: usize) -> SecretName {
    // Ten scopes.
    let scope = format!("acme/pay/project-{}", n % 10).parse().unwrap();
    SecretName::new(scope, &format!("secret-{n}")).unwrap()
}

/// The calls for so many puts, for so many gets of the same process, and for so many
/// of one that has just started.
fn calls(wrap: impl Fn(Arc<dyn KeyWrapper>) -> Arc<dyn KeyWrapper>) -> [Counts; 3] {
    let (proxy, key) = (proxy(), key(KEY));
    let records = Arc::new(MemoryRecords::new());
    let wrapper = || {
        let kms = AwsKms::new(&connect(&settings(&proxy)), &key, KmsOptions::default()).unwrap();
        wrap(Arc::new(kms))
    };
    let options = EnvelopeOptions::default;
    let store = EnvelopeStore::create(records.clone(), wrapper(), "acme", options());
    let store = block_on(store).unwrap();
    proxy.reset_counts();
    for n in 0..how_many() {
        block_on(store.put(&name(n), &bytes("value"), &PutOptions::default())).unwrap();
    }
    let puts = taken(&proxy);
    let get_all = |store: &EnvelopeStore| {
        for n in 0..how_many() {
            let got = block_on(store.get(&name(n), &Select::Latest)).unwrap();
            assert!(got.value.expose() == b"value");
        }
    };
    get_all(&store);
    let warm = taken(&proxy);
    let cold = block_on(EnvelopeStore::open(records, wrapper(), "acme", options())).unwrap();
    proxy.reset_counts();
    get_all(&cold);
    [puts, warm, taken(&proxy)]
}

type Counts = BTreeMap<String, usize>;

fn taken(proxy: &FaultProxy) -> Counts {
    let counts = proxy.counts();
    proxy.reset_counts();
    counts
}

fn counts(of: &[(&str, usize)]) -> Counts {
    of.iter().map(|&(operation, count)| (operation.to_owned(), count)).collect()
}

#[test]
fn each_put_and_each_get_is_one_call() {
    let n = how_many();
    let [puts, warm, cold] = calls(|kms| kms);
    assert_eq!(puts, counts(&[("GenerateDataKey", n)]));
    assert_eq!((warm, cold), (counts(&[("Decrypt", n)]), counts(&[("Decrypt", n)])));
}

#[test]
fn keys_at_hand_spare_the_gets_of_a_process_that_goes_on() {
    let n = how_many();
    let [puts, warm, cold] = calls(|kms| {
        Arc::new(CachedKeys::new(kms, KeyCacheOptions::default(), SystemClock::shared()))
    });
    assert_eq!(puts, counts(&[("GenerateDataKey", n)]));
    assert_eq!((warm, cold), (counts(&[]), counts(&[("Decrypt", n)])));
}

#[test]
fn with_branch_keys_a_scope_is_one_call() {
    let [puts, warm, cold] = calls(|kms| {
        Arc::new(BranchKeys::new(kms, BranchOptions::default(), SystemClock::shared()))
    });
    assert_eq!(puts.get("GenerateDataKey"), Some(&10), "{puts:?}");
    assert_eq!((warm, cold), (counts(&[]), counts(&[("Decrypt", 10)])));
}

/// Through all that stands between a client of a sidecar and AWS.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_secrets_of_a_sidecar_are_three_calls_and_then_none() {
    let proxy = proxy();
    let mut options = SecretsManagerOptions::new(embedded::ACCOUNT);
    "fifty".clone_into(&mut options.prefix);
    let store = AwsSecretsManager::new(&connect(&settings(&proxy)), options).unwrap();
    let sidecar = Setup::new(Arc::new(store)).start();
    let names: Vec<_> = (0..50).map(|n| format!("account.s{n}")).collect();
    for name in &names {
        sidecar.seed(name, name);
    }
    let client = sidecar.client().await;
    let read = async || {
        proxy.reset_counts();
        let wanted: Vec<_> = names.iter().map(|name| (name.as_str(), Select::Latest)).collect();
        let answers = client.get_all(&wanted).await.unwrap();
        for (name, answer) in names.iter().zip(&answers) {
            assert!(answer.as_ref().unwrap().value.expose() == name.as_bytes());
        }
        assert_eq!(answers.len(), names.len());
        taken(&proxy)
    };
    assert_eq!(read().await, counts(&[("BatchGetSecretValue", 3)]), "20 are one call");
    assert_eq!(read().await, counts(&[]));
    for name in &names[..30] {
        sidecar.cache().invalidate(&sidecar.engine().resolve(name).unwrap());
    }
    assert_eq!(read().await, counts(&[("BatchGetSecretValue", 2)]));
}
