//! Lines that are recorded at once: they share a write and its fate, and nobody
//! waits for somebody who is not polled.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_executor::block_on;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};

use super::super::queue::FULL_GROUP;
use super::*;
use crate::clock::SystemClock;

fn actor(user: &str) -> Actor {
    Actor { user: Some(user.to_owned()), ..Actor::default() }
}

async fn record(log: &AuditLog, user: &str) -> Result<()> {
    log.record(&Event::done("get", &actor(user))).await
}

fn users(fixture: &Fixture) -> Vec<String> {
    assert_eq!(fixture.problem(), None);
    let lines = read(&fixture.path, Filter::default()).expect("readable");
    lines.flatten().filter_map(|line| line.actor.user).collect()
}

fn calls(log: &AuditLog) -> Vec<&'static str> {
    log.state().faults.calls.take()
}

#[test]
fn what_is_recorded_at_once_is_written_in_groups() {
    let fixture = Fixture::new();
    let log = fixture.open();
    let names: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    let results = block_on(join_all(names.iter().map(|name| record(&log, name))));
    assert!(results.iter().all(Result::is_ok));
    // Six groups that are full, and what is left.
    assert_eq!(100_usize.div_ceil(FULL_GROUP), 7);
    assert_eq!((calls(&log), users(&fixture)), (vec!["write"; 7], names));
    block_on(record(&log, "alone")).expect("a line");
    assert_eq!((calls(&log), fixture.verify(None).lines), (vec!["write"], 101));
    assert_eq!(log.head(), fixture.verify(None).head);

    let log = log.synced(true);
    let (ann, bob, cy) = (actor("ann"), actor("bob"), actor("cy"));
    let events = [&ann, &bob].map(|actor| Event::done("get", actor));
    let (both, one) = block_on(futures_util::future::join(
        log.record_all(&events),
        log.record(&Event::done("get", &cy)),
    ));
    both.and(one).expect("three lines");
    assert_eq!(calls(&log), ["write", "sync"], "one flush for the group");
    assert_eq!(users(&fixture)[101..], ["ann", "bob", "cy"]);
    block_on(log.record_all(&[])).expect("nothing to write");
    log.append_all(&[]).expect("nothing to write");
    assert_eq!((calls(&log), fixture.verify(None).lines), (vec![], 104));
}

#[test]
fn a_caller_that_goes_away_leaves_its_line_and_holds_nobody_up() {
    let fixture = Fixture::new();
    let log = fixture.open();
    let mut first = Box::pin(record(&log, "first"));
    let mut second = Box::pin(record(&log, "second"));
    assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
    drop(first);
    assert_eq!(calls(&log), ["write"]);
    block_on(second).expect("answered");
    assert_eq!((calls(&log), users(&fixture)), (vec![], vec!["first".into(), "second".into()]));

    // One that is neither polled nor dropped.
    let mut idle = Box::pin(record(&log, "idle"));
    assert!((&mut idle).now_or_never().is_none());
    block_on(record(&log, "third")).expect("answered");
    assert_eq!((calls(&log), users(&fixture).len()), (vec!["write"], 4));
    block_on(idle).expect("answered");
    drop(record(&log, "never polled"));
    assert_eq!((calls(&log), users(&fixture).len()), (vec![], 4));
}

#[test]
fn an_error_is_everybodys_and_leaves_no_line() {
    let fixture = Fixture::with_lines(1);
    let log = fixture.open();
    let before = fixture.bytes();
    // The last leaves room for the first line and a part of the second.
    for limit in [0, 1, 300] {
        log.state().faults.full_after = Some(limit);
        let results = block_on(join_all(["a", "b", "c", "d"].map(|user| record(&log, user))));
        assert_eq!(results.len(), 4);
        for result in results {
            assert_eq!(result.expect_err("full").kind(), ErrorKind::Unavailable);
        }
        let (a, b) = (actor("a"), actor("b"));
        log.append_all(&[Event::done("get", &a), Event::done("get", &b)]).expect_err("full");
        assert!(fixture.bytes() == before, "nothing of them remains");
    }
    log.state().faults.full_after = None;
    block_on(record(&log, "e")).expect("there is room again");
    assert_eq!(users(&fixture), ["ann", "e"]);
}

