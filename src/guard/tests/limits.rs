//! The limits of locked memory, and what happens at them.

#![allow(unsafe_code, reason = "sets the limits of this process")]

mod common;

use common::{KINDS, config, isolated};
use strongroom_guard::{Error, SecretBytes, configure, stats};

/// The lock limit of the smallest containers, in bytes.
const SMALL: usize = 64 << 10;

/// Sets `RLIMIT_MEMLOCK` and gives up the capability to exceed it.
fn limit_locked_memory(bytes: usize) {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Sets {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    const CAP_IPC_LOCK: u32 = 14;
    const VERSION_3: u32 = 0x2008_0522;

    let limit = libc::rlimit { rlim_cur: bytes as u64, rlim_max: bytes as u64 };
    let header = Header { version: VERSION_3, pid: 0 };
    let mut sets = [Sets { effective: 0, permitted: 0, inheritable: 0 }; 2];
    // SAFETY: the structs are those of capget(2) version 3.
    unsafe {
        assert_eq!(libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit), 0);
        assert_eq!(libc::syscall(libc::SYS_capget, &raw const header, sets.as_mut_ptr()), 0);
        for set in [&mut sets[0].effective, &mut sets[0].permitted, &mut sets[0].inheritable] {
            *set &= !(1 << CAP_IPC_LOCK);
        }
        assert_eq!(libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()), 0);
    }

    let over = vec![1u8; bytes + (16 << 10)];
    // SAFETY: locks memory of a vector that lives.
    let refused = unsafe { libc::mlock(over.as_ptr().cast(), over.len()) } != 0;
    assert!(refused, "the limit is in force");
    assert_eq!(stats().lock_limit, Some(bytes as u64));
}

/// Allocates values of 32 to 256 bytes until one is refused.
fn fill() -> (Vec<SecretBytes>, Error) {
    let mut held = Vec::new();
    loop {
        let len = 32 + held.len() * 37 % 225;
        match SecretBytes::copy_from(&vec![len.to_le_bytes()[0]; len]) {
            Ok(secret) => held.push(secret),
            Err(error) => return (held, error),
        }
        assert!(held.len() < 100_000, "no limit was met");
    }
}

fn are_intact(held: &[SecretBytes]) -> bool {
    held.iter().all(|s| s.expose().iter().all(|byte| *byte == s.len().to_le_bytes()[0]))
}

#[test]
fn ordinary_secrets_fit_into_a_small_lock_limit() {
    isolated("ordinary_secrets_fit_into_a_small_lock_limit", &KINDS, |kind| {
        limit_locked_memory(SMALL);
        configure(config(kind)).unwrap();

        let (mut held, error) = fill();
        assert!(held.len() >= 300, "only {} values fit", held.len());
        assert!(are_intact(&held));
        assert_eq!(stats().locked_bytes, SMALL, "the whole limit is used");
        assert_eq!(stats().unguarded_bytes, 0);
        match &error {
            Error::LockLimit { requested, locked, limit } => {
                assert_eq!((*locked, *limit), (SMALL, Some(SMALL as u64)));
                assert!(*requested > 0);
            }
            other => panic!("{other}"),
        }
        for advice in ["65536", "ulimit -l", "LimitMEMLOCK=", "accept_unguarded_memory"] {
            assert!(error.to_string().contains(advice), "{error}");
        }

        // After the refusal, what is given back can be used.
        let count = held.len();
        held.truncate(count / 2);
        let (again, _) = fill();
        assert!(again.len() >= count / 3, "{} after {count}", again.len());
        assert!(are_intact(&held) && are_intact(&again));

        // A large value takes what the slab no longer needs, and gives it back.
        drop((held, again));
        let large = SecretBytes::copy_from(&vec![5; 50_000]).unwrap();
        assert!(large.expose().iter().all(|byte| *byte == 5));
        assert!(matches!(SecretBytes::zeroed(50_000), Err(Error::LockLimit { .. })));
        drop(large);
        assert!(fill().0.len() >= 300);
    });
}

