//! The kit's Vault: what it serves, judged by hvac, and that it ends.

#![allow(clippy::unwrap_used, reason = "a test's helpers panic as the test does")]

mod building;
mod nodes;

use std::env;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use strongroom_kit::vault::Vault;

/// Set in the process that is killed.
const VICTIM: &str = "STRONGROOM_VAULT_VICTIM";

const KEEP: &str = "import hvac, sys; \
    hvac.Client().secrets.kv.v2.create_or_update_secret('name', {'value': sys.argv[1]})";

const READ: &str = "import hvac; \
    print(hvac.Client().secrets.kv.v2.read_secret('name')['data']['data']['value'], end='')";

fn within() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// What any request for a secret is answered.
fn status(vault: &Vault, node: usize, path: &str) -> u16 {
    vault.ask(node, vault.root_token(), "GET", path, &Value::Null).status
}

#[test]
fn each_server_has_a_state_of_its_own() {
    let (one, shared) = (Vault::start(within()), Vault::shared(within()));
    one.mount("secret", "kv", &json!({"version": "2"}));
    one.api("POST", "secret/data/name", &json!({"data": {"value": "by root"}}));
    assert_eq!(one.hvac(READ, &[]), "by root");
    one.hvac(KEEP, &["by hvac"]);
    assert_eq!(
        one.api("GET", "secret/data/name", &Value::Null)["data"]["data"]["value"],
        "by hvac"
    );
    assert_eq!(status(shared, 0, "secret/data/name"), 404);
    assert_eq!(shared.api("GET", "sys/health", &Value::Null)["version"], "1.21.4");
}

#[test]
fn it_ends_with_the_process_that_started_it() {
    if env::var_os(VICTIM).is_some() {
        let vault = Vault::start(within());
        writeln!(io::stdout(), "{}", vault.address()).unwrap();
        // It ends with the test, should that not kill it.
        io::stdin().read_to_end(&mut Vec::new()).unwrap();
        return;
    }
    let mut victim = Command::new(env::current_exe().unwrap());
    victim.args(["it_ends_with_the_process_that_started_it", "--exact", "--nocapture"]);
    let mut victim =
        victim.env(VICTIM, "1").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let mut addresses =
        lines.filter_map(|line| line.unwrap().split_once("http://").map(|line| line.1.to_owned()));
    let mut stream = TcpStream::connect(addresses.next().unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    victim.kill().unwrap();
    victim.wait().unwrap();
    match stream.read(&mut [0]) {
        Ok(len) => assert_eq!(len, 0),
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
    }
}

#[test]
fn what_it_kept_in_a_directory_is_there_after_it_was_killed() {
    let directory = tempfile::tempdir().unwrap();
    let vault = Vault::in_directory(within(), directory.path());
    let address = vault.address().to_owned();
    vault.mount("secret", "kv", &json!({"version": "1"}));
    vault.api("PUT", "secret/name", &json!({"value": "kept"}));
    vault.kill();
    TcpStream::connect(address.trim_start_matches("http://")).unwrap_err();
    vault.restart_sealed();
    assert_eq!(vault.address(), address);
    assert_eq!(status(&vault, 0, "secret/name"), 503);
    vault.unseal();
    assert_eq!(vault.api("GET", "secret/name", &Value::Null)["data"]["value"], "kept");
    vault.restart();
    assert_eq!(vault.api("GET", "secret/name", &Value::Null)["data"]["value"], "kept");
}

#[test]
fn sealed_it_answers_503() {
    let vault = Vault::start(within());
    vault.mount("secret", "kv", &Value::Null);
    vault.seal();
    let answer = vault.ask(0, vault.root_token(), "GET", "secret/name", &Value::Null);
    assert_eq!(answer.status, 503);
    assert_eq!(answer.body["errors"], json!(["Vault is sealed"]));
    vault.unseal();
    assert_eq!(status(&vault, 0, "secret/name"), 404);
}

#[test]
fn a_token_may_do_what_its_policies_say_and_for_so_long() {
    let vault = Vault::shared(within());
    vault.mount("some", "kv", &Value::Null);
    vault.api("PUT", "some/name", &json!({"value": "any"}));
    vault.policy("reader", r#"path "some/*" { capabilities = ["read"] }"#);
    let token = vault.token(&["reader"], Duration::from_mins(5), false);
    assert_eq!(vault.ask(0, &token, "GET", "some/name", &Value::Null).status, 200);
    assert_eq!(vault.ask(0, &token, "PUT", "some/name", &json!({"value": "new"})).status, 403);
    let itself = vault.ask(0, &token, "GET", "auth/token/lookup-self", &Value::Null).body;
    assert_eq!(itself["data"]["creation_ttl"], 300);
    assert_eq!(itself["data"]["renewable"], false);
    let lasting = vault.token(&["reader"], Duration::from_mins(5), true);
    let renewed = vault.ask(0, &lasting, "POST", "auth/token/renew-self", &Value::Null);
    assert_eq!(renewed.body["auth"]["renewable"], true);
}

#[test]
fn it_has_the_plugins_that_the_tests_use() {
    let vault = Vault::start(within());
    for method in ["approle", "aws", "cert", "jwt", "kubernetes", "userpass"] {
        vault.auth_mount(method, method);
    }
    for engine in ["database", "kv", "transit"] {
        vault.mount(engine, engine, &Value::Null);
    }
    let mut database = json!({"connection_url": "postgresql://{{username}}:{{password}}@127.0.0.1/",
        "username": "nobody", "password": "none", "verify_connection": false,
        "plugin_name": "postgresql-database-plugin"});
    vault.api("POST", "database/config/any", &database);
    database["plugin_name"] = json!("mysql-database-plugin");
    let refused = vault.ask(0, vault.root_token(), "POST", "database/config/other", &database);
    assert_eq!(refused.status, 400);
    assert_eq!(
        vault.ask(0, vault.root_token(), "POST", "sys/mounts/x", &json!({"type": "pki"})).status,
        400
    );
}

/// One of the functions where Vault and its SDK had to be made to fit.
#[test]
fn transit_restores_a_key_that_was_backed_up() {
    let vault = Vault::start(within());
    vault.mount("transit", "transit", &Value::Null);
    vault.api(
        "POST",
        "transit/keys/one",
        &json!({"exportable": true, "allow_plaintext_backup": true}),
    );
    let sealed = vault.api("POST", "transit/encrypt/one", &json!({"plaintext": "aGVyZQ=="}));
    let backup = vault.api("GET", "transit/backup/one", &Value::Null);
    vault.api("POST", "transit/restore/two", &json!({"backup": backup["data"]["backup"]}));
    let opened = vault.api(
        "POST",
        "transit/decrypt/two",
        &json!({"ciphertext": sealed["data"]["ciphertext"]}),
    );
    assert_eq!(opened["data"]["plaintext"], "aGVyZQ==");
}

#[test]
fn over_tls_a_client_may_say_who_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let vault = Vault::over_tls(within(), folder.path());
    assert!(vault.address().starts_with("https://127.0.0.1:"), "{}", vault.address());
    vault.auth_mount("cert", "cert");
    vault.policy("member", r#"path "any" { capabilities = ["read"] }"#);
    let told = vault.hvac(include_str!("tls.py"), &[folder.path().to_str().unwrap()]);
    let expected = "\
        without its CA: SSLError\n\
        as nobody: client certificate must be supplied\n\
        as a stranger: failed to match all constraints for this login certificate\n\
        as a client: ['default', 'member']\n";
    assert_eq!(told, expected);
}
