//! Vault, a real one. In Transit, an engine for each directory, with one key.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};
use strongroom_core::{KeyWrapper, Result, SecretBytes};
use strongroom_kit::sha256_hex;
use strongroom_kit::vault::Vault as Server;
use strongroom_vault::{Auth, SecretText, Vault, VaultSettings, VaultTransit};

pub(crate) fn derived_key(path: &Path) -> Result<Arc<dyn KeyWrapper>> {
    transit(path, true)
}

pub(crate) fn plain_key(path: &Path) -> Result<Arc<dyn KeyWrapper>> {
    transit(path, false)
}

#[allow(clippy::unnecessary_wraps, reason = "as every other backend")]
pub(crate) fn rotate(path: &Path) -> Result<()> {
    server().api("POST", &format!("{}/keys/kek/rotate", unique(path)), &Value::Null);
    Ok(())
}

fn transit(path: &Path, derived: bool) -> Result<Arc<dyn KeyWrapper>> {
    let mount = unique(path);
    let key = format!("{mount}/keys/kek");
    if server().ask(0, server().root_token(), "GET", &key, &Value::Null).status != 200 {
        server().mount(&mount, "transit", &json!({}));
        server().api("POST", &key, &json!({"derived": derived}));
    }
    Ok(Arc::new(VaultTransit::new(vault(), &mount, "kek")?))
}

fn unique(path: &Path) -> String {
    sha256_hex(path.as_os_str().as_encoded_bytes())[..32].to_owned()
}

fn server() -> &'static Server {
    Server::shared(Path::new(env!("CARGO_TARGET_TMPDIR")))
}

fn vault() -> &'static Vault {
    static VAULT: OnceLock<Vault> = OnceLock::new();
    VAULT.get_or_init(|| {
        let token = SecretBytes::copy_from(server().root_token().as_bytes());
        let token = SecretText::Given(Arc::new(token.expect("guarded memory")));
        let settings = VaultSettings::new(server().address(), Auth::Token(token));
        Vault::connect(&settings).expect("settings")
    })
}
