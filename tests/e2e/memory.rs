//! A value that was used and dropped is nowhere in the process any more:
//! neither in guarded memory nor outside of it. `/proc/PID/mem` of a process
//! that embeds the engine and the cache is searched from here.
//!
//! The same tests run once more with `danger_keep_freed_secrets`, where freed
//! memory is not wiped: they then demand that the search finds the value, so
//! that a search which finds nothing means something.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use strongroom_core::{EnvelopeOptions, PutOptions, SecretBytes, SecretName, SecretStore, Suite};
use strongroom_kit::random::Random;
use strongroom_kit::{block_on, embedded, memory};
use strongroom_local::records::RecordStoreKind;

/// One that shares a slab with others, one that fills slots of several pages,
/// and one with a mapping of its own.
const SIZES: [usize; 3] = [64, 4000, 100_000];

#[test]
fn a_secret_that_was_got_dropped_and_expired_is_gone() {
    for kind in RecordStoreKind::ALL {
        for suite in Suite::ALL {
            for size in SIZES {
                let what = format!("{kind}, {}, {size} bytes", suite.as_str());
                let dir = tempfile::tempdir().expect("a directory");
                let canary = Random::fresh().0.bytes(size);
                put_beforehand(kind, suite, dir.path(), &canary);
                let mut host = Host::start(kind, suite, dir.path());
                host.assert_absent(&canary, &format!("{what}: before the get"));
                // Twice: from the store, then from the cache.
                for _ in 0..2 {
                    assert_eq!(host.ask("get account.canary"), "entries 1");
                    host.assert_held(&canary, &what);
                }
                host.ask("drop");
                assert_eq!(host.ask("expire"), "entries 0");
                host.assert_wiped(&canary, &format!("{what}: got and dropped"));
                host.finish();
            }
        }
    }
}

#[test]
fn a_secret_that_was_put_is_gone() {
    for kind in RecordStoreKind::ALL {
        for suite in Suite::ALL {
            for size in SIZES {
                let what = format!("{kind}, {}, {size} bytes", suite.as_str());
                let dir = tempfile::tempdir().expect("a directory");
                let canary = Random::fresh().0.bytes(size);
                let mut host = Host::start(kind, suite, dir.path());
                assert_eq!(host.put("account.second", &canary), "put");
                host.assert_wiped(&canary, &format!("{what}: put"));
                // And it was indeed there to be put.
                assert_eq!(host.ask("get account.second"), "entries 1");
                host.assert_held(&canary, &what);
                host.finish();
            }
        }
    }
}

/// Another process than the one that is searched puts the value.
fn put_beforehand(kind: RecordStoreKind, suite: Suite, dir: &Path, canary: &[u8]) {
    let options = EnvelopeOptions { suite, ..EnvelopeOptions::default() };
    let store = block_on(embedded::store(kind, dir, options)).expect("a store");
    let scope = embedded::ACCOUNT.parse().expect("valid");
    let name = SecretName::new(scope, "canary").expect("valid");
    let value = SecretBytes::copy_from(canary).expect("guarded memory");
    block_on(store.put(&name, &value, &PutOptions::default())).expect("a put");
}

struct Host {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Host {
    fn start(kind: RecordStoreKind, suite: Suite, dir: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_canary-host"))
            .args([kind.as_str(), suite.as_str()])
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the host starts");
        let input = child.stdin.take().expect("a pipe");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut host = Self { child, input, output };
        assert_eq!(host.answer(), "ready");
        host
    }

    fn ask(&mut self, command: &str) -> String {
        writeln!(self.input, "{command}").expect("the host listens");
        self.answer()
    }

    fn put(&mut self, name: &str, value: &[u8]) -> String {
        writeln!(self.input, "put {name} {}", value.len()).expect("the host listens");
        self.input.write_all(value).expect("the host listens");
        self.answer()
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("an answer");
        line.trim_end().to_owned()
    }

    /// The host idles in a read while it is searched.
    fn find(&self, value: &[u8]) -> Vec<memory::Hit> {
        memory::find(self.child.id(), value).expect("the host's memory is read")
    }

    fn assert_absent(&self, value: &[u8], what: &str) {
        let hits = self.find(value);
        assert!(hits.is_empty(), "{what}: {} pieces, first {:?}", hits.len(), hits.first());
    }

    /// All of the value is there, in guarded memory only.
    fn assert_held(&self, value: &[u8], what: &str) {
        let hits = self.find(value);
        assert!(!hits.is_empty(), "{what}: held, and not found: the search does not work");
        if !cfg!(feature = "danger_keep_freed_secrets") {
            let outside = hits.iter().find(|hit| !hit.guarded);
            assert!(outside.is_none(), "{what}: outside of guarded memory: {outside:?}");
        }
    }

    fn assert_wiped(&self, value: &[u8], what: &str) {
        if cfg!(feature = "danger_keep_freed_secrets") {
            assert!(!self.find(value).is_empty(), "{what}: nothing was wiped, nothing was found");
        } else {
            self.assert_absent(value, what);
        }
    }

    fn finish(self) {
        let Self { mut child, input, .. } = self;
        drop(input);
        assert!(child.wait().expect("ended").success());
    }
}
