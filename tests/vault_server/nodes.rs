//! Two nodes of one Vault.

use serde_json::{Value, json};
use strongroom_kit::vault::{Standby, Vault};

use super::{READ, status, within};

/// One with a secret.
fn with_standby(standby: Standby) -> Vault {
    let vault = Vault::with_standby(within(), standby);
    vault.mount("secret", "kv", &json!({"version": "2"}));
    vault.api("POST", "secret/data/name", &json!({"data": {"value": "shared"}}));
    vault
}

/// Where a node sends who asks it for the secret.
fn redirect(vault: &Vault, node: usize) -> (u16, Option<String>) {
    let answer = vault.ask(node, vault.root_token(), "GET", "secret/data/name", &Value::Null);
    (answer.status, answer.location)
}

fn to(vault: &Vault, node: usize) -> (u16, Option<String>) {
    (307, Some(format!("{}/v1/secret/data/name", vault.addresses()[node])))
}

#[test]
fn a_node_that_stands_by_redirects_and_takes_over() {
    let vault = with_standby(Standby::Redirects);
    assert_eq!(vault.active(), 0);
    assert_eq!(redirect(&vault, 1), to(&vault, 0));
    vault.step_down();
    assert_eq!(vault.active(), 1);
    assert_eq!(redirect(&vault, 0), to(&vault, 1));
    // hvac follows.
    assert_eq!(vault.hvac(READ, &[]), "shared");
}

#[test]
fn a_node_takes_over_from_one_that_is_sealed() {
    let vault = with_standby(Standby::Redirects);
    vault.seal();
    assert_eq!(vault.active(), 1);
    assert_eq!(status(&vault, 0, "secret/data/name"), 503);
    vault.unseal();
    assert_eq!(vault.active(), 1);
    assert_eq!(redirect(&vault, 0), to(&vault, 1));
}

#[test]
fn a_node_that_stands_by_forwards() {
    let vault = with_standby(Standby::Forwards);
    assert_eq!(vault.active(), 0);
    let read = vault.ask(1, vault.root_token(), "GET", "secret/data/name", &Value::Null);
    assert_eq!(read.status, 200);
    assert_eq!(read.body["data"]["data"]["value"], "shared");
    vault.step_down();
    assert_eq!(vault.active(), 1);
    assert_eq!(status(&vault, 0, "secret/data/name"), 200);
}
