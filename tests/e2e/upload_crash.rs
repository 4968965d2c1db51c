//! kill -9 at random moments of uploads: what was acknowledged is there, nothing
//! half-written is, and what a killed upload leaves is gone after a sweep.
//!
//! How much of a file has been sent when the kill comes is chosen at random, so
//! that it comes before, among and after the commits of the segments. 8 rounds
//! each, or 100 with `STRONGROOM_NIGHTLY=1`.

use std::collections::BTreeMap;
use std::io::Write;
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::task::{Context, Poll};

use sha2::{Digest, Sha256};
use strongroom::OpenOptions;
use strongroom_client::Client;
use strongroom_core::audit::{self, AuditLog};
use strongroom_core::envelope::stream::SEGMENT_BYTES;
use strongroom_core::rollback::Expected;
use strongroom_core::{
    EnvelopeStore, ErrorKind, PageLimit, PageRequest, PutOptions, RecordStore, SecretStore, Select,
    SystemClock,
};
use strongroom_kit::daemon::{ALLOW_OWNER, Daemon, Home};
use strongroom_kit::random::Random;
use strongroom_kit::{binary, block_on, embedded, sha256_hex};
use strongroom_local::records::{RecordOptions, RecordStoreKind, open_records};
use tokio::io::{AsyncRead, ReadBuf};

fn rounds() -> usize {
    let is_nightly = std::env::var_os("STRONGROOM_NIGHTLY").is_some_and(|value| value == "1");
    if is_nightly { 100 } else { 8 }
}

/// Name and version, and the digest of the file.
type Acknowledged = BTreeMap<(String, String), String>;

/// A file that ends in its own digest, so that one that nobody acknowledged can
/// be checked too.
fn file(random: &mut Random) -> Vec<u8> {
    let bytes = [100, 70_000, 1 << 20, 3 << 20, 8 << 20][random.below(5)];
    let mut bytes = random.bytes(bytes);
    bytes.extend_from_slice(&Sha256::digest(&bytes));
    bytes
}

fn home(kind: RecordStoreKind) -> Home {
    Home::new(&format!("[store]\ntype = \"{kind}\"\n{ALLOW_OWNER}"))
}

fn verify(home: &Home, kind: RecordStoreKind, acknowledged: &Acknowledged, what: &str) {
    let config = home.config();
    let store = block_on(config.open_store(OpenOptions::default()));
    let store = store.unwrap_or_else(|error| panic!("{what}: {error}"));
    let segments = verify_files(&store, acknowledged, what);
    let log = config.audit_path().expect("an audit log");
    let key = store.audit_key().expect("the audit key");
    drop(AuditLog::open(&log, Some(key), SystemClock::shared()).expect("a torn line is closed"));
    let key = store.audit_key().expect("the audit key");
    let mut expected = Expected::default();
    let report = audit::verify(&log, Some(&key), None, |line| expected.visit(&store, line));
    assert_eq!(report.expect("verified").problem, None, "{what}: the audit log");
    let differences = block_on(expected.compare(&store)).expect("compared");
    assert!(differences.is_empty(), "{what}: {differences:?}");

    block_on(store.sweep()).expect("swept");
    assert_eq!(verify_files(&store, acknowledged, what), segments, "{what}: after the sweep");
    drop(store);
    let records = records_of(home, kind);
    assert_eq!(count(&*records, &[4]), 0, "{what}: markers are left");
    assert_eq!(count(&*records, &[3]), segments, "{what}: segments that belong to nothing");
}

/// Reads every version of every file; how many segments they have.
fn verify_files(store: &EnvelopeStore, acknowledged: &Acknowledged, what: &str) -> u64 {
    let mut found = Acknowledged::new();
    let mut segments = 0;
    let scope = embedded::ACCOUNT.parse().expect("valid");
    let page = PageRequest::first(1000);
    let list = block_on(store.list(&scope, true, &page)).expect("a list");
    for name in list.items.into_iter().map(|listing| listing.name) {
        for info in block_on(store.versions(&name, &page)).expect("versions").items {
            let select = Select::Version(info.version.clone());
            let reader = block_on(store.get_file(&name, &select));
            let mut reader = reader.unwrap_or_else(|error| panic!("{what}: {error}"));
            let mut bytes = Vec::new();
            while let Some(segment) =
                block_on(reader.next()).unwrap_or_else(|error| panic!("{what}: {error}"))
            {
                bytes.extend_from_slice(segment.expose());
            }
            let (body, own) = bytes.split_at(bytes.len() - 32);
            assert!(Sha256::digest(body)[..] == *own, "{what}: {name} is half-written");
            let length = bytes.len() as u64;
            let short = (store.capabilities().max_value_bytes as u64).min(SEGMENT_BYTES as u64);
            segments += if length <= short { 0 } else { length.div_ceil(SEGMENT_BYTES as u64) };
            found.insert((name.to_string(), info.version.to_string()), sha256_hex(&bytes));
        }
    }
    for (key, digest) in acknowledged {
        assert_eq!(found.get(key), Some(digest), "{what}: {key:?} was acknowledged");
    }
    segments
}

/// What nobody but the store looks at.
fn records_of(home: &Home, kind: RecordStoreKind) -> Arc<dyn RecordStore> {
    let path = home.path().join("records");
    assert!(path.exists(), "the store of the configuration stands elsewhere");
    open_records(kind, &path, &RecordOptions::default()).expect("the records")
}

fn count(records: &dyn RecordStore, prefix: &[u8]) -> u64 {
    let (mut count, mut after) = (0, None::<Vec<u8>>);
    loop {
        let page = records.scan(prefix, after.as_deref(), PageLimit::entries(100));
        let page = block_on(page).expect("a scan");
        count += page.entries.len() as u64;
        match page.entries.last() {
            Some((key, _)) if page.more => after = Some(key.clone()),
            _ => return count,
        }
    }
}

