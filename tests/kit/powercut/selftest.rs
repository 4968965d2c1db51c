//! The harness finds each mistake that a store can make, and lets a store pass
//! that makes none. The workload is this test executable, started again.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use super::{Contents, Names, Options, Output, Recorder, Report, State, Trace, replay, sweep};

const DIR: &str = "POWERCUT_DIR";
const KIND: &str = "POWERCUT_KIND";
const ROUNDS: usize = 12;

fn ack(text: impl std::fmt::Display) {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "ACK {text}").unwrap();
    stdout.flush().unwrap();
}

/// The other tests run this one under strace; by itself it has nothing to do.
#[test]
fn workload() {
    let (Ok(dir), Ok(kind)) = (std::env::var(DIR), std::env::var(KIND)) else { return };
    // libtest has printed half a line.
    writeln!(io::stdout()).unwrap();
    let dir = Path::new(&dir);
    match kind.as_str() {
        "log" => log(dir, true, true),
        "log without sync" => log(dir, false, true),
        "log without directory sync" => log(dir, true, false),
        "replace" => replace_file(dir, true, true),
        "replace without sync" => replace_file(dir, false, true),
        "replace without directory sync" => replace_file(dir, true, false),
        "reordered" => two_files_in_order(dir),
        "late" => acknowledge_a_write_after_the_sync(dir),
        "through" => write_through(dir),
        "kill" => {
            log(dir, false, true);
            let _ = Command::new("/bin/false");
            std::process::abort();
        }
        "append after kill" => append_again(dir),
        "names" => create_names(dir),
        "child" => write_in_a_child(dir),
        other => panic!("no workload {other}"),
    }
}

/// Every record is one line of 600 bytes: more than a sector, so that it tears.
fn line(round: usize) -> Vec<u8> {
    let mut line = format!("{round:03}:").into_bytes();
    line.resize(600, b'a' + (round % 26) as u8);
    line.push(b'\n');
    line
}

fn log(dir: &Path, sync: bool, sync_directory: bool) {
    let mut file = File::create_new(dir.join("log")).unwrap();
    if sync_directory {
        File::open(dir).unwrap().sync_all().unwrap();
    }
    for round in 0..ROUNDS {
        file.write_all(&line(round)).unwrap();
        if sync {
            file.sync_data().unwrap();
        }
        ack(round);
    }
}

fn append_again(dir: &Path) {
    let mut file = OpenOptions::new().append(true).open(dir.join("log")).unwrap();
    let seen = complete_lines(&fs::read(dir.join("log")).unwrap());
    for round in seen..seen + 3 {
        file.write_all(&line(round)).unwrap();
        file.sync_data().unwrap();
        ack(round);
    }
}

fn replace_file(dir: &Path, sync: bool, sync_directory: bool) {
    for round in 0..ROUNDS {
        let temporary = dir.join("value.new");
        let mut file = File::create(&temporary).unwrap();
        file.write_all(&line(round)).unwrap();
        if sync {
            file.sync_all().unwrap();
        }
        fs::rename(&temporary, dir.join("value")).unwrap();
        if sync_directory {
            File::open(dir).unwrap().sync_all().unwrap();
        }
        ack(round);
    }
}

/// Believes that what is written first is safe first.
fn two_files_in_order(dir: &Path) {
    let data = File::create_new(dir.join("log")).unwrap();
    let length = File::create_new(dir.join("length")).unwrap();
    File::open(dir).unwrap().sync_all().unwrap();
    for round in 0..ROUNDS {
        data.write_all_at(&line(round), (round * 601) as u64).unwrap();
        length.write_all_at(&[round as u8 + 1], 0).unwrap();
        length.sync_all().unwrap();
        data.sync_all().unwrap();
        ack(round);
    }
}

fn acknowledge_a_write_after_the_sync(dir: &Path) {
    let file = File::create_new(dir.join("log")).unwrap();
    File::open(dir).unwrap().sync_all().unwrap();
    for round in 0..ROUNDS {
        file.sync_data().unwrap();
        file.write_all_at(&line(round), (round * 601) as u64).unwrap();
        ack(round);
    }
}

fn write_through(dir: &Path) {
    // O_DSYNC, and O_APPEND: the offset is the end of the file.
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = OpenOptions::new();
    let mut file =
        options.append(true).create(true).custom_flags(0o10000).open(dir.join("log")).unwrap();
    File::open(dir).unwrap().sync_all().unwrap();
    for round in 0..ROUNDS {
        file.write_all(&line(round)).unwrap();
        ack(round);
    }
}

fn create_names(dir: &Path) {
    for name in ["a", "b", "c", "d"] {
        File::create_new(dir.join(name)).unwrap();
    }
}

