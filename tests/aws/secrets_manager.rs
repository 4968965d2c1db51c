//! AWS Secrets Manager beside others that use it: boto3, a second process, and a
//! server that answers what it should not.

mod answers;
mod faults;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Barrier};
use std::thread;

use strongroom_aws::{
    Aws, AwsExternalSecrets, AwsSecretsManager, AwsSettings, Credential, SecretsManagerOptions,
    UpdateBy,
};
use strongroom_core::memory::MemoryRecords;
use strongroom_core::{
    Engine, EnvelopeOptions, ErrorKind, Expect, Kind, Metadata, MetadataChange, PageRequest,
    PutOptions, ReferencingStore, Result, Secret, SecretBytes, SecretName, SecretStore, Select,
    Version, VersionInfo,
};
use strongroom_kit::conformance::assert_kind;
use strongroom_kit::moto::Moto;
use strongroom_kit::{block_on, embedded};

use crate::within;

/// One that everybody may use.
fn moto() -> &'static Moto {
    Moto::shared(within())
}

/// Runs a program in Python whose client `sm` is boto3's for Secrets Manager, with these
/// arguments in `sys.argv[1:]`, and gives what it prints.
fn boto3(program: &str, arguments: &[&str]) -> String {
    let client = "import sys, json, boto3\nsm = boto3.client('secretsmanager')\n";
    moto().boto3(&[client, program].concat(), arguments)
}

fn aws(endpoint: &str) -> Aws {
    let mut settings = AwsSettings::new("eu-central-1");
    settings.endpoint = Some(endpoint.to_owned());
    let secret = SecretBytes::copy_from(b"not-a-real-secret").expect("guarded memory");
    settings.credential = Credential::access_key("AKIDEXAMPLE", secret, None).expect("text");
    block_on(Aws::connect(&settings)).expect("settings")
}

/// Every test has a prefix of its own.
fn options(prefix: &str) -> SecretsManagerOptions {
    let mut options = SecretsManagerOptions::new("acme");
    prefix.clone_into(&mut options.prefix);
    options
}

fn open(options: SecretsManagerOptions) -> AwsSecretsManager {
    AwsSecretsManager::new(&aws(moto().endpoint()), options).expect("options")
}

fn name(scope: &str, id: &str) -> SecretName {
    SecretName::new(scope.parse().expect("a scope"), id).expect("a name")
}

fn put(store: &dyn SecretStore, id: &str, value: &[u8], options: &PutOptions) -> Result<Version> {
    let value = SecretBytes::copy_from(value).expect("guarded memory");
    block_on(store.put(&name("acme", id), &value, options)).map(|info| info.version)
}

fn get(store: &dyn SecretStore, id: &str, select: &Select) -> Result<Secret> {
    block_on(store.get(&name("acme", id), select))
}

fn of(kind: Kind) -> PutOptions {
    PutOptions { kind, ..PutOptions::default() }
}

fn assert_value(secret: &Secret, value: &[u8], kind: Kind) {
    assert!(secret.value.expose() == value, "another value");
    assert_eq!(secret.kind, kind);
}

fn versions(store: &dyn SecretStore, id: &str) -> Vec<VersionInfo> {
    let page = PageRequest::first(1000);
    block_on(store.versions(&name("acme", id), &page)).expect("versions").items
}

