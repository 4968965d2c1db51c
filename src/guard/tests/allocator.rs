//! What a program that runs on the wiping allocator leaves behind: nothing that it
//! freed. Another process does something with a value on the heap, and its memory is
//! searched from here, by `/proc/PID/mem`. Not its stacks, which no allocator wipes:
//! vector registers still hold what `memcpy` moved last, and end up there.
//!
//! The same tests run once more with `danger_keep_freed_secrets`, where nothing is
//! wiped: they then demand to find the value. And once in a release build, where the
//! optimizer would remove stores that nothing reads.

#![allow(clippy::unwrap_used, reason = "a test ends where its tools fail")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use strongroom_guard::WipingAllocator;

#[global_allocator]
static ALLOCATOR: WipingAllocator = WipingAllocator;

/// Set for the process that is searched.
const HOST: &str = "STRONGROOM_GUARD_TEST_HOST";
/// The value's bytes: below what the system's allocator maps on its own and unmaps when
/// it is freed, since what is unmapped cannot be searched.
const SIZE: usize = 3072;
/// An address on each stack of the process that is searched.
static STACKS: Mutex<Vec<usize>> = Mutex::new(Vec::new());

#[test]
fn a_freed_block_holds_nothing() {
    leaves_nothing("a_freed_block_holds_nothing", |value| {
        let mut whole = Vec::with_capacity(SIZE);
        value.take(SIZE as u64).read_to_end(&mut whole).unwrap();
        whole
    });
}

#[test]
fn a_vector_that_grew_leaves_no_old_block() {
    leaves_nothing("a_vector_that_grew_leaves_no_old_block", |value| {
        let mut grown = Vec::new();
        for _ in 0..SIZE {
            // So that it moves and does not grow in place.
            let between = vec![0u8; grown.capacity()];
            grown.push(byte(value));
            drop(between);
        }
        grown
    });
}

#[test]
fn a_vector_that_shrank_leaves_no_tail() {
    leaves_nothing("a_vector_that_shrank_leaves_no_tail", |value| {
        let mut whole = vec![0; SIZE];
        value.read_exact(&mut whole).unwrap();
        whole.truncate(16);
        whole.shrink_to_fit();
        whole
    });
}

/// Below and above what the system's allocator aligns to by itself.
#[test]
fn an_aligned_block_that_was_reallocated_leaves_nothing() {
    #[repr(align(64))]
    struct Line([u8; 64]);

    leaves_nothing("an_aligned_block_that_was_reallocated_leaves_nothing", |value| {
        let mut lines = Vec::new();
        for _ in 0..SIZE / 64 {
            lines.push(Line([0; 64]));
            value.read_exact(&mut lines.last_mut().unwrap().0).unwrap();
        }
        lines.truncate(2);
        lines.shrink_to_fit();
        lines
    });
}

#[test]
fn text_leaves_nothing() {
    leaves_nothing("text_leaves_nothing", |value| {
        let mut text = String::new();
        for _ in 0..SIZE {
            text.push(char::from(byte(value)));
        }
        let mut texts = vec![format!("<{text}>"), text.to_uppercase(), text.repeat(2)];
        write!(texts[0], " and again {text}").unwrap();
        texts.push(texts.concat());
        (text, texts)
    });
}

/// The nodes and the table hold neighbouring bytes of the value side by side.
#[test]
fn collections_leave_nothing() {
    leaves_nothing("collections_leave_nothing", |value| {
        let mut tree = BTreeMap::new();
        let mut table = HashMap::new();
        for at in 0..SIZE {
            tree.insert(at, byte(value));
        }
        for at in (0..SIZE).step_by(8) {
            let text: String = (at..at + 8).map(|at| char::from(tree[&at])).collect();
            table.insert(text.clone(), vec![text]);
        }
        for at in (0..SIZE).step_by(3) {
            tree.remove(&at);
        }
        (tree, table)
    });
}

#[test]
fn what_another_thread_frees_is_wiped() {
    leaves_nothing("what_another_thread_frees_is_wiped", |value| {
        let mut whole = vec![0; SIZE];
        value.read_exact(&mut whole).unwrap();
        let other = std::thread::spawn(move || {
            note_stack();
            drop(whole.clone());
        });
        other.join().unwrap();
    });
}

