//! Connectors as a configuration has them, whose secrets lie in other stores.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use strongroom::{Config, Executor, Live, OpenOptions};
use strongroom_core::cache::ThreadSpawn;
use strongroom_core::{Engine, ErrorKind, Kind, PutOptions, Result, Select};
use strongroom_kit::moto::{ALLOW_ALL, AccessKey, REGION};
use strongroom_kit::proxy::FaultProxy;
use strongroom_kit::{binary, block_on};

use crate::log::log;
use crate::{KEY, bytes, key, moto, proxy};

const WRONG: &str = "a-secret-that-signs-nothing-of-moto";
const VALUE: &str = "a-value-that-nobody-tells";

const OTHER: &str =
    "[[store.references]]\nname = \"other\"\nconfig = \"../other/strongroom.toml\"\n";

fn config(dir: &Path, text: &str) -> Config {
    fs::create_dir_all(dir).unwrap();
    let file = dir.join("strongroom.toml");
    fs::write(&file, format!("[scope]\naccount = \"acme\"\n{text}")).unwrap();
    Config::load(&file).unwrap()
}

fn connector(name: &str, proxy: &FaultProxy, credential: &str) -> String {
    format!(
        "[[aws.connectors]]\nname = \"{name}\"\nregion = \"{REGION}\"\nendpoint = \"{}\"\n\
         timeout = \"2m\"\nattempt_timeout = \"1m\"\n{credential}",
        proxy.endpoint()
    )
}

/// With the access key of this user, whose secret is there.
fn access_key(user: &AccessKey, secret: &str) -> String {
    let id = &user.id;
    format!(
        "credential = \"access-key\"\naccess_key_id = \"{id}\"\nsecret_access_key = \"{secret}\"\n"
    )
}

fn kek(connector: &str, key: &str) -> String {
    format!("[kek]\ntype = \"aws-kms\"\nconnector = \"{connector}\"\nkey = \"{key}\"\n")
}

fn put(engine: &Engine, name: &str, value: &str, kind: Kind) {
    let options = PutOptions { kind, ..PutOptions::default() };
    block_on(engine.put(name, &bytes(value), &options)).unwrap();
}

fn assert_works(engine: &Engine) {
    put(engine, "account.db", VALUE, Kind::Text);
    let secret = block_on(engine.get("account.db", &Select::Latest)).unwrap();
    assert!(secret.value.expose() == VALUE.as_bytes(), "another value");
}

/// The embedded store `name` beside others, with the login of an access key.
fn store_with(dir: &Path, name: &str, user: &str, secret: &str) -> Config {
    let other = config(&dir.join(name), "");
    let engine = block_on(other.create(OpenOptions::default())).unwrap();
    put_login(&engine, user, secret);
    other
}

fn put_login(engine: &Engine, user: &str, secret: &str) {
    let login = serde_json::json!({ "user": user, "password": secret }).to_string();
    put(engine, "account.aws", &login, Kind::Login);
}

fn open(config: &Config) -> Result<Engine> {
    block_on(config.open(OpenOptions::default()))
}

