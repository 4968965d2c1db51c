//! Processes of their own for tests that configure, limit or fork.

#![allow(clippy::unwrap_used, reason = "a test ends where its tools fail")]
#![allow(dead_code, reason = "every test binary uses a part of it")]

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::process::Command;

use strongroom_guard::{Config, SecretMemory};

/// Names the role that a test process plays.
const ROLE: &str = "STRONGROOM_GUARD_TEST_ROLE";

/// Both kinds of locked memory.
pub(crate) const KINDS: [&str; 2] = ["memfd_secret", "anonymous"];

/// Runs `body` once for each role, in a new process each time: the test binary
/// starts itself for this one test.
pub(crate) fn isolated(test: &str, roles: &[&str], body: impl Fn(&str)) {
    if let Ok(role) = std::env::var(ROLE) {
        return body(&role);
    }
    for role in roles {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && said.contains("1 passed"),
            "{test} as {role}: {}\n{said}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// The configuration for a kind of memory.
pub(crate) fn config(kind: &str) -> Config {
    let mut config = Config::default();
    config.secret_memory =
        if kind == "anonymous" { SecretMemory::Never } else { SecretMemory::Auto };
    config
}

/// Whether this kernel gives us `memfd_secret`.
pub(crate) fn kernel_has_secret_memory() -> bool {
    // SAFETY: makes a descriptor, which is closed again.
    unsafe {
        let fd = libc::syscall(447, libc::O_CLOEXEC);
        fd >= 0 && libc::close(libc::c_int::try_from(fd).unwrap()) == 0
    }
}

/// How a forked child ended: `Ok(code)` or `Err(signal)`.
pub(crate) fn in_child(body: impl FnOnce() -> i32) -> Result<i32, i32> {
    // SAFETY: the child runs `body` and ends without returning; the C library's
    // allocator is usable after a fork.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork failed");
    if child == 0 {
        panic::set_hook(Box::new(|_| {}));
        // A child that hangs is a failure, not a hanging test.
        // SAFETY: ends this process only.
        unsafe { libc::alarm(60) };
        let code = panic::catch_unwind(AssertUnwindSafe(body)).unwrap_or(101);
        // SAFETY: ends this process only, without the parent's exit handlers.
        unsafe { libc::_exit(code) };
    }
    let mut status = 0;
    // SAFETY: waits for our own child.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    if libc::WIFEXITED(status) {
        Ok(libc::WEXITSTATUS(status))
    } else {
        Err(libc::WTERMSIG(status))
    }
}

/// One mapping of `/proc/self/smaps`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Area {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) permissions: String,
    pub(crate) locked_kib: usize,
    pub(crate) flags: Vec<String>,
}

/// All mappings of this process.
pub(crate) fn areas() -> Vec<Area> {
    let mut areas: Vec<Area> = Vec::new();
    for line in fs::read_to_string("/proc/self/smaps").unwrap().lines() {
        let mut words = line.split_whitespace();
        let first = words.next().unwrap_or_default();
        if let Some(area) = areas.last_mut().filter(|_| first.ends_with(':')) {
            match first {
                "Locked:" => area.locked_kib = words.next().unwrap().parse().unwrap(),
                "VmFlags:" => area.flags = words.map(str::to_owned).collect(),
                _ => {}
            }
        } else if let Some((start, end)) = first.split_once('-') {
            areas.push(Area {
                start: usize::from_str_radix(start, 16).unwrap(),
                end: usize::from_str_radix(end, 16).unwrap(),
                permissions: words.next().unwrap().to_owned(),
                ..Area::default()
            });
        }
    }
    areas
}

/// The mapping that holds `address`.
pub(crate) fn area_of(address: usize) -> Area {
    let areas = areas();
    let found = areas.iter().find(|area| (area.start..area.end).contains(&address));
    found.expect("the address is mapped").clone()
}

/// A sequence of numbers that look random.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % end
    }
}
