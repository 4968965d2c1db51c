//! The program that serves Vault: built, and started.

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
