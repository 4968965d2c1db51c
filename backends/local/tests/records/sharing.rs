//! One process, one kind of store, one owner.

use std::process::Command;

use super::*;

for_each_kind! {
    a_second_open_is_refused
    a_second_process_is_refused
    a_child_being_started_does_not_keep_the_store_locked
    a_store_of_another_kind_is_refused
    files_are_private_whatever_the_umask
    an_interrupted_creation_starts_over
}

fn a_second_open_is_refused(kind: RecordStoreKind) {
    let (dir, store) = fresh(kind);
    let error = open_records(kind, dir.path(), &RecordOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.is_retryable());
    assert!(error.message().contains(&format!("pid {}", std::process::id())), "{error}");
    assert!(error.message().contains(&dir.path().display().to_string()), "{error}");
    put(&*store, b"still", b"works");
    drop(store);
    assert_eq!(get(&*open(kind, dir.path()), b"still").unwrap().value, b"works");
}

/// Set in a child that this test binary starts from itself: its store.
const CHILD: &str = "STRONGROOM_TEST_CHILD";

fn child(test: &str, kind: RecordStoreKind, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "--nocapture", &format!("sharing::{kind}::{test}")]);
    command.env(CHILD, dir);
    command
}

/// Another thread starts programs all the time: between fork(2) and exec(2) each
/// has a copy of the lock's descriptor.
fn a_child_being_started_does_not_keep_the_store_locked(kind: RecordStoreKind) {
    let dir = tempfile::tempdir().unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            // Bounded, so that it ends also when an opening below panics.
            for _ in 0..2_000 {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                Command::new("/bin/true").status().unwrap();
            }
        });
        for _ in 0..200 {
            drop(open(kind, dir.path()));
        }
        stop.store(true, Ordering::Relaxed);
    });
}

fn a_second_process_is_refused(kind: RecordStoreKind) {
    if let Some(dir) = std::env::var_os(CHILD) {
        let error = open_records(kind, Path::new(&dir), &RecordOptions::default()).unwrap_err();
        println!("REFUSED {} {}", error.kind(), error.message());
        return;
    }
    let (dir, store) = fresh(kind);
    let output = child("a_second_process_is_refused", kind, dir.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    let holder = format!("in use by another process (pid {})", std::process::id());
    assert!(said.contains("REFUSED unavailable") && said.contains(&holder), "{said}");
    drop(store);
}

fn a_store_of_another_kind_is_refused(kind: RecordStoreKind) {
    let (dir, store) = fresh(kind);
    put(&*store, b"k", b"v");
    drop(store);
    let other = RecordStoreKind::ALL.into_iter().find(|other| *other != kind).unwrap();
    let error = open_records(other, dir.path(), &RecordOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.message().contains(&format!("holds a {kind} store")), "{error}");
    assert_eq!(get(&*open(kind, dir.path()), b"k").unwrap().value, b"v");
}

fn files_are_private_whatever_the_umask(kind: RecordStoreKind) {
    if let Some(dir) = std::env::var_os(CHILD) {
        put(&*open(kind, Path::new(&dir)), b"k", &pattern(1, 100_000));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("store");
    for _ in 0..2 {
        // A process has one umask, so that only a child's can be changed.
        let run = child("files_are_private_whatever_the_umask", kind, &place);
        let mut shell = Command::new("sh");
        shell.args(["-c", "umask 000; exec \"$0\" \"$@\""]).arg(run.get_program());
        let output = shell.args(run.get_args()).env(CHILD, &place).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        let mut files = 0;
        walk(&place, &mut |path, metadata| {
            let expected = if metadata.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(metadata.permissions().mode() & 0o777, expected, "{}", path.display());
            files += 1;
        });
        assert!(files >= 3, "directory, lock and data");
    }
}

fn walk(path: &Path, visit: &mut dyn FnMut(&Path, &fs::Metadata)) {
    let metadata = fs::symlink_metadata(path).unwrap();
    visit(path, &metadata);
    if metadata.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            walk(&entry.unwrap().path(), visit);
        }
    }
}

fn an_interrupted_creation_starts_over(kind: RecordStoreKind) {
    let dir = tempfile::tempdir().unwrap();
    // What a process leaves that dies before the final rename.
    let unfinished = dir.path().join(format!("records.{kind}.new"));
    if kind == RecordStoreKind::Sled {
        fs::create_dir(&unfinished).unwrap();
        fs::write(unfinished.join("db"), b"half").unwrap();
    } else {
        fs::write(&unfinished, b"half").unwrap();
    }
    put(&*open(kind, dir.path()), b"k", b"v");
    assert!(!unfinished.exists());
}
