//! What a token is allowed, and policies that Vault takes.

use serde_json::json;
use strongroom_core::ErrorKind;
use strongroom_kit::block_on;
use strongroom_vault::{Allowed, Auth, KvDirectory, Policy, Vault};

use crate::{HOUR, connect, given, server, settings};

fn kv(version: u8, path: &str) -> KvDirectory<'_> {
    KvDirectory { mount: "secret", version, path }
}

/// Everything that can be configured.
fn whole() -> Policy {
    let parts = [
        Policy::kv_store(kv(1, "one/acme"), false),
        Policy::kv_store(kv(2, "base/acme"), false),
        Policy::kv_store(kv(2, "read \"only\"/ä/back\\slash"), true),
        Policy::kv_references(kv(2, "team/shared")),
        Policy::transit("transit", "strongroom", false),
        Policy::transit_rotation("transit", "strongroom"),
        Policy::leased("database/creds/app"),
    ];
    parts.into_iter().fold(Policy::session(), |policy, part| policy.and(part.unwrap()))
}

/// A connection of a token that has this policy and no other.
fn with(name: &str, policy: &Policy) -> Vault {
    server().policy(name, &policy.to_hcl());
    let wanted = json!({"policies": [name], "no_default_policy": true, "ttl": "1h"});
    let made = server().api("POST", "auth/token/create", &wanted);
    let token = made["auth"]["client_token"].as_str().unwrap();
    connect(&settings(server().address(), Auth::Token(given(token))))
}

#[test]
fn vault_grants_what_a_policy_says_and_each_line_that_is_left_out_is_missed() {
    let whole = whole();
    let allowed = block_on(with("whole", &whole).allowed(&whole)).unwrap();
    assert_eq!(allowed.len(), whole.rules().len());
    for one in &allowed {
        assert!(one.is_enough(), "{one:?}");
        // And nothing else.
        assert_eq!(one.has.len(), one.needed.capabilities.len(), "{one:?}");
    }
    for left_out in whole.rules() {
        let lacking = whole.clone().only(|rule| rule != left_out);
        let vault = with("lacking", &lacking);
        let asked = block_on(vault.allowed(&whole));
        match left_out.path.as_str() {
            // Neither the login nor the question is possible then.
            "auth/token/lookup-self" => {
                assert_eq!(asked.unwrap_err().kind(), ErrorKind::Unauthenticated);
            }
            "sys/capabilities-self" => {
                let error = asked.unwrap_err();
                let line = "path \"sys/capabilities-self\" { capabilities = [\"update\"] }";
                assert!(error.message().ends_with(line), "{error}");
            }
            path => {
                let asked = asked.unwrap();
                let missed: Vec<&Allowed> = asked.iter().filter(|one| !one.is_enough()).collect();
                assert_eq!(missed.len(), 1, "{path}: {missed:?}");
                assert_eq!(missed[0].needed, *left_out);
                assert_eq!(missed[0].missing, left_out.capabilities);
            }
        }
    }
}

#[test]
fn a_capability_that_is_missing_is_named_and_the_root_token_misses_none() {
    let store = Policy::kv_store(kv(2, "base/acme"), false).unwrap();
    let read_only = Policy::kv_store(kv(2, "base/acme"), true).unwrap();
    let vault = with("read-only", &Policy::session().and(read_only.clone()));
    assert!(block_on(vault.allowed(&read_only)).unwrap().iter().all(Allowed::is_enough));
    let asked = block_on(vault.allowed(&store)).unwrap();
    let missed = |path: &str| {
        let one = asked.iter().find(|one| one.needed.path == path).unwrap();
        one.missing.iter().map(|one| one.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(missed("secret/data/base/acme/*"), ["create", "update", "delete"]);
    assert_eq!(missed("secret/subkeys/base/acme/*"), [""; 0]);
    assert_eq!(missed("secret/destroy/base/acme/*"), ["update"]);

    let root = connect(&settings(server().address(), Auth::Token(given(server().root_token()))));
    let asked = block_on(root.allowed(&store)).unwrap();
    assert!(asked.iter().all(|one| one.is_enough() && one.has == ["root"]), "{asked:?}");
    let token = server().token(&["default"], HOUR, false);
    let nobody = connect(&settings(server().address(), Auth::Token(given(&token))));
    let asked = block_on(nobody.allowed(&store)).unwrap();
    assert!(asked.iter().all(|one| one.missing == one.needed.capabilities), "{asked:?}");
    assert!(block_on(nobody.allowed(&Policy::default())).unwrap().is_empty());
}
