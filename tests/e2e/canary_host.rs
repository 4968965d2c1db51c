//! A long-lived process that embeds the engine and does what it is told, for
//! the memory test. It makes no copies of its own: values go from the pipe into
//! guarded memory and nowhere else.
//!
//! `canary-host STORE SUITE DIR`; commands come on standard input, a line each,
//! and each is answered with a line:
//! - `get NAME`: reads the secret and holds it.
//! - `put NAME BYTES`: takes so many bytes that follow, puts them, drops them.
//! - `drop`: drops what is held.
//! - `expire`: lets the time to live pass and sweeps the cache.

use std::error::Error;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use strongroom_core::cache::{CacheOptions, CachedStore, ThreadSpawn};
use strongroom_core::clock::ManualClock;
use strongroom_core::guard::{Config, SecretMemory, configure};
use strongroom_core::{
    Engine, EnvelopeOptions, PutOptions, Secret, SecretBytes, Select, Suite, Timestamp,
};
use strongroom_kit::{block_on, embedded};

const TTL: Duration = Duration::from_mins(1);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, suite, dir] = &arguments[..] else {
        return Err("usage: canary-host STORE SUITE DIR".into());
    };
    // Memory of `memfd_secret` cannot be read from outside: the search would
    // find nothing there whether it was wiped or not.
    let mut config = Config::default();
    config.secret_memory = SecretMemory::Never;
    configure(config)?;

    let dir = Path::new(dir);
    let suite = Suite::ALL.into_iter().find(|known| known.as_str() == suite);
    let options =
        EnvelopeOptions { suite: suite.ok_or("no such suite")?, ..EnvelopeOptions::default() };
    let store = block_on(embedded::store(kind.parse()?, dir, options))?;
    let log = Arc::new(embedded::audit_log(&store, dir)?);
    let clock = ManualClock::new(Timestamp(1_700_000_000_000));
    let mut options = CacheOptions::default();
    options.ttl = TTL;
    let spawn = Arc::new(ThreadSpawn::new());
    let shared = Arc::new(clock.clone());
    let cached = Arc::new(CachedStore::new(Arc::new(store), options, shared, spawn)?);
    let engine = Engine::new(cached.clone(), embedded::ACCOUNT.parse()?).with_audit(log);
    Host { engine, cached, clock, held: None }.serve()
}

struct Host {
    engine: Engine,
    cached: Arc<CachedStore>,
    clock: ManualClock,
    held: Option<Secret>,
}

impl Host {
    fn serve(&mut self) -> Result<(), Box<dyn Error>> {
        // Not `io::stdin()`: its buffer would be a copy that nobody wipes.
        let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        answer("ready")?;
        while let Some(line) = read_line(&mut input)? {
            let words: Vec<_> = line.split(' ').collect();
            match words[..] {
                ["get", name] => {
                    self.held = Some(block_on(self.engine.get(name, &Select::Latest))?);
                    answer(&format!("entries {}", self.cached.stats().entries))?;
                }
                ["put", name, bytes] => {
                    let mut value = SecretBytes::zeroed(bytes.parse()?)?;
                    input.read_exact(value.expose_mut())?;
                    block_on(self.engine.put(name, &value, &PutOptions::default()))?;
                    drop(value);
                    answer("put")?;
                }
                ["drop"] => {
                    self.held = None;
                    answer("dropped")?;
                }
                ["expire"] => {
                    self.clock.advance(TTL * 2);
                    self.cached.sweep();
                    answer(&format!("entries {}", self.cached.stats().entries))?;
                }
                _ => return Err("no such command".into()),
            }
        }
        Ok(())
    }
}

fn answer(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// A line, byte by byte: what follows it may be a value.
fn read_line(input: &mut File) -> io::Result<Option<String>> {
    let mut line = String::new();
    let mut byte = [0];
    while input.read(&mut byte)? == 1 {
        if byte[0] == b'\n' {
            return Ok(Some(line));
        }
        line.push(char::from(byte[0]));
    }
    Ok(None)
}