#[test]
fn boto3_reads_what_was_written() {
    let store = open(options("written"));
    let login = br#"{"user":"me","password":"s3cret"}"#;
    put(&store, "text", "z\u{fc}rich".as_bytes(), &of(Kind::Text)).expect("put");
    put(&store, "login", login, &of(Kind::Login)).expect("put");
    put(&store, "file", b"\x00\xfftext", &of(Kind::File)).expect("put");
    put(&store, "empty", b"", &of(Kind::Text)).expect("put");
    let tags = BTreeMap::from([("env".to_owned(), "prod".to_owned())]);
    let metadata = Some(Metadata::new("of the shop", tags).expect("valid"));
    put(&store, "text$", b"x", &PutOptions { metadata, ..of(Kind::Text) }).expect("put");
    let told = boto3(
        "
def read(id): return sm.get_secret_value(SecretId='written/acme/@' + id)
assert read('text')['SecretString'] == 'z\\u00fcrich'
assert json.loads(read('login')['SecretString'])['password'] == 's3cret'
assert read('file')['SecretBinary'] == b'\\x00\\xfftext'
assert 'SecretString' not in read('empty')
told = sm.describe_secret(SecretId='written/acme/@text+')
assert told['Description'] == 'of the shop' and told['Tags'] == [{'Key': 'env', 'Value': 'prod'}]
print(read('login')['VersionId'])
",
        &[],
    );
    let version = told.trim();
    assert!(version.starts_with("strongroom-login-"), "{version}");
    assert_eq!(get(&store, "login", &Select::Latest).expect("got").version.as_str(), version);
    assert!(get(&store, "empty", &Select::Latest).expect("got").value.is_empty());
}

#[test]
fn what_boto3_wrote_is_read_and_swapped() {
    for update_by in [UpdateBy::PutSecretValue, UpdateBy::UpdateSecret] {
        let prefix = format!("boto-{update_by:?}");
        let mut options = options(&prefix);
        options.update_by = update_by;
        let store = open(options);
        let told = boto3(
            "
name = sys.argv[1] + '/acme/@db'
a = sm.create_secret(Name=name, SecretString='first')['VersionId']
b = sm.put_secret_value(SecretId=name, SecretBinary=b'\\xff2')['VersionId']
print(a, b)
",
            &[&prefix],
        );
        let ids = told.split_whitespace().map(|id| Version::new(id).expect("a version"));
        let [first, second] = ids.collect::<Vec<_>>().try_into().expect("two");
        let latest = get(&store, "db", &Select::Latest).expect("got");
        assert_value(&latest, b"\xff2", Kind::File);
        assert_eq!(latest.version, second);
        let old = get(&store, "db", &Select::Version(first.clone())).expect("got");
        assert_value(&old, b"first", Kind::Text);
        let late = PutOptions { expect: Expect::Latest(first), ..of(Kind::Text) };
        assert_kind(put(&store, "db", b"3", &late), ErrorKind::Conflict, "an older version");
        let swap = PutOptions { expect: Expect::Latest(second), ..of(Kind::Text) };
        let third = put(&store, "db", b"third", &swap).expect("a swap");
        put(&store, "db", b"fourth", &of(Kind::Text)).expect("put");
        assert_eq!(versions(&store, "db")[2].version, third);
        let told = boto3(
            "
name = sys.argv[1] + '/acme/@db'
print(sm.get_secret_value(SecretId=name, VersionStage='AWSPREVIOUS')['SecretString'],
      sm.get_secret_value(SecretId=name, VersionStage='AWSCURRENT')['SecretString'],
      sum(sm.describe_secret(SecretId=name)['VersionIdsToStages'].values(), []))
",
            &[&prefix],
        );
        assert_eq!(told.trim(), "third fourth ['AWSPREVIOUS', 'AWSCURRENT']");
    }
}

