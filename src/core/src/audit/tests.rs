mod groups;

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::*;
use crate::clock::{ManualClock, Timestamp};
use crate::error::ErrorKind;
use crate::name::SecretName;
use crate::secret::Version;

/// What the next writes meet.
#[derive(Default)]
pub(super) struct Faults {
    full_after: Option<usize>,
    cannot_shrink: bool,
    /// The writes and flushes so far.
    calls: RefCell<Vec<&'static str>>,
}

impl Faults {
    pub(super) fn limit<'a>(&self, rest: &'a [u8], written: usize) -> io::Result<&'a [u8]> {
        self.note("write");
        match self.full_after {
            Some(limit) if written >= limit => Err(io::ErrorKind::StorageFull.into()),
            Some(limit) => Ok(&rest[..rest.len().min(limit - written)]),
            None => Ok(rest),
        }
    }

    pub(super) fn note(&self, call: &'static str) {
        self.calls.borrow_mut().push(call);
    }

    pub(super) fn set_len(&self) -> io::Result<()> {
        if self.cannot_shrink { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(()) }
    }
}

const KEY: [u8; 32] = *b"a key that no line may ever show";

struct Fixture {
    directory: tempfile::TempDir,
    path: PathBuf,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("audit/log.jsonl");
        Self { directory, path }
    }

    fn try_open(&self) -> Result<AuditLog> {
        AuditLog::open(&self.path, key(), Arc::new(ManualClock::new(Timestamp(1_000))))
    }

    fn open(&self) -> AuditLog {
        self.try_open().expect("the log opens")
    }

    fn with_lines(count: usize) -> Self {
        let fixture = Self::new();
        let log = fixture.open();
        (0..count).for_each(|_| append(&log).expect("a line"));
        fixture
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(&self.path).expect("the log")
    }

    fn lines(&self) -> Vec<Vec<u8>> {
        self.bytes().split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect()
    }

    fn write(&self, bytes: &[u8]) {
        fs::write(&self.path, bytes).expect("written");
    }

    fn verify(&self, noted: Option<&Head>) -> Report {
        verify(&self.path, key().as_ref(), noted, |_| ()).expect("readable")
    }

    fn problem(&self) -> Option<ProblemKind> {
        self.verify(None).problem.map(|problem| problem.kind)
    }
}

#[expect(clippy::unnecessary_wraps, reason = "as `open` takes it")]
fn key() -> Option<SecretBytes> {
    Some(SecretBytes::copy_from(&KEY).expect("memory"))
}

fn append(log: &AuditLog) -> Result<()> {
    let name = SecretName::new("acme/ops".parse()?, "db")?;
    let actor = Actor { uid: Some(1000), pid: Some(1), user: Some("ann".into()), executable: None };
    let version = Version::new("1")?;
    log.append_all(&[Event::done("put", &actor).about(&name).of_version(&version)])
}

#[test]
fn lines_are_chained_and_counted() {
    let fixture = Fixture::with_lines(3);
    let log = fixture.open();
    append(&log).expect("a line");
    let mut seen = Vec::new();
    let report = verify(&fixture.path, key().as_ref(), None, |line| seen.push(line.seq));
    let report = report.expect("readable");
    assert_eq!((report.lines, report.problem, seen), (4, None, vec![1, 2, 3, 4]));
    assert_eq!(report.head, log.head());
    assert_eq!(report.head.to_string().parse::<Head>().expect("a head"), report.head);
}

#[test]
fn the_file_is_its_owners_alone() {
    let fixture = Fixture::with_lines(1);
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&fixture.path), 0o600);
    assert_eq!(mode(fixture.path.parent().expect("a directory")), 0o700);
}

#[test]
fn every_flipped_byte_is_noticed() {
    let fixture = Fixture::with_lines(5);
    let good = fixture.bytes();
    for at in 0..good.len() {
        for flip in [0x01, 0x20, 0x80] {
            let mut bytes = good.clone();
            bytes[at] ^= flip;
            fixture.write(&bytes);
            assert!(fixture.problem().is_some(), "byte {at} with {flip:#x}");
        }
    }
}

#[test]
fn lines_that_were_altered_and_chained_anew_need_the_key() {
    let fixture = Fixture::new();
    let open = |key| AuditLog::open(&fixture.path, key, Arc::new(ManualClock::new(Timestamp(0))));
    let log = open(None).expect("the log opens");
    append(&log).expect("a line");
    let keyless = verify(&fixture.path, None, None, |_| ()).expect("readable");
    assert_eq!((keyless.problem, keyless.keyed), (None, false));
    assert_eq!(fixture.problem(), Some(ProblemKind::Altered));
    assert_eq!(open(key()).expect_err("another key").kind(), ErrorKind::Tampered);
    let short = Some(SecretBytes::zeroed(31).expect("memory"));
    assert_eq!(open(short).expect_err("a short key").kind(), ErrorKind::Configuration);
}

