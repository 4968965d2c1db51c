//! Many at once: what a single reader is promised holds for each of them, and what
//! is missing is one call.

use super::*;

type Seen = Result<(String, u64, bool), ErrorKind>;

fn all(answers: Vec<Result<Secret>>) -> Vec<Seen> {
    answers
        .into_iter()
        .map(|answer| answer.map(|secret| seen(&secret)).map_err(|error| error.kind()))
        .collect()
}

fn given(t: &Fixture, ids: &[&str]) -> Vec<Seen> {
    let names: Vec<_> = ids.iter().map(|id| name(id)).collect();
    let wanted: Vec<_> = names.iter().map(|name| (name, &Select::Latest)).collect();
    all(block_on(t.cache.get_many(&wanted)))
}

#[test]
fn what_is_known_is_given_and_the_rest_is_one_call() {
    let t = Fixture::new(|_| ());
    t.load(&["b"]);
    t.clock.advance(SECOND);
    t.fake.bump(&name("c"));
    let answers = given(&t, &["a", "b", "none", "c", "a"]);
    let [a, b, c] = [fresh("1", 0), fresh("1", 1), fresh("2", 0)].map(Ok);
    let expected = [a.clone(), b, Err(ErrorKind::NotFound), c, a];
    assert_eq!(answers, expected, "each stands by itself, in the order of the questions");
    assert_eq!(t.batches(), [["a", "none", "c"]], "what is asked for twice is asked once");
    assert_eq!(t.cache.stats().flights, 2);
    assert_eq!(given(&t, &["a", "b", "none", "c"]).len(), 4);
    assert_eq!((t.fake.calls(), t.cache.stats().entries), (2, 4), "all of it is known now");
    t.clock.advance(SECOND);
    assert_eq!(given(&t, &["none", "a"])[0], Err(ErrorKind::NotFound));
    assert_eq!((t.fake.calls(), t.batches().len()), (3, 0), "one is asked for as one");
    assert!(given(&t, &[]).is_empty());
}

#[test]
fn readers_of_one_and_of_many_share_their_calls() {
    let t = Fixture::new(|_| ());
    t.fake.close();
    let mut single = t.reader("a");
    assert!(polled(&mut single).is_none());
    let (mut first, mut second) = (t.many(&["a", "b", "c"]), t.many(&["c", "d", "e"]));
    assert!(polled(&mut first).is_none() && polled(&mut second).is_none());
    let mut last = t.reader("d");
    assert!(polled(&mut last).is_none());
    assert_eq!(t.batches(), [["b", "c"], ["d", "e"]]);
    assert_eq!(t.fake.calls(), 3);
    t.fake.open();
    assert!(block_on(first).iter().chain(&block_on(second)).all(Result::is_ok));
    assert!(block_on(single).is_ok() && block_on(last).is_ok());
    t.load(&ALL);
    assert_eq!(t.fake.calls(), 3);
    assert_eq!(t.cache.core.table().expect("ours").flights_under_way(), 0);
}

#[test]
fn whoever_waits_for_one_of_many_keeps_the_call() {
    let t = Fixture::new(|_| ());
    t.fake.close();
    let (mut many, mut one) = (t.many(&ALL), t.reader("c"));
    assert!(polled(&mut many).is_none() && polled(&mut one).is_none());
    drop(many);
    assert_eq!(t.fake.state().under_way, 1);
    t.fake.open();
    assert!(block_on(one).is_ok());
    t.load(&ALL);
    assert_eq!(t.fake.calls(), 1, "what the call brought is kept");

    t.cache.clear();
    t.fake.close();
    let mut many = t.many(&ALL);
    assert!(polled(&mut many).is_none());
    drop(many);
    assert_eq!(t.fake.state().under_way, 0, "nobody waits for any of them");
    assert_eq!(t.cache.core.table().expect("ours").flights_under_way(), 0);
}

#[test]
fn a_write_meanwhile_is_seen_by_who_comes_later() {
    let t = Fixture::new(|_| ());
    t.fake.close();
    let mut many = t.many(&["a", "b"]);
    assert!(polled(&mut many).is_none());
    t.fake.bump(&name("a"));
    t.cache.invalidate(&name("a"));
    let mut later = t.reader("a");
    assert!(polled(&mut later).is_none());
    t.fake.open();
    assert_eq!(all(block_on(many)), [Ok(fresh("1", 0)), Ok(fresh("1", 0))]);
    assert_eq!(seen(&block_on(later).expect("an answer")).0, "2");
    assert_eq!((t.answer("a").0, t.answer("b").0), ("2".to_owned(), "1".to_owned()));
    assert_eq!(t.fake.calls(), 2, "the other one is kept");
}

#[test]
fn a_failure_is_that_of_each() {
    let t = Fixture::new(|_| ());
    t.fake.fail(Some(ErrorKind::Unavailable));
    assert_eq!(given(&t, &["a", "b"]), vec![Err(ErrorKind::Unavailable); 2]);
    assert_eq!((t.fake.calls(), t.cache.stats().entries), (1, 0));
    t.fake.fail(None);
    t.fake.state().most_answers = Some(1);
    let answers = given(&t, &["a", "b"]);
    assert_eq!(answers, [Ok(fresh("1", 0)), Err(ErrorKind::Internal)], "an answer is missing");
    t.fake.close();
    let mut many = t.many(&["b", "c"]);
    assert!(polled(&mut many).is_none());
    t.clock.advance(30 * SECOND);
    for (answer, id) in block_on(many).into_iter().zip(["b", "c"]) {
        let said = answer.expect_err("it hangs").to_string();
        assert_eq!(said, format!("get account.{id}: the store did not answer in time (the fake)"));
    }
    assert_eq!(t.fake.state().under_way, 0);
}

