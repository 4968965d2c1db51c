//! DEKs under a key of Transit: what Vault is asked, and what its refusals mean.

mod faults;
mod lost;
mod store;

use serde_json::{Value, json};
use strongroom_core::wrapper::WrappedDek;
use strongroom_core::{
    Dek, EncryptionContext, ErrorKind, KeyWrapper, Kind, Result, SecretName, Version,
};
use strongroom_kit::block_on;
use strongroom_kit::proxy::{Fault, FaultProxy, Request};
use strongroom_vault::{Vault, VaultTransit};

use crate::client::{allowed, as_root};
use crate::{proxy, server};

/// The name of every key: a test has an engine of its own.
const KEY: &str = "dek-s.1";

fn engine(mount: &str) {
    server().mount(mount, "transit", &json!({}));
}

fn make(mount: &str, key: &Value) {
    server().api("POST", &format!("{mount}/keys/{KEY}"), key);
}

fn configure(mount: &str, config: &Value) {
    server().api("POST", &format!("{mount}/keys/{KEY}/config"), config);
}

fn rotate(mount: &str) {
    server().api("POST", &format!("{mount}/keys/{KEY}/rotate"), &Value::Null);
}

fn transit(vault: &Vault, mount: &str) -> VaultTransit {
    VaultTransit::new(vault, mount, KEY).unwrap()
}

/// A wrapper, and its key at an engine of its own.
fn wrapper(proxy: &FaultProxy, mount: &str, key: &Value) -> VaultTransit {
    engine(mount);
    make(mount, key);
    transit(&as_root(proxy), mount)
}

fn derived() -> Value {
    json!({"derived": true})
}

fn context(id: &str) -> EncryptionContext {
    let name = SecretName::new("acme/pay".parse().unwrap(), id).unwrap();
    EncryptionContext::new(&name, &Version::new("1").unwrap(), Kind::Text)
}

fn generate(key: &VaultTransit) -> (Dek, WrappedDek<'static>) {
    block_on(key.generate(&context("a"))).unwrap()
}

fn unwrap(key: &VaultTransit, wrapped: &WrappedDek<'_>) -> Result<Dek> {
    block_on(key.unwrap(wrapped, &context("a")))
}

fn same(a: &Dek, b: &Dek) -> bool {
    a.expose() == b.expose()
}

/// What was asked since the last time, in its order: operations of `mount`.
fn asked(proxy: &FaultProxy, mount: &str) -> Vec<String> {
    let requests = proxy.requests();
    let of_mount = |request: &Request| {
        let operation = request.operation.split_once(&format!("/v1/{mount}/"))?.1;
        Some(operation.strip_suffix(KEY)?.trim_end_matches('/').to_owned())
    };
    let asked = requests.iter().filter_map(of_mount).collect();
    proxy.reset_counts();
    asked
}

#[test]
fn a_derived_key_makes_opens_and_rewraps_in_one_request_each() {
    let (proxy, mount) = (proxy(), "counted/derived");
    let key = wrapper(&proxy, mount, &derived());
    let (dek, wrapped) = generate(&key);
    assert_eq!(asked(&proxy, mount), ["keys", "datakey/plaintext"]);
    let (_, _) = generate(&key);
    assert_eq!(asked(&proxy, mount), ["datakey/plaintext"], "the key is known");
    assert!(same(&unwrap(&key, &wrapped).unwrap(), &dek));
    assert_eq!(asked(&proxy, mount), ["decrypt"]);
    rotate(mount);
    let rewrapped = block_on(key.rewrap(&wrapped, &context("a"))).unwrap();
    assert_eq!(asked(&proxy, mount), ["rewrap"], "the DEK does not leave Vault");
    assert_eq!((&*wrapped.kek_version, &*rewrapped.kek_version), ("1", "2"));
    // A rotation was noticed by what it wrapped.
    assert_eq!(block_on(key.current_version()).unwrap(), "2");
    assert_eq!(asked(&proxy, mount), ["keys"]);
    assert!(same(&unwrap(&key, &rewrapped).unwrap(), &dek));
    assert_eq!(asked(&proxy, mount), ["decrypt"]);
    // Another process has to learn what the key is.
    assert!(same(&unwrap(&transit(&as_root(&proxy), mount), &rewrapped).unwrap(), &dek));
    assert_eq!(asked(&proxy, mount), ["keys", "decrypt"]);
}