#[test]
fn moved_lines_are_named() {
    let fixture = Fixture::with_lines(5);
    let good = fixture.lines();
    let edited = |edit: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut lines = good.clone();
        edit(&mut lines);
        fixture.write(&lines.concat());
        fixture.verify(None).problem.map(|problem| (problem.line, problem.kind))
    };
    let missing = |expected, found| ProblemKind::Missing { expected, found };
    let repeated = |expected, found| ProblemKind::Repeated { expected, found };
    assert_eq!(edited(&|lines| drop(lines.remove(0))), Some((1, missing(1, 2))));
    assert_eq!(edited(&|lines| drop(lines.remove(2))), Some((3, missing(3, 4))));
    assert_eq!(edited(&|lines| lines.swap(1, 2)), Some((2, missing(2, 3))));
    assert_eq!(edited(&|lines| lines.insert(3, good[2].clone())), Some((4, repeated(4, 3))));
    assert_eq!(edited(&|lines| lines.insert(1, b"\n".to_vec())), Some((2, ProblemKind::Malformed)));
    // A renumbered line, and one of another log under the same key.
    let renumbered = String::from_utf8_lossy(&good[1]).replace("\"seq\":2", "\"seq\":3");
    let altered = Some((3, ProblemKind::Altered));
    assert_eq!(edited(&|lines| lines[2] = renumbered.clone().into_bytes()), altered);
    assert_eq!(edited(&|_| ()), None);
}

#[test]
fn a_noted_head_shows_what_was_cut_off() {
    let fixture = Fixture::with_lines(5);
    let noted = fixture.verify(None).head;
    append(&fixture.open()).expect("a line");
    assert_eq!(fixture.verify(Some(&noted)).problem, None);
    let kept = fixture.lines()[..4].concat();
    fixture.write(&kept);
    assert_eq!(fixture.problem(), None, "the chain alone cannot show it");
    let problem = fixture.verify(Some(&noted)).problem.expect("noticed");
    assert_eq!((problem.line, problem.kind), (5, ProblemKind::Truncated { expected: 5 }));
    // Cut off, and written on: by a process that was not told of the head.
    let log = fixture.open();
    log.append_all(&[Event::intent("purge", &Actor::default())]).expect("a line");
    let problem = fixture.verify(Some(&noted)).problem.expect("noticed");
    assert_eq!((problem.line, problem.kind), (5, ProblemKind::OtherHead));
}

#[test]
fn a_torn_line_stays_and_is_closed_by_the_next() {
    let fixture = Fixture::with_lines(3);
    let whole = fixture.bytes();
    let last = fixture.lines()[2].len();
    for end in whole.len() - last + 1..whole.len() {
        fixture.write(&whole[..end]);
        assert_eq!(fixture.problem(), Some(ProblemKind::Unfinished));
        append(&fixture.open()).expect("a line");
        assert!(fixture.bytes().starts_with(&whole[..end]), "nothing is removed");
        let report = fixture.verify(None);
        let kept = if end == whole.len() - 1 { 3 } else { 2 };
        assert_eq!((report.problem, report.lines, report.recovered), (None, kept + 2, 1));
        let lines = read(&fixture.path, Filter::default()).expect("readable");
        assert_eq!(lines.flatten().count() as u64, kept + 2);
        // The fragment is covered by the line behind it.
        let mut bytes = fixture.bytes();
        bytes[end - 1] ^= 1;
        fixture.write(&bytes);
        assert!(fixture.problem().is_some());
    }
}

#[test]
fn a_torn_recovery_is_recovered() {
    let fixture = Fixture::with_lines(2);
    let torn = &fixture.bytes()[..fixture.bytes().len() - 9];
    fixture.write(torn);
    drop(fixture.open());
    let recovered = fixture.bytes();
    for end in torn.len() + 1..recovered.len() {
        fixture.write(&recovered[..end]);
        append(&fixture.open()).expect("a line");
        assert!(fixture.bytes().starts_with(&recovered[..end]));
        assert_eq!(fixture.problem(), None, "cut at {end}");
    }
    // Zeros are what some file systems leave, and more than a line of them.
    let mut zeros = torn.to_vec();
    zeros.resize(torn.len() + 3 * MAX_LINE_BYTES, 0);
    fixture.write(&zeros);
    append(&fixture.open()).expect("a line");
    assert_eq!((fixture.problem(), fixture.verify(None).recovered), (None, 1));
    // The first line of all.
    fixture.write(b"{\"seq\":1,");
    append(&fixture.open()).expect("a line");
    assert_eq!((fixture.problem(), fixture.verify(None).lines), (None, 2));
}