#[test]
fn unguarded_memory_is_used_where_it_is_accepted() {
    isolated("unguarded_memory_is_used_where_it_is_accepted", &KINDS, |kind| {
        limit_locked_memory(SMALL);
        let mut config = config(kind);
        config.accept_unguarded_memory = true;
        configure(config).unwrap();

        let locked = SecretBytes::copy_from(&[1; 100]).unwrap();
        assert_eq!(stats().unguarded_bytes, 0, "not before the limit is reached");
        let held: Vec<_> =
            (0..60).map(|_| SecretBytes::copy_from(&[b'\xa0'; 4000]).unwrap()).collect();
        let large = SecretBytes::copy_from(&vec![2; 200_000]).unwrap();
        assert_eq!(stats().locked_bytes, SMALL);
        assert!(stats().unguarded_bytes >= 60 * 4096 + 200_000 - SMALL);
        assert!(held.iter().all(|s| s.expose() == [b'\xa0'; 4000]));
        assert!(large.expose().iter().all(|byte| *byte == 2));

        // What is not locked is fenced, undumpable and absent in children all the same.
        for secret in [&large, &held[59]] {
            let area = common::area_of(secret.expose().as_ptr().addr());
            let flags: Vec<_> = area.flags.iter().map(String::as_str).collect();
            assert!(!flags.contains(&"lo") && flags.contains(&"dd") && flags.contains(&"wf"));
            assert_eq!(common::area_of(area.start - 1).permissions, "---p");
            assert_eq!(common::area_of(area.end).permissions, "---p");
        }
        let unguarded = stats().unguarded_bytes;
        drop(large);
        assert!(stats().unguarded_bytes <= unguarded - 200_000);
        drop(locked);
    });
}

#[test]
fn a_file_size_limit_does_not_end_the_process() {
    isolated("a_file_size_limit_does_not_end_the_process", &KINDS, |kind| {
        let limit = libc::rlimit { rlim_cur: 20_000, rlim_max: 20_000 };
        // SAFETY: the struct outlives the call.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) }, 0);
        configure(config(kind)).unwrap();
        let held: Vec<_> = [32, 50_000, 10_000, 4096].map(SecretBytes::zeroed).into();
        assert!(held.iter().all(Result::is_ok));
        assert_eq!(stats().unguarded_bytes, 0);
    });
}

#[test]
fn the_configured_maximum_holds() {
    isolated("the_configured_maximum_holds", &KINDS, |kind| {
        let mut config = config(kind);
        config.max_locked_bytes = 40_000; // nine pages and a bit
        configure(config).unwrap();

        assert!(matches!(SecretBytes::zeroed(40_000), Err(Error::Limit { max: 40_000, .. })));
        let (held, error) = fill();
        assert_eq!(stats().locked_bytes, 36_864);
        assert!(matches!(error, Error::Limit { max: 40_000, locked: 36_864, .. }), "{error}");
        assert!(error.to_string().contains("max_locked_bytes is 40000"), "{error}");
        drop(held);
        // A spare mapping and free regions make room for each other.
        for len in [30_000, 8192, 20_000] {
            assert!(SecretBytes::zeroed(len).is_ok());
            assert!(!fill().0.is_empty());
        }
        assert!(stats().locked_bytes <= 40_000);
    });
}

#[test]
fn threads_together_stay_below_the_maximum() {
    isolated("threads_together_stay_below_the_maximum", &KINDS, |kind| {
        let mut config = config(kind);
        config.max_locked_bytes = 256 << 10;
        configure(config).unwrap();
        std::thread::scope(|scope| {
            for len in [10_000, 50_000, 90_000, 3000] {
                scope.spawn(move || {
                    for _ in 0..50 {
                        let held: Vec<_> = (0..4).map(|_| SecretBytes::zeroed(len)).collect();
                        assert!(stats().locked_bytes <= 256 << 10);
                        drop(held);
                    }
                });
            }
        });
        assert_eq!((stats().in_use_bytes, stats().mappings), (0, 0));
    });
}

#[test]
fn the_configuration_is_fixed_with_the_first_secret() {
    isolated("the_configuration_is_fixed_with_the_first_secret", &[""], |_| {
        let first = config("anonymous");
        configure(first.clone()).unwrap();
        assert!(SecretBytes::zeroed(1).is_ok());
        configure(first.clone()).unwrap();
        let mut other = first;
        other.max_locked_bytes += 1;
        assert!(matches!(configure(other.clone()), Err(Error::AlreadyInUse)));

        // A child may decide for itself.
        let ended = common::in_child(|| {
            assert!(configure(other.clone()).is_ok());
            i32::from(stats().max_locked_bytes == other.max_locked_bytes)
        });
        assert_eq!(ended, Ok(1));
    });
}
