use super::*;

fn kept(t: &Fixture) -> String {
    let there = |id: &&str| t.cache.status(&name(id)).is_some();
    ALL.into_iter().filter(there).collect()
}

#[test]
fn options_that_make_no_sense_make_no_cache() {
    let options = CacheOptions { ttl: Duration::ZERO, ..CacheOptions::default() };
    let (fake, clock) = (Arc::new(Fake::default()), ManualClock::new(Timestamp(0)));
    let cache = CachedStore::new(fake, options, Arc::new(clock), Arc::new(ThreadSpawn::new()));
    assert_eq!(cache.expect_err("refused").kind(), ErrorKind::Configuration);
}

#[test]
fn what_was_used_longest_ago_makes_room() {
    let t = Fixture::new(|options| options.max_entries = 3);
    t.load(&["a", "b", "c"]);
    t.get("a").expect("an answer");
    t.get("d").expect("an answer");
    assert_eq!(kept(&t), "acd");
    t.get("e").expect("an answer");
    assert_eq!(kept(&t), "ade");
    assert_eq!((t.cache.stats().evictions, t.cache.stats().entries), (2, 3));
}

#[test]
fn bytes_are_counted_and_limited() {
    let t = Fixture::new(|options| options.max_bytes = 5_000);
    t.fake.state().value_bytes = 2_000;
    t.load(&["a", "b", "c"]);
    assert_eq!(kept(&t), "bc");
    let held = t.cache.stats().bytes;
    assert!((4_000..=5_000).contains(&held), "{held}");
    // One that is larger than the whole cache is answered, and pushes nobody out.
    t.fake.state().value_bytes = 5_000;
    t.get("d").expect("an answer");
    assert_eq!((kept(&t).as_str(), t.cache.stats().bytes), ("bc", held));
    t.cache.invalidate(&name("b"));
    t.cache.invalidate(&name("c"));
    assert_eq!((t.cache.stats().bytes, t.cache.stats().entries), (0, 0));
}

#[test]
fn one_name_with_many_versions_stays_small() {
    let t = Fixture::new(|_| ());
    for _ in 0..200 {
        t.fake.bump(&name("a"));
    }
    for number in 1..=200 {
        block_on(t.cache.get(&name("a"), &version(number))).expect("an answer");
        t.get("a").expect("an answer");
    }
    assert_eq!(t.cache.stats().entries, 64);
    assert_eq!(t.fake.calls(), 201, "the latest was used all the time, and stayed");
    // Entries of one name push each other out as others do.
    let t = Fixture::new(|options| options.max_entries = 2);
    for _ in 0..3 {
        t.fake.bump(&name("a"));
    }
    for number in 1..=3 {
        block_on(t.cache.get(&name("a"), &version(number))).expect("an answer");
    }
    assert_eq!((t.cache.stats().entries, t.cache.stats().evictions), (2, 1));
}

#[test]
fn nothing_that_may_not_be_given_remains() {
    let t = Fixture::new(|_| ());
    t.load(&["a", "b"]);
    t.get("new").expect_err("no such secret");
    assert_eq!(t.cache.stats().entries, 3);
    t.clock.advance(SECOND);
    t.cache.sweep();
    assert_eq!(t.cache.stats().entries, 2);
    t.clock.advance(TTL - SECOND - MILLI);
    t.cache.sweep();
    assert_eq!(kept(&t), "ab");
    t.clock.advance(MILLI);
    t.cache.sweep();
    assert_eq!((t.cache.stats().entries, t.cache.stats().bytes), (0, 0));
    assert_eq!(t.cache.stats().evictions, 0);

    let lenient = Fixture::new(|options| options.max_stale = Some(TTL));
    lenient.get("a").expect("an answer");
    lenient.clock.advance(2 * TTL - MILLI);
    lenient.cache.sweep();
    assert_eq!(lenient.cache.stats().entries, 1);
    lenient.clock.advance(MILLI);
    lenient.cache.sweep();
    assert_eq!(lenient.cache.stats().entries, 0);
}

#[test]
fn a_cache_in_use_sweeps_itself() {
    let t = Fixture::new(|_| ());
    t.get("a").expect("an answer");
    t.clock.advance(TTL);
    t.get("b").expect("an answer");
    assert_eq!(t.cache.stats().entries, 1);
}

#[test]
fn no_call_is_remembered_when_it_is_over() {
    let t = Fixture::new(|_| ());
    t.get("a").expect("an answer");
    t.get("new").expect_err("no such secret");
    t.fake.close();
    let mut reader = t.reader("b");
    assert!(polled(&mut reader).is_none());
    assert_eq!(t.cache.core.table().expect("ours").flights_under_way(), 1);
    drop(reader);
    assert_eq!(t.cache.core.table().expect("ours").flights_under_way(), 0);
}

#[test]
fn memory_and_debug_show_no_value() {
    let t = Fixture::new(|_| ());
    t.get("a").expect("an answer");
    {
        let mut table = t.cache.core.table().expect("ours");
        let entry = table.peek(&name("a"), &Select::Latest).expect("kept");
        let Content::Value(sealed) = &entry.content else { panic!("a value") };
        assert!(sealed.value_bytes() == b"canary 1".len());
        assert!(!sealed.ciphertext().windows(6).any(|window| window == b"canary"));
        assert!(!format!("{sealed:?}").contains("canary"));
    }
    assert!(format!("{:?}", t.cache).starts_with("CachedStore { inner: Fake"));
    assert!(!format!("{:?}", t.cache).contains("canary"));
}
