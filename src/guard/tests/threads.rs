//! Many threads: no two live values share a byte.

#![allow(unsafe_code, reason = "the shared helper forks")]

mod common;

use std::sync::mpsc;

use common::{KINDS, Numbers, config, isolated};
use strongroom_guard::{SecretBytes, configure, stats};

const THREADS: u8 = 4;
const ROUNDS: usize = 4000;
const HELD: usize = 60;

/// Sizes over all classes, a few of them large.
fn any_len(numbers: &mut Numbers) -> usize {
    match numbers.below(100) {
        0 => 4097 + numbers.below(20_000),
        1..10 => 1 + numbers.below(4096),
        _ => 1 + numbers.below(300),
    }
}

fn check(secret: &SecretBytes, mark: u8) {
    assert!(secret.expose().iter().all(|byte| *byte == mark), "a value was overwritten");
}

#[test]
fn live_values_never_overlap() {
    isolated("live_values_never_overlap", &KINDS, |kind| {
        configure(config(kind)).unwrap();
        std::thread::scope(|scope| {
            let (senders, receivers): (Vec<_>, Vec<_>) =
                (0..THREADS).map(|_| mpsc::channel::<(SecretBytes, u8)>()).unzip();
            for (thread, inbox) in (0..THREADS).zip(receivers) {
                let next = senders[usize::from(thread + 1) % senders.len()].clone();
                scope.spawn(move || {
                    let mut numbers = Numbers::new(u64::from(thread) + 1);
                    let mut held: Vec<(SecretBytes, u8)> = Vec::new();
                    for round in 0..ROUNDS {
                        // Neighbours in time have different marks.
                        let mark = thread * 60 + 1 + u8::try_from(round % 60).unwrap();
                        let mut secret = SecretBytes::zeroed(any_len(&mut numbers)).unwrap();
                        check(&secret, 0);
                        secret.expose_mut().fill(mark);
                        held.push((secret, mark));
                        if held.len() > HELD {
                            let (mut secret, mark) = held.swap_remove(numbers.below(HELD));
                            check(&secret, mark);
                            secret.truncate(numbers.below(secret.len() + 1));
                            check(&secret, mark);
                            // Half of them are dropped by another thread.
                            if round % 2 == 0 {
                                next.send((secret, mark)).unwrap();
                            }
                        }
                        for (secret, mark) in inbox.try_iter() {
                            check(&secret, mark);
                        }
                    }
                    for (secret, mark) in &held {
                        check(secret, *mark);
                    }
                    drop(next);
                    // Ends when the thread before this one has ended.
                    for (secret, mark) in inbox {
                        check(&secret, mark);
                    }
                });
            }
            drop(senders);
        });
        assert_eq!((stats().in_use_bytes, stats().mappings), (0, 0), "all came back");
    });
}
