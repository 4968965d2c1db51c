use super::*;

fn lenient() -> Fixture {
    Fixture::new(|options| options.max_stale = Some(60 * SECOND))
}

#[test]
fn by_default_nothing_stale_is_given() {
    let t = Fixture::new(|_| ());
    t.get("a").expect("an answer");
    t.fake.fail(Some(ErrorKind::Unavailable));
    t.clock.advance(TTL - MILLI);
    assert_eq!(t.answer("a"), fresh("1", 99));
    t.clock.advance(MILLI);
    assert_eq!(t.kind("a"), ErrorKind::Unavailable);
    assert_eq!(t.cache.stats().entries, 0, "what may not be given is not kept");
}

#[test]
fn while_the_backend_fails_the_old_answer_is_given_marked() {
    let t = lenient();
    t.get("a").expect("an answer");
    t.fake.fail(Some(ErrorKind::Unavailable));
    t.clock.advance(TTL);
    for elapsed in 0..5 {
        assert_eq!(t.answer("a"), stale("1", 100 + elapsed));
        assert_eq!(t.fake.calls(), 2, "asked once, then left alone for `retry_after`");
        t.clock.advance(SECOND);
    }
    assert_eq!(t.answer("a"), stale("1", 105));
    assert_eq!(t.fake.calls(), 3);
    let status = t.cache.status(&name("a")).expect("kept");
    assert!(status.stale && status.expires_in.is_zero());
    assert_eq!((status.age, status.last_success), (105 * SECOND, Timestamp(1_000_000)));
    t.fake.fail(None);
    t.clock.advance(5 * SECOND);
    assert_eq!(t.answer("a"), fresh("1", 0));
    assert_eq!(t.cache.stats().stale, 6);
}

#[test]
fn past_the_limit_of_staleness_the_error_is_given() {
    let t = lenient();
    t.get("a").expect("an answer");
    t.fake.fail(Some(ErrorKind::Unavailable));
    t.clock.advance(TTL + 60 * SECOND - MILLI);
    assert_eq!(t.answer("a"), stale("1", 159));
    t.clock.advance(MILLI);
    assert_eq!(t.kind("a"), ErrorKind::Unavailable, "even within `retry_after`");
    assert_eq!(t.cache.stats().entries, 0);
}

#[test]
fn time_may_run_out_while_a_reader_waits() {
    let t = lenient();
    t.get("a").expect("an answer");
    t.fake.close();
    t.clock.advance(TTL + 60 * SECOND - 10 * MILLI);
    let mut reader = t.reader("a");
    assert!(polled(&mut reader).is_none());
    t.clock.advance(20 * MILLI);
    assert!(polled(&mut reader).is_none(), "too old to be given by now");
    t.fake.open();
    assert!(!block_on(reader).expect("an answer").stale);
}

#[test]
fn a_backend_that_hangs_delays_nobody() {
    let t = lenient();
    t.get("a").expect("an answer");
    t.fake.bump(&name("a"));
    t.fake.close();
    t.clock.advance(TTL);
    let (mut first, mut second) = (t.reader("a"), t.reader("a"));
    assert!(polled(&mut first).is_none() && polled(&mut second).is_none());
    t.clock.advance(19 * MILLI);
    assert!(polled(&mut first).is_none(), "it waits for `stale_wait`");
    t.clock.advance(MILLI);
    for reader in [first, second] {
        let secret = block_on(reader).expect("an answer");
        assert!(secret.stale && secret.age == TTL + 20 * MILLI);
    }
    assert_eq!(t.answer("a"), stale("1", 100), "the next does not wait at all");
    assert_eq!((t.fake.calls(), t.spawn.waiting()), (2, 1), "the call goes on");
    t.clock.advance(6 * SECOND);
    assert_eq!(t.answer("a"), stale("1", 106), "nor when the same call still hangs");
    assert_eq!((t.fake.calls(), t.spawn.waiting()), (2, 1));
    t.fake.open();
    t.spawn.poll();
    assert_eq!(t.answer("a").0, "2");
    assert_eq!((t.fake.calls(), t.spawn.waiting()), (2, 0));
}

