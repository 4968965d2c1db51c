//! kill -9 at random moments while several threads put, again and again on one
//! store: what was acknowledged is there, nothing half-written is, and the
//! audit log agrees with the store.
//!
//! 20 rounds, or 200 with `STRONGROOM_NIGHTLY=1`. A kill keeps the page cache:
//! what a loss of power does is the power-cut tests' business.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use sha2::{Digest, Sha256};
use strongroom::OpenOptions;
use strongroom_client::Client;
use strongroom_core::{EnvelopeOptions, PutOptions, SecretBytes};
use strongroom_kit::daemon::{ALLOW_OWNER, Daemon, Home};
use strongroom_kit::random::Random;
use strongroom_kit::{binary, block_on, embedded, sha256_hex};
use strongroom_local::records::RecordStoreKind;

use self::victim::{Acknowledged, is_nightly, run_and_kill, verify_store};

mod moving;
mod upkeep;
mod victim;

const WRITER: &str = env!("CARGO_BIN_EXE_crash-writer");

#[test]
fn sled_loses_nothing_when_its_process_is_killed() {
    kill_again_and_again(RecordStoreKind::Sled);
}

#[test]
fn redb_loses_nothing_when_its_process_is_killed() {
    kill_again_and_again(RecordStoreKind::Redb);
}

fn kill_again_and_again(kind: RecordStoreKind) {
    let rounds = if is_nightly() { 200 } else { 20 };
    let (mut random, seed) = Random::fresh();
    let dir = tempfile::tempdir().expect("a directory");
    let mut acknowledged = Acknowledged::new();
    for round in 0..rounds {
        // Sometimes at once, while the store is being made or opened.
        let lines = if random.below(8) == 0 { 0 } else { random.below(60) };
        run_and_kill(WRITER, kind, dir.path(), random.next_u64(), lines, &mut acknowledged);
        verify(kind, dir.path(), &acknowledged, &format!("{kind}, seed {seed}, round {round}"));
    }
    assert!(acknowledged.len() > rounds, "seed {seed}: the writers hardly wrote");
}

fn verify(kind: RecordStoreKind, dir: &Path, acknowledged: &Acknowledged, what: &str) {
    let store = embedded::store(kind, dir, EnvelopeOptions::default());
    let store = block_on(store).unwrap_or_else(|error| panic!("{what}: {error}"));
    verify_store(&store, &embedded::audit_path(dir), acknowledged, what);
}

// === the real binary ===

/// Each round, several `strongroom put` at once; when the first few have
/// succeeded, the others are killed wherever they are.
#[test]
fn the_command_line_loses_nothing_when_it_is_killed() {
    let rounds = if is_nightly() { 50 } else { 4 };
    let binary = binary::strongroom();
    let (mut random, seed) = Random::fresh();
    let home = tempfile::tempdir().expect("a directory");
    let run = |arguments: &[&str]| strongroom(&binary, home.path(), arguments).output();
    let succeeded = |output: Output| {
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "seed {seed}: {told}");
        output.stdout
    };
    succeeded(run(&["init"]).expect("init"));
    for round in 0..rounds {
        let mut puts: Vec<_> = (0..6)
            .map(|index| {
                let value = format!("value-{seed}-{round}-{index}");
                let name = format!("account.r{round}p{index}");
                let mut child = strongroom(&binary, home.path(), &["put", &name])
                    .stdin(Stdio::piped())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .expect("put starts");
                let mut stdin = child.stdin.take().expect("a pipe");
                stdin.write_all(value.as_bytes()).expect("the value is taken");
                (name, value, child, false)
            })
            .collect();
        let survivors = random.below(4);
        for (_, _, child, acknowledged) in &mut puts[..survivors] {
            *acknowledged = child.wait().expect("ended").success();
        }
        for (_, _, child, acknowledged) in &mut puts[survivors..] {
            *acknowledged |= kill(child);
        }
        for (name, value, _, acknowledged) in puts {
            let get = run(&["get", &name]).expect("get");
            if acknowledged || get.status.success() {
                assert!(succeeded(get) == value.as_bytes(), "seed {seed}: {name}");
            }
        }
        succeeded(run(&["check"]).expect("check"));
        succeeded(run(&["audit", "verify"]).expect("audit verify"));
    }
}

/// Kills, and tells whether it came too late.
fn kill(child: &mut Child) -> bool {
    child.kill().expect("killed");
    child.wait().expect("dead").success()
}

fn strongroom(binary: &Path, home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary);
    command.args(arguments).env("STRONGROOM_HOME", home).stdin(Stdio::null());
    command
}

// === the sidecar ===

/// Each round, several callers put over gRPC as fast as they can, until the
/// sidecar is killed under them.
#[test]
fn the_sidecar_loses_nothing_when_it_is_killed() {
    let rounds = if is_nightly() { 200 } else { 20 };
    let (mut random, seed) = Random::fresh();
    let home = Home::new(ALLOW_OWNER);
    let mut acknowledged = Acknowledged::new();
    for round in 0..rounds {
        let what = format!("seed {seed}, round {round}");
        let sidecar = home.start();
        let puts = storm(&home, sidecar, random.next_u64(), random.below(100));
        for (key, digest) in puts {
            let again = acknowledged.insert(key, digest);
            assert!(again.is_none(), "{what}: a version was given twice");
        }
        let config = home.config();
        let store = config.open_store(OpenOptions::default());
        let store = block_on(store).unwrap_or_else(|error| panic!("{what}: {error}"));
        let log = config.audit_path().expect("an audit log");
        verify_store(&store, &log, &acknowledged, &what);
    }
    assert!(acknowledged.len() > rounds, "seed {seed}: the callers hardly put");
}

/// Eight callers, and the kill once so many puts have been acknowledged.
#[tokio::main]
async fn storm(home: &Home, sidecar: Daemon, seed: u64, enough: usize) -> Acknowledged {
    let (told, mut acknowledgements) = tokio::sync::mpsc::unbounded_channel();
    for caller in 0..8 {
        let client = Client::connect(home.socket()).await.expect("connected");
        let (told, mut random) = (told.clone(), Random::new(seed ^ caller));
        tokio::spawn(async move {
            let name = format!("account.caller{}", caller / 2);
            loop {
                let bytes = random.below(3_000);
                let body = random.bytes(bytes);
                let value = [&body[..], &Sha256::digest(&body)[..]].concat();
                let guarded = SecretBytes::copy_from(&value).expect("guarded memory");
                // The first error is the end of the sidecar.
                let put = client.put(&name, &guarded, &PutOptions::default()).await;
                let Ok(info) = put else { return };
                let key = (name.clone(), info.version.to_string());
                if told.send((key, sha256_hex(&value))).is_err() {
                    return;
                }
            }
        });
    }
    drop(told);
    let mut acknowledged = Acknowledged::new();
    let mut sidecar = Some(sidecar);
    loop {
        if acknowledged.len() >= enough
            && let Some(sidecar) = sidecar.take()
        {
            sidecar.kill();
        }
        let Some((key, digest)) = acknowledgements.recv().await else { break };
        let again = acknowledged.insert(key, digest);
        assert!(again.is_none(), "a version was given twice");
    }
    assert!(sidecar.is_none(), "the sidecar ended by itself");
    acknowledged
}
