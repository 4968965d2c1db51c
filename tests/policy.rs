//! The dependency policy, executable: `deny.toml`, and what the design says of
//! who may depend on whom.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// A package of the dependency tree: name, license expression, source.
struct Package {
    name: String,
    license: String,
    source: String,
}

/// The packages that `cargo tree` shows with these arguments.
fn tree(arguments: &[&str]) -> Vec<Package> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new(env!("CARGO"))
        .current_dir(root)
        .args(["tree", "--prefix", "none", "--format", "{p}\t{l}", "--all-features"])
        .args(["--target", "all", "--locked"])
        .args(arguments)
        .output()
        .expect("cargo tree runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let packages = text.lines().filter(|line| !line.is_empty()).map(|line| {
        let (package, license) = line.split_once('\t').expect("two columns");
        let mut words = package.split(' ');
        let name = words.next().expect("a name").to_owned();
        let source = words.skip(1).collect::<Vec<_>>().join(" ");
        let license = license.trim_end_matches(" (*)").to_owned();
        Package { name, license, source }
    });
    packages.collect()
}

/// The strings of a one-key list in `deny.toml`.
fn policy(section: &str, key: &str) -> BTreeSet<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deny.toml");
    let text = std::fs::read_to_string(file).expect("deny.toml");
    let policy: toml::Table = text.parse().expect("TOML");
    let list = policy[section][key].as_array().expect("a list");
    let name = |item: &toml::Value| {
        let name = item.as_str().or_else(|| item.get("name").and_then(toml::Value::as_str));
        name.expect("a string, or a table with a name").to_owned()
    };
    list.iter().map(name).collect()
}

/// Whether an SPDX expression can be met with the allowed licenses: every part
/// of an `AND`, any of an `OR`.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let expression = expression.replace('/', " OR ").replace(['(', ')'], " ");
    expression.split(" AND ").all(|part| part.split(" OR ").any(|one| allowed.contains(one.trim())))
}

#[test]
fn every_dependency_has_an_allowed_license_and_comes_from_the_registry() {
    let allowed = policy("licenses", "allow");
    let mut refused = BTreeMap::new();
    for package in tree(&["--workspace", "-e", "normal,build,dev"]) {
        let ours = package.source.contains("strongroom") || package.name.starts_with("strongroom");
        let from_registry = package.source.is_empty() || package.source == "(proc-macro)" || ours;
        assert!(from_registry || package.source == "(*)", "{}: {}", package.name, package.source);
        if !is_allowed(&package.license, &allowed) {
            refused.insert(package.name, package.license);
        }
    }
    assert!(refused.is_empty(), "licenses that deny.toml does not allow: {refused:?}");
}

#[test]
fn no_dependency_is_banned() {
    let banned = policy("bans", "deny");
    let found: BTreeSet<_> = tree(&["--workspace", "-e", "normal,build,dev"])
        .into_iter()
        .map(|package| package.name)
        .filter(|name| banned.contains(name))
        .collect();
    assert!(found.is_empty(), "banned by deny.toml: {found:?}");
}

/// The engine runs on whichever executor polls it, and reaches nothing.
#[test]
fn the_core_has_no_tls_no_sdk_no_runtime() {
    let names: BTreeSet<_> = tree(&["-p", "strongroom-core", "-e", "normal,build"])
        .into_iter()
        .map(|package| package.name)
        .collect();
    assert!(names.contains("aws-lc-rs"), "all features are looked at");
    let unwanted = ["tokio", "mio", "rustls", "hyper", "reqwest", "tonic", "http", "socket2"];
    for name in &names {
        let sdk = name.starts_with("aws-sdk") || name.starts_with("aws-smithy");
        let runtime = name.starts_with("tokio-") || name.starts_with("async-std");
        let unwanted = unwanted.contains(&name.as_str()) || sdk || runtime;
        assert!(!unwanted, "strongroom-core depends on {name}");
    }
}

/// guard <- core <- remote <- backends <- strongroom <- sidecar <- cli, and core <- rpc <-
/// sidecar, client <- cli; never the other way.
#[test]
fn dependencies_between_our_crates_point_one_way() {
    let below: &[(&str, &[&str])] = &[
        ("strongroom-guard", &[]),
        ("strongroom-core", &["strongroom-guard"]),
        ("strongroom-local", &["strongroom-core", "strongroom-guard"]),
        ("strongroom-remote", &["strongroom-core", "strongroom-guard"]),
        ("strongroom-aws", &["strongroom-remote", "strongroom-core", "strongroom-guard"]),
        ("strongroom-vault", &["strongroom-remote", "strongroom-core", "strongroom-guard"]),
        (
            "strongroom",
            &[
                "strongroom-aws",
                "strongroom-local",
                "strongroom-vault",
                "strongroom-remote",
                "strongroom-core",
                "strongroom-guard",
            ],
        ),
        ("strongroom-rpc", &["strongroom-core", "strongroom-guard"]),
        ("strongroom-client", &["strongroom-rpc", "strongroom-core", "strongroom-guard"]),
        (
            "strongroom-sidecar",
            &[
                "strongroom",
                "strongroom-rpc",
                "strongroom-aws",
                "strongroom-local",
                "strongroom-vault",
                "strongroom-remote",
                "strongroom-core",
                "strongroom-guard",
            ],
        ),
    ];
    for (package, allowed) in below {
        for dependency in tree(&["-p", package, "-e", "normal,build"]) {
            let name = dependency.name.as_str();
            let ours = name.starts_with("strongroom") && name != *package;
            assert!(!ours || allowed.contains(&name), "{package} depends on {name}");
        }
    }
}
