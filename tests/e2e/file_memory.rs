//! A file takes the same memory whatever its length: the peak of a process that
//! stores and reads one is measured from outside of its allocator.
//!
//! Each test is a process of its own in what it measures: the command line by
//! itself, and a sidecar.

use std::fs;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

use strongroom_client::Client;
use strongroom_core::{PutOptions, Select};
use strongroom_kit::binary;
use strongroom_kit::daemon::{ALLOW_OWNER, Home};

const SHORT: u64 = 48 << 20;
const LONG: u64 = 300 << 20;
/// What the longer file may cost more than the shorter one: what an allocator and
/// a B-tree with six times the pages make of it, far below the 252 MiB between
/// the two.
const SLACK_KIB: u64 = 4 << 10;
/// A cache of pages as small as there may be, so that both files are far longer.
const CONFIG: &str = "[store]\ncache_bytes = 1048576\n";

/// The most memory that a process had resident so far, in KiB.
fn peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
    let digits: String = line.chars().filter(char::is_ascii_digit).collect();
    digits.parse().expect("a number")
}

fn start(home: &Home, arguments: &[&str]) -> Child {
    Command::new(binary::strongroom())
        .args(arguments)
        .arg("--config")
        .arg(home.config_file())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts")
}

/// The peak of `put` when all of a file has been taken but its end.
fn peak_of_put(home: &Home, length: u64) -> u64 {
    let mut put = start(home, &["put", "account.file"]);
    let mut stdin = put.stdin.take().expect("a pipe");
    let piece = vec![0x5a; 1 << 20];
    for _ in 0..length >> 20 {
        stdin.write_all(&piece).expect("it is taken");
    }
    let peak = peak(put.id());
    drop(stdin);
    assert!(put.wait().expect("ended").success());
    peak
}

/// The peak of `get` when all of a file has come out but a last part, for which
/// the pipe has no room yet.
fn peak_of_get(home: &Home, length: u64) -> u64 {
    let mut get = start(home, &["get", "account.file"]);
    let mut stdout = get.stdout.take().expect("a pipe");
    let mut left = length;
    let mut piece = vec![0; 1 << 20];
    while left > 4 << 20 {
        let read = stdout.read(&mut piece).expect("it comes");
        assert!(read > 0, "{left} bytes are missing");
        assert!(piece[..read].iter().all(|byte| *byte == 0x5a));
        left -= read as u64;
    }
    let peak = peak(get.id());
    let rest = std::io::copy(&mut stdout, &mut std::io::sink()).expect("the rest");
    assert_eq!(rest, left);
    assert!(get.wait().expect("ended").success());
    peak
}

#[test]
fn the_command_line_takes_the_same_memory_for_any_length() {
    let home = Home::new(CONFIG);
    let short = (peak_of_put(&home, SHORT), peak_of_get(&home, SHORT));
    let long = (peak_of_put(&home, LONG), peak_of_get(&home, LONG));
    println!("put and get, KiB: {short:?} for the shorter file, {long:?} for the longer one");
    assert!(long.0 < short.0 + SLACK_KIB, "put: {long:?} KiB, {short:?} KiB");
    assert!(long.1 < short.1 + SLACK_KIB, "get: {long:?} KiB, {short:?} KiB");
}

#[test]
fn a_sidecar_takes_the_same_memory_for_any_length() {
    let home = Home::new(&format!("{CONFIG}{ALLOW_OWNER}"));
    let sidecar = home.start();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let pass = |length: u64| {
        runtime.block_on(async {
            let client = Client::connect(home.socket()).await.expect("connected");
            let mut zeroes = tokio::io::AsyncReadExt::take(tokio::io::repeat(0x5a), length);
            let options = PutOptions::default();
            client.upload("account.file", &mut zeroes, &options).await.expect("stored");
            let mut sink = tokio::io::sink();
            let got = client.download("account.file", &Select::Latest, &mut sink).await;
            assert_eq!(got.expect("read").length, length);
        });
        peak(sidecar.pid())
    };
    let (short, long) = (pass(SHORT), pass(LONG));
    println!("KiB: {short} after the shorter file, {long} after the longer one");
    assert!(long < short + SLACK_KIB, "{long} KiB, {short} KiB");
    // And more than a user may hold of messages has passed.
    let limit = home.config().sidecar.max_bytes_per_user as u64;
    assert!(LONG > limit, "{limit} bytes would have been enough");
}
