//! A power cut at any moment loses nothing that was acknowledged, on either
//! embedded record store: creation, commits, reopening after a crash, and the
//! recovery from an earlier cut are recorded and cut.

#![allow(clippy::print_stderr, reason = "what was tried is worth knowing")]

use std::process::Command;

use strongroom_kit::powercut::{Options, Recorder, Trace, sweep};
use strongroom_kit::powercut_store::check;
use strongroom_local::records::RecordStoreKind;

/// How many cuts: enough for a minute; `STRONGROOM_NIGHTLY=1` for many more.
fn options() -> Options {
    let nightly = std::env::var_os("STRONGROOM_NIGHTLY").is_some();
    Options { cuts: if nightly { 3000 } else { 150 }, ..Options::default() }
}

fn rounds() -> &'static str {
    if std::env::var_os("STRONGROOM_NIGHTLY").is_some() { "1500" } else { "250" }
}

fn record(kind: RecordStoreKind) -> Trace {
    let mut recorder = Recorder::new().expect("a recorder");
    let store = recorder.dir().join("store");
    // Two runs: the second opens what the first has left.
    for seed in ["1", "2"] {
        let mut workload = Command::new(env!("CARGO_BIN_EXE_cut-writer"));
        workload.arg(kind.as_str()).arg(&store).args([rounds(), seed]);
        recorder.run(&workload).expect("the workload runs");
    }
    recorder.finish().expect("a trace")
}

fn survives(kind: RecordStoreKind) {
    let trace = record(kind);
    let report = sweep(&trace, &options(), |dir, output| check(kind, &dir.join("store"), output));
    let report = report.expect("the sweep runs");
    // The figures, for whoever runs the tests with --nocapture.
    eprintln!("{kind}: {report}");
    report.assert_survived();
}

#[test]
fn sled_survives_power_cuts() {
    survives(RecordStoreKind::Sled);
}

#[test]
fn redb_survives_power_cuts() {
    survives(RecordStoreKind::Redb);
}