#[test]
fn a_backend_that_answers_in_time_is_preferred() {
    let t = lenient();
    t.get("a").expect("an answer");
    t.fake.bump(&name("a"));
    t.fake.close();
    t.clock.advance(TTL);
    let mut reader = t.reader("a");
    assert!(polled(&mut reader).is_none());
    t.clock.advance(10 * MILLI);
    t.fake.open();
    let secret = block_on(reader).expect("an answer");
    assert!(!secret.stale && secret.version.as_str() == "2");
}

#[test]
fn a_denial_is_never_bridged() {
    let t = lenient();
    for kind in [ErrorKind::NotFound, ErrorKind::AccessDenied, ErrorKind::Tampered] {
        t.fake.fail(None);
        t.cache.clear();
        t.get("a").expect("an answer");
        t.clock.advance(TTL);
        t.fake.fail(Some(kind));
        let calls = t.fake.calls();
        assert_eq!(t.kind("a"), kind);
        assert_eq!(t.fake.calls(), calls + 1, "the backend is believed at once");
        t.fake.fail(Some(ErrorKind::Unavailable));
        t.clock.advance(2 * SECOND);
        assert_eq!(t.kind("a"), ErrorKind::Unavailable, "the entry is gone");
    }
}

/// Otherwise a connection that died silently would catch every reader who comes
/// while the first ones wait.
#[test]
fn a_call_that_hangs_for_ever_ends() {
    let t = Fixture::new(|_| ());
    t.fake.close();
    let mut reader = t.reader("a");
    assert!(polled(&mut reader).is_none());
    t.clock.advance(30 * SECOND - MILLI);
    assert!(polled(&mut reader).is_none());
    t.clock.advance(MILLI);
    let error = block_on(reader).expect_err("no answer");
    assert_eq!(error.to_string(), "get account.a: the store did not answer in time (the fake)");
    assert!(error.is_retryable());
    assert_eq!(t.fake.state().under_way, 0);
    t.fake.open();
    t.get("a").expect("an answer");
}

#[test]
fn an_answer_that_comes_late_is_as_old_as_its_question() {
    let t = Fixture::new(|_| ());
    t.fake.close();
    let mut reader = t.reader("a");
    assert!(polled(&mut reader).is_none());
    t.fake.bump(&name("a"));
    t.clock.advance(25 * SECOND);
    t.fake.open();
    assert!(block_on(reader).is_ok());
    assert_eq!(t.answer("a"), fresh("1", 25));
    t.clock.advance(TTL - 25 * SECOND);
    assert_eq!(t.answer("a"), fresh("2", 0));
}

#[test]
fn the_background_takes_no_more_hanging_calls_than_it_may() {
    let t = Fixture::new(|options| {
        options.max_stale = Some(60 * SECOND);
        options.stale_wait = Duration::ZERO;
        options.max_background = 2;
    });
    t.load(&ALL);
    t.fake.close();
    t.clock.advance(TTL);
    for id in ALL.iter().chain(&ALL) {
        assert_eq!(t.answer(id), stale("1", 100));
    }
    assert_eq!((t.spawn.waiting(), t.fake.state().under_way), (2, 2));
    assert_eq!(t.fake.calls(), 10, "each was asked once, and is left alone then");
}

#[test]
fn a_cache_that_is_dropped_cancels_what_hangs() {
    let Fixture { fake, clock, cache, .. } = lenient();
    let options = cache.core.options.clone();
    let spawn = Arc::new(ThreadSpawn::new());
    let cache = CachedStore::new(fake.clone(), options, Arc::new(clock.clone()), spawn);
    let cache = cache.expect("a cache");
    block_on(cache.get(&name("a"), &Select::Latest)).expect("an answer");
    fake.close();
    clock.advance(TTL);
    let a = name("a");
    let mut reader = cache.get(&a, &Select::Latest);
    assert!((&mut reader).now_or_never().is_none());
    clock.advance(20 * MILLI);
    assert!(block_on(reader).expect("an answer").stale);
    drop(cache);
    while fake.state().under_way > 0 {
        std::thread::yield_now();
    }
}
