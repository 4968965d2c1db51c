//! What the engine adds to a store: many reads at once, refusals, and lines of
//! the audit log for each.

mod render;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};
use std::task::{Poll, Waker};

use async_trait::async_trait;
use futures_executor::block_on;
use futures_util::FutureExt;
use futures_util::future::poll_fn;

use super::*;
use crate::audit::{Filter, Line, Phase, read, verify};
use crate::clock::{SystemClock, Timestamp};
use crate::error::ErrorKind;
use crate::secret::Kind;

#[derive(Debug, Default)]
struct FakeState {
    /// Names whose reads wait.
    closed: BTreeSet<String>,
    waiting: Vec<Waker>,
    under_way: usize,
    most_under_way: usize,
    reads: usize,
}

/// Answers with the name as the value, for names that begin with `s`.
#[derive(Debug, Default)]
struct Fake(Mutex<FakeState>);

impl Fake {
    fn state(&self) -> MutexGuard<'_, FakeState> {
        self.0.lock().expect("not poisoned")
    }

    fn open(&self, names: impl IntoIterator<Item = String>) {
        let mut state = self.state();
        names.into_iter().for_each(|name| assert!(state.closed.remove(&name)));
        std::mem::take(&mut state.waiting).into_iter().for_each(Waker::wake);
    }
}

