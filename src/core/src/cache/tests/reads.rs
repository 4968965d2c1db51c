use super::*;

#[test]
fn a_second_reader_is_answered_from_memory() {
    let t = Fixture::new(|_| ());
    assert_eq!(t.answer("a"), fresh("1", 0));
    t.fake.bump(&name("a"));
    t.clock.advance(TTL - MILLI);
    assert_eq!(t.answer("a"), fresh("1", 99));
    assert_eq!(t.fake.calls(), 1);
    t.clock.advance(MILLI);
    assert_eq!(t.answer("a"), fresh("2", 0));
    let stats = t.cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.flights, stats.entries), (1, 2, 2, 1));
}

#[test]
fn fifty_cold_readers_are_one_call() {
    let t = Fixture::new(|_| ());
    for round in 1..=2 {
        t.fake.close();
        let mut readers = join_all((0..50).map(|_| t.reader("a")));
        assert!((&mut readers).now_or_never().is_none());
        assert_eq!(t.fake.calls(), round);
        t.fake.open();
        assert!(block_on(readers).iter().all(Result::is_ok));
        assert_eq!(t.fake.calls(), round, "one for all, also when the entry has expired");
        t.clock.advance(TTL);
    }
    t.fake.close();
    t.fake.fail(Some(ErrorKind::Unavailable));
    let mut readers = join_all((0..50).map(|_| t.reader("a")));
    assert!((&mut readers).now_or_never().is_none());
    t.fake.open();
    assert!(block_on(readers).iter().all(Result::is_err));
    assert_eq!(t.fake.calls(), 3, "a failure is shared as well");
}

#[test]
fn readers_on_many_threads_are_one_call() {
    let t = Fixture::new(|_| ());
    t.fake.close();
    let barrier = std::sync::Barrier::new(9);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                barrier.wait();
                assert_eq!(t.answer("a").0, "1");
            });
        }
        barrier.wait();
        while t.fake.calls() == 0 {
            std::thread::yield_now();
        }
        t.fake.open();
    });
    assert_eq!(t.fake.calls(), 1);
}

#[test]
fn a_leader_that_is_dropped_leaves_the_others_their_answer() {
    let t = Fixture::new(|_| ());
    t.fake.close();
    let (mut leader, mut other) = (t.reader("a"), t.reader("a"));
    assert!(polled(&mut leader).is_none() && polled(&mut other).is_none());
    drop(leader);
    assert_eq!(t.fake.state().under_way, 1);
    t.fake.open();
    assert!(block_on(other).is_ok());
    assert_eq!(t.fake.calls(), 1);
}

/// Otherwise a later reader would be given what the backend said to somebody
/// who left long ago.
#[test]
fn a_call_that_nobody_waits_for_is_cancelled() {
    let t = Fixture::new(|_| ());
    t.fake.close();
    let mut reader = t.reader("a");
    assert!(polled(&mut reader).is_none());
    drop(reader);
    assert_eq!(t.fake.state().under_way, 0);
    t.fake.bump(&name("a"));
    t.fake.open();
    assert_eq!(t.answer("a"), fresh("2", 0));
    assert_eq!(t.fake.calls(), 2);
}

#[test]
fn entries_that_were_loaded_together_expire_apart_and_never_late() {
    let t = Fixture::new(|options| options.jitter = 0.1);
    let ids: Vec<_> = (0..200).map(|n| format!("n{n}")).collect();
    let mut lives = std::collections::BTreeSet::new();
    for id in &ids {
        t.fake.bump(&name(id));
        t.get(id).expect("an answer");
        lives.insert(t.cache.status(&name(id)).expect("kept").expires_in);
    }
    assert!(lives.len() > 150, "{}", lives.len());
    let (first, last) = (lives.first().expect("some"), lives.last().expect("some"));
    assert!(*first >= TTL.mul_f64(0.9) && *last <= TTL);
    assert!(*last - *first > TTL.mul_f64(0.05));
}

