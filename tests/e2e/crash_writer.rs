//! The victim of the crash tests: embeds the engine as a delegate does, puts
//! from several threads, and says what was acknowledged until it is killed.
//!
//! `crash-writer STORE DIR SEED` prints `ACK NAME VERSION SHA256` for each put,
//! after it was acknowledged.

use std::error::Error;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use strongroom_core::{Engine, EnvelopeOptions, PutOptions, SecretBytes};
use strongroom_kit::random::Random;
use strongroom_kit::{block_on, embedded, sha256_hex};

/// Each puts to a name of its own and to the one that all share.
const WRITERS: u64 = 4;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, dir, seed] = &arguments[..] else {
        return Err("usage: crash-writer STORE DIR SEED".into());
    };
    let (dir, seed): (_, u64) = (Path::new(dir), seed.parse()?);
    let store = block_on(embedded::store(kind.parse()?, dir, EnvelopeOptions::default()))?;
    let log = Arc::new(embedded::audit_log(&store, dir)?);
    let engine = Engine::new(Arc::new(store), embedded::ACCOUNT.parse()?).with_audit(log);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let engine = &engine;
            scope.spawn(move || write_for_ever(engine, writer, Random::new(seed ^ writer)));
        }
    });
    Ok(())
}

fn write_for_ever(engine: &Engine, writer: u64, mut random: Random) {
    loop {
        let name = if random.below(3) == 0 {
            "account.shared".to_owned()
        } else {
            format!("account.own{writer}")
        };
        // A value ends in its own digest, so that also one that was never
        // acknowledged can be checked.
        let bytes = [0, 10, 1000, 9000, 40_000][random.below(5)];
        let mut value = random.bytes(bytes);
        value.extend_from_slice(&Sha256::digest(&value));
        let value = SecretBytes::take(value).expect("guarded memory");
        let info = block_on(engine.put(&name, &value, &PutOptions::default())).expect("a put");
        let digest = sha256_hex(value.expose());
        // One line, one write(2): a pipe takes it whole or not at all.
        let line = format!("ACK {name} {} {digest}\n", info.version);
        let mut out = io::stdout().lock();
        if out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}