#[test]
fn references_lead_into_aws() {
    let told = boto3(
        "
value = {'user': 'me', 'nested': {'a.b': {'c': 's3cret'}}}
made = sm.create_secret(Name='refs/prod/db', SecretString='old')
sm.put_secret_value(SecretId='refs/prod/db', SecretString=json.dumps(value))
sm.create_secret(Name='refs/gone', SecretString='x')
sm.delete_secret(SecretId='refs/gone')
print(made['ARN'], made['VersionId'])
",
        &[],
    );
    let (arn, first) = told.trim().split_once(' ').expect("two");
    let own = open(options("refs/own"));
    put(&own, "child", b"hidden", &of(Kind::Text)).expect("put");
    let external = AwsExternalSecrets::new(&aws(moto().endpoint()));
    let external = Arc::new(external.only_below("refs/").never_below("refs/own/"));
    let directory = tempfile::tempdir().expect("a directory");
    let kek = embedded::kek(&directory.path().join("kek")).expect("a KEK");
    let records = Arc::new(MemoryRecords::new());
    let inner = embedded::envelope(records, Arc::new(kek), EnvelopeOptions::default());
    let inner = Arc::new(block_on(inner).expect("a store"));
    let external = BTreeMap::from([("awssm".to_owned(), external as _)]);
    let store = ReferencingStore::new(inner, external).expect("a name");

    let reference = of(Kind::Reference);
    for (id, target, value) in [
        ("user", "awssm://refs/prod/db#user".to_owned(), &b"me"[..]),
        ("nested", "awssm://refs/prod/db#nested.a%2Eb.c".to_owned(), b"s3cret"),
        ("old", "awssm://refs/prod/db?stage=AWSPREVIOUS".to_owned(), b"old"),
        ("version", format!("awssm://refs/prod/db?version={first}"), b"old"),
        ("arn", format!("awssm://{arn}#user"), b"me"),
    ] {
        put(&store, id, target.as_bytes(), &reference).expect(&target);
        assert_value(&get(&store, id, &Select::Latest).expect("got"), value, Kind::Text);
    }
    let engine = Engine::new(Arc::new(store), "acme".parse().expect("a scope"));
    let wanted = [("account.user", Select::Latest), ("account.nested", Select::Latest)];
    let both = block_on(engine.get_all(&wanted)).expect("answers");
    assert!(both[1].as_ref().expect("got").value.expose() == b"s3cret");
    block_on(engine.delete("account.user")).expect("deleted");
    block_on(engine.purge("account.user")).expect("purged");

    for (target, kind) in [
        ("awssm://refs/prod/none", ErrorKind::NotFound),
        ("awssm://refs/gone", ErrorKind::NotFound),
        ("awssm://refs/prod/db#none", ErrorKind::NotFound),
        ("awssm://refs/prod/db?stage=NONE", ErrorKind::NotFound),
        ("awssm://refs/prod/db?what=1", ErrorKind::InvalidName),
        ("awssm://refs/own/acme/@child", ErrorKind::AccessDenied),
        ("awssm://other/secret", ErrorKind::AccessDenied),
    ] {
        assert_kind(put(&**engine.store(), "bad", target.as_bytes(), &reference), kind, target);
    }
    let kept = boto3(
        "print(sm.get_secret_value(SecretId='refs/prod/db', VersionStage='AWSCURRENT')['Name'])",
        &[],
    );
    assert_eq!(kept.trim(), "refs/prod/db");
}

#[test]
fn a_value_that_aws_would_refuse_is_not_sent() {
    let store = open(options("limits"));
    let most = store.capabilities().max_value_bytes;
    assert_eq!(most, 65_536);
    let tag = |key: &str, value: &str| {
        let tags = BTreeMap::from([(key.to_owned(), value.to_owned())]);
        PutOptions { metadata: Some(Metadata::new("", tags).expect("valid")), ..of(Kind::Text) }
    };
    let long = put(&store, "s", &vec![b'x'; most + 1], &of(Kind::Text));
    assert_kind(long, ErrorKind::LimitExceeded, "a byte too many");
    for (key, value) in [("a&b", ""), ("owner", "a,b"), ("aws:x", "")] {
        assert_kind(put(&store, "s", b"x", &tag(key, value)), ErrorKind::InvalidName, key);
    }
    assert_kind(get(&store, "s", &Select::Latest).map(drop), ErrorKind::NotFound, "not sent");
    for (id, value) in [("text", b'x'), ("bytes", 0xff)] {
        put(&store, id, &vec![value; most], &of(Kind::Text)).expect("the longest");
        assert_eq!(get(&store, id, &Select::Latest).expect("got").value.len(), most);
    }
    let id = "x".repeat(128);
    let scope = format!("acme/{id}/{id}");
    let mut long = options(&"p".repeat(128));
    let value = SecretBytes::copy_from(b"x").expect("guarded memory");
    let put = block_on(open(long.clone()).put(&name(&scope, &id), &value, &PutOptions::default()));
    assert_kind(put, ErrorKind::LimitExceeded, "a name too long");
    long.recovery_window_days = Some(31);
    let refused = AwsSecretsManager::new(&aws(moto().endpoint()), long);
    assert_kind(refused, ErrorKind::Configuration, "a window too long");
}