#[test]
fn a_hit_near_the_end_refreshes_in_the_background() {
    let t = Fixture::new(|options| options.refresh_ahead = Some(0.8));
    t.get("a").expect("an answer");
    t.fake.bump(&name("a"));
    t.clock.advance(79 * SECOND);
    assert_eq!(t.answer("a"), fresh("1", 79));
    assert_eq!(t.spawn.waiting(), 0);
    t.clock.advance(SECOND);
    t.fake.close();
    for _ in 0..3 {
        assert_eq!(t.answer("a"), fresh("1", 80), "at once");
        t.spawn.poll();
        assert_eq!((t.spawn.waiting(), t.fake.calls()), (1, 2), "one refresh at a time");
    }
    t.fake.open();
    t.spawn.poll();
    assert_eq!(t.spawn.waiting(), 0);
    t.clock.advance(5 * SECOND);
    assert_eq!(t.answer("a"), fresh("2", 5), "its age counts from when it was asked for");
}

#[test]
fn the_background_is_bounded_and_its_places_come_back() {
    let t = Fixture::new(|options| {
        options.refresh_ahead = Some(0.5);
        options.max_background = 2;
    });
    let refresh = |expected| {
        t.load(&ALL);
        assert_eq!(t.spawn.waiting(), expected);
    };
    refresh(0);
    t.clock.advance(50 * SECOND);
    refresh(2);
    t.spawn.poll();
    refresh(2);
    t.spawn.0.lock().expect("not poisoned").clear();
    refresh(2);
    assert_eq!(t.cache.core.table().expect("ours").background, 2);
}

#[test]
fn a_failed_refresh_leaves_the_entry_and_the_backend_alone() {
    let t = Fixture::new(|options| options.refresh_ahead = Some(0.5));
    t.get("a").expect("an answer");
    t.clock.advance(50 * SECOND);
    t.fake.fail(Some(ErrorKind::Throttled));
    for elapsed in 0..5 {
        assert_eq!(t.answer("a"), fresh("1", 50 + elapsed));
        t.spawn.poll();
        assert_eq!(t.fake.calls(), 2, "not again before `retry_after`");
        t.clock.advance(SECOND);
    }
    t.fake.state().failure = Some(Error::unavailable("wait").after(20 * SECOND));
    t.get("a").expect("an answer");
    t.spawn.poll();
    t.clock.advance(19 * SECOND);
    t.get("a").expect("an answer");
    t.spawn.poll();
    assert_eq!(t.fake.calls(), 3, "the backend said how long to wait");
    t.clock.advance(SECOND);
    t.get("a").expect("an answer");
    t.spawn.poll();
    assert_eq!(t.fake.calls(), 4);
}

#[test]
fn versions_are_entries_of_their_own() {
    let t = Fixture::new(|_| ());
    t.fake.bump(&name("a"));
    let get = |select| block_on(t.cache.get(&name("a"), &select));
    for _ in 0..2 {
        assert_eq!(get(version(1)).expect("an answer").version.as_str(), "1");
        assert_eq!(get(Select::Latest).expect("an answer").version.as_str(), "2");
    }
    assert_eq!((t.fake.calls(), t.cache.stats().entries), (2, 2));
    assert!(get(version(9)).is_err());
    t.get("a").expect("an answer");
    assert_eq!(t.fake.calls(), 3, "a version that never was says nothing about the latest");
    t.clock.advance(TTL);
    t.fake.state().versions.clear();
    t.get("a").expect_err("gone");
    get(version(1)).expect_err("gone, too: a version lives no longer than others");
}

#[test]
fn a_denial_evicts_at_once() {
    let denials = [
        ErrorKind::NotFound,
        ErrorKind::AccessDenied,
        ErrorKind::Unauthenticated,
        ErrorKind::KeyUnavailable,
        ErrorKind::Tampered,
    ];
    for kind in denials {
        let t = Fixture::new(|options| {
            options.refresh_ahead = Some(0.5);
            options.max_stale = Some(TTL);
        });
        t.get("a").expect("an answer");
        block_on(t.cache.get(&name("a"), &version(1))).expect("an answer");
        t.clock.advance(50 * SECOND);
        t.fake.fail(Some(kind));
        t.get("a").expect("it is not known yet");
        t.spawn.poll();
        assert!(t.cache.status(&name("a")).is_none());
        assert_eq!(t.kind("a"), kind);
        let old = block_on(t.cache.get(&name("a"), &version(1)));
        assert_eq!(old.expect_err("evicted, too").kind(), kind);
        assert!(t.cache.stats().entries <= 2 && t.cache.stats().stale == 0);
    }
}

