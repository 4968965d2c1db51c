//! The real `strongroom`, for the tests that run it.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// `STRONGROOM_BIN`, or else the binary that this build makes.
#[must_use]
pub fn strongroom() -> PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY
        .get_or_init(|| std::env::var_os("STRONGROOM_BIN").map_or_else(build, PathBuf::from))
        .clone()
}

fn build() -> PathBuf {
    let build = Command::new(env!("CARGO"))
        .args([
            "build",
            "--package",
            "strongroom-cli",
            "--message-format",
            "json-render-diagnostics",
        ])
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs");
    assert!(build.status.success(), "the binary does not build");
    let messages = String::from_utf8(build.stdout).expect("UTF-8");
    let executable = messages.lines().rev().find_map(|message| {
        let (_, rest) = message.split_once(r#""executable":""#)?;
        rest.split_once('"').map(|(path, _)| PathBuf::from(path))
    });
    executable.expect("cargo names the binary")
}
