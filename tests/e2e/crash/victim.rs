//! What a victim acknowledged before it was killed, and whether it is there.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};
use strongroom_core::audit::{self, AuditLog, Phase};
use strongroom_core::rollback::Expected;
use strongroom_core::{
    EnvelopeStore, PageRequest, Result, SecretName, SecretStore, Select, SystemClock, Version,
};
use strongroom_kit::{block_on, embedded, sha256_hex};
use strongroom_local::records::RecordStoreKind;

pub(crate) fn is_nightly() -> bool {
    std::env::var_os("STRONGROOM_NIGHTLY").is_some_and(|value| value == "1")
}

/// What was acknowledged: name and version, and the digest of the value.
pub(crate) type Acknowledged = BTreeMap<(String, String), String>;

/// Lets the victim write until it has acknowledged so many puts, and kills it.
pub(crate) fn run_and_kill(
    victim: &str,
    kind: RecordStoreKind,
    dir: &Path,
    seed: u64,
    lines: usize,
    acknowledged: &mut Acknowledged,
) {
    let mut child = Command::new(victim)
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
        assert!(!line.starts_with("WRONG"), "seed {seed}: {line}");
        let mut words = line.split(' ');
        if line.starts_with("DONE") {
            continue;
        }
        let mut next = || words.next().expect("four words").to_owned();
        assert_eq!(next(), "ACK");
        let (name, version, digest) = (next(), next(), next());
        let again = acknowledged.insert((name, version), digest);
        assert!(again.is_none(), "a version was given twice: {line}");
    }
}

pub(crate) fn verify_store(
    store: &EnvelopeStore,
    log: &Path,
    acknowledged: &Acknowledged,
    what: &str,
) {
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

/// A value or a file.
async fn read_whole(
    store: &dyn SecretStore,
    name: &SecretName,
    version: &Version,
) -> Result<Vec<u8>> {
    let mut file = store.get_file(name, &Select::Version(version.clone())).await?;
    let mut bytes = Vec::new();
    while let Some(segment) = file.next().await? {
        bytes.extend_from_slice(segment.expose());
    }
    Ok(bytes)
}

/// Every version of every secret, opened and checked against its own digest.
pub(crate) fn contents(store: &dyn SecretStore, what: &str) -> Acknowledged {
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
            let read = block_on(read_whole(store, &name, &version));
            let bytes = &read.unwrap_or_else(|error| panic!("{what}, {version}: {error}"))[..];
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