fn write_in_a_child(dir: &Path) {
    // Another process writes: the record would have a hole.
    let to = format!("of={}", dir.join("log").display());
    Command::new("dd").args(["if=/dev/zero", "count=1", &to]).output().unwrap();
}

fn complete_lines(log: &[u8]) -> usize {
    let complete =
        |round: &usize| log.get(round * 601..(round + 1) * 601) == Some(&line(*round)[..]);
    (0..1000).take_while(complete).count()
}

fn run(recorder: &mut Recorder, kind: &str) -> io::Result<()> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["powercut::selftest::workload", "--exact", "--nocapture"])
        .env(DIR, recorder.dir())
        .env(KIND, kind);
    if kind == "kill" { recorder.run_until_killed(&command) } else { recorder.run(&command) }
}

fn record(kind: &str) -> Trace {
    let mut recorder = Recorder::new().unwrap();
    run(&mut recorder, kind).unwrap();
    recorder.finish().unwrap()
}

fn check_log(dir: &Path, output: Output<'_>) -> Result<(), String> {
    let acknowledged = output.acknowledged().count();
    let found = complete_lines(&fs::read(dir.join("log")).unwrap_or_default());
    if found < acknowledged {
        return Err(format!("{found} of {acknowledged} records"));
    }
    Ok(())
}

fn check_value(dir: &Path, output: Output<'_>) -> Result<(), String> {
    let acknowledged = output.acknowledged().count();
    if acknowledged == 0 {
        return Ok(());
    }
    let value = fs::read(dir.join("value")).map_err(|error| error.to_string())?;
    if (acknowledged - 1..=acknowledged).any(|round| value == line(round)) {
        Ok(())
    } else {
        Err(format!("not value {acknowledged}"))
    }
}

fn sweep_log(kind: &str) -> Report {
    sweep(&record(kind), &Options::default(), check_log).unwrap()
}

fn sweep_value(kind: &str) -> Report {
    sweep(&record(kind), &Options::default(), check_value).unwrap()
}

#[test]
fn a_log_that_syncs_before_it_acknowledges_survives() {
    let report = sweep_log("log");
    report.assert_survived();
    assert_eq!((report.acknowledged, report.syncs), (ROUNDS, ROUNDS + 1));
}

#[test]
fn a_log_that_does_not_sync_loses_records() {
    assert_eq!(sweep_log("log without sync").failures.len(), 1);
}

#[test]
fn a_log_whose_name_is_not_synced_is_lost() {
    let report = sweep_log("log without directory sync");
    assert_eq!(report.failures[0].state.names, Names::Nothing);
}

#[test]
fn an_atomic_replacement_survives() {
    sweep_value("replace").assert_survived();
}

#[test]
fn a_replacement_that_does_not_sync_the_contents_fails() {
    assert_eq!(sweep_value("replace without sync").failures.len(), 1);
}

#[test]
fn a_replacement_that_does_not_sync_the_directory_fails() {
    assert_eq!(sweep_value("replace without directory sync").failures.len(), 1);
}

#[test]
fn order_of_writes_is_no_order_on_the_disk() {
    let check = |dir: &Path, _: Output<'_>| {
        let length = fs::read(dir.join("length")).unwrap_or_default().first().copied();
        let found = complete_lines(&fs::read(dir.join("log")).unwrap_or_default());
        if found < usize::from(length.unwrap_or(0)) { Err("a hole".into()) } else { Ok(()) }
    };
    let report = sweep(&record("reordered"), &Options::default(), check).unwrap();
    assert_eq!(report.failures.len(), 1);
}

#[test]
fn a_sync_before_the_write_does_not_count() {
    assert_eq!(sweep_log("late").failures.len(), 1);
}

#[test]
fn a_file_that_writes_through_needs_no_sync() {
    sweep_log("through").assert_survived();
}

#[test]
fn a_crash_of_the_process_keeps_unsynced_writes_pending() {
    let mut recorder = Recorder::new().unwrap();
    run(&mut recorder, "kill").unwrap();
    run(&mut recorder, "append after kill").unwrap();
    let trace = recorder.finish().unwrap();
    let check = |dir: &Path, output: Output<'_>| {
        // Only what the second run acknowledged was ever synced.
        let second = output.acknowledged().skip(ROUNDS).count();
        let found = complete_lines(&fs::read(dir.join("log")).unwrap_or_default());
        let first = output.acknowledged().take(ROUNDS).count();
        if second > 0 && found < ROUNDS + second {
            Err(format!("{found}"))
        } else if second == 0 && found < first {
            Err("first".into())
        } else {
            Ok(())
        }
    };
    let options = Options { failures: usize::MAX, ..Options::default() };
    let report = sweep(&trace, &options, check).unwrap();
    assert!(!report.failures.is_empty());
    assert!(report.failures.iter().all(|failure| failure.why == "first"), "{report}");
}