#[test]
fn what_is_stale_is_given_while_the_backend_fails_or_hangs() {
    let t = Fixture::new(|options| options.max_stale = Some(60 * SECOND));
    assert!(given(&t, &ALL).iter().all(Result::is_ok));
    t.clock.advance(TTL);
    t.fake.fail(Some(ErrorKind::Unavailable));
    assert_eq!(given(&t, &ALL), vec![Ok(stale("1", 100)); 5]);
    assert_eq!((t.fake.calls(), t.batches().len()), (2, 2));
    t.clock.advance(5 * SECOND);
    t.fake.fail(None);
    t.fake.close();
    let mut many = t.many(&["a", "b"]);
    assert!(polled(&mut many).is_none(), "it waits for `stale_wait`");
    t.clock.advance(20 * MILLI);
    assert_eq!(all(block_on(many)), vec![Ok(stale("1", 105)); 2]);
    assert_eq!(given(&t, &["a", "b"])[1], Ok(stale("1", 105)), "the next does not wait");
    assert_eq!((t.fake.calls(), t.fake.state().under_way), (3, 1), "the call goes on");
    t.fake.open();
    t.spawn.poll();
    assert_eq!((t.answer("a"), t.answer("b")), (fresh("1", 0), fresh("1", 0)));
    assert_eq!((t.fake.calls(), t.spawn.waiting()), (3, 0));
}

/// There is nothing to give of the other before the call has ended, and then there is
/// something better to give than what is stale.
#[test]
fn who_waits_anyway_is_given_what_is_fresh() {
    let t = Fixture::new(|options| options.max_stale = Some(60 * SECOND));
    t.load(&["a"]);
    t.clock.advance(TTL);
    t.fake.close();
    let mut many = t.many(&["a", "b"]);
    assert!(polled(&mut many).is_none());
    t.clock.advance(SECOND);
    assert!(polled(&mut many).is_none());
    t.fake.open();
    assert_eq!(all(block_on(many)), [Ok(fresh("1", 0)), Ok(fresh("1", 0))]);
    assert_eq!(t.batches(), [["a", "b"]]);
}

#[test]
fn hits_near_their_end_are_refreshed_with_one_call() {
    let t = Fixture::new(|options| {
        options.refresh_ahead = Some(0.8);
        options.max_background = 3;
    });
    t.load(&ALL);
    t.clock.advance(80 * SECOND);
    for id in ALL {
        t.fake.bump(&name(id));
    }
    t.fake.close();
    assert!(given(&t, &ALL).iter().all(|answer| *answer == Ok(fresh("1", 80))), "at once");
    assert_eq!((t.spawn.waiting(), t.cache.core.table().expect("ours").background), (3, 3));
    t.spawn.poll();
    assert_eq!(t.batches(), [["a", "b", "c"]]);
    assert_eq!(given(&t, &ALL).len(), 5);
    assert_eq!(t.spawn.waiting(), 3, "the background has enough");
    t.fake.open();
    t.spawn.poll();
    assert_eq!((t.spawn.waiting(), t.cache.core.table().expect("ours").background), (0, 0));
    assert_eq!((t.answer("a").0, t.answer("d").0), ("2".to_owned(), "1".to_owned()));
}

#[test]
fn a_reader_who_leaves_does_not_keep_the_background_busy() {
    let t = Fixture::new(|options| options.refresh_ahead = Some(0.8));
    t.load(&["a", "b"]);
    t.clock.advance(80 * SECOND);
    t.fake.close();
    // There is nothing to give of the last one yet.
    let mut many = t.many(&["a", "b", "c"]);
    assert!(polled(&mut many).is_none());
    assert_eq!(t.batches(), [["a", "b", "c"]]);
    drop(many);
    assert_eq!((t.spawn.waiting(), t.fake.state().under_way), (2, 1));
    t.fake.open();
    t.spawn.poll();
    assert_eq!((t.spawn.waiting(), t.cache.core.table().expect("ours").background), (0, 0));
}

#[test]
fn very_many_are_read_in_parts() {
    let t = Fixture::new(|_| ());
    let ids: Vec<_> = (0..1_200).map(|n| format!("n{n}")).collect();
    for id in &ids {
        t.fake.bump(&name(id));
    }
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    assert!(given(&t, &ids).iter().all(|answer| *answer == Ok(fresh("1", 0))));
    assert_eq!(t.batches().iter().map(Vec::len).collect::<Vec<_>>(), [512, 512, 176]);
    assert!(given(&t, &ids).iter().all(Result::is_ok) && t.fake.calls() == 3);
}

#[test]
fn in_a_forked_child_the_backend_is_asked_for_all() {
    let t = Fixture::new(|_| ());
    t.load(&["a"]);
    match fork::fork().expect("fork") {
        fork::Fork::Child => {
            let answered = given(&t, &["a", "b"]) == [Ok(fresh("1", 0)), Ok(fresh("1", 0))];
            let asked = t.batches() == [["a", "b"]];
            std::process::exit(i32::from(!(answered && asked)));
        }
        fork::Fork::Parent(pid) => assert_eq!(fork::waitpid(pid).expect("the child"), 0),
    }
}
