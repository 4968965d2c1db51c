//! Vault, the real one. A KV engine of either version is mounted once, and each directory
//! is a base of its own in it.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use serde_json::json;
use strongroom_core::{Clock, Result, SecretBytes, SecretStore};
use strongroom_kit::conformance::secrets::ACCOUNT;
use strongroom_kit::vault::Vault as Server;
use strongroom_kit::{block_on, sha256_hex};
use strongroom_vault::{Auth, KvOptions, KvVersion, SecretText, Vault, VaultKv, VaultSettings};

/// Whose clock it is, Vault does not ask.
pub(crate) fn kv_one(path: &Path, _: Arc<dyn Clock>) -> Result<Arc<dyn SecretStore>> {
    static MOUNT: OnceLock<()> = OnceLock::new();
    MOUNT.get_or_init(|| server().mount("one", "kv", &json!({"version": "1"})));
    kv("one", KvVersion::One, path)
}

pub(crate) fn kv_two(path: &Path, _: Arc<dyn Clock>) -> Result<Arc<dyn SecretStore>> {
    static MOUNT: OnceLock<()> = OnceLock::new();
    MOUNT.get_or_init(|| {
        server().mount("two", "kv", &json!({"version": "2"}));
        server().api("POST", "two/config", &json!({"max_versions": 1000}));
    });
    kv("two", KvVersion::Two, path)
}

fn kv(mount: &str, version: KvVersion, path: &Path) -> Result<Arc<dyn SecretStore>> {
    let mut options = KvOptions::new(ACCOUNT);
    mount.clone_into(&mut options.mount);
    options.base = sha256_hex(path.as_os_str().as_encoded_bytes());
    options.version = Some(version);
    Ok(Arc::new(block_on(VaultKv::open(vault(), options))?))
}

fn server() -> &'static Server {
    Server::shared(Path::new(env!("CARGO_TARGET_TMPDIR")))
}

fn vault() -> &'static Vault {
    static VAULT: OnceLock<Vault> = OnceLock::new();
    VAULT.get_or_init(|| {
        let token = SecretBytes::copy_from(server().root_token().as_bytes());
        let auth = Auth::Token(SecretText::Given(Arc::new(token.expect("guarded memory"))));
        Vault::connect(&VaultSettings::new(server().address(), auth)).expect("settings")
    })
}
