//! Connectors as a configuration has them, and what the command line says of them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;
use strongroom::{Config, OpenOptions};
use strongroom_core::{Engine, Kind, PutOptions, Select};
use strongroom_kit::{binary, block_on};

use crate::leases::Role;
use crate::{HOUR, bytes, log, server};

const VALUE: &str = "a-value-that-nobody-tells";
const TEAMS: &str = "a-password-of-the-team";

/// A configuration whose connector has the token in a file beside it.
fn config(dir: &Path, text: &str) -> Config {
    let file = dir.join("strongroom.toml");
    let connector = format!(
        "[[vault.connectors]]\nname = \"vault\"\naddresses = [\"{}\"]\ntoken = \"file:token\"\n\
         attempt_timeout = \"1m\"\ntimeout = \"2m\"\n",
        server().address()
    );
    fs::write(&file, format!("[scope]\naccount = \"acme\"\n{text}{connector}")).unwrap();
    Config::load(&file).unwrap()
}

/// From now on the configuration's token may do what `hcl` says.
fn allow(dir: &Path, name: &str, hcl: &str) -> String {
    server().policy(name, hcl);
    let token = server().token(&[name], HOUR, true);
    let file = dir.join("token");
    fs::write(&file, &token).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    token
}

fn policy(config: &Config) -> String {
    config.vault_policy(&config.vault.connectors[0], false).unwrap().to_hcl()
}

/// The code that `strongroom vault` ends with, and what it says.
fn vault(config: &Config, arguments: &[&str], variables: &[(&str, &str)]) -> (i32, String) {
    let mut command = Command::new(binary::strongroom());
    command.env_clear().envs(variables.iter().copied()).stdin(Stdio::null());
    command.arg("--config").arg(config.file().unwrap()).arg("vault").args(arguments);
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}

fn put(engine: &Engine, name: &str, value: &str, kind: Kind) {
    let options = PutOptions { kind, ..PutOptions::default() };
    block_on(engine.put(name, &bytes(value), &options)).unwrap();
}

fn assert_has(engine: &Engine, name: &str, value: &str) {
    let secret = block_on(engine.get(name, &Select::Latest)).unwrap();
    assert!(secret.value.expose() == value.as_bytes(), "{name}: another value");
}

#[test]
fn a_kek_and_references_need_the_policy_that_is_written_and_no_more() {
    log::begin();
    let (server, dir, role) = (server(), tempfile::tempdir().unwrap(), Role::new("conf"));
    server.mount("conf-transit", "transit", &json!({}));
    server.api("POST", "conf-transit/keys/kek", &json!({"derived": true}));
    server.mount("conf-team", "kv", &json!({"version": "2"}));
    let team = json!({"data": {"user": "team", "password": TEAMS}});
    server.api("POST", "conf-team/data/app/db", &team);
    let text = format!(
        "[kek]\ntype = \"vault-transit\"\nmount = \"conf-transit\"\nkey = \"kek\"\n\
         [[store.references]]\nname = \"team\"\ntype = \"vault-kv\"\nbelow = \"conf-team/app\"\n\
         [[store.references]]\nname = \"made\"\ntype = \"vault-dynamic\"\nbelow = \"{}\"\n",
        role.path
    );
    let config = config(dir.path(), &text);
    let token = allow(dir.path(), "conf", &policy(&config));

    let engine = block_on(config.create(OpenOptions::default())).unwrap();
    put(&engine, "account.own", VALUE, Kind::Text);
    put(&engine, "account.team", "team://conf-team/app/db#password", Kind::Reference);
    put(&engine, "account.made", &format!("made://{}#username", role.path), Kind::Reference);
    drop(engine);
    let engine = block_on(config.open(OpenOptions::default())).unwrap();
    assert_has(&engine, "account.own", VALUE);
    assert_has(&engine, "account.team", TEAMS);
    let made = block_on(engine.get("account.made", &Select::Latest)).unwrap();
    assert!(made.valid_for.is_some(), "it ends with its lease");
    drop(engine);

    let (code, checked) = vault(&config, &["check"], &[]);
    assert_eq!(code, 0, "{checked}");
    let (code, written) = vault(&config, &["policy"], &[]);
    assert_eq!((code, written.trim_end()), (0, policy(&config).trim_end()));

    let without: Vec<_> =
        written.split("\n\n").filter(|rule| !rule.contains("/decrypt/")).collect();
    let other = allow(dir.path(), "conf", &without.join("\n\n"));
    let (code, lacking) = vault(&config, &["check"], &[]);
    assert_eq!(code, 7, "{lacking}");
    assert!(lacking.contains("no  conf-transit/decrypt/kek  lacks update"), "{lacking}");
    let missing = "path \"conf-transit/decrypt/kek\" {\n  capabilities = [\"update\"]\n}";
    assert!(lacking.contains(missing), "{lacking}");

    let logged = log::said();
    for secret in [VALUE, TEAMS, &token, &other] {
        let told = [&logged, &checked, &lacking];
        assert!(!told.into_iter().any(|text| text.contains(secret)), "a secret is told");
    }
}

#[test]
fn a_store_of_vault_is_made_and_used_as_configured() {
    let (server, dir) = (server(), tempfile::tempdir().unwrap());
    server.mount("conf-kv", "kv", &json!({"version": "2"}));
    let text = "[store]\ntype = \"vault-kv\"\nmount = \"conf-kv\"\nengine_version = 2\n\
                prefix = \"below/here\"\nvalue_key = \"it\"\n";
    let config = config(dir.path(), text);
    allow(dir.path(), "conf-kv", &policy(&config));
    let engine = block_on(config.create(OpenOptions::default())).unwrap();
    put(&engine, "account.db", VALUE, Kind::Text);
    assert_has(&engine, "account.db", VALUE);
    let kept = server.api("GET", "conf-kv/data/below/here/acme/@db", &json!(null));
    assert!(kept["data"]["data"] == json!({ "it": VALUE }), "it is kept otherwise");
    block_on(engine.delete("account.db")).unwrap();
    block_on(engine.restore("account.db")).unwrap();
    block_on(engine.purge("account.db")).unwrap();
    assert_eq!(vault(&config, &["check"], &[]).0, 0);
}

#[test]
fn the_environment_says_something_only_where_it_may() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("strongroom.toml");
    let load = |connector: &str| {
        let scope = "[scope]\naccount = \"acme\"\n[[vault.connectors]]\nname = \"vault\"\n";
        fs::write(&file, format!("{scope}{connector}")).unwrap();
        Config::load(&file)
    };
    let variables = [("VAULT_ADDR", server().address()), ("VAULT_TOKEN", server().root_token())];
    let config = load("from_environment = true\n").unwrap();
    let (code, said) = vault(&config, &["check"], &variables);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains(server().address()), "{said}");
    let (code, said) = vault(&config, &["check"], &variables[..1]);
    assert_eq!(code, 15, "{said}");
    assert!(said.contains("VAULT_TOKEN is not set"), "{said}");
    let (code, said) = vault(&config, &["check"], &variables[1..]);
    assert_eq!(code, 15, "{said}");
    assert!(said.contains("VAULT_ADDR is not set"), "{said}");

    let error = load("").unwrap_err();
    assert!(error.message().contains("needs addresses"), "{error}");
    let error = load(&format!("addresses = [\"{}\"]\n", server().address())).unwrap_err();
    assert!(error.message().contains("needs token"), "{error}");
}
