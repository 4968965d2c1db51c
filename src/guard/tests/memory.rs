//! What the kernel says about the memory that holds a value, and what is left of a
//! value that is gone.

#![allow(unsafe_code, reason = "looks at addresses that the safe API has taken back")]
#![allow(clippy::unwrap_used, reason = "a test ends where its tools fail")]

mod common;

use std::fs::File;
use std::os::unix::fs::FileExt;

use common::{KINDS, area_of, config, in_child, isolated, kernel_has_secret_memory};
use strongroom_guard::{Error, SecretBytes, configure, stats};

const CANARY: &[u8; 24] = b"correct horse battery st";

/// A value that holds canaries only.
fn canaries(len: usize) -> SecretBytes {
    let mut secret = SecretBytes::zeroed(len).unwrap();
    for part in secret.expose_mut().chunks_mut(CANARY.len()) {
        part.copy_from_slice(&CANARY[..part.len()]);
    }
    secret
}

fn address(secret: &SecretBytes) -> usize {
    secret.expose().as_ptr().addr()
}

/// Reads guarded memory that may belong to nobody any more, but is still mapped.
fn raw(address: usize, len: usize) -> Vec<u8> {
    assert!(area_of(address).end >= address + len, "still mapped");
    // SAFETY: the range is mapped, and nothing writes to it meanwhile.
    unsafe { std::slice::from_raw_parts(address as *const u8, len) }.to_vec()
}

/// Reads any memory of this process as a debugger would.
fn as_debugger(address: usize, len: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let offset = u64::try_from(address).unwrap();
    File::open("/proc/self/mem")?.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

#[test]
fn memory_is_locked_undumpable_and_fenced() {
    isolated("memory_is_locked_undumpable_and_fenced", &KINDS, |kind| {
        configure(config(kind)).unwrap();
        for len in [32, 4096, 10_000, 100_000] {
            let secret = canaries(len);
            let is_secret_memory = kind == "memfd_secret" && kernel_has_secret_memory();
            assert_eq!(stats().memfd_secret, is_secret_memory);

            let area = area_of(address(&secret));
            let flags: Vec<_> = area.flags.iter().map(String::as_str).collect();
            assert!(flags.contains(&"lo"), "locked: {area:?}");
            assert!(flags.contains(&"dd"), "never dumped: {area:?}");
            let absent_in_children = if is_secret_memory { "dc" } else { "wf" };
            assert!(flags.contains(&absent_in_children), "{area:?}");
            assert_eq!(area.locked_kib * 1024, area.end - area.start, "{area:?}");
            assert!(area.end - address(&secret) >= len);

            assert_eq!(area_of(area.start - 1).permissions, "---p", "guard before");
            assert_eq!(area_of(area.end).permissions, "---p", "guard behind");
        }
    });
}

#[test]
fn secret_memory_is_closed_to_debuggers() {
    isolated("secret_memory_is_closed_to_debuggers", &KINDS, |kind| {
        configure(config(kind)).unwrap();
        let secret = canaries(1000);
        let read = as_debugger(address(&secret), 1000);
        if stats().memfd_secret {
            assert!(read.is_err(), "memfd_secret memory was read through /proc/self/mem");
        } else {
            assert!(read.unwrap() == secret.expose());
        }
    });
}

#[test]
fn a_dropped_value_is_gone() {
    isolated("a_dropped_value_is_gone", &KINDS, |kind| {
        configure(config(kind)).unwrap();
        for len in [1, 24, 32, 100, 1024, 4096, 5000, 70_000] {
            let secret = canaries(len);
            let place = address(&secret);
            assert!(raw(place, len) == secret.expose(), "reads what is there");
            drop(secret);
            assert!(raw(place, len).iter().all(|byte| *byte == 0), "{len} bytes are wiped");
            if !stats().memfd_secret {
                assert!(as_debugger(place, len).unwrap().iter().all(|byte| *byte == 0));
            }
            assert_eq!(stats().in_use_bytes, 0);
        }
    });
}

#[test]
fn truncation_wipes_the_rest() {
    isolated("truncation_wipes_the_rest", &KINDS, |kind| {
        configure(config(kind)).unwrap();
        for (len, kept) in [(30, 0), (200, 77), (4096, 4095), (20_000, 5)] {
            let mut secret = canaries(len);
            let place = address(&secret);
            secret.truncate(kept);
            assert!(raw(place, kept) == canaries(len).expose()[..kept]);
            assert!(raw(place + kept, len - kept).iter().all(|byte| *byte == 0));
            secret.truncate(len);
            assert_eq!(secret.len(), kept, "it never grows");
        }
    });
}

#[test]
fn a_taken_vector_is_wiped() {
    isolated("a_taken_vector_is_wiped", &["stored", "refused"], |role| {
        let mut config = config("anonymous");
        if role == "refused" {
            config.max_locked_bytes = 0;
        }
        configure(config).unwrap();
        // Bytes beyond the length are of former contents and count, too.
        let mut source = CANARY.repeat(40);
        source.truncate(500);
        let (place, capacity) = (source.as_ptr().addr(), source.capacity());
        assert!(as_debugger(place, capacity).unwrap().windows(24).any(|w| w == CANARY));
        let taken = SecretBytes::take(source);
        let left = as_debugger(place, capacity).unwrap();
        assert!(left.windows(4).all(|part| !CANARY.windows(4).any(|canary| canary == part)));
        match taken {
            Ok(secret) => assert!(role == "stored" && secret.expose()[..24] == *CANARY),
            Err(Error::Limit { max: 0, .. }) => assert_eq!(role, "refused"),
            Err(error) => panic!("{error}"),
        }
    });
}

#[test]
fn memory_is_handed_out_as_zeroes() {
    isolated("memory_is_handed_out_as_zeroes", &KINDS, |kind| {
        configure(config(kind)).unwrap();
        for len in [32, 33, 4096, 9000, 40_000] {
            let mut places = Vec::new();
            for _ in 0..3 {
                let mut secret = SecretBytes::zeroed(len).unwrap();
                assert!(secret.expose().iter().all(|byte| *byte == 0));
                secret.expose_mut().fill(0xa5);
                places.push(address(&secret));
            }
            places.dedup();
            assert_eq!(places.len(), 1, "the same memory was used again");
        }
    });
}

#[test]
fn guard_pages_stop_the_process() {
    // Touches one byte relative to a value's first or last.
    fn touch(make: impl Fn() -> Vec<SecretBytes>, offset: isize) -> Result<i32, i32> {
        in_child(|| {
            let secrets = make();
            let first = secrets.iter().map(address).min().unwrap();
            let last = secrets.iter().map(|s| address(s) + s.len() - 1).max().unwrap();
            let from = if offset < 0 { first } else { last };
            // SAFETY: none; a fault is what this looks for.
            unsafe { (from.wrapping_add_signed(offset) as *const u8).read_volatile() };
            0
        })
    }

    isolated("guard_pages_stop_the_process", &KINDS, |kind| {
        configure(config(kind)).unwrap();
        // Four pages are the whole first region.
        let slab = || (0..4).map(|_| canaries(4096)).collect::<Vec<_>>();
        let large = || vec![canaries(5 * 4096)];
        assert_eq!(touch(slab, 0), Ok(0));
        assert_eq!(touch(slab, 1), Err(libc::SIGSEGV));
        assert_eq!(touch(slab, -1), Err(libc::SIGSEGV));
        assert_eq!(touch(large, 0), Ok(0));
        assert_eq!(touch(large, 1), Err(libc::SIGSEGV));
        assert_eq!(touch(large, -1), Err(libc::SIGSEGV));
    });
}
