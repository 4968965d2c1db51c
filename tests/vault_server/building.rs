//! Building the kit's Vault.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

/// What the script calls before it calls Go.
const TOOLS: [&str; 10] =
    ["bash", "dirname", "find", "flock", "head", "mkdir", "sha256sum", "sort", "xargs", "cat"];

fn path_of(tool: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap();
    env::split_paths(&path).map(|folder| folder.join(tool)).find(|file| file.exists()).unwrap()
}

#[test]
fn without_go_it_says_how_to_get_it() {
    let folder = tempfile::tempdir().unwrap();
    let (tools, cache) = (folder.path().join("bin"), folder.path().join("cache"));
    fs::create_dir(&tools).unwrap();
    for tool in TOOLS {
        symlink(path_of(tool), tools.join(tool)).unwrap();
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/kit/vault/build");
    let mut build = Command::new(script);
    let output =
        build.env_clear().env("PATH", tools).env("XDG_CACHE_HOME", cache).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(said.contains("Go is not installed") && said.contains("go.dev/dl"), "{said}");
}