#[test]
fn the_secret_of_an_access_key_lies_in_an_embedded_store() {
    let (log, proxy, dir) = (log(), proxy(), tempfile::tempdir().unwrap());
    let user = moto().0.create_user("of-embedded", ALLOW_ALL);
    let other = store_with(dir.path(), "other", &user.id, &user.secret);
    let aws = connector("aws", &proxy, &access_key(&user, "other://account.aws#password"));
    let own = config(&dir.path().join("own"), &[&kek("aws", &key(KEY)), OTHER, &aws].concat());
    assert_works(&block_on(own.create(OpenOptions::default())).unwrap());
    assert_works(&open(&own).unwrap());
    let check = || {
        let mut command = Command::new(binary::strongroom());
        command.env_clear().stdin(Stdio::null()).arg("--config").arg(own.file().unwrap());
        let output = command.args(["aws", "check"]).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    let (code, checked) = check();
    assert_eq!(code, Some(0), "{checked}");
    assert!(checked.contains(":user/of-embedded, account "), "{checked}");

    put_login(&open(&other).unwrap(), &user.id, WRONG);
    let error = open(&own).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    assert!(error.message().contains("kms:"), "AWS has refused it: {error}");
    let (code, refused) = check();
    assert_eq!(code, Some(8), "{refused}");
    assert!(refused.contains("no  sts:GetCallerIdentity"), "{refused}");

    let log = log.text();
    assert!(log.contains("TRACE") && log.contains(&user.id), "the log is on");
    for secret in [&user.secret, WRONG, VALUE] {
        let is_told = [&log, &checked, &refused, &format!("{error:?}")];
        assert!(!is_told.into_iter().any(|text| text.contains(secret)), "a secret is told");
    }
}

#[test]
fn a_connector_gives_another_one_its_secret() {
    let (proxy, dir) = (proxy(), tempfile::tempdir().unwrap());
    let user = moto().0.create_user("of-another", ALLOW_ALL);
    let script = "import sys, boto3; boto3.client('secretsmanager').create_secret(\
                  Name='keys/second', SecretString=sys.argv[1])";
    let value = serde_json::json!({ "secret": user.secret }).to_string();
    moto().0.boto3(script, &[&value]);
    let _other = store_with(dir.path(), "other", "first", &moto().1.secret);
    let text = [
        &kek("second", &key(KEY)),
        OTHER,
        "[[store.references]]\nname = \"sm\"\ntype = \"aws-secrets-manager\"\n\
         connector = \"first\"\nbelow = \"keys/\"\n",
        &connector("first", &proxy, &access_key(&moto().1, "other://account.aws#password")),
        &connector("second", &proxy, &access_key(&user, "sm://keys/second#secret")),
    ];
    let own = config(&dir.path().join("own"), &text.concat());
    assert_works(&block_on(own.create(OpenOptions::default())).unwrap());
    assert_eq!(proxy.count("GetSecretValue"), 1);
    let second = own.aws.connector(Some("second")).unwrap();
    let caller = block_on(block_on(own.connect_aws(second)).unwrap().caller()).unwrap();
    assert!(caller.arn.ends_with(":user/of-another"), "{caller:?}");
}

#[test]
fn a_token_lies_in_another_store_and_is_read_for_each_session() {
    let trust = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
        "Principal": {"Federated": "*"}, "Action": "sts:AssumeRoleWithWebIdentity"}]}"#;
    let (proxy, dir) = (proxy(), tempfile::tempdir().unwrap());
    let role = moto().0.create_role("by-stored-token", trust, ALLOW_ALL);
    let other = store_with(dir.path(), "other", "x", "a.b.c");
    let credential = format!(
        "credential = \"oidc\"\nrole_arn = \"{role}\"\ntoken = \"other://account.aws#password\"\n"
    );
    let text = [&kek("aws", &key(KEY)), OTHER, &connector("aws", &proxy, &credential)].concat();
    let own = config(&dir.path().join("own"), &text);
    let reads = || {
        let log = fs::read_to_string(other.audit_path().unwrap()).unwrap();
        log.lines().filter(|line| line.contains("\"operation\":\"get\"")).count()
    };
    let connector = own.aws.connector(None).unwrap();
    let aws = block_on(own.connect_aws(connector)).unwrap();
    assert_eq!(reads(), 0, "there is no session yet");
    block_on(aws.caller()).unwrap();
    block_on(aws.caller()).unwrap();
    assert_eq!((reads(), proxy.count("AssumeRoleWithWebIdentity")), (1, 1));

    block_on(open(&other).unwrap().delete("account.aws")).unwrap();
    let aws = block_on(own.connect_aws(connector)).unwrap();
    let error = block_on(aws.caller()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert!(error.message().contains("other://account.aws#password"), "{error}");
    assert_eq!(proxy.count("AssumeRoleWithWebIdentity"), 1, "nobody is asked without a token");
}

/// What a connector's secret is may have changed although the connector has not.
#[test]
fn a_reload_connects_anew_where_a_secret_lies_elsewhere() {
    let (proxy, dir) = (proxy(), tempfile::tempdir().unwrap());
    let user = moto().0.create_user("of-reload", ALLOW_ALL);
    store_with(dir.path(), "other", &user.id, &user.secret);
    store_with(dir.path(), "third", &user.id, WRONG);
    let aws = connector("aws", &proxy, &access_key(&user, "other://account.aws#password"));
    let kek = kek("aws", &key(KEY));
    let own = |place: &str, more: &str| {
        let other = OTHER.replace("../other", place);
        config(&dir.path().join("own"), &[&kek, &other, &aws, more].concat())
    };
    let first = own("../other", "");
    drop(block_on(first.create(OpenOptions::default())).unwrap());
    let executor =
        Executor { spawn: Arc::new(ThreadSpawn::new()), below_cache: Arc::new(|store| store) };
    let live = block_on(Live::open(first, OpenOptions::default(), &executor)).unwrap();
    let reload = |config| {
        let reloaded = live.reconfigure(config, OpenOptions::default(), &executor);
        block_on(reloaded).map(|live| block_on(live.engine().check()))
    };
    let refused = |error: strongroom_core::Error| error.kind() == ErrorKind::Unauthenticated;
    let outcome = reload(own("../third", ""));
    assert!(outcome.is_err_and(refused), "its secret is another one");
    let moved = dir.path().join("moved");
    fs::rename(dir.path().join("other"), &moved).unwrap();
    reload(own("../moved", "")).unwrap().unwrap();
    // As long as nothing has changed nobody looks there.
    fs::rename(&moved, dir.path().join("away")).unwrap();
    reload(own("../other", "[cache]\nenabled = true\n")).unwrap().unwrap();
    assert_works(live.engine());
}