#[test]
fn a_window_is_kept_to_and_none_is_none() {
    let mut weeks = options("window");
    weeks.recovery_window_days = Some(14);
    let store = open(weeks);
    put(&store, "db", b"x", &of(Kind::Text)).expect("put");
    block_on(store.delete(&name("acme", "db"))).expect("deleted");
    assert!(store.capabilities().restore);
    block_on(store.restore(&name("acme", "db"))).expect("restored");
    get(&store, "db", &Select::Latest).expect("got");

    let mut forced = options("window");
    forced.force_delete_without_recovery = true;
    let forced = open(forced);
    let can = forced.capabilities();
    assert!(!can.soft_delete && !can.restore && can.purge);
    block_on(forced.delete(&name("acme", "db"))).expect("deleted");
    let restored = block_on(forced.restore(&name("acme", "db")));
    assert_kind(restored, ErrorKind::Unsupported, "no window");
    let again = block_on(forced.delete(&name("acme", "db")));
    assert_kind(again, ErrorKind::NotFound, "it is gone");
    let there = boto3(
        "print([s['Name'] for s in sm.list_secrets(IncludePlannedDeletion=True, Filters=[{'Key': 'name', 'Values': ['window/']}])['SecretList']])",
        &[],
    );
    assert_eq!(there.trim(), "[]");
}

#[test]
fn one_of_two_processes_swaps_and_the_other_leaves_nothing() {
    let stores = [open(options("race")), open(options("race"))];
    let mut latest = put(&stores[0], "db", b"start", &of(Kind::Text)).expect("put");
    let mut all = vec![latest.clone()];
    for round in 0..6u8 {
        let barrier = Barrier::new(stores.len());
        let swap = |store: &AwsSecretsManager, own: u8| {
            let options = PutOptions { expect: Expect::Latest(latest.clone()), ..of(Kind::Text) };
            barrier.wait();
            put(store, "db", &[round, own], &options)
        };
        let answers = thread::scope(|scope| {
            let threads: Vec<_> = (0..)
                .zip(&stores)
                .map(|(own, store)| scope.spawn(move || swap(store, own)))
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
        });
        let won: Vec<_> = (0u8..)
            .zip(&answers)
            .filter_map(|(own, answer)| match answer {
                Ok(version) => Some((own, version.clone())),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
                    None
                }
            })
            .collect();
        assert_eq!(won.len(), 1, "round {round}");
        let secret = get(&stores[0], "db", &Select::Latest).expect("got");
        assert_value(&secret, &[round, won[0].0], Kind::Text);
        latest = won[0].1.clone();
        all.push(latest.clone());
        // What is put without a word is in their row.
        all.push(put(&stores[1], "db", b"between", &of(Kind::Text)).expect("put"));
        latest = all[all.len() - 1].clone();
    }
    let listed = versions(&stores[1], "db").into_iter().map(|info| info.version);
    assert_eq!(listed.collect::<Vec<_>>(), all);
}

