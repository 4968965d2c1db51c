//! Secrets in KV, of both versions.

mod faults;
mod hvac;
mod lists;
mod others;
mod policies;
mod quiet;
mod races;
mod references;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use strongroom_core::{
    Kind, PageRequest, PutOptions, Result, Secret, SecretBytes, SecretName, SecretStore, Select,
    Version, VersionInfo,
};
use strongroom_kit::block_on;
use strongroom_vault::{Auth, KvOptions, KvVersion, SecretText, Vault, VaultKv, VaultSettings};

use crate::{bytes, server};

const BOTH: [KvVersion; 2] = [KvVersion::One, KvVersion::Two];

/// The mount of an engine, made once.
fn mount(version: KvVersion) -> &'static str {
    static MADE: Mutex<BTreeSet<&str>> = Mutex::new(BTreeSet::new());
    let (path, number) = match version {
        KvVersion::One => ("one", "1"),
        KvVersion::Two => ("two", "2"),
    };
    let mut made = MADE.lock().unwrap();
    if made.insert(path) {
        server().mount(path, "kv", &json!({"version": number}));
    }
    path
}

fn with_token(token: &str) -> Auth {
    Auth::Token(SecretText::Given(Arc::new(bytes(token))))
}

/// At `address`, as root, and patient: the machine may be busy.
fn settings(address: &str) -> VaultSettings {
    let mut settings = VaultSettings::new(address, with_token(server().root_token()));
    settings.attempt_timeout = Duration::from_mins(1);
    settings.timeout = Duration::from_mins(2);
    settings
}

fn connect(settings: &VaultSettings) -> Vault {
    Vault::connect(settings).unwrap()
}

/// Every test has a base of its own.
fn options(version: KvVersion, base: &str) -> KvOptions {
    let mut options = KvOptions::new("acme");
    mount(version).clone_into(&mut options.mount);
    base.clone_into(&mut options.base);
    options.version = Some(version);
    options
}

fn open_at(vault: &Vault, options: KvOptions) -> VaultKv {
    block_on(VaultKv::open(vault, options)).unwrap()
}

/// As root.
fn open(version: KvVersion, base: &str) -> VaultKv {
    open_at(&connect(&settings(server().address())), options(version, base))
}

fn name(scope: &str, id: &str) -> SecretName {
    SecretName::new(scope.parse().unwrap(), id).unwrap()
}

fn put(store: &dyn SecretStore, id: &str, value: &[u8], options: &PutOptions) -> Result<Version> {
    let value = SecretBytes::copy_from(value).unwrap();
    block_on(store.put(&name("acme", id), &value, options)).map(|info| info.version)
}

fn get(store: &dyn SecretStore, id: &str, select: &Select) -> Result<Secret> {
    block_on(store.get(&name("acme", id), select))
}

fn of(kind: Kind) -> PutOptions {
    PutOptions { kind, ..PutOptions::default() }
}

#[track_caller]
fn assert_value(secret: &Secret, value: &[u8], kind: Kind) {
    assert!(secret.value.expose() == value, "another value");
    assert_eq!(secret.kind, kind);
}

fn versions(store: &dyn SecretStore, id: &str) -> Vec<VersionInfo> {
    let page = PageRequest::first(1000);
    block_on(store.versions(&name("acme", id), &page)).unwrap().items
}

/// Runs a program in Python with hvac's clients `one` and `two` of the engines, and these
/// arguments in `sys.argv[1:]`, and gives what it prints.
fn hvac(program: &str, arguments: &[&str]) -> String {
    let (one, two) = (mount(KvVersion::One), mount(KvVersion::Two));
    let client = format!(
        "
import sys, json, os, hvac
class Kv:
    def __init__(self, version, mount):
        api = hvac.Client(os.environ['VAULT_ADDR'], os.environ['VAULT_TOKEN']).secrets.kv
        self.api, self.mount = api.v1 if version == 1 else api.v2, mount
        self.version = version
    def __getattr__(self, method):
        return lambda *a, **k: getattr(self.api, method)(*a, mount_point=self.mount, **k)
    def read(self, path):
        if self.version == 1: return self.read_secret(path)['data']
        return self.read_secret_version(path, raise_on_deleted_version=True)['data']['data']
    def write(self, path, data):
        self.create_or_update_secret(path, secret=data)
one, two = Kv(1, '{one}'), Kv(2, '{two}')
"
    );
    server().hvac(&[&client, program].concat(), arguments)
}