#[test]
fn opening_looks_at_the_end_only_and_refuses_a_wrong_one() {
    let fixture = Fixture::with_lines(4);
    let good = fixture.bytes();
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        fixture.write(&bytes);
        fixture.try_open().map_err(|error| error.kind())
    };
    let last = good.len() - fixture.lines()[3].len();
    for at in last..good.len() - 1 {
        assert_eq!(flipped(at).expect_err("altered"), ErrorKind::Tampered, "byte {at}");
    }
    flipped(20).expect("the first line is for `verify` to check");
    // A line that is whole but for its newline, and wrong, is no accident.
    let mut bytes = good.clone();
    bytes[last + 20] ^= 1;
    bytes.pop();
    fixture.write(&bytes);
    assert_eq!(fixture.try_open().expect_err("altered").kind(), ErrorKind::Tampered);
}

#[test]
fn several_writers_make_one_chain() {
    let fixture = Fixture::new();
    let logs: Vec<_> = (0..3).map(|_| fixture.open()).collect();
    std::thread::scope(|scope| {
        for log in &logs {
            for _ in 0..2 {
                scope.spawn(|| (0..50).for_each(|_| append(log).expect("a line")));
            }
        }
    });
    let report = fixture.verify(None);
    assert_eq!((report.problem, report.lines, report.recovered), (None, 300, 0));
}

#[test]
fn a_line_that_finds_no_room_is_taken_back() {
    let fixture = Fixture::with_lines(2);
    let before = fixture.bytes();
    let log = fixture.open();
    for limit in [0, 1, 100] {
        log.state().faults.full_after = Some(limit);
        let error = append(&log).expect_err("full");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("log.jsonl"), "{error}");
        assert!(fixture.bytes() == before, "no part of the line remains");
    }
    log.state().faults.full_after = None;
    append(&log).expect("there is room again");
    assert_eq!((fixture.problem(), fixture.verify(None).lines), (None, 3));

    // What cannot be taken back stops the log until it is opened anew.
    log.state().faults = Faults { full_after: Some(50), cannot_shrink: true, ..Faults::default() };
    append(&log).expect_err("full");
    log.state().faults = Faults::default();
    append(&log).expect_err("still stopped");
    append(&fixture.open()).expect("recovered");
    assert_eq!((fixture.problem(), fixture.verify(None).recovered), (None, 1));
}

#[test]
fn a_recovery_that_finds_no_room_is_tried_again() {
    let fixture = Fixture::with_lines(2);
    let log = fixture.open();
    let torn = [fixture.bytes(), b"{\"seq\":3".to_vec()].concat();
    fixture.write(&torn);
    for limit in [0, 60] {
        log.state().faults.full_after = Some(limit);
        append(&log).expect_err("full");
        assert!(fixture.bytes() == torn, "only our own part is taken back");
    }
    log.state().faults.full_after = None;
    append(&log).expect("a line");
    assert_eq!((fixture.problem(), fixture.verify(None).lines), (None, 4));
}

#[test]
fn a_full_device_is_an_error() {
    let path = PathBuf::from("/dev/full");
    let clock = Arc::new(ManualClock::new(Timestamp(0)));
    let file = OpenOptions::new().append(true).open(&path).expect("a device");
    let log = AuditLog::with_file(path.clone(), file, None, clock.clone()).expect("open");
    assert_eq!(append(&log).expect_err("full").kind(), ErrorKind::Unavailable);
    let error = AuditLog::open(path, None, clock).expect_err("a device keeps nothing");
    assert_eq!(error.kind(), ErrorKind::Configuration);
}

