//! Process hardening.

#![allow(unsafe_code, reason = "asks the kernel about this process")]

mod common;

use common::isolated;
use strongroom_guard::harden_process;

#[test]
fn a_hardened_process_leaves_no_core_and_admits_no_tracer() {
    let name = "a_hardened_process_leaves_no_core_and_admits_no_tracer";
    isolated(name, &[""], |_| {
        let dumpable = || {
            // SAFETY: this prctl takes no arguments.
            unsafe { libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0) }
        };
        assert_eq!(dumpable(), 1, "as processes start");
        harden_process().unwrap();
        assert_eq!(dumpable(), 0);
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        let words: Vec<_> = core.split_whitespace().collect();
        assert_eq!(words[4..6], ["0", "0"], "{core}");
        harden_process().unwrap();
    });
}