#[test]
fn a_key_that_is_not_derived_encrypts_what_is_made_here() {
    let (proxy, mount) = (proxy(), "counted/plain");
    let key = wrapper(&proxy, mount, &json!({"type": "chacha20-poly1305"}));
    let (dek, wrapped) = generate(&key);
    assert_eq!(asked(&proxy, mount), ["keys", "encrypt"]);
    assert!(same(&unwrap(&key, &wrapped).unwrap(), &dek));
    assert_eq!(asked(&proxy, mount), ["decrypt"]);
    rotate(mount);
    let rewrapped = block_on(key.rewrap(&wrapped, &context("a"))).unwrap();
    assert_eq!(asked(&proxy, mount), ["decrypt", "encrypt"]);
    assert_eq!(&*rewrapped.kek_version, "2");
    assert!(same(&unwrap(&key, &rewrapped).unwrap(), &dek));
}

#[test]
fn what_a_key_is_is_told_and_checked() {
    let (proxy, mount) = (proxy(), "told");
    let key = wrapper(&proxy, mount, &derived());
    block_on(key.check()).unwrap();
    let about = block_on(key.about()).unwrap();
    assert_eq!(
        about,
        "told/keys/dek-s.1: aes256-gcm96, version 1, decrypts from version 1, derived"
    );
    assert_eq!(key.identity(), "vault-transit:told/dek-s.1");

    let key = wrapper(&proxy, "told-of-plain", &json!({"type": "aes128-gcm96"}));
    block_on(key.check()).unwrap();
    assert!(block_on(key.about()).unwrap().contains("derived=true"));

    for (kind, config) in [
        ("rsa-2048", json!({"type": "rsa-2048"})),
        ("ed25519", json!({"type": "ed25519", "derived": true})),
        ("hmac", json!({"type": "hmac", "key_size": 32})),
    ] {
        let key = wrapper(&proxy, &format!("told-of-{kind}"), &config);
        let error = block_on(key.check()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
        assert!(error.message().contains(&format!("of type {kind}")), "{error}");
        assert_eq!(block_on(key.generate(&context("a"))).unwrap_err().kind(), error.kind());
    }
}

/// As a server that is too old for associated data, which is no error there.
#[test]
fn a_server_that_does_not_look_at_the_context_is_noticed() {
    let (proxy, mount) = (proxy(), "ignoring");
    let key = wrapper(&proxy, mount, &json!({}));
    let decrypt = format!("POST /v1/{mount}/decrypt/{KEY}");
    let zeros = json!({"data": {"plaintext": format!("{}=", "A".repeat(43))}});
    proxy.pass(&decrypt);
    let (code, body, headers) = (200, zeros.to_string().into_bytes(), Vec::new());
    proxy.next(&decrypt, Fault::Status { code, body, headers });
    let error = block_on(key.check()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert!(error.message().contains("no associated data"), "{error}");
    block_on(key.check()).unwrap();
}

#[test]
fn versions_are_rotated_and_listed_here_and_destroyed_there() {
    let (proxy, mount) = (proxy(), "versions");
    let key = wrapper(&proxy, mount, &derived());
    let identity = key.identity().to_owned();
    let (_, wrapped) = generate(&key);
    assert_eq!(block_on(key.rotate(&identity)).unwrap(), "2");
    assert_eq!(&*generate(&key).1.kek_version, "2", "at once");
    let versions = block_on(key.versions(&identity)).unwrap();
    let told: Vec<_> = versions.iter().map(|one| (one.version.as_str(), one.is_current)).collect();
    assert_eq!(told, [("1", false), ("2", true)]);
    let made: Vec<_> = versions.iter().map(|one| one.created.unwrap()).collect();
    let keys = server().api("GET", &format!("{mount}/keys/{KEY}"), &Value::Null);
    let seconds = |version: &str| keys["data"]["keys"][version].as_u64().unwrap();
    assert_eq!((made[0].0, made[1].0), (seconds("1") * 1000, seconds("2") * 1000));

    let error = block_on(key.destroy_version(&identity, "2")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    let error = block_on(key.destroy_version(&identity, "1")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.message().contains("min_available_version=2"), "{error}");
    assert!(unwrap(&key, &wrapped).is_ok(), "nothing was destroyed");
    for operation in [
        block_on(key.rotate("other")).map(drop),
        block_on(key.versions("other")).map(drop),
        block_on(key.destroy_version("other", "1")),
    ] {
        assert_eq!(operation.unwrap_err().kind(), ErrorKind::KeyUnavailable);
    }
}

#[test]
fn what_a_policy_lacks_is_told_as_the_line_to_write() {
    let (proxy, mount) = (proxy(), "narrow");
    engine(mount);
    make(mount, &derived());
    let line = |operation: &str, capability: &str| {
        format!("path \"{mount}/{operation}\" {{ capabilities = [\"{capability}\"] }}")
    };
    let key_only = line(&format!("keys/{KEY}"), "read");
    let all = [
        key_only.clone(),
        line(&format!("datakey/plaintext/{KEY}"), "update"),
        line(&format!("decrypt/{KEY}"), "update"),
    ];
    let without_rewrap = transit(&allowed(&proxy, "no-rewrap", &all.concat()), mount);
    block_on(without_rewrap.check()).unwrap();
    let (_, wrapped) = generate(&without_rewrap);
    let expect_line = |outcome: Result<()>, line: &str| {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AccessDenied, "{error}");
        assert!(error.message().ends_with(line), "{error}\n{line}");
    };
    let rewrapped = block_on(without_rewrap.rewrap(&wrapped, &context("a")));
    expect_line(rewrapped.map(drop), &line(&format!("rewrap/{KEY}"), "update"));
    let rotated = block_on(without_rewrap.rotate(without_rewrap.identity()));
    expect_line(rotated.map(drop), &line(&format!("keys/{KEY}/rotate"), "update"));
    let wrapped_here = block_on(without_rewrap.wrap(&Dek::random().unwrap(), &context("a")));
    expect_line(wrapped_here.map(drop), &line(&format!("encrypt/{KEY}"), "update"));

    let nothing = transit(&allowed(&proxy, "nothing", "# Nothing."), mount);
    expect_line(block_on(nothing.check()), &key_only);
    expect_line(unwrap(&nothing, &wrapped).map(drop), &key_only);
    let only_read = transit(&allowed(&proxy, "only-read", &key_only), mount);
    let unwrapped = unwrap(&only_read, &wrapped).map(drop);
    expect_line(unwrapped, &line(&format!("decrypt/{KEY}"), "update"));
}

/// What stands in the records is what Vault gave: another client opens it.
#[test]
fn hvac_opens_what_was_wrapped_and_the_reverse() {
    let proxy = proxy();
    for (mount, config, field) in
        [("shared/derived", derived(), "context"), ("shared/plain", json!({}), "associated_data")]
    {
        let key = wrapper(&proxy, mount, &config);
        let (dek, wrapped) = generate(&key);
        let script = "import base64, hvac, sys\n\
            client = hvac.Client()\n\
            mount, key, field, context, version, wrapped = sys.argv[1:]\n\
            b64 = lambda data: base64.b64encode(bytes.fromhex(data)).decode()\n\
            bound = {field: b64(context)}\n\
            ask = lambda what, data: client.write_data(f'{mount}/{what}/{key}', data=data | bound)['data']\n\
            opened = ask('decrypt', {'ciphertext': f'vault:v{version}:{b64(wrapped)}'})['plaintext']\n\
            opened = base64.b64decode(opened)\n\
            made = ask('encrypt', {'plaintext': base64.b64encode(opened[::-1]).decode()})['ciphertext']\n\
            print(opened.hex(), base64.b64decode(made.split(':')[2]).hex(), end='')";
        let (context, blob) = (hex(context("a").as_bytes()), hex(&wrapped.bytes));
        let arguments = [mount, KEY, field, &context, &wrapped.kek_version, &blob];
        let told = server().hvac(script, &arguments);
        let (opened, made) = told.split_once(' ').unwrap();
        assert!(opened == hex(dek.expose()), "{mount}: another DEK");
        let made = WrappedDek { bytes: unhex(made).into(), ..wrapped };
        let reversed: Vec<u8> = dek.expose().iter().rev().copied().collect();
        assert!(unwrap(&key, &made).unwrap().expose() == reversed, "{mount}: another DEK");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn unhex(text: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}
