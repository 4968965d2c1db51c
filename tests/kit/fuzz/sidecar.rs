//! What reaches the sidecar from outside: its rules, and its socket.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use strongroom::Config;
use strongroom::config::Verb;
use strongroom_core::SecretName;
use strongroom_rpc::Peer;
use strongroom_sidecar::rules::{Rules, matches};

use crate::block_on;
use crate::http2::{DATA, END_STREAM, GOAWAY, HEADERS, RST_STREAM, call, hello};
use crate::sidecar::{Setup, Sidecar, anyone, assert_no_panic, memory_store};

/// What the sidecar serves, and the only name that a fuzzer may change: the
/// store must not grow with what it tries.
const KEPT: &str = "account.kept";
const CHANGED: &str = "account.changed";
/// A value that stands in no other answer.
const VALUE: &str = "the value that every other client goes on to get";
/// No answer takes so long.
const FOR_EVER: Duration = Duration::from_secs(20);
/// How many inputs the changed name keeps its versions for.
const PURGE_EVERY: usize = 200;

const METHODS: [&str; 16] = [
    "Get", "BatchGet", "Put", "List", "Versions", "Delete", "Restore", "Purge", "Watch", "Upload",
    "Download", "Seal", "Open", "Status", "Check", "Render",
];

/// A pattern matches what it says, as told by a slower way that is seen to be
/// right; and rules of any text are read or refused, and then allow no more than
/// their patterns do.
///
/// # Panics
/// When they do not.
pub fn rules(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut lines = text.splitn(3, '\n');
    let (pattern, name) = (lines.next().unwrap_or(""), lines.next().unwrap_or(""));
    if pattern.len() * name.len() < 10_000 {
        assert_eq!(matches(pattern, name), is_match(pattern, name), "{pattern:?} {name:?}");
    }

    let table = lines.next().unwrap_or("");
    let text = format!("[scope]\naccount = \"acme\"\n[[sidecar.allow]]\n{table}");
    let Ok(config) = Config::parse(&text) else { return };
    let Ok(scope) = config.scope() else { return };
    let Ok(rules) = Rules::new(&config.sidecar, &scope) else { return };
    let peer = Peer { uid: 7, gid: 7, pid: None, executable: None };
    let grants = rules.grants(&peer);
    let Ok(name) = scope.resolve(&format!("account.{name}")) else { return };
    for verb in Verb::EACH {
        if !grants.allow(verb, &name) {
            continue;
        }
        assert!(grants.reach(verb, name.scope()), "a name is allowed and its scope is not");
        let rule = config.sidecar.allow.iter().any(|rule| {
            let verbs = rule.verbs.contains(&verb) || rule.verbs.contains(&Verb::All);
            verbs && rule.names.iter().any(|pattern| is_named(pattern, &name))
        });
        assert!(rule, "{verb:?} of {name} is allowed by no rule");
    }
}

/// The prefixes of `text` that the pattern's beginning matches, a character of
/// the pattern at a time.
fn is_match(pattern: &str, text: &str) -> bool {
    let text = text.as_bytes();
    let mut matched = vec![false; text.len() + 1];
    matched[0] = true;
    for byte in pattern.bytes() {
        if byte == b'*' {
            let first = matched.iter().position(|is| *is).unwrap_or(matched.len());
            matched[first..].fill(true);
        } else {
            let next = |at: usize| at > 0 && matched[at - 1] && text[at - 1] == byte;
            matched = (0..matched.len()).map(next).collect();
        }
    }
    matched[text.len()]
}

fn is_named(pattern: &str, name: &SecretName) -> bool {
    let id = pattern.split_once('.').map_or(pattern, |(_, id)| id);
    pattern == "**" || is_match(id, name.id())
}

/// A sidecar, and how many inputs it has had.
static SIDECAR: Mutex<Option<(Sidecar, usize)>> = Mutex::new(None);

/// Whatever a client sends, as a message of any method or as bytes after the
/// preface, the sidecar does not panic, closes when the client does, and answers
/// the next one.
///
/// # Panics
/// When it does not.
pub fn request(input: &[u8]) {
    let Some((&how, rest)) = input.split_first() else { return };
    let mut sidecar = SIDECAR.lock().unwrap_or_else(PoisonError::into_inner);
    let (sidecar, count) = sidecar.get_or_insert_with(|| (start(), 0));
    let (bytes, ends) = match METHODS.get(usize::from(how)) {
        Some(method) => (call(1, method, rest), *method != "Watch"),
        None => (rest.to_vec(), false),
    };
    exchange(sidecar, &[hello(&[]), bytes].concat(), ends);
    assert_no_panic();

    let wanted = [&[0x0a, u8::try_from(KEPT.len()).expect("short")][..], KEPT.as_bytes()].concat();
    let answer = exchange(sidecar, &[hello(&[]), call(1, "Get", &wanted)].concat(), true);
    let found = answer.windows(VALUE.len()).any(|window| window == VALUE.as_bytes());
    assert!(found, "the next client is not answered");
    *count += 1;
    if count.is_multiple_of(PURGE_EVERY) {
        // It may be gone already.
        let _ = block_on(sidecar.engine().purge(CHANGED));
    }
}

/// Ends the sidecar that [`request`] began, which asserts that it ends well.
pub fn end() {
    drop(SIDECAR.lock().unwrap_or_else(PoisonError::into_inner).take());
}

fn start() -> Sidecar {
    let reads =
        [Verb::Get, Verb::List, Verb::Versions, Verb::Watch, Verb::Seal, Verb::Open, Verb::Status];
    let mut setup = Setup::new(memory_store()).with(|section| {
        section.allow = vec![anyone(&["**"], &reads), anyone(&[CHANGED], &[Verb::All])];
    });
    // It would grow as long as the fuzzer runs.
    setup.audit = false;
    let sidecar = setup.start();
    sidecar.seed(KEPT, VALUE);
    sidecar.seed(CHANGED, "x");
    sidecar
}

/// Sends `bytes` and no more, and closes once stream 1 has ended, if it `ends`,
/// or else nothing comes any more; what came back until the sidecar closed, too.
fn exchange(sidecar: &Sidecar, bytes: &[u8], ends: bool) -> Vec<u8> {
    let mut stream = UnixStream::connect(sidecar.path()).expect("a connection");
    // The sidecar may close before it has all.
    let _ = stream.write_all(bytes);
    let patience = if ends { FOR_EVER } else { Duration::from_millis(2) };
    let mut answer = Vec::new();
    stream.set_read_timeout(Some(patience)).expect("a socket");
    let mut piece = [0; 4_096];
    while !(ends && is_ended(&answer)) {
        match stream.read(&mut piece) {
            Ok(0) => return answer,
            Ok(count) => answer.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                assert!(!ends, "a request is not answered");
                break;
            }
            Err(_) => return answer,
        }
    }
    let _ = stream.shutdown(Shutdown::Write);
    stream.set_read_timeout(Some(FOR_EVER)).expect("a socket");
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            panic!("it does not close when the client does");
        }
        _ => answer,
    }
}

/// Whether a frame in `bytes` ends stream 1, or the connection.
fn is_ended(mut bytes: &[u8]) -> bool {
    while let Some((&[a, b, c, kind, flags, _, _, _, stream], rest)) =
        bytes.split_first_chunk::<9>()
    {
        let last = matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0;
        if kind == GOAWAY || stream == 1 && (last || kind == RST_STREAM) {
            return true;
        }
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        bytes = rest.get(length..).unwrap_or_default();
    }
    false
}