#[test]
fn long_lists_come_in_pages_without_what_is_not_ours() {
    boto3(
        "
for n in range(130): sm.create_secret(Name=f'pages/acme/ops/@s{n*7%130:03}', SecretString='v')
for other in ['acme/plain', 'acme/ops/db', 'other/@s', 'acme/a/b/c/@s', 'acme/ops/@',
              'acme/ops/@a@b', 'acme/ops/web/@below', 'acme/@above', 'acme/ops2/@beside']:
    sm.create_secret(Name='pages/' + other, SecretString='v')
for other in ['pagesx/acme/ops/@s', 'acme/ops/@s']:
    sm.create_secret(Name='x' + other, SecretString='v')
",
        &[],
    );
    let store = open(options("pages"));
    let scope = "acme/ops".parse().expect("a scope");
    let expected: Vec<_> = (0..130).map(|n| format!("s{n:03}")).collect();
    for limit in [7, 100, 130, 1000] {
        let (mut ids, mut page) = (Vec::new(), PageRequest::first(limit));
        loop {
            let found = block_on(store.list(&scope, true, &page)).expect("a page");
            assert!(found.next.is_none() || found.items.len() == limit, "a page is filled");
            ids.extend(found.items.iter().map(|item| item.name.id().to_owned()));
            match found.next {
                Some(next) => page.after = Some(next),
                None => break,
            }
        }
        assert_eq!(ids, expected, "in pages of {limit}");
    }
    let (mut told, mut page) = (BTreeSet::new(), PageRequest::first(60));
    loop {
        let found = block_on(store.names(Some(&scope), &page)).expect("a page");
        assert!(found.items.len() <= 60);
        for name in found.items {
            assert!(told.insert(format!("{}:{}", name.scope(), name.id())), "{name} twice");
        }
        match found.next {
            Some(next) => page.after = Some(next),
            None => break,
        }
    }
    assert!(told.contains("acme/ops/web:below"));
    assert_eq!(told.len(), 131);
}

#[test]
fn many_are_read_in_batches() {
    let store = open(options("many"));
    for n in 0..45 {
        put(&store, &format!("s{n}"), b"old", &of(Kind::Text)).expect("put");
        put(&store, &format!("s{n}"), format!("{n}").as_bytes(), &of(Kind::File)).expect("put");
    }
    block_on(store.delete(&name("acme", "s7"))).expect("deleted");
    let old = versions(&store, "s3")[0].version.clone();
    let mut wanted: Vec<_> = (0..45).map(|n| (format!("account.s{n}"), Select::Latest)).collect();
    wanted.push(("account.none".to_owned(), Select::Latest));
    wanted.push(("account.s3".to_owned(), Select::Version(old)));
    wanted.push(("account.s3".to_owned(), Select::Latest));
    let engine = Engine::new(Arc::new(store), "acme".parse().expect("a scope"));
    let found = block_on(engine.get_all(&wanted)).expect("answers");
    assert_eq!(found.len(), 48);
    for (n, answer) in found.into_iter().enumerate() {
        match n {
            7 | 45 => assert_kind(answer.map(drop), ErrorKind::NotFound, n),
            46 => assert_value(&answer.expect("got"), b"old", Kind::Text),
            47 => assert_value(&answer.expect("got"), b"3", Kind::File),
            n => assert_value(&answer.expect("got"), format!("{n}").as_bytes(), Kind::File),
        }
    }
}

#[test]
fn foreign_tags_stay() {
    let store = open(options("tags"));
    let db = name("acme", "db");
    boto3(
        "
sm.create_secret(Name='tags/acme/@db', SecretString='v', Description='d' * 2000, Tags=[
    {'Key': 'a=b', 'Value': '1'}, {'Key': 'long', 'Value': 'x' * 200}, {'Key': 'ours', 'Value': '1'}])
",
        &[],
    );
    let nothing = MetadataChange { replace: true, ..MetadataChange::default() };
    let left = block_on(store.change_metadata(&db, &nothing)).expect("a change");
    assert!(left.is_empty());
    let told = boto3(
        "print(sorted(t['Key'] for t in sm.describe_secret(SecretId='tags/acme/@db')['Tags']))",
        &[],
    );
    assert_eq!(told.trim(), "['a=b', 'long']");
}
