//! The kit's Vault: that it serves, as which, and that it ends.

#![allow(clippy::unwrap_used, reason = "a test's helpers panic as the test does")]

use std::path::Path;

use serde_json::{Value, json};
use strongroom_kit::vault::{Standby, Vault};

fn within() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

const KEEP: &str = "import hvac, sys; \
    hvac.Client().secrets.kv.v2.create_or_update_secret(sys.argv[1], {'value': sys.argv[2]})";

const READ: &str = "import hvac, sys; \
    print(hvac.Client().secrets.kv.v2.read_secret(sys.argv[1])['data']['data']['value'], end='')";

fn versions(vault: &Vault) {
    vault.mount("secret", "kv", &json!({"version": "2"}));
}

#[test]
fn each_server_has_a_state_of_its_own() {
    let (one, shared) = (Vault::start(within()), Vault::shared(within()));
    versions(&one);
    one.hvac(KEEP, &["name", "a value"]);
    let read = one.api("GET", "secret/data/name", &Value::Null);
    assert_eq!(read["data"]["data"]["value"], "a value");
    assert_eq!(one.hvac(READ, &["name"]), "a value");
    let root = shared.root_token();
    assert_eq!(shared.ask(0, root, "GET", "secret/data/name", &Value::Null).status, 404);
    let _ = Standby::Redirects;
}