#[test]
fn a_cut_after_a_cut_starts_from_a_durable_directory() {
    let first = tempfile::tempdir().unwrap();
    fs::write(first.path().join("log"), [line(0), line(1)].concat()).unwrap();
    let mut recorder = Recorder::starting_from(first.path()).unwrap();
    run(&mut recorder, "append after kill").unwrap();
    let check = |dir: &Path, output: Output<'_>| {
        let found = complete_lines(&fs::read(dir.join("log")).unwrap_or_default());
        let wanted = 2 + output.acknowledged().count();
        if found < wanted { Err(format!("{found} of {wanted}")) } else { Ok(()) }
    };
    sweep(&recorder.finish().unwrap(), &Options::default(), check).unwrap().assert_survived();
}

/// What each variant promises to try, over all its states of one record.
#[test]
fn unsynced_contents_are_lost_torn_holes_and_garbage() {
    let trace = record("log without sync");
    let seen = |contents, wanted: &dyn Fn(&[u8]) -> bool| {
        (0..500).any(|seed| {
            let cut = trace.length;
            let state = State { cut, contents, names: Names::Everything, seed };
            let found = |dir: &Path, _: Output<'_>| {
                let log = fs::read(dir.join("log")).unwrap();
                if wanted(&log) { Err("found".into()) } else { Ok(()) }
            };
            replay(&trace, state, found).unwrap().is_err()
        })
    };
    let record = |log: &[u8], round: usize| -> Vec<u8> {
        log.iter().skip(round * 601).take(601).copied().collect()
    };
    let torn = |log: &[u8]| {
        let third = record(log, 2);
        third.len() == 601 && third != line(2) && third.iter().any(|byte| line(2).contains(byte))
    };
    let hole = |log: &[u8]| record(log, 2) == [0; 601] && record(log, 3) == line(3);
    let garbage = |log: &[u8]| record(log, 2).iter().any(|byte| *byte >= 0x80);
    let ends_with_zeros = |log: &[u8]| log.len() == 12 * 601 && record(log, 11) == [0; 601];
    assert!(seen(Contents::Torn, &torn) && !seen(Contents::Subset, &torn));
    assert!(seen(Contents::Subset, &hole) && !seen(Contents::Prefix, &hole));
    assert!(seen(Contents::Prefix, &torn));
    assert!(seen(Contents::Garbage, &garbage) && !seen(Contents::Torn, &garbage));
    assert!(seen(Contents::Subset, &ends_with_zeros));
    assert!(
        seen(Contents::OnlyLast, &|log| record(log, 10) == [0; 601] && record(log, 11) == line(11))
    );
    assert!(
        seen(Contents::AllButFirst, &|log| record(log, 0) == [0; 601] && record(log, 1) == line(1))
    );
    assert!(seen(Contents::Everything, &|log| complete_lines(log) == ROUNDS));
    assert!(seen(Contents::Nothing, &<[u8]>::is_empty));
}

#[test]
fn unsynced_names_are_a_prefix_or_any_of_them() {
    let trace = record("names");
    let mut kept = [Names::Prefix, Names::Subset].map(|names| {
        let mut kept = BTreeSet::new();
        for seed in 0..500 {
            let (cut, contents) = (trace.length, Contents::Nothing);
            let state = State { cut, contents, names, seed };
            let list = |dir: &Path, _: Output<'_>| {
                let mut names: Vec<String> = fs::read_dir(dir)
                    .unwrap()
                    .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                    .collect();
                names.sort();
                Err(names.concat())
            };
            kept.insert(replay(&trace, state, list).unwrap().unwrap_err());
        }
        kept
    });
    assert_eq!(kept[1].len(), 16);
    assert!(std::mem::take(&mut kept[0]).into_iter().eq(["", "a", "ab", "abc", "abcd"]));
}

#[test]
fn a_failure_is_replayed_from_its_line() {
    let trace = record("log without sync");
    let options = Options { failures: usize::MAX, ..Options::default() };
    let report = sweep(&trace, &options, check_log).unwrap();
    assert!(report.failures.iter().any(|failure| failure.state.contents == Contents::Torn));
    for failure in &report.failures {
        let again = replay(&trace, failure.state, check_log).unwrap();
        assert_eq!(again.unwrap_err(), failure.why, "{}", failure.state);
    }
    assert!(report.failures[0].state.to_string().starts_with("State { cut: "));
}

#[test]
fn what_another_process_writes_is_refused() {
    let mut recorder = Recorder::new().unwrap();
    let error = run(&mut recorder, "child").unwrap_err().to_string();
    assert!(error.contains("not modelled"), "{error}");
}
