//! kill -9 at random moments while several threads put, again and again on one
//! store: what was acknowledged is there, nothing half-written is, and the
//! audit log agrees with the store.
//!
//! 20 rounds, or 200 with `STRONGROOM_NIGHTLY=1`. A kill keeps the page cache:
//! what a loss of power does is the power-cut tests' business.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use sha2::{Digest, Sha256};
use strongroom::OpenOptions;
use strongroom_client::Client;
use strongroom_core::audit::{self, AuditLog, Phase};
use strongroom_core::rollback::Expected;
use strongroom_core::{
    EnvelopeOptions, EnvelopeStore, PageRequest, PutOptions, SecretBytes, SecretName, SecretStore,
    Select, SystemClock, Version,
};
use strongroom_kit::daemon::{ALLOW_OWNER, Daemon, Home};
use strongroom_kit::random::Random;
use strongroom_kit::{binary, block_on, embedded, sha256_hex};
use strongroom_local::records::RecordStoreKind;

#[test]
fn sled_loses_nothing_when_its_process_is_killed() {
    kill_again_and_again(RecordStoreKind::Sled);
}

#[test]
fn redb_loses_nothing_when_its_process_is_killed() {
    kill_again_and_again(RecordStoreKind::Redb);
}

fn is_nightly() -> bool {
    std::env::var_os("STRONGROOM_NIGHTLY").is_some_and(|value| value == "1")
}

/// What was acknowledged: name and version, and the digest of the value.
type Acknowledged = BTreeMap<(String, String), String>;

fn kill_again_and_again(kind: RecordStoreKind) {
    let rounds = if is_nightly() { 200 } else { 20 };
    let (mut random, seed) = Random::fresh();
    let dir = tempfile::tempdir().expect("a directory");
    let mut acknowledged = Acknowledged::new();
    for round in 0..rounds {
        // Sometimes at once, while the store is being made or opened.
        let lines = if random.below(8) == 0 { 0 } else { random.below(60) };
        run_and_kill(kind, dir.path(), random.next_u64(), lines, &mut acknowledged);
        verify(kind, dir.path(), &acknowledged, &format!("{kind}, seed {seed}, round {round}"));
    }
    assert!(acknowledged.len() > rounds, "seed {seed}: the writers hardly wrote");
}

/// Lets the victim write until it has acknowledged so many puts, and kills it.
fn run_and_kill(
    kind: RecordStoreKind,
    dir: &Path,
    seed: u64,
    lines: usize,
    acknowledged: &mut Acknowledged,
) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_crash-writer"))
        .args([kind.as_str(), dir.to_str().expect("a UTF-8 path"), &seed.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the victim starts");
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut taken = String::new();
    for _ in 0..lines {
        let read = output.read_line(&mut taken).expect("a line");
        assert!(read > 0, "the victim ended by itself after {taken}");
    }
    child.kill().expect("killed");
    child.wait().expect("dead");
    // What it said before it died counts; a line without its end does not.
    output.read_to_string(&mut taken).expect("the rest");
    let complete = taken.rfind('\n').map_or("", |end| &taken[..end]);
    for line in complete.lines() {
        let mut words = line.split(' ');
        let mut next = || words.next().expect("four words").to_owned();
        assert_eq!(next(), "ACK");
        let (name, version, digest) = (next(), next(), next());
        let again = acknowledged.insert((name, version), digest);
        assert!(again.is_none(), "a version was given twice: {line}");
    }
}

fn verify(kind: RecordStoreKind, dir: &Path, acknowledged: &Acknowledged, what: &str) {
    let store = embedded::store(kind, dir, EnvelopeOptions::default());
    let store = block_on(store).unwrap_or_else(|error| panic!("{what}: {error}"));
    verify_store(&store, &embedded::audit_path(dir), acknowledged, what);
}

fn verify_store(store: &EnvelopeStore, log: &Path, acknowledged: &Acknowledged, what: &str) {
    let found = contents(store, what);
    for ((name, version), digest) in acknowledged {
        let held = found.get(&(name.clone(), version.clone()));
        assert_eq!(held, Some(digest), "{what}: {name} version {version} was acknowledged");
    }

    // Opening the log closes a torn line.
    let key = store.audit_key().expect("the audit key");
    let opened = AuditLog::open(log, Some(key), SystemClock::shared());
    drop(opened.unwrap_or_else(|error| panic!("{what}: {error}")));
    let key = store.audit_key().expect("the audit key");
    let mut expected = Expected::default();
    let mut logged = BTreeSet::new();
    let report = audit::verify(log, Some(&key), None, |line| {
        expected.visit(store, line);
        let is_done = line.phase == Phase::Done && line.outcome.as_deref() == Some("ok");
        if let (Some(name), Some(version), true) = (&line.name, &line.version, is_done) {
            logged.insert((format!("account.{name}"), version.clone()));
        }
    });
    let report = report.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(report.problem, None, "{what}: the audit log");
    for key in acknowledged.keys() {
        assert!(logged.contains(key), "{what}: {key:?} was acknowledged and not logged");
    }
    let differences = block_on(expected.compare(store)).expect("compared");
    assert!(differences.is_empty(), "{what}: {differences:?}");
}

/// Every version of every secret, opened and checked against its own digest.
fn contents(store: &dyn SecretStore, what: &str) -> Acknowledged {
    let mut found = Acknowledged::new();
    let scope = embedded::ACCOUNT.parse().expect("valid");
    let page = PageRequest::first(1000);
    let list = block_on(store.list(&scope, true, &page)).expect("a list");
    for name in list.items.into_iter().map(|listing| listing.name) {
        let versions = versions(store, &name);
        let contiguous = (1..=versions.len()).map(|number| number.to_string());
        assert!(
            versions.iter().map(Version::as_str).eq(contiguous),
            "{what}: {name} has gaps: {versions:?}"
        );
        for version in versions {
            let secret = block_on(store.get(&name, &Select::Version(version.clone())));
            let secret = secret.unwrap_or_else(|error| panic!("{what}, {version}: {error}"));
            let bytes = secret.value.expose();
            let (body, own) = bytes.split_at(bytes.len() - 32);
            assert!(Sha256::digest(body)[..] == *own, "{what}: {name} {version} is half-written");
            let digest = sha256_hex(bytes);
            found.insert((name.to_string(), version.to_string()), digest);
        }
    }
    found
}

fn versions(store: &dyn SecretStore, name: &SecretName) -> Vec<Version> {
    let (mut all, mut page) = (Vec::new(), PageRequest::first(1000));
    loop {
        let found = block_on(store.versions(name, &page)).expect("versions");
        all.extend(found.items.into_iter().map(|info| info.version));
        match found.next {
            Some(next) => page.after = Some(next),
            None => return all,
        }
    }
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
