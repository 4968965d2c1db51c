//! What is good for a while only, such as credentials with a lease.

use super::*;

fn ending_after(valid_for: Duration, adjust: impl FnOnce(&mut CacheOptions)) -> Fixture {
    let t = Fixture::new(adjust);
    t.fake.state().valid_for = Some(valid_for);
    t
}

#[test]
fn what_ends_before_its_time_to_live_is_asked_for_again() {
    let t = ending_after(40 * SECOND, |_| ());
    assert_eq!(t.get("a").expect("an answer").valid_for, Some(40 * SECOND));
    t.clock.advance(39 * SECOND);
    let secret = t.get("a").expect("an answer");
    assert_eq!((secret.age, secret.valid_for), (39 * SECOND, Some(SECOND)), "what is left of it");
    assert_eq!(t.fake.calls(), 1);
    t.fake.bump(&name("a"));
    t.clock.advance(SECOND);
    assert_eq!(t.answer("a"), fresh("2", 0));
}

#[test]
fn what_has_ended_is_not_given_stale() {
    for (valid_for, expires) in [(40, 40), (130, 100)] {
        let t = ending_after(valid_for * SECOND, |options| options.max_stale = Some(60 * SECOND));
        t.get("a").expect("an answer");
        t.fake.fail(Some(ErrorKind::Unavailable));
        t.clock.advance(valid_for * SECOND - MILLI);
        let (version, age, is_stale) = t.answer("a");
        assert_eq!((version.as_str(), age), ("1", u64::from(valid_for) - 1));
        assert_eq!(is_stale, valid_for > expires);
        t.clock.advance(MILLI);
        assert_eq!(t.kind("a"), ErrorKind::Unavailable, "after {valid_for} s");
        assert_eq!(t.cache.stats().entries, 0);
    }
}

#[test]
fn what_ends_late_in_its_time_to_live_is_stale_until_then_and_no_longer_than_that() {
    let t = ending_after(300 * SECOND, |options| options.max_stale = Some(60 * SECOND));
    t.get("a").expect("an answer");
    t.fake.fail(Some(ErrorKind::Unavailable));
    t.clock.advance(TTL);
    assert_eq!(t.answer("a"), stale("1", 100));
    assert_eq!(t.get("a").expect("an answer").valid_for, Some(200 * SECOND));
    t.clock.advance(60 * SECOND);
    assert_eq!(t.kind("a"), ErrorKind::Unavailable);
}

#[test]
fn it_is_refreshed_before_it_ends() {
    let t = ending_after(40 * SECOND, |options| options.refresh_ahead = Some(0.5));
    t.get("a").expect("an answer");
    t.clock.advance(19 * SECOND);
    t.get("a").expect("an answer");
    assert_eq!(t.spawn.waiting(), 0);
    t.clock.advance(SECOND);
    t.get("a").expect("an answer");
    t.spawn.poll();
    assert_eq!(t.fake.calls(), 2);
    t.clock.advance(39 * SECOND);
    assert_eq!(t.answer("a"), fresh("1", 39), "of the second answer");
}

/// The answer comes late: it was made somewhere in between.
#[test]
fn the_end_counts_from_the_question() {
    let t = ending_after(40 * SECOND, |_| ());
    t.fake.close();
    let mut reader = t.reader("a");
    assert!(polled(&mut reader).is_none());
    t.clock.advance(10 * SECOND);
    t.fake.open();
    let secret = block_on(reader).expect("an answer");
    assert_eq!(secret.valid_for, Some(30 * SECOND));
    t.clock.advance(30 * SECOND);
    t.get("a").expect("an answer");
    assert_eq!(t.fake.calls(), 2);
}
