//! The program that serves Vault: built, and started.
//!
//! # What it is
//! `kit/vault`, a small Go program of ours around Vault's core and HTTP interface
//! 1.21.4, with the plugins `kv` 0.25.0, `transit`, `database` (`PostgreSQL`), `approle`,
//! `aws`, `cert`, `jwt` 0.25.0, `kubernetes` 0.23.1 and `userpass`; whatever else the
//! tests use is named in `plugins.go`. It is not the `vault` command, which brings every
//! plugin and takes several times as long to build.
//!
//! Vault is under the Business Source License 1.1. None of it is in this repository:
//! it is a dependency of a program that is built and run for tests and not distributed.
//! The crates of this workspace do not depend on it.
//!
//! `go.mod` has the versions that Vault 1.21.4 itself was released with, less what
//! nothing here needs. Two modules are replaced by stubs that only fail: `go-discover`
//! (raft's search for peers, with the SDKs of fifteen clouds) and Okta's SDK (one second
//! factor of logins). Vault's release took its own SDK from a state that is no version:
//! `kit/vault/build` changes the types of two functions of 0.21 to what Vault calls.
//!
//! From nothing it takes 205 s of one core, so two minutes of two; afterwards the binary
//! is in the user's cache (72 MB, `strongroom-tests/vault-` and a hash of its sources),
//! and Go's own cache makes the next version of our program a matter of seconds. It
//! downloads 370 MB of modules once, 2 GB when they are unpacked. It needs Go 1.21 or
//! newer, which fetches the newer one that Vault asks for.
//!
//! # What a production server does otherwise
//! - Its data are in raft or another store that survives a machine; ours in memory or in
//!   files. Nodes of ours share a process and its memory: one takes over at once, where
//!   raft needs seconds, and no network between them can fail.
//! - It is initialized with several key shares, or unseals itself by a KMS; ours has one
//!   share, which the kit keeps.
//! - It locks its memory, has audit devices, and often a load balancer in front, which
//!   asks `sys/health` and hides the nodes that stand by.
//! - Namespaces, replication, performance standbys and the delays between them are of
//!   the Enterprise edition: those tests need a stand-in.

use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use crate::server::Server;

/// Where a node listens.
pub(super) struct Node {
    /// Plain HTTP, in any case.
    pub(super) plain: String,
    /// Where clients find it.
    pub(super) address: String,
}

/// The process, and the nodes that it serves.
pub(super) fn serve(arguments: &[String]) -> (Server, Vec<Node>) {
    let read = |line: &str| {
        let nodes: Value = serde_json::from_str(line).ok()?;
        let nodes = nodes.as_array()?.iter().map(|node| {
            let plain = node["address"].as_str()?.to_owned();
            let address = node["tls_address"].as_str().map_or_else(|| plain.clone(), str::to_owned);
            Some(Node { plain, address })
        });
        nodes.collect::<Option<Vec<_>>>()
    };
    Server::launch(Command::new(binary()).args(arguments), read)
        .unwrap_or_else(|why| panic!("Vault does not serve: {why}"))
}

/// Vault. The script says on its standard error that it builds it, if it does.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/kit/vault/build"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut build = command.spawn().expect("bash runs");
        let mut said = String::new();
        for line in BufReader::new(build.stderr.take().expect("a pipe")).lines() {
            let line = line.expect("text");
            // Not captured, as what a test prints is: it takes minutes.
            let _ = writeln!(io::stderr(), "{line}");
            said.extend([&line, "\n"]);
        }
        let output = build.wait_with_output().expect("it ends");
        assert!(output.status.success(), "there is no Vault:\n{said}");
        String::from_utf8(output.stdout).expect("text").trim().into()
    })
}