// === the command line ===

#[test]
fn the_command_line_loses_no_file_when_it_is_killed_with_redb() {
    kill_the_command_line(RecordStoreKind::Redb);
}

#[test]
fn the_command_line_loses_no_file_when_it_is_killed_with_sled() {
    kill_the_command_line(RecordStoreKind::Sled);
}

fn kill_the_command_line(kind: RecordStoreKind) {
    let (mut random, seed) = Random::fresh();
    let home = home(kind);
    let mut acknowledged = Acknowledged::new();
    for round in 0..rounds() {
        let what = format!("{kind}, seed {seed}, round {round}");
        let bytes = file(&mut random);
        let name = format!("account.f{}", random.below(3));
        let mut child = Command::new(binary::strongroom())
            .args(["put", &name, "--kind", "file", "--json", "--config"])
            .arg(home.config_file())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("put starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        // One of three is sent to its end, and one of those waited for.
        let whole = random.below(3) == 0;
        let sent = if whole { bytes.len() } else { random.below(bytes.len()) };
        stdin.write_all(&bytes[..sent]).expect("it is taken");
        if whole {
            drop(stdin);
            if random.below(2) == 0 {
                assert!(child.wait().expect("ended").success(), "{what}");
            }
            child.kill().expect("killed");
        } else {
            // The pipe is open until it is dead: its end would be the file's.
            child.kill().expect("killed");
            child.wait().expect("dead");
            drop(stdin);
        }
        let output = child.wait_with_output().expect("dead");
        if output.status.success() {
            let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
            let version = told["version"].as_str().expect("a version").to_owned();
            let again = acknowledged.insert((name, version), sha256_hex(&bytes));
            assert!(again.is_none(), "{what}: a version was given twice");
        }
        verify(&home, kind, &acknowledged, &what);
    }
}

// === the sidecar ===

/// Gives its bytes, and does something when so many have been taken.
struct Then<F> {
    bytes: Vec<u8>,
    at: usize,
    event: (usize, Option<F>),
}

impl<F: FnOnce() + Unpin> AsyncRead for Then<F> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = &mut *self;
        if this.at >= this.event.0
            && let Some(then) = this.event.1.take()
        {
            then();
        }
        let rest = &this.bytes[this.at..];
        let taken = rest.len().min(into.remaining()).min(SEGMENT_BYTES);
        into.put_slice(&rest[..taken]);
        this.at += taken;
        Poll::Ready(Ok(()))
    }
}

#[test]
fn the_sidecar_loses_no_file_when_it_is_killed() {
    let (mut random, seed) = Random::fresh();
    let kind = RecordStoreKind::Redb;
    let home = home(kind);
    let mut acknowledged = Acknowledged::new();
    for round in 0..rounds() {
        let what = format!("seed {seed}, round {round}");
        let sidecar = home.start();
        let (whole, bytes) = (file(&mut random), file(&mut random));
        let cut = random.below(bytes.len() + 1);
        upload_and_kill(&home, sidecar, &whole, bytes, cut, &mut acknowledged);
        verify(&home, kind, &acknowledged, &what);
    }
    assert!(acknowledged.len() >= rounds(), "seed {seed}: hardly anything was stored");
}

#[tokio::main]
async fn upload_and_kill(
    home: &Home,
    sidecar: Daemon,
    whole: &[u8],
    bytes: Vec<u8>,
    cut: usize,
    acknowledged: &mut Acknowledged,
) {
    let client = Client::connect(home.socket()).await.expect("connected");
    let options = PutOptions::default();
    let digest = sha256_hex(whole);
    let info = client.upload("account.whole", &mut &*whole, &options).await.expect("whole");
    acknowledged.insert(("account.whole".into(), info.version.to_string()), digest);
    let digest = sha256_hex(&bytes);
    let mut source = Then { bytes, at: 0, event: (cut, Some(|| sidecar.kill())) };
    let put = client.upload("account.cut", &mut source, &options).await;
    if let Ok(info) = put {
        acknowledged.insert(("account.cut".into(), info.version.to_string()), digest);
    }
}

/// A client that goes away leaves nothing behind, and takes nothing with it.
#[test]
fn a_client_that_is_gone_leaves_nothing() {
    let (mut random, seed) = Random::fresh();
    let kind = RecordStoreKind::Redb;
    let home = home(kind);
    for round in 0..rounds() {
        let sidecar = home.start();
        let bytes = random.bytes(3 << 20);
        drop_in_the_middle(&home, bytes, random.below(3 << 20));
        // It waits for what is under way.
        sidecar.end();
        let records = records_of(&home, kind);
        let left = (count(&*records, &[4]), count(&*records, &[3]));
        assert_eq!(left, (0, 0), "seed {seed}, round {round}: before any sweep");
        drop(records);
        verify(&home, kind, &Acknowledged::new(), "a client is gone");
    }
}

#[tokio::main]
async fn drop_in_the_middle(home: &Home, bytes: Vec<u8>, cut: usize) {
    let client = Client::connect(home.socket()).await.expect("connected");
    let (tell, told) = tokio::sync::oneshot::channel();
    let mut source =
        Then { bytes, at: 0, event: (cut, Some(|| tell.send(()).unwrap_or_default())) };
    let options = PutOptions::default();
    let upload = client.upload("account.gone", &mut source, &options);
    tokio::select! {
        biased;
        _ = told => {}
        answer = upload => {
            let kind = answer.map_err(|error| error.kind());
            assert_ne!(kind.err(), Some(ErrorKind::Internal));
        }
    }
}
