//! The local KEK's wraps: what they are bound to, how they are counted, and
//! what two processes that share a key file do to each other.

#![allow(clippy::unwrap_used, reason = "a test's helpers panic as the test does")]

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use futures_executor::block_on;
use strongroom_core::clock::ManualClock;
use strongroom_core::{
    Dek, EncryptionContext, ErrorKind, KeyWrapper, Kind, Result, SecretBytes, SecretName,
    Timestamp, Version, WrappedDek,
};
use strongroom_local::kek::{LocalKek, Options, Protection, Unlock};
use tempfile::TempDir;

fn context(name: &str) -> EncryptionContext {
    let name = SecretName::new("acme/ops".parse().unwrap(), name).unwrap();
    EncryptionContext::new(&name, &Version::new("1").unwrap(), Kind::Text)
}

/// Two processes, as far as a key file can tell.
fn two(options: &Options) -> (TempDir, PathBuf, [LocalKek; 2]) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kek");
    let a = LocalKek::create_with(&path, &Protection::Plain, options.clone()).unwrap();
    let b = LocalKek::open_with(&path, &Unlock::Plain, options.clone()).unwrap();
    (directory, path, [a, b])
}

fn one() -> (TempDir, PathBuf, LocalKek) {
    let (directory, path, [kek, _]) = two(&Options::default());
    (directory, path, kek)
}

fn open(path: &PathBuf) -> LocalKek {
    LocalKek::open(path, &Unlock::Plain).unwrap()
}

fn wrap(kek: &LocalKek) -> (Dek, WrappedDek<'static>) {
    block_on(kek.generate(&context("db"))).unwrap()
}