#[test]
fn a_version_that_vanished_evicts_the_others() {
    let t = Fixture::new(|options| options.refresh_ahead = Some(0.5));
    let old = || block_on(t.cache.get(&name("a"), &version(1)));
    old().expect("an answer");
    t.clock.advance(40 * SECOND);
    t.get("a").expect("an answer");
    t.fake.state().versions.clear(); // somebody purged the secret
    t.clock.advance(10 * SECOND);
    old().expect("it is not known yet");
    assert!(t.cache.status(&name("a")).is_some());
    t.spawn.poll();
    assert!(t.cache.status(&name("a")).is_none());
}

#[test]
fn not_found_is_remembered_for_a_short_time() {
    let t = Fixture::new(|options| options.negative_ttl = SECOND);
    for _ in 0..3 {
        assert_eq!(t.kind("new"), ErrorKind::NotFound);
    }
    assert_eq!(t.fake.calls(), 1);
    t.fake.bump(&name("new"));
    t.clock.advance(SECOND - MILLI);
    assert_eq!(t.kind("new"), ErrorKind::NotFound);
    t.clock.advance(MILLI);
    assert_eq!(t.answer("new"), fresh("1", 0));

    assert_eq!(t.kind("other"), ErrorKind::NotFound);
    t.put("other").expect("written");
    assert_eq!(t.answer("other"), fresh("1", 0), "a write is seen at once");

    let off = Fixture::new(|options| options.negative_ttl = Duration::ZERO);
    assert_eq!((off.kind("new"), off.kind("new")), (ErrorKind::NotFound, ErrorKind::NotFound));
    assert_eq!((off.fake.calls(), off.cache.stats().entries), (2, 0));
}

#[test]
fn only_not_found_is_remembered() {
    for kind in [ErrorKind::AccessDenied, ErrorKind::Unavailable] {
        let t = Fixture::new(|_| ());
        t.fake.fail(Some(kind));
        assert_eq!((t.kind("a"), t.kind("a")), (kind, kind));
        assert_eq!((t.fake.calls(), t.cache.stats().entries), (2, 0));
    }
}

#[test]
fn the_rest_passes_through() {
    let t = Fixture::new(|_| ());
    let page = PageRequest::first(1);
    for round in 1..=2 {
        block_on(t.cache.versions(&name("a"), &page)).expect("an answer");
        block_on(t.cache.list(name("a").scope(), false, &page)).expect("an answer");
        assert_eq!(block_on(t.cache.check()).expect("an answer"), ["well"]);
        assert_eq!(t.fake.calls(), 3 * round);
    }
    assert_eq!((t.cache.describe(), t.cache.capabilities().max_value_bytes), ("the fake", 7));
}

#[test]
fn a_forked_child_asks_the_backend_itself() {
    let t = Fixture::new(|_| ());
    t.get("a").expect("an answer");
    // The mutex of a thread that is not in the child.
    let held = t.cache.core.table();
    match fork::fork().expect("fork") {
        fork::Fork::Child => {
            let answered = t.get("a").is_ok() && t.put("a").is_ok() && t.fake.calls() == 2;
            t.cache.clear();
            let bare = t.cache.stats() == CacheStats::default();
            std::process::exit(i32::from(!(answered && bare)));
        }
        fork::Fork::Parent(pid) => {
            drop(held);
            assert_eq!(fork::waitpid(pid).expect("the child"), 0);
            assert_eq!(t.answer("a"), fresh("1", 0));
            assert_eq!(t.fake.calls(), 1);
        }
    }
}
