//! What a token is allowed, and policies that Vault takes.

use std::collections::BTreeMap;

use serde_json::json;
use strongroom_core::{
    Dek, EncryptionContext, ErrorKind, KeyWrapper, Kind, Metadata, MetadataChange, PageRequest,
    PutOptions, Result, SecretName, SecretStore, Select, Version,
};
use strongroom_kit::block_on;
use strongroom_vault::{
    Allowed, Auth, Capability, KvDirectory, KvOptions, KvVersion, Policy, Rule, TransitKey, Vault,
    VaultKv, VaultTransit,
};

use crate::{HOUR, bytes, connect, given, server, settings};

fn kv(version: u8, path: &str) -> KvDirectory<'_> {
    KvDirectory { mount: "secret", version, path }
}

const KEY: TransitKey<'static> =
    TransitKey { mount: "policy-transit", key: "strongroom", derived: true };

/// Everything that can be configured.
fn whole() -> Policy {
    let parts = [
        Policy::kv_store(kv(1, "one/acme"), false),
        Policy::kv_store(kv(2, "base/acme"), false),
        Policy::kv_store(kv(2, "read \"only\"/ä/back\\slash"), true),
        Policy::kv_references(kv(2, "team/shared")),
        Policy::transit(KEY, false),
        Policy::transit_rotation(KEY),
        Policy::leased("database/creds/app"),
    ];
    parts.into_iter().fold(Policy::session(), |policy, part| policy.and(part.unwrap()))
}

/// A connection of a token that has this policy and no other.
fn with(name: &str, policy: &Policy) -> Vault {
    with_hcl(name, &policy.to_hcl())
}

fn with_hcl(name: &str, policy: &str) -> Vault {
    server().policy(name, policy);
    let wanted = json!({"policies": [name], "no_default_policy": true, "ttl": "1h"});
    let made = server().api("POST", "auth/token/create", &wanted);
    let token = made["auth"]["client_token"].as_str().unwrap();
    connect(&settings(server().address(), Auth::Token(given(token))))
}

/// A rule with less; none if nothing is left of it.
fn without(rule: &Rule, capability: Capability) -> String {
    let left = rule.capabilities.iter().filter(|one| **one != capability);
    let left: Vec<_> = left.map(|one| format!("\"{one}\"")).collect();
    if left.is_empty() {
        return String::new();
    }
    format!("path \"{}\" {{ capabilities = [{}] }}\n", rule.path, left.join(", "))
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

/// The store that `kv` of the same version is about.
fn store(vault: &Vault, version: KvVersion, read_only: bool) -> VaultKv {
    let mut options = KvOptions::new("acme");
    let mount = if version == KvVersion::One { "policy-1" } else { "policy-2" };
    mount.clone_into(&mut options.mount);
    (options.base, options.version) = ("base".to_owned(), Some(version));
    options.read_only = read_only;
    block_on(VaultKv::open(vault, options)).unwrap()
}

/// Everything that a store can do, to a secret of this name, until something fails.
async fn used(store: &VaultKv, id: &str) -> Result<()> {
    let name = SecretName::new("acme/pay".parse()?, id)?;
    let can = store.capabilities();
    let described = Metadata::new("for a test", BTreeMap::new())?;
    let metadata = can.metadata.then_some(described);
    let options = PutOptions { metadata, ..PutOptions::default() };
    store.put(&name, &bytes("first"), &options).await?;
    store.put(&name, &bytes("second"), &PutOptions::default()).await?;
    assert!(store.get(&name, &Select::Latest).await?.value.expose() == b"second");
    let page = PageRequest::first(10);
    store.list(name.scope(), true, &page).await?;
    store.names(None, &page).await?;
    if can.versions {
        let first = Select::Version(store.versions(&name, &page).await?.items[0].version.clone());
        assert!(store.get(&name, &first).await?.value.expose() == b"first");
    }
    if can.metadata {
        let change =
            MetadataChange { description: Some("changed".to_owned()), ..Default::default() };
        store.change_metadata(&name, &change).await?;
    }
    store.delete(&name).await?;
    if can.restore {
        store.restore(&name).await?;
    }
    if can.purge {
        store.purge(&name).await?;
    }
    store.check().await.map(drop)
}

/// The whole policy is enough, and each of its capabilities is missed in the use.
fn assert_least(name: &str, policy: &Policy, mut uses: impl FnMut(&Vault, usize) -> Result<()>) {
    let whole = Policy::session().and(policy.clone());
    uses(&with(name, &whole), 0).unwrap();
    let mut number = 0;
    for rule in policy.rules() {
        for capability in &rule.capabilities {
            number += 1;
            let rest = whole.clone().only(|one| one != rule).to_hcl();
            let vault = with_hcl(&format!("{name}-less"), &(rest + &without(rule, *capability)));
            let error = uses(&vault, number).unwrap_err();
            let what = format!("without {capability} on {}: {error}", rule.path);
            assert_eq!(error.kind(), ErrorKind::AccessDenied, "{what}");
            assert!(error.message().contains("a policy has to say"), "{what}");
        }
    }
}

#[test]
fn a_store_needs_what_its_policy_says_and_nothing_of_it_is_too_much() {
    for (version, number) in [(KvVersion::One, 1), (KvVersion::Two, 2)] {
        let mount = format!("policy-{number}");
        server().mount(&mount, "kv", &json!({"version": number.to_string()}));
        let at = KvDirectory { mount: &mount, version: number, path: "base/acme" };
        let policy = Policy::kv_store(at, false).unwrap();
        assert_least(&format!("store-{number}"), &policy, |vault, number| {
            block_on(used(&store(vault, version, false), &format!("secret-{number}")))
        });
        let name = SecretName::new("acme/pay".parse().unwrap(), "there").unwrap();
        let root =
            connect(&settings(server().address(), Auth::Token(given(server().root_token()))));
        let put = PutOptions::default();
        block_on(store(&root, version, false).put(&name, &bytes("there"), &put)).unwrap();
        let policy = Policy::kv_store(at, true).unwrap();
        assert_least(&format!("reader-{number}"), &policy, |vault, _| {
            block_on(async {
                let store = store(vault, version, true);
                store.get(&name, &Select::Latest).await?;
                let page = PageRequest::first(10);
                store.list(name.scope(), false, &page).await?;
                if store.capabilities().versions {
                    store.versions(&name, &page).await?;
                }
                store.check().await.map(drop)
            })
        });
    }
}

#[test]
fn a_key_wrapper_needs_what_its_policy_says_and_nothing_of_it_is_too_much() {
    server().mount(KEY.mount, "transit", &json!({}));
    let name = SecretName::new("acme".parse().unwrap(), "db").unwrap();
    let context = EncryptionContext::new(&name, &Version::new("1").unwrap(), Kind::Text);
    for derived in [true, false] {
        let key = if derived { KEY.key } else { "plain" };
        let path = format!("{}/keys/{key}", KEY.mount);
        server().api("POST", &path, &json!({"derived": derived}));
        let at = TransitKey { key, derived, ..KEY };
        let policy = Policy::transit(at, false).unwrap();
        assert_least(&format!("wrapper-{derived}"), &policy, |vault, _| {
            block_on(async {
                let transit = VaultTransit::new(vault, at.mount, at.key)?;
                transit.current_version().await?;
                let (_, wrapped) = transit.generate(&context).await?;
                transit.unwrap(&wrapped, &context).await?;
                let wrapped = transit.wrap(&Dek::random()?, &context).await?;
                transit.rewrap(&wrapped, &context).await.map(drop)
            })
        });
    }
}