#[test]
fn a_line_that_is_too_long_fails_its_own_caller_only() {
    let fixture = Fixture::new();
    let log = fixture.open();
    let endless = "x".repeat(MAX_LINE_BYTES);
    let results = block_on(join_all(["a", &endless, "b"].map(|user| record(&log, user))));
    let kinds = results.into_iter().map(|result| result.map_err(|error| error.kind()));
    let kinds: Vec<_> = kinds.collect();
    assert_eq!(kinds, [Ok(()), Err(ErrorKind::LimitExceeded), Ok(())]);
    let (good, bad) = (actor("c"), actor(&endless));
    let mixed = [Event::done("get", &good), Event::done("get", &bad)];
    let error = block_on(log.record_all(&mixed)).expect_err("too long");
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    block_on(record(&log, "d")).expect("others are not");
    assert_eq!(users(&fixture), ["a", "b", "d"], "nothing of the refused is left behind");
}

#[test]
fn several_threads_and_processes_record_into_one_chain() {
    let fixture = Fixture::new();
    let logs = [fixture.open(), fixture.open()];
    std::thread::scope(|scope| {
        for log in logs.iter().chain(&logs) {
            scope.spawn(|| {
                for _ in 0..20 {
                    for result in block_on(join_all((0..10).map(|_| record(log, "ann")))) {
                        result.expect("a line");
                    }
                    // An answer means that the line is there.
                    let seen = log.head().seq;
                    assert!(fixture.lines().len() as u64 >= seen);
                }
            });
        }
    });
    assert_eq!(users(&fixture).len(), 800);
}

#[test]
fn a_forked_child_records_nothing_of_its_parents() {
    let fixture = Fixture::new();
    let log = fixture.open();
    let mut recording = Box::pin(record(&log, "parent"));
    assert!((&mut recording).now_or_never().is_none());
    match fork::fork().expect("fork") {
        fork::Fork::Child => {
            let refused = block_on(recording).is_err_and(|e| e.kind() == ErrorKind::Unavailable);
            let again = block_on(record(&log, "child")).is_err();
            std::process::exit(i32::from(!refused || !again));
        }
        fork::Fork::Parent(pid) => {
            assert_eq!(fork::waitpid(pid).expect("the child"), 0);
            assert!(fixture.bytes().is_empty());
            block_on(recording).expect("the parent goes on");
            assert_eq!(users(&fixture), ["parent"]);
        }
    }
}

/// Panics when it is first asked.
#[derive(Debug)]
struct Faulty(AtomicBool, Arc<dyn Clock>);

impl Clock for Faulty {
    fn now(&self) -> Timestamp {
        assert!(self.0.swap(true, Ordering::Relaxed), "a clock that fails, on purpose");
        self.1.now()
    }

    fn monotonic(&self) -> Duration {
        self.1.monotonic()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.1.sleep(duration)
    }
}

#[test]
fn nobody_answers_or_hangs_when_the_writer_panics() {
    let fixture = Fixture::new();
    let clock = Arc::new(Faulty(AtomicBool::new(false), SystemClock::shared()));
    let log = AuditLog::open(&fixture.path, key(), clock).expect("open");
    let mut other = pin!(record(&log, "other"));
    assert!((&mut other).now_or_never().is_none());
    let panicked = catch_unwind(AssertUnwindSafe(|| block_on(record(&log, "writer"))));
    assert!(panicked.is_err());
    assert_eq!(block_on(other).expect_err("no line").kind(), ErrorKind::Internal);
    block_on(record(&log, "next")).expect("a line");
    assert_eq!(users(&fixture), ["next"]);
}
