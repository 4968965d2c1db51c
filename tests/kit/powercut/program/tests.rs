//! Logs written by hand: the rules that a recorded program cannot show reliably.

use super::*;

const OPEN: &str = "openat(AT_FDCWD</>, \"/disk/log\", O_RDWR|O_CREAT, 0666) = 3</disk/log>";
const SYNC_DIR: [&str; 2] =
    ["openat(AT_FDCWD</>, \"/disk\", O_RDONLY) = 4</disk>", "fsync(4</disk>) = 0"];

/// A log in which strings are written plainly, as strace prints it.
fn log(lines: &[&str]) -> String {
    let mut log = String::from("1 execve(\"\", 0x1, 0x2) = 0\n");
    for line in lines {
        let (thread, line) = line.split_once(": ").unwrap_or(("1", line));
        log += thread;
        log.push(' ');
        let mut inside = false;
        for byte in line.bytes() {
            let (closes, opens) = (matches!(byte, b'>' | b'"'), matches!(byte, b'<' | b'"'));
            if inside && !closes {
                log += &hex(&[byte]);
            } else {
                log.push(byte as char);
                inside = opens && !inside;
            }
        }
        log.push('\n');
    }
    log.replace(&format!("<{}>", hex(b"unfinished ...")), "<unfinished ...>")
        .replace(&format!("<{}>", hex(b"... fsync resumed")), "<... fsync resumed>")
        .replace(&format!("<{}>", hex(b"... pwrite64 resumed")), "<... pwrite64 resumed>")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + "\\x" + &format!("{byte:02x}"))
}

fn follow(lines: &[&str]) -> Result<Trace, String> {
    let mut trace = Trace::new(PathBuf::from("/disk"));
    Program::new(&mut trace).follow(&log(lines))?;
    Ok(trace)
}

/// Whether each change is durable in the end.
fn durable(lines: &[&str]) -> Vec<bool> {
    let trace = follow(lines).unwrap();
    trace.changes.iter().map(|change| change.durable < NEVER).collect()
}

#[test]
fn a_sync_covers_what_returned_before_it_started() {
    let write = "pwrite64(3</disk/log>, \"a\", 1, 0) = 1";
    assert_eq!(durable(&[OPEN, write, "fsync(3</disk/log>) = 0"]), [false, true]);
    assert_eq!(durable(&[OPEN, "fsync(3</disk/log>) = 0", write]), [false, false]);
    assert_eq!(durable(&[OPEN, SYNC_DIR[0], write, SYNC_DIR[1]]), [true, false]);
}

#[test]
fn a_sync_that_started_before_the_write_returned_does_not_count() {
    let lines = [
        OPEN,
        "pwrite64(3</disk/log>, \"a\", 1, 0 <unfinished ...>",
        "2: fsync(3</disk/log> <unfinished ...>",
        "1: <... pwrite64 resumed>) = 1",
        "2: <... fsync resumed>) = 0",
    ];
    assert_eq!(durable(&lines), [false, false]);
    let started_before = ["2: fsync(3</disk/log> <unfinished ...>", lines[1], lines[3], lines[4]];
    assert_eq!(durable(&[&[OPEN], &started_before[..]].concat()), [false, false]);
}

#[test]
fn a_sync_counts_from_its_return_and_only_if_it_succeeds() {
    let write = "pwrite64(3</disk/log>, \"a\", 1, 0) = 1";
    let error = "fsync(3</disk/log>) = -1 EIO (Input/output error)";
    assert_eq!(durable(&[OPEN, write, error]), [false, false]);
    let killed = "fsync(3</disk/log> <unfinished ...>";
    assert_eq!(durable(&[OPEN, write, killed]), [false, false]);
    let trace = follow(&[OPEN, write, killed, "<... fsync resumed>) = 0"]).unwrap();
    // Line 4, and its second moment; line 0 is the execve.
    assert_eq!(trace.changes[1].durable, 4 * 2 + 1);
}

#[test]
fn a_range_sync_makes_nothing_durable() {
    let write = "pwrite64(3</disk/log>, \"a\", 1, 0) = 1";
    let sync = "sync_file_range(3</disk/log>, 0, 1, SYNC_FILE_RANGE_WRITE) = 0";
    assert_eq!(durable(&[OPEN, write, sync]), [false, false]);
    assert_eq!(follow(&[OPEN, write, sync]).unwrap().range_syncs(), 1);
}

#[test]
fn a_rename_between_directories_needs_both() {
    let lines = [
        "mkdir(\"/disk/a\", 0777) = 0",
        "mkdir(\"/disk/b\", 0777) = 0",
        "openat(AT_FDCWD</>, \"/disk/a/x\", O_RDWR|O_CREAT, 0666) = 3</disk/a/x>",
        "rename(\"/disk/a/x\", \"/disk/b/x\") = 0",
        "openat(AT_FDCWD</>, \"/disk/b\", O_RDONLY) = 4</disk/b>",
        "fsync(4</disk/b>) = 0",
        "openat(AT_FDCWD</>, \"/disk/a\", O_RDONLY) = 5</disk/a>",
        "fsync(5</disk/a>) = 0",
    ];
    assert_eq!(durable(&lines[..6]), [false, false, false, false]);
    assert_eq!(durable(&lines), [false, false, true, true]);
}

#[test]
fn duplicates_share_the_position_and_appends_go_to_the_end() {
    let trace = follow(&[
        OPEN,
        "dup(3</disk/log>) = 5</disk/log>",
        "write(3</disk/log>, \"abc\", 3) = 3",
        "write(5</disk/log>, \"d\", 1) = 1",
        "openat(AT_FDCWD</>, \"/disk/log\", O_WRONLY|O_APPEND) = 6</disk/log>",
        "write(6</disk/log>, \"e\", 1) = 1",
        "lseek(3</disk/log>, 1, SEEK_SET) = 1",
        "write(3</disk/log>, \"f\", 1) = 1",
    ]);
    let offset = |change: &super::super::trace::Change| match change.what {
        What::Write { offset, .. } => Some(offset),
        _ => None,
    };
    let offsets: Vec<u64> = trace.unwrap().changes.iter().filter_map(offset).collect();
    assert_eq!(offsets, [0, 3, 4, 1]);
}

#[test]
fn what_is_not_modelled_is_refused() {
    for line in [
        "mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, 3</disk/log>, 0) = 0x7f0000000000",
        "io_uring_setup(8, 0x1) = 4",
        "copy_file_range(3</disk/log>, NULL, 3</disk/log>, NULL, 1, 0) = 1",
        "fallocate(3</disk/log>, FALLOC_FL_PUNCH_HOLE|FALLOC_FL_KEEP_SIZE, 0, 1) = 0",
        "clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD) = 2",
        "pwrite64(3</disk/log>, \"a\"..., 9, 0) = 9",
        "pwrite64(9</disk/other>, \"a\", 1, 0) = 1",
        "rename(\"log\", \"other\") = 0",
    ] {
        assert!(follow(&[OPEN, line]).is_err(), "{line}");
    }
    let threads = "clone3({flags=CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_THREAD}, 88) = 2";
    assert!(follow(&[OPEN, threads]).is_ok());
}
