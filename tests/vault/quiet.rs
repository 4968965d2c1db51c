//! Nothing secret is said, at any level of any library's log.

use serde_json::{Value, json};
use strongroom_core::{
    Dek, EncryptionContext, ExternalStore, KeyWrapper, Kind, SecretName, Version,
};
use strongroom_kit::block_on;
use strongroom_kit::proxy::{ANY, Fault};
use strongroom_vault::{LeaseOptions, VaultLeases, VaultTransit};

use crate::client::as_root;
use crate::{log, proxy, server};

fn context() -> EncryptionContext {
    let name = SecretName::new("acme".parse().unwrap(), "quiet").unwrap();
    EncryptionContext::new(&name, &Version::new("1").unwrap(), Kind::Text)
}

#[test]
fn no_level_of_the_log_tells_a_key_a_token_or_credentials() {
    log::begin();
    let proxy = proxy();
    let vault = as_root(&proxy);
    let mut keys = Vec::new();
    let mut shown = Vec::new();
    for (mount, config) in [("quiet/derived", json!({"derived": true})), ("quiet/plain", json!({}))]
    {
        server().mount(mount, "transit", &json!({}));
        server().api("POST", &format!("{mount}/keys/key"), &config);
        let key = VaultTransit::new(&vault, mount, "key").unwrap();
        let (dek, wrapped) = block_on(key.generate(&context())).unwrap();
        let opened = block_on(key.unwrap(&wrapped, &context())).unwrap();
        let given = Dek::random().unwrap();
        block_on(key.wrap(&given, &context())).unwrap();
        // An answer that makes no sense is not quoted either.
        let garble = |body: &mut Vec<u8>| body.truncate(body.len() - 2);
        proxy.next(&format!("POST /v1/{mount}/decrypt/key"), Fault::rewrite(garble));
        let error = block_on(key.unwrap(&wrapped, &context())).unwrap_err();
        shown.push(format!("{error:?} {error} {key:?} {dek:?}"));
        keys.extend([dek, opened, given]);
    }
    server().mount("quiet/kv", "kv", &json!({"version": "1"}));
    server().api("POST", "quiet/kv/app", &json!({"password": "a-value-for-nobody's-eyes"}));
    // With a lease, as far as the client can see.
    proxy.next(ANY, Fault::rewrite(with_lease));
    let leases = VaultLeases::new(&vault, LeaseOptions::default());
    let read = block_on(leases.read("quiet/kv/app")).unwrap();
    shown.push(format!("{read:?} {leases:?} {vault:?}"));
    let shown = shown.concat();

    let said = log::said();
    assert!(said.contains("TRACE") && said.contains("hyper_util"), "the log is on");
    let mut secrets =
        vec!["a-value-for-nobody's-eyes".to_owned(), server().root_token().to_owned()];
    secrets.extend(keys.iter().map(|key| base64(key.expose())));
    for secret in secrets {
        assert!(secret.len() > 20);
        assert!(!said.contains(&secret), "the log has a secret");
        assert!(!shown.contains(&secret), "something that is shown has a secret");
    }
}

fn with_lease(body: &mut Vec<u8>) {
    let mut answer: Value = serde_json::from_slice(body).unwrap();
    answer["lease_id"] = "quiet/kv/app/lease".into();
    *body = answer.to_string().into_bytes();
}

/// As Vault writes a DEK (RFC 4648 §4).
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let all = three.iter().fold(0, |all, byte| all << 8 | u32::from(*byte))
            << (8 * (3 - three.len()));
        let letters = (0..=three.len()).map(|at| LETTERS[(all >> (18 - 6 * at) & 63) as usize]);
        text.extend(letters.map(char::from));
    }
    // Without what fills it up, as other forms of it are.
    text
}
