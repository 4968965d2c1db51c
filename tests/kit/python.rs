//! A Python with libraries of its own, for servers and clients that are written in it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::digest::sha256_hex;

/// The interpreter of an environment below `within` that has `requirements`, as pip
/// reads them: made once for the same ones, also if several processes ask for it.
///
/// # Panics
/// If it cannot be made: pip says why.
#[must_use]
pub fn with(requirements: &str, within: &Path) -> PathBuf {
    let folder = within.join(format!("python-{}", &sha256_hex(requirements.as_bytes())[..16]));
    let (python, done) = (folder.join("bin/python"), folder.join("complete"));
    // Of several tests, each maybe a process, one installs and the others wait.
    let lock = File::create(folder.with_extension("lock")).expect("a lock file");
    lock.lock().expect("locked");
    if !done.exists() {
        // What an installation that was interrupted left.
        let _ = fs::remove_dir_all(&folder);
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder));
        let list = folder.join("requirements.txt");
        fs::write(&list, requirements).expect("written");
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--only-binary", ":all:"]);
        run(pip.args(["--disable-pip-version-check", "--requirement"]).arg(&list));
        fs::write(done, "").expect("noted");
    }
    python
}

fn run(command: &mut Command) {
    let status = command.status().expect("it starts");
    assert!(status.success(), "{command:?}: {status}");
}
