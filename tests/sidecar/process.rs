//! A process for the sidecar's tests.
//!
//! `sidecar-process serve CONFIG` runs a sidecar alone, so that its memory and
//! its file descriptors can be looked at. It writes the socket's path, and then
//! answers what comes on standard input, a line each: `metrics` with all figures,
//! `end` with how the sidecar ended.
//!
//! `sidecar-process flood SOCKET` asks, as whichever user it runs as, for more
//! than it may have, until standard input is closed. It writes `flooding` once
//! it is refused, and at the end how often it was answered and refused.

use std::error::Error;
use std::io::{self, BufRead, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use strongroom::Config;
use strongroom_core::Select;
use strongroom_core::guard::WipingAllocator;
use strongroom_kit::http2::{Wire, hello};
use strongroom_kit::sidecar::{Setup, connect, memory_store};
use tokio::task::JoinSet;

/// As the `strongroom` binary has it.
#[global_allocator]
static ALLOCATOR: WipingAllocator = WipingAllocator;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [mode, config] if mode == "serve" => serve(Path::new(config)),
        [mode, socket] if mode == "flood" => flood(Path::new(socket)),
        _ => Err("usage: sidecar-process serve CONFIG | flood SOCKET".into()),
    }
}

fn serve(config: &Path) -> Result<(), Box<dyn Error>> {
    let mut setup = Setup::new(memory_store());
    let rules = std::mem::take(&mut setup.section.allow);
    setup.section = Config::load(config)?.sidecar;
    if setup.section.allow.is_empty() {
        setup.section.allow = rules;
    }
    let mut sidecar = setup.start();
    sidecar.seed("account.db", "hunter2");
    sidecar.seed("account.large", &"x".repeat(256 << 10));
    let mut out = io::stdout().lock();
    writeln!(out, "{}", sidecar.path().display())?;
    for line in io::stdin().lock().lines() {
        match line?.as_str() {
            "metrics" => write!(out, "{}", sidecar.server().metrics())?,
            "end" => writeln!(out, "{:?}", sidecar.end().map_err(|error| error.to_string()))?,
            other => return Err(format!("no such command: {other}").into()),
        }
    }
    Ok(())
}

/// What a flood came to.
#[derive(Default)]
struct Tally {
    answered: AtomicUsize,
    refused: AtomicUsize,
    over: AtomicBool,
}

impl Tally {
    fn count(&self, answer: strongroom_core::Result<strongroom_core::Secret>) {
        match answer {
            Ok(_) => self.answered.fetch_add(1, Relaxed),
            Err(error) => {
                let named = error.message().contains("max_requests_per_user");
                // Anything else is no refusal, and is told as it is.
                assert!(named && error.retry_after().is_some(), "{error}");
                self.refused.fetch_add(1, Relaxed)
            }
        };
    }
}

#[tokio::main(flavor = "current_thread")]
async fn flood(socket: &Path) -> Result<(), Box<dyn Error>> {
    let tally = Arc::new(Tally::default());
    // Connections first: as many as there may be, and those that are refused.
    let mut connections = Vec::new();
    let mut closed = 0;
    for _ in 0..4 {
        connections.push(connect(socket).await);
    }
    let mut idle = Vec::new();
    while closed < 16 {
        let mut wire = Wire::saying(socket, &hello(&[])).await;
        if wire.next().await.is_none() {
            closed += 1;
        } else {
            idle.push(wire);
        }
    }
    let mut asking = JoinSet::new();
    for number in 0..256 {
        let client = connections[number % connections.len()].clone();
        let tally = Arc::clone(&tally);
        asking.spawn(async move {
            while !tally.over.load(Relaxed) {
                tally.count(client.get("account.large", &Select::Latest).await);
            }
        });
    }
    while tally.refused.load(Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    writeln!(io::stdout(), "flooding")?;
    tokio::task::spawn_blocking(|| io::stdin().read_to_end(&mut Vec::new())).await??;
    tally.over.store(true, Relaxed);
    asking.join_all().await;
    let (answered, refused) = (tally.answered.load(Relaxed), tally.refused.load(Relaxed));
    writeln!(io::stdout(), "{answered} {refused} {closed}")?;
    Ok(())
}