/// Has another process, which is this test started again, make something of the value
/// and drop it. While it idles its memory is searched for any eight bytes of the value
/// in a row.
fn leaves_nothing<T>(test: &str, make: impl Fn(&mut File) -> T) {
    if std::env::var_os(HOST).is_some() {
        // Not `io::stdin()`, which has a buffer that is never freed.
        let mut value = File::from(io::stdin().as_fd().try_clone_to_owned().unwrap());
        note_stack();
        drop(make(&mut value));
        let said = format!("\ndropped {:?}\n", STACKS.lock().unwrap());
        io::stdout().write_all(said.as_bytes()).unwrap();
        assert_eq!(value.read(&mut [0]).unwrap(), 0, "ends with the search");
        return;
    }
    let mut host = Host::start(test);
    // Text, so that strings can hold it.
    let mut value = vec![0; SIZE];
    File::open("/dev/urandom").unwrap().read_exact(&mut value).unwrap();
    for byte in &mut value {
        *byte = b'0' + *byte % 64;
    }
    host.input.write_all(&value).unwrap();
    let stacks = loop {
        if let Some(stacks) = host.output_line().strip_prefix("dropped ") {
            break serde_json::from_str::<Vec<usize>>(stacks).unwrap();
        }
    };
    if host.is_under_valgrind() {
        // Whose own hundred megabytes are in the same process. It watches what the
        // allocator reads and writes; what is left is looked for without it.
        return host.finish();
    }
    let found = host.find(&value, &stacks);
    if cfg!(feature = "danger_keep_freed_secrets") {
        assert!(found > 0, "nothing was wiped, and nothing was found");
    } else {
        assert!(found == 0, "{found} pieces of the value are left");
    }
    host.finish();
}

fn note_stack() {
    let here = 0;
    STACKS.lock().unwrap().push((&raw const here).addr());
}

fn byte(value: &mut File) -> u8 {
    let mut byte = [0];
    value.read_exact(&mut byte).unwrap();
    byte[0]
}

struct Host {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Host {
    fn start(test: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(HOST, "")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, input, output }
    }

    fn output_line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.output.read_line(&mut line).unwrap() > 0, "the host ended early");
        line.trim_end().to_owned()
    }

    /// How many pieces of eight bytes of the value its writable memory holds, without
    /// the stacks.
    fn find(&self, value: &[u8], stacks: &[usize]) -> usize {
        let words: HashSet<_> = value.windows(8).collect();
        // Few pairs of bytes begin a word: the others are not looked up.
        let mut begins = vec![false; 1 << 16];
        for word in &words {
            begins[pair(word)] = true;
        }
        let memory = File::open(format!("/proc/{}/mem", self.child.id())).unwrap();
        let (mut searched, mut found) = (0, 0);
        for (start, end) in self.writable() {
            if stacks.iter().any(|address| (start..end).contains(address)) {
                continue;
            }
            let mut bytes = vec![0; end - start];
            if memory.read_exact_at(&mut bytes, start as u64).is_ok() {
                searched += bytes.len();
                let hits = bytes.windows(8).filter(|w| begins[pair(w)] && words.contains(w));
                found += hits.count();
            }
        }
        assert!(searched > SIZE, "the host's memory could not be read");
        found
    }

    fn maps(&self) -> String {
        fs::read_to_string(format!("/proc/{}/maps", self.child.id())).unwrap()
    }

    fn is_under_valgrind(&self) -> bool {
        self.maps().contains("/vgpreload_")
    }

    /// What a program writes to.
    fn writable(&self) -> Vec<(usize, usize)> {
        let maps = self.maps();
        let lines = maps.lines().filter(|line| line.contains(" rw") && !line.ends_with("[stack]"));
        let address = |text| usize::from_str_radix(text, 16).unwrap();
        lines
            .map(|line| line.split(' ').next().unwrap().split_once('-').unwrap())
            .map(|(start, end)| (address(start), address(end)))
            .collect()
    }

    fn finish(self) {
        let Self { mut child, input, mut output } = self;
        drop(input);
        io::copy(&mut output, &mut io::sink()).unwrap();
        assert!(child.wait().unwrap().success());
    }
}

fn pair(word: &[u8]) -> usize {
    usize::from(u16::from_le_bytes([word[0], word[1]]))
}
