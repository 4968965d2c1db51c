use super::*;

/// Every write through the cache.
const WRITES: [&str; 4] = ["put", "delete", "restore", "purge"];

fn write<'a>(t: &'a Fixture, which: &str, name: &'a SecretName) -> BoxFuture<'a, Result<()>> {
    match which {
        "put" => async {
            let value = SecretBytes::zeroed(0)?;
            t.cache.put(name, &value, &PutOptions::default()).await.map(drop)
        }
        .boxed(),
        "delete" => t.cache.delete(name),
        "restore" => t.cache.restore(name),
        _ => t.cache.purge(name),
    }
}

/// What a reader who begins now is told.
fn told(t: &Fixture) -> Option<String> {
    t.get("a").ok().map(|secret| secret.version.to_string())
}

fn expected(which: &str) -> Option<String> {
    matches!(which, "put" | "restore").then(|| "2".into())
}

#[test]
fn a_write_is_seen_by_the_next_reader() {
    for which in WRITES {
        let t = Fixture::new(|_| ());
        t.get("a").expect("an answer");
        block_on(t.cache.get(&name("a"), &version(1))).expect("an answer");
        t.get("b").expect("an answer");
        block_on(write(&t, which, &name("a"))).expect(which);
        assert_eq!(t.cache.stats().entries, 1, "every version of this name, and no other");
        assert_eq!(told(&t), expected(which), "{which}");
    }
}

/// After `Unavailable` a write may have taken effect all the same.
#[test]
fn a_write_that_fails_forgets_as_well() {
    for which in WRITES {
        let t = Fixture::new(|_| ());
        let a = name("a");
        t.fake.close();
        let mut writing = write(&t, which, &a);
        assert!((&mut writing).now_or_never().is_none());
        t.fake.open();
        t.get("a").expect("an answer");
        t.fake.bump(&a);
        t.fake.fail(Some(ErrorKind::Unavailable));
        block_on(writing).expect_err(which);
        t.fake.fail(None);
        assert_eq!(told(&t), Some("2".into()), "{which}");
    }
}

#[test]
fn a_write_whose_future_is_dropped_forgets_as_well() {
    for which in WRITES {
        let t = Fixture::new(|_| ());
        let a = name("a");
        t.fake.close();
        let mut writing = write(&t, which, &a);
        assert!((&mut writing).now_or_never().is_none());
        t.fake.open();
        t.get("a").expect("an answer");
        t.fake.bump(&a);
        drop(writing);
        assert_eq!(told(&t), Some("2".into()), "{which}");
    }
}

#[test]
fn a_write_forgets_before_it_begins() {
    for which in WRITES {
        let t = Fixture::new(|_| ());
        let a = name("a");
        t.get("a").expect("an answer");
        t.fake.close();
        let mut writing = write(&t, which, &a);
        assert!((&mut writing).now_or_never().is_none());
        assert!(t.cache.status(&a).is_none(), "{which}");
    }
}

/// R1 asks, a write begins and ends, R2 asks. R1 may be told what was before
/// the write; R2, and who comes after, may not, in whichever order they land.
#[test]
fn a_reader_from_before_a_write_hands_nothing_to_one_after_it() {
    for which in WRITES {
        for late in [false, true] {
            let t = Fixture::new(|options| options.negative_ttl = TTL);
            t.fake.close();
            let mut before = t.reader("a");
            assert!(polled(&mut before).is_none());
            t.fake.state().closed = false; // the write passes; R1 is not woken
            block_on(write(&t, which, &name("a"))).expect(which);
            t.fake.close();
            let mut after = t.reader("a");
            assert!(polled(&mut after).is_none());
            assert_eq!(t.fake.calls(), 2, "R2 does not join R1's call");
            t.fake.open();
            let version = |answer: Result<Secret>| answer.ok().map(|s| s.version.to_string());
            let (old, new) = if late {
                let new = version(block_on(after));
                (version(block_on(before)), new)
            } else {
                (version(block_on(before)), version(block_on(after)))
            };
            assert_eq!((old, new), (Some("1".into()), expected(which)), "{which}");
            assert_eq!(told(&t), expected(which), "{which}");
            assert_eq!(t.fake.calls(), 2, "what R2 was told is kept");
        }
    }
}

#[test]
fn a_reader_during_a_write_leaves_no_entry_behind() {
    for which in WRITES {
        let t = Fixture::new(|_| ());
        let a = name("a");
        t.fake.close();
        let mut writing = write(&t, which, &a);
        assert!((&mut writing).now_or_never().is_none());
        t.fake.state().closed = false;
        assert_eq!(t.answer("a"), fresh("1", 0));
        assert_eq!(t.answer("a"), fresh("1", 0));
        block_on(writing).expect(which);
        assert_eq!(told(&t), expected(which), "{which}");
    }
}

/// The old entry must not be given as stale either.
#[test]
fn a_reader_who_waits_for_a_stale_answer_sees_the_write() {
    for which in WRITES {
        let t = Fixture::new(|options| options.max_stale = Some(TTL));
        t.get("a").expect("an answer");
        t.clock.advance(TTL);
        t.fake.close();
        let mut reader = t.reader("a");
        assert!(polled(&mut reader).is_none());
        t.fake.state().closed = false;
        block_on(write(&t, which, &name("a"))).expect(which);
        t.fake.close();
        t.clock.advance(20 * MILLI);
        assert!(polled(&mut reader).is_none(), "there is nothing stale to give");
        t.fake.open();
        assert_eq!(block_on(reader).ok().map(|s| s.version.to_string()), expected(which));
    }
}

#[test]
fn a_refresh_from_before_a_write_leaves_no_entry() {
    let t = Fixture::new(|options| options.refresh_ahead = Some(0.5));
    t.get("a").expect("an answer");
    t.clock.advance(50 * SECOND);
    t.fake.close();
    t.get("a").expect("an answer");
    t.spawn.poll();
    t.fake.open();
    t.put("a").expect("written");
    assert_eq!(t.answer("a"), fresh("2", 0));
    t.spawn.poll();
    assert_eq!(t.spawn.waiting(), 0);
    assert_eq!(t.answer("a"), fresh("2", 0));
}

#[test]
fn invalidate_and_clear_forget_flights_too() {
    let forgets: [fn(&CachedStore); 2] = [|cache| cache.invalidate(&name("a")), CachedStore::clear];
    for forget in forgets {
        let t = Fixture::new(|_| ());
        t.fake.close();
        let mut before = t.reader("a");
        assert!(polled(&mut before).is_none());
        t.fake.bump(&name("a"));
        forget(&t.cache);
        t.fake.open();
        assert!(block_on(before).is_ok());
        assert_eq!(t.answer("a"), fresh("2", 0));
        forget(&t.cache);
        assert!(t.cache.status(&name("a")).is_none());
        assert_eq!((t.cache.stats().entries, t.cache.stats().bytes), (0, 0));
    }
}