fn opens(kek: &LocalKek, wrapped: &(Dek, WrappedDek<'static>)) -> bool {
    let dek = block_on(kek.unwrap(&wrapped.1, &context("db"))).unwrap();
    dek.expose() == wrapped.0.expose()
}

fn kind<T>(result: Result<T>) -> ErrorKind {
    result.err().map(|error| error.kind()).expect("an error")
}

fn numbers(kek: &LocalKek) -> Vec<u32> {
    kek.versions().unwrap().iter().map(|version| version.number).collect()
}

#[test]
fn a_wrap_opens_under_its_own_context_version_and_kek_only() {
    let kek = LocalKek::in_memory().unwrap();
    let (_, wrapped) = wrap(&kek);
    assert_eq!(wrapped.bytes.len(), 60);
    for other in ["dc", "other"] {
        assert_eq!(kind(block_on(kek.unwrap(&wrapped, &context(other)))), ErrorKind::Tampered);
    }

    kek.rotate().unwrap();
    let moved = WrappedDek { kek_version: "2".into(), ..wrapped.clone() };
    assert_eq!(kind(block_on(kek.unwrap(&moved, &context("db")))), ErrorKind::Tampered);
    for version in ["3", "0", "01", "+1", " 1", "", "x", "4294967297"] {
        let unknown = WrappedDek { kek_version: version.into(), ..wrapped.clone() };
        let refused = kind(block_on(kek.unwrap(&unknown, &context("db"))));
        assert_eq!(refused, ErrorKind::KeyUnavailable, "{version:?}");
    }

    let other = LocalKek::in_memory().unwrap();
    let error = block_on(other.unwrap(&wrapped, &context("db"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyUnavailable);
    assert!(error.message().contains(kek.identity()), "{error}");
    assert!(error.message().contains(other.identity()), "{error}");
}

#[test]
fn every_altered_byte_of_a_wrap_is_noticed() {
    let kek = LocalKek::in_memory().unwrap();
    let (_, wrapped) = wrap(&kek);
    let unwrap = |bytes: Vec<u8>| {
        let altered = WrappedDek { bytes: bytes.into(), ..wrapped.clone() };
        kind(block_on(kek.unwrap(&altered, &context("db"))))
    };
    for at in 0..wrapped.bytes.len() {
        let mut bytes = wrapped.bytes.to_vec();
        bytes[at] ^= 1;
        assert_eq!(unwrap(bytes), ErrorKind::Tampered, "byte {at}");
        assert_eq!(unwrap(wrapped.bytes[..at].to_vec()), ErrorKind::Tampered, "{at} bytes");
    }
    assert_eq!(unwrap([&wrapped.bytes[..], &[0]].concat()), ErrorKind::Tampered);
}

#[test]
fn wraps_differ_and_rewrap_moves_to_the_current_version() {
    let kek = LocalKek::in_memory().unwrap();
    let (dek, first) = wrap(&kek);
    let again = block_on(kek.wrap(&dek, &context("db"))).unwrap();
    assert!(again.bytes[..12] != first.bytes[..12], "nonces are random");
    kek.rotate().unwrap();
    let moved = block_on(kek.rewrap(&first, &context("db"))).unwrap();
    assert_eq!(moved.kek_version, "2");
    assert!(opens(&kek, &(dek, moved)));
}

/// Wraps on 8 threads that share `keks`, and counts the wraps of each version.
fn wraps_by_version(keks: &[&LocalKek], wraps_per_thread: u64) -> HashMap<String, u64> {
    let counts = thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|thread| {
                let kek = keks[thread % keks.len()];
                scope.spawn(move || {
                    let mut counts = HashMap::new();
                    for _ in 0..wraps_per_thread {
                        let wrapped = wrap(kek);
                        assert!(opens(kek, &wrapped));
                        *counts.entry(wrapped.1.kek_version.into_owned()).or_insert(0) += 1;
                    }
                    counts
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let mut total = HashMap::new();
    for (version, count) in counts.into_iter().flatten() {
        *total.entry(version).or_insert(0) += count;
    }
    total
}

#[test]
fn no_version_makes_more_wraps_than_the_limit() {
    let mut options = Options::default();
    options.max_wraps_per_version = 1_000;
    let memory = LocalKek::in_memory_with(options.clone()).unwrap();
    let (_one_directory, _, [one, _]) = two(&options);
    let (_two_directory, _, [a, b]) = two(&options);
    for keks in [&[&memory][..], &[&one], &[&a, &b]] {
        let made = wraps_by_version(keks, 700);
        assert_eq!(made.values().sum::<u64>(), 5_600);
        for kek in keks {
            block_on(kek.check()).unwrap();
            let versions = kek.versions().unwrap();
            assert!(versions.len() >= 6, "it rotated by itself");
            for version in versions {
                let made = made.get(&version.number.to_string()).copied().unwrap_or(0);
                assert!(made <= version.wraps_reserved, "{version:?}: {made}");
                assert!(version.wraps_reserved <= 1_000, "{version:?}");
            }
        }
    }
}

#[test]
fn wraps_are_reserved_before_they_are_made_whatever_crashes() {
    let (_directory, path, _) = one();
    let mut made = 0;
    let mut reserved = 0;
    for round in 1..=5 {
        // Each value stands for a process that dies without a word.
        let kek = open(&path);
        assert_eq!(kek.versions().unwrap()[0].wraps_reserved, reserved, "opening reserves none");
        for _ in 0..round {
            wrap(&kek);
            made += 1;
        }
        std::mem::forget(kek);
        let now = open(&path).versions().unwrap()[0].wraps_reserved;
        assert!(now > reserved && now >= made, "{now} {reserved} {made}");
        reserved = now;
    }
}

#[test]
fn reservations_grow_so_that_writing_gets_rare() {
    let (_directory, _, kek) = one();
    let mut writes = 0;
    let mut last = 0;
    for _ in 0..10_000 {
        wrap(&kek);
        let reserved = kek.versions().unwrap()[0].wraps_reserved;
        writes += u32::from(reserved != last);
        last = reserved;
    }
    assert_eq!(writes, 8, "64 + 128 + ... + 8,192 is more than 10,000");
}

#[test]
fn two_processes_follow_each_others_rotations() {
    let clock = ManualClock::new(Timestamp(1_000));
    let mut options = Options::default();
    options.clock = Arc::new(clock.clone());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kek");
    // Sealed, so that each must be able to seal what the other had sealed.
    let credential = || SecretBytes::copy_from(&[7; 32]).unwrap();
    let (protection, unlock) =
        (Protection::Credential(credential()), Unlock::Credential(credential()));
    let a = LocalKek::create_with(&path, &protection, options.clone()).unwrap();
    let b = LocalKek::open_with(&path, &unlock, options.clone()).unwrap();
    let mut all = vec![wrap(&a), wrap(&b)];
    for round in 1..=3 {
        assert_eq!(a.rotate().unwrap(), 2 * round);
        all.push(wrap(&a));
        assert!(opens(&b, &all[all.len() - 1]), "found when it is needed");
        assert_eq!(b.rotate().unwrap(), 2 * round + 1);
        all.push(wrap(&b));
        clock.advance(options.refresh_interval);
        let noticed = wrap(&a);
        assert_eq!(noticed.1.kek_version, (2 * round + 1).to_string());
        all.push(noticed);
    }
    for kek in [&a, &b, &LocalKek::open(&path, &unlock).unwrap()] {
        assert!(all.iter().all(|wrapped| opens(kek, wrapped)));
        assert_eq!(numbers(kek), [1, 2, 3, 4, 5, 6, 7]);
    }
}

#[test]
fn a_reservation_survives_a_look_at_the_file() {
    let mut options = Options::default();
    options.refresh_interval = Duration::ZERO;
    let (_directory, _, [a, b]) = two(&options);
    for _ in 0..64 {
        wrap(&a);
        wrap(&b);
    }
    assert_eq!(a.versions().unwrap()[0].wraps_reserved, 128);
}

#[test]
fn readers_see_whole_files_while_others_rotate() {
    let (_directory, path, kek) = one();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = 0;
            while !done.load(Ordering::Relaxed) {
                let count = numbers(&open(&path)).len();
                assert!(count >= seen);
                seen = count;
            }
        });
        for _ in 0..50 {
            kek.rotate().unwrap();
        }
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
}

#[test]
fn a_key_file_set_back_loses_no_version_that_wraps() {
    let (_directory, path, a) = one();
    wrap(&a);
    let backup = fs::read(&path).unwrap();
    a.rotate().unwrap();
    let wrapped = wrap(&a);
    fs::write(&path, &backup).unwrap();

    block_on(a.check()).unwrap();
    let restored = open(&path);
    assert!(opens(&restored, &wrapped), "the next wrap wrote it back");
    assert!(restored.versions().unwrap()[0].wraps_reserved >= 64);

    // Somebody else rotates the older copy: version 2 has two keys.
    fs::write(&path, &backup).unwrap();
    let b = open(&path);
    b.rotate().unwrap();
    for result in [a.rotate().map(drop), block_on(a.check())] {
        assert_eq!(kind(result), ErrorKind::Tampered);
    }
    assert!(opens(&a, &wrapped), "what is in memory still unwraps");
    let theirs = wrap(&b);
    assert!(opens(&open(&path), &theirs), "and nothing was overwritten");
}

#[test]
fn nothing_is_wrapped_that_only_this_process_could_unwrap() {
    let clock = ManualClock::new(Timestamp(1_000));
    let mut options = Options::default();
    options.clock = Arc::new(clock.clone());
    let (directory, path, [kek, _]) = two(&options);
    let wrapped = wrap(&kek);
    let away = directory.path().join("away");
    fs::rename(&path, &away).unwrap();
    clock.advance(options.refresh_interval);
    let refused = || {
        let generated = block_on(kek.generate(&context("db")));
        [kind(generated), kind(block_on(kek.check())), kind(kek.rotate())]
    };
    assert_eq!(refused(), [ErrorKind::KeyUnavailable; 3], "the file is gone");
    assert_eq!(refused(), [ErrorKind::KeyUnavailable; 3], "and stays so");
    LocalKek::create(&path, &Protection::Plain).unwrap();
    assert_eq!(refused(), [ErrorKind::KeyUnavailable; 3], "it is another KEK");
    assert!(opens(&kek, &wrapped));

    fs::rename(&away, &path).unwrap();
    clock.advance(options.refresh_interval);
    block_on(kek.check()).unwrap();
    wrap(&kek);
}

// === age and destruction ===

#[test]
fn a_version_that_is_old_makes_way_at_the_next_wrap() {
    let clock = ManualClock::new(Timestamp(1_000));
    let mut options = Options::default();
    options.rotate_after = Some(Duration::from_hours(24));
    options.clock = Arc::new(clock.clone());
    let (_directory, _, [kek, other]) = two(&options);
    assert_eq!(wrap(&kek).1.kek_version, "1");
    clock.advance(Duration::from_hours(24) - Duration::from_millis(1));
    assert_eq!(wrap(&kek).1.kek_version, "1");
    clock.advance(Duration::from_millis(1));
    assert_eq!(wrap(&kek).1.kek_version, "2");
    // Who shares the file rotates no second time.
    assert_eq!(wrap(&other).1.kek_version, "2");
    assert_eq!(wrap(&kek).1.kek_version, "2");
    assert_eq!(kek.versions().unwrap().len(), 2);
}

#[test]
fn a_destroyed_version_unwraps_nothing_any_more_anywhere() {
    let (_directory, path, [kek, other]) = two(&Options::default());
    let first = wrap(&kek);
    kek.rotate().unwrap();
    let second = wrap(&kek);
    assert_eq!(kind(kek.destroy(2)), ErrorKind::Conflict);
    assert_eq!(kind(kek.destroy(3)), ErrorKind::NotFound);
    kek.destroy(1).unwrap();
    block_on(other.check()).unwrap();
    for kek in [&kek, &other, &open(&path)] {
        assert_eq!(kind(block_on(kek.unwrap(&first.1, &context("db")))), ErrorKind::KeyUnavailable);
        assert!(opens(kek, &second));
    }
    // The other process writes the file: it brings nothing back.
    assert_eq!(other.rotate().unwrap(), 3);
    assert_eq!(numbers(&open(&path)), [2, 3]);
}