/// The kernel itself writes a part of a line and then refuses: `RLIMIT_FSIZE`,
/// with its signal ignored, does what a full disk does.
#[test]
fn a_real_short_write_is_taken_back() {
    const VARIABLE: &str = "STRONGROOM_TEST_AUDIT_LIMITED";
    if let Ok(path) = std::env::var(VARIABLE) {
        let log = AuditLog::open(&path, key(), crate::clock::SystemClock::shared()).expect("open");
        let mut lines = 0;
        while append(&log).is_ok() {
            lines += 1;
        }
        assert!(lines > 3);
        let report = verify(log.path(), key().as_ref(), None, |_| ()).expect("readable");
        assert_eq!((report.lines, report.problem), (lines, None));
        return;
    }
    let fixture = Fixture::new();
    let test = std::env::current_exe().expect("this program");
    let child = Command::new("sh")
        .arg("-c")
        .arg("trap '' XFSZ; ulimit -f 3; exec \"$@\"")
        .arg("sh")
        .arg(test)
        .args(["--exact", "audit::tests::a_real_short_write_is_taken_back"])
        .env(VARIABLE, &fixture.path)
        .output()
        .expect("a shell");
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
    assert!(fixture.verify(None).lines > 3, "the child wrote");
}

#[test]
fn a_log_that_is_cut_or_removed_while_open_takes_no_line() {
    let fixture = Fixture::with_lines(3);
    let log = fixture.open();
    append(&log).expect("a line");
    fixture.write(&fixture.lines()[..2].concat());
    assert_eq!(append(&log).expect_err("cut").kind(), ErrorKind::Tampered);
    fixture.write(b"");
    assert_eq!(append(&log).expect_err("emptied").kind(), ErrorKind::Tampered);
    fs::remove_file(&fixture.path).expect("removed");
    assert_eq!(append(&log).expect_err("removed").kind(), ErrorKind::Unavailable);
}

#[test]
fn a_forked_child_opens_its_own() {
    let fixture = Fixture::new();
    let log = AuditLog::open(&fixture.path, None, Arc::new(ManualClock::new(Timestamp(0))))
        .expect("open");
    match fork::fork().expect("fork") {
        fork::Fork::Child => {
            let refused = append(&log).is_err_and(|e| e.kind() == ErrorKind::Unavailable);
            std::process::exit(i32::from(!refused));
        }
        fork::Fork::Parent(pid) => {
            assert_eq!(fork::waitpid(pid).expect("the child"), 0);
            append(&log).expect("the parent goes on");
        }
    }
}

#[test]
fn reading_filters_and_goes_on_behind_damage() {
    let fixture = Fixture::with_lines(3);
    let clock = ManualClock::new(Timestamp(60_000));
    let log = AuditLog::open(&fixture.path, key(), Arc::new(clock)).expect("open");
    let actor = Actor::default();
    log.append_all(&[Event::done("get", &actor).failed(ErrorKind::NotFound)]).expect("a line");
    let count = |filter| {
        let lines = read(&fixture.path, filter).expect("readable");
        lines.flatten().count()
    };
    assert_eq!(count(Filter::default()), 4);
    assert_eq!(count(Filter { name: Some("db".into()), ..Filter::default() }), 3);
    assert_eq!(count(Filter { scope: Some("acme".into()), ..Filter::default() }), 0);
    assert_eq!(count(Filter { operation: Some("get".into()), ..Filter::default() }), 1);
    assert_eq!(count(Filter { failed: true, ..Filter::default() }), 1);
    assert_eq!(count(Filter { since: Some(Timestamp(1_001)), ..Filter::default() }), 1);
    assert_eq!(count(Filter { until: Some(Timestamp(1_000)), ..Filter::default() }), 3);

    let mut lines = fixture.lines();
    lines.insert(1, vec![b'x'; 3 * MAX_LINE_BYTES]);
    lines[1].push(b'\n');
    fixture.write(&lines.concat());
    let read = read(&fixture.path, Filter::default()).expect("readable");
    let good: Vec<bool> = read.map(|line| line.is_ok()).collect();
    assert_eq!(good, [true, false, true, true, true]);
    assert_eq!(fixture.problem(), Some(ProblemKind::Malformed));
}

#[test]
fn a_line_that_is_too_long_is_refused_whole() {
    let fixture = Fixture::with_lines(1);
    let log = fixture.open();
    let actor = Actor { user: Some("x".repeat(MAX_LINE_BYTES)), ..Actor::default() };
    let error = log.append_all(&[Event::done("get", &actor)]).expect_err("too long");
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    append(&log).expect("others are not");
    assert_eq!((fixture.problem(), fixture.verify(None).lines), (None, 2));
}

#[test]
fn nothing_shows_the_key() {
    let fixture = Fixture::with_lines(1);
    let shown = format!("{:?} {}", fixture.open(), String::from_utf8_lossy(&fixture.bytes()));
    assert!(!shown.contains("no line may") && !shown.contains("97, 32"));
    assert!(shown.contains("keyed: true"));
    drop(fixture.directory);
}
