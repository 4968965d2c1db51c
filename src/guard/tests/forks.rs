//! What a forked child has of its parent's secrets: nothing, and a working
//! allocator of its own.

#![allow(unsafe_code, reason = "the shared helper forks")]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use common::{KINDS, config, in_child, isolated};
use strongroom_guard::{SecretBytes, configure, fork_generation, stats};

/// The message of the panic in `body`.
fn panic_of<R>(body: impl FnOnce() -> R) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(|| drop(body()))).err()?;
    panic.downcast_ref::<&str>().map(|text| (*text).to_owned())
}

#[test]
fn every_process_has_its_own_generation() {
    isolated("every_process_has_its_own_generation", &[""], |_| {
        let parent = fork_generation();
        assert_ne!(parent, 0);
        assert_eq!(fork_generation(), parent);
        let ended = in_child(|| {
            let child = fork_generation();
            assert!(child != parent && child != 0 && child == fork_generation());
            in_child(|| i32::from(![parent, child, 0].contains(&fork_generation()))).unwrap()
        });
        assert_eq!(ended, Ok(1));
        assert_eq!(fork_generation(), parent);
    });
}

#[test]
fn an_inherited_value_cannot_be_used() {
    isolated("an_inherited_value_cannot_be_used", &KINDS, |kind| {
        configure(config(kind)).unwrap();
        for len in [32, 50_000] {
            let mut secret = SecretBytes::copy_from(&vec![7; len]).unwrap();
            let ended = in_child(|| {
                let refusals = [
                    panic_of(|| secret.expose().len()),
                    panic_of(|| secret.try_clone().is_ok()),
                    panic_of(|| secret == secret),
                    panic_of(|| secret.expose_mut().len()),
                    panic_of(|| secret.truncate(1)),
                ];
                assert!(refusals.iter().flatten().all(|text| text.contains("forked child")));
                i32::try_from(refusals.iter().flatten().count()).unwrap()
            });
            assert_eq!(ended, Ok(5));
            assert!(secret.expose() == vec![7; len], "the parent's value is untouched");
        }
        let empty = SecretBytes::zeroed(0).unwrap();
        assert_eq!(in_child(|| i32::from(empty.expose().is_empty())), Ok(1));
    });
}

#[test]
fn a_child_drops_what_it_inherited_and_allocates_anew() {
    isolated("a_child_drops_what_it_inherited_and_allocates_anew", &KINDS, |kind| {
        configure(config(kind)).unwrap();
        let make = || {
            let lens = [32, 32, 500, 4096, 5000, 70_000];
            lens.map(|len| SecretBytes::copy_from(&vec![9; len]).unwrap())
        };
        let mut inherited = Some(make());
        let before = stats();
        let ended = in_child(|| {
            // What stood at these addresses may have been replaced by something of
            // the child's own: dropping the values must not touch it.
            let own = make();
            drop(inherited.take());
            let more = make();
            assert!(own.iter().chain(&more).all(|s| s.expose().iter().all(|byte| *byte == 9)));
            assert_eq!(stats().mappings, 4);
            assert_eq!(stats().memfd_secret, before.memfd_secret, "it inherits the limits");
            drop((own, more));
            assert_eq!(stats().in_use_bytes, 0);
            0
        });
        assert_eq!(ended, Ok(0));
        assert_eq!(stats(), before);
        assert!(inherited.unwrap() == make(), "the parent's values are untouched");
    });
}

#[test]
fn a_child_does_not_wait_for_its_parents_threads() {
    isolated("a_child_does_not_wait_for_its_parents_threads", &KINDS, |kind| {
        configure(config(kind)).unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for len in [32, 1000] {
                let stop = &stop;
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        // Both ends take the pool's mutex, so that most forks find
                        // it held.
                        assert!(SecretBytes::zeroed(len).is_ok());
                    }
                });
            }
            let fork = || {
                in_child(|| {
                    let held: Vec<_> = (1..50)
                        .map(|len| SecretBytes::copy_from(&vec![3; len * 10]).unwrap())
                        .collect();
                    i32::from(held.iter().all(|s| s.expose().iter().all(|b| *b == 3)))
                })
            };
            // Up to the first failure: one that hangs takes its time.
            let failed = (0..40).map(|_| fork()).find(|end| *end != Ok(1));
            stop.store(true, Ordering::Relaxed);
            assert_eq!(failed, None);
        });
    });
}