#[async_trait]
impl SecretStore for Fake {
    fn describe(&self) -> &'static str {
        "the fake"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    async fn get(&self, name: &SecretName, select: &Select) -> Result<Secret> {
        self.state().reads += 1;
        let mut is_waiting = false;
        poll_fn(|context| {
            let mut state = self.state();
            let closed = state.closed.contains(name.id());
            if closed != is_waiting {
                is_waiting = closed;
                state.under_way = if closed { state.under_way + 1 } else { state.under_way - 1 };
                state.most_under_way = state.most_under_way.max(state.under_way);
            }
            if closed {
                state.waiting.push(context.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
        if !name.id().starts_with('s') {
            return Err(Error::not_found("no secret has this name"));
        }
        let version = match select {
            Select::Latest => Version::new("7")?,
            Select::Version(version) => version.clone(),
        };
        let value = SecretBytes::copy_from(name.id().as_bytes())?;
        Ok(Secret::fresh(value, Kind::Text, version, Timestamp(5)))
    }

    async fn put(&self, _: &SecretName, _: &SecretBytes, _: &PutOptions) -> Result<VersionInfo> {
        Err(Error::unsupported("the fake is only read"))
    }

    async fn versions(&self, _: &SecretName, _: &PageRequest) -> Result<Page<VersionInfo>> {
        Err(Error::unsupported("the fake is only read"))
    }

    async fn list(&self, _: &Scope, _: bool, _: &PageRequest) -> Result<Page<Listing>> {
        Ok(Page { items: Vec::new(), next: None })
    }

    async fn delete(&self, _: &SecretName) -> Result<()> {
        Err(Error::unsupported("the fake is only read"))
    }

    async fn seal(&self, context: &CallerContext, _: &SecretBytes) -> Result<Vec<u8>> {
        Ok(format!("{:?} {:?}", context.name(), context.pairs()).into_bytes())
    }

    async fn open(&self, context: &CallerContext, sealed: &[u8]) -> Result<SecretBytes> {
        let expected = format!("{:?} {:?}", context.name(), context.pairs());
        if sealed != expected.as_bytes() {
            return Err(Error::tampered("other bytes"));
        }
        Ok(SecretBytes::copy_from(b"value")?)
    }

    async fn check(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}

struct Fixture {
    _directory: tempfile::TempDir,
    path: PathBuf,
    store: Arc<Fake>,
    engine: Engine,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("audit.log");
        let log = AuditLog::open(&path, None, SystemClock::shared()).expect("a log");
        let store = Arc::new(Fake::default());
        let scope = "acme/ops/web".parse().expect("a scope");
        let engine = Engine::new(store.clone(), scope).with_audit(Arc::new(log));
        Self { _directory: directory, path, store, engine }
    }

    fn lines(&self) -> Vec<Line> {
        let lines = read(&self.path, Filter::default()).expect("readable");
        lines.map(|line| line.expect("a line")).collect()
    }
}

fn values(answers: Vec<Result<Secret>>) -> Vec<Result<Vec<u8>, ErrorKind>> {
    let value = |secret: Secret| secret.value.expose().to_vec();
    answers.into_iter().map(|answer| answer.map(value).map_err(|error| error.kind())).collect()
}

#[test]
fn many_are_answered_in_order_each_for_itself_and_recorded() {
    let fixture = Fixture::new();
    let third = Select::Version(Version::new("3").expect("a version"));
    let names = [
        ("s1", Select::Latest),
        ("absent", Select::Latest),
        ("no good name", Select::Latest),
        ("account.s2", third),
        ("s1", Select::Latest),
    ];
    let answers = block_on(fixture.engine.get_all(&names)).expect("answers");
    let versions: Vec<_> =
        answers.iter().flatten().map(|secret| secret.version.as_str().to_owned()).collect();
    assert_eq!(versions, ["7", "3", "7"]);
    let (s1, s2) = (Ok(b"s1".to_vec()), Ok(b"s2".to_vec()));
    let (absent, bad) = (Err(ErrorKind::NotFound), Err(ErrorKind::InvalidName));
    assert!(values(answers) == [s1.clone(), absent, bad, s2, s1]);

    let lines = fixture.lines();
    let line = |line: &Line| {
        assert_eq!((line.operation.as_str(), line.phase), ("get", Phase::Done));
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        [text(&line.scope), text(&line.name), text(&line.version), text(&line.outcome)]
    };
    let lines: Vec<_> = lines.iter().map(line).collect();
    let web = "acme/ops/web";
    let expected = [
        [web, "s1", "7", "ok"],
        [web, "absent", "", "not_found"],
        ["acme", "s2", "3", "ok"],
        [web, "s1", "7", "ok"],
    ];
    assert_eq!(lines, expected);
    assert!(block_on(fixture.engine.get_all::<&str>(&[])).expect("none").is_empty());
}

/// Shared lines are in the chain like any other, and each secret in them is found.
#[test]
fn what_shares_a_line_is_verified_and_found_by_its_name() {
    let fixture = Fixture::new();
    let names = ["s1", "absent", "s2"].map(|name| (name, Select::Latest));
    block_on(fixture.engine.get_all(&names)).expect("answers");
    block_on(fixture.engine.get("s3", &Select::Latest)).expect("an answer");
    let verified = || verify(&fixture.path, None, None, |_| {}).expect("readable");
    assert_eq!((verified().problem, verified().lines), (None, 2));

    let found = |filter| -> Vec<_> {
        let lines = read(&fixture.path, filter).expect("readable");
        lines.map(|line| line.expect("a line")).map(|line| (line.seq, line.name)).collect()
    };
    let one = |seq, name: &str| vec![(seq, Some(name.to_owned()))];
    let about = |name: &str| Filter { name: Some(name.to_owned()), ..Filter::default() };
    assert_eq!(found(about("s2")), one(1, "s2"));
    assert_eq!(found(about("s3")), one(2, "s3"));
    assert_eq!(found(Filter { failed: true, ..Filter::default() }), one(1, "absent"));

    let log = std::fs::read_to_string(&fixture.path).expect("the log");
    let forged = log.replacen("\"not_found\"", "\"ok\"", 1);
    assert_ne!(log, forged);
    std::fs::write(&fixture.path, forged).expect("written");
    assert_eq!(verified().problem.map(|problem| problem.line), Some(1));
}

#[test]
fn what_has_to_be_waited_for_is_waited_for_together_within_bounds() {
    let fixture = Fixture::new();
    let names: Vec<String> = (0..100).map(|n| format!("s{n}")).collect();
    // Every other one is at hand.
    let closed = |n: &usize| n % 2 == 1;
    fixture.store.state().closed = (0..100).filter(closed).map(|n| format!("s{n}")).collect();
    let wanted: Vec<_> = names.iter().map(|name| (name.as_str(), Select::Latest)).collect();
    let mut reading = Box::pin(fixture.engine.get_all(&wanted));
    assert!((&mut reading).now_or_never().is_none());
    assert_eq!(fixture.store.state().under_way, 32);
    // The last of those that wait is answered first: another takes its place.
    fixture.store.open(["s63".to_owned()]);
    assert!((&mut reading).now_or_never().is_none());
    let under_way = fixture.store.state().under_way;
    assert_eq!((under_way, fixture.store.state().reads), (32, 66));
    assert!(fixture.lines().is_empty(), "nothing is recorded that was not answered");
    let left: Vec<String> = fixture.store.state().closed.iter().cloned().collect();
    fixture.store.open(left);
    let answers = block_on(reading).expect("answers");
    assert!(values(answers).iter().zip(&names).all(|(a, b)| *a == Ok(b.clone().into_bytes())));
    assert_eq!(fixture.store.state().most_under_way, 32);
    let recorded: Vec<_> = fixture.lines().into_iter().filter_map(|line| line.name).collect();
    assert_eq!(recorded, names);
}

#[test]
fn nothing_is_answered_that_cannot_be_recorded() {
    let fixture = Fixture::new();
    std::fs::remove_file(&fixture.path).expect("removed");
    let names = [("s1", Select::Latest), ("s2", Select::Latest)];
    let error = block_on(fixture.engine.get_all(&names)).expect_err("no log");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let error = block_on(fixture.engine.get("s1", &Select::Latest)).expect_err("no log");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let error = block_on(fixture.engine.refuse("get", "s1"));
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[test]
fn a_refusal_is_recorded_for_whom_it_was() {
    let fixture = Fixture::new();
    let executable = Some("/usr/bin/app".to_owned());
    let actor = Actor { uid: Some(7), executable, ..Actor::default() };
    let engine = fixture.engine.acting_for(actor.clone());
    let error = block_on(engine.refuse("put", "org.s1"));
    assert_eq!(error.kind(), ErrorKind::AccessDenied);
    assert!(error.to_string().starts_with("put org.s1: "), "{error}");
    let acme: Scope = "acme".parse().expect("a scope");
    let error = block_on(engine.refuse_within("list", &acme));
    assert_eq!((error.kind(), error.operation()), (ErrorKind::AccessDenied, Some("list")));
    // What a scope does not see is refused the same way.
    let other: Scope = "acme/other".parse().expect("a scope");
    let page = PageRequest::first(1);
    let error = block_on(engine.list(&other, false, &page)).expect_err("not visible");
    assert_eq!(error.kind(), ErrorKind::AccessDenied);
    assert_eq!(block_on(engine.refuse("get", "a b")).kind(), ErrorKind::InvalidName);

    let lines = fixture.lines();
    let seen: Vec<_> = lines
        .iter()
        .map(|line| (line.operation.as_str(), line.scope.as_deref(), line.name.as_deref()))
        .collect();
    let expected = [
        ("put", Some("acme/ops"), Some("s1")),
        ("list", Some("acme"), None),
        ("list", Some("acme/other"), None),
    ];
    assert_eq!(seen, expected);
    for line in lines {
        assert_eq!((line.phase, line.outcome.as_deref()), (Phase::Done, Some("access_denied")));
        assert_eq!(line.actor, actor);
    }
    assert_eq!(fixture.store.state().reads, 0);
}

#[test]
fn seal_and_open_read_names_here_and_are_recorded() {
    let fixture = Fixture::new();
    let value = SecretBytes::copy_from(b"value").expect("guarded memory");
    let pairs = || BTreeMap::from([("app".to_owned(), "web".to_owned())]);
    let sealed = block_on(fixture.engine.seal("org.x", pairs(), &value)).expect("sealed");
    let opened = block_on(fixture.engine.open("org.x", pairs(), &sealed)).expect("opens");
    assert!(opened.expose() == b"value");
    let error = block_on(fixture.engine.open("x", pairs(), &sealed)).expect_err("another name");
    assert_eq!(error.kind(), ErrorKind::Tampered);
    let error = block_on(fixture.engine.seal("x", BTreeMap::new(), &value)).expect_err("no pair");
    assert_eq!((error.kind(), error.secret()), (ErrorKind::InvalidName, Some("x")));
    let lines: Vec<_> = fixture
        .lines()
        .into_iter()
        .map(|line| {
            [line.operation, line.scope.unwrap_or_default(), line.outcome.unwrap_or_default()]
        })
        .collect();
    let expected = [
        ["seal", "acme/ops", "ok"],
        ["open", "acme/ops", "ok"],
        ["open", "acme/ops/web", "tampered"],
    ];
    assert_eq!(lines, expected);

    std::fs::remove_file(&fixture.path).expect("removed");
    let error = block_on(fixture.engine.seal("x", pairs(), &value)).expect_err("no log");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let error = block_on(fixture.engine.open("org.x", pairs(), &sealed)).expect_err("no log");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}
