//! The victim of the upkeep's crash tests: rotates, rewraps, encrypts anew and
//! destroys old key versions, in any order, while others put and read.
//!
//! `upkeep-victim STORE DIR SEED` prints `ACK NAME VERSION SHA256` for each put
//! and `DONE OPERATION` for each operation, after it was acknowledged, and
//! `WRONG …` for what no reader may ever see.

use std::error::Error;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use strongroom_core::upkeep::Reencrypt;
use strongroom_core::{Engine, EnvelopeOptions, ErrorKind, PutOptions, SecretBytes, Select, Suite};
use strongroom_kit::random::Random;
use strongroom_kit::{block_on, embedded, sha256_hex};

const NAMES: usize = 40;
/// Longer than a value may be here, so that it is stored in segments.
const FILE_BYTES: usize = 350_000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, dir, seed] = &arguments[..] else {
        return Err("usage: upkeep-victim STORE DIR SEED".into());
    };
    let (dir, seed): (_, u64) = (Path::new(dir), seed.parse()?);
    let options = EnvelopeOptions { max_value_bytes: 100_000, ..EnvelopeOptions::default() };
    let store = block_on(embedded::store(kind.parse()?, dir, options))?;
    let log = Arc::new(embedded::audit_log(&store, dir)?);
    let engine = Engine::new(Arc::new(store), embedded::ACCOUNT.parse()?).with_audit(log);
    std::thread::scope(|scope| {
        let engine = &engine;
        for writer in 1..3 {
            scope.spawn(move || write_for_ever(engine, Random::new(seed ^ writer)));
        }
        for reader in 3..5 {
            scope.spawn(move || read_for_ever(engine, Random::new(seed ^ reader)));
        }
        scope.spawn(move || read_the_file_for_ever(engine));
        scope.spawn(move || keep_for_ever(engine, Random::new(seed)));
    });
    Ok(())
}

/// One line, one write(2): a pipe takes it whole or not at all.
fn say(line: &str) {
    let mut out = io::stdout().lock();
    if out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// Ends in its own digest, so that any reader can check it.
fn value(random: &mut Random, bytes: usize) -> SecretBytes {
    let mut value = random.bytes(bytes);
    value.extend_from_slice(&Sha256::digest(&value));
    SecretBytes::take(value).expect("guarded memory")
}

fn write_for_ever(engine: &Engine, mut random: Random) {
    loop {
        let name = format!("account.s{}", random.below(NAMES));
        let bytes = [0, 10, 1000, 9000][random.below(4)];
        let value = value(&mut random, bytes);
        let info = block_on(engine.put(&name, &value, &PutOptions::default())).expect("a put");
        let digest = sha256_hex(value.expose());
        say(&format!("ACK {name} {} {digest}\n", info.version));
    }
}

fn read_for_ever(engine: &Engine, mut random: Random) {
    loop {
        let name = format!("account.s{}", random.below(NAMES));
        match block_on(engine.get(&name, &Select::Latest)) {
            Ok(secret) => {
                let (body, own) = secret.value.expose().split_at(secret.value.len() - 32);
                if Sha256::digest(body)[..] != *own {
                    say(&format!("WRONG value of {name}\n"));
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound || error.is_retryable() => {}
            Err(error) => say(&format!("WRONG {name}: {error}\n")),
        }
    }
}

fn read_the_file_for_ever(engine: &Engine) {
    loop {
        let read = block_on(async {
            let mut file = engine.get_file("account.file", &Select::Latest).await?;
            let mut all = Vec::new();
            while let Some(segment) = file.next().await? {
                all.extend_from_slice(segment.expose());
            }
            Ok::<_, strongroom_core::Error>(all)
        });
        match read {
            Ok(all) => {
                let (body, own) = all.split_at(all.len() - 32);
                if Sha256::digest(body)[..] != *own {
                    say("WRONG value of the file\n");
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let value = value(&mut Random::new(1), FILE_BYTES);
                let (mut source, options) = (value.expose(), PutOptions::default());
                let put = engine.put_file("account.file", &mut source, &options);
                block_on(put).expect("the file");
            }
            Err(error) if error.is_retryable() => {}
            Err(error) => say(&format!("WRONG file: {error}\n")),
        }
    }
}

fn keep_for_ever(engine: &Engine, mut random: Random) {
    let quiet = |_: &_| ();
    loop {
        let done = match random.below(4) {
            0 => block_on(engine.rotate(None)).map(|_| "rotate"),
            1 => block_on(engine.rewrap(&quiet)).map(|_| "rewrap"),
            2 => {
                let suite = [Suite::Aes256Gcm, Suite::ChaCha20Poly1305][random.below(2)];
                let restart = random.below(2) == 0;
                let what = Reencrypt { suite: Some(suite), restart, ..Reencrypt::default() };
                block_on(engine.reencrypt(&what, &quiet)).map(|_| "reencrypt")
            }
            _ => {
                let version = (1 + random.below(20)).to_string();
                let destroy = engine.destroy_key_version(None, &version, &quiet);
                block_on(destroy).map(|()| "destroy")
            }
        };
        match done {
            Ok(operation) => say(&format!("DONE {operation}\n")),
            // Needed still, gone already, or another re-encryption is unfinished.
            Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound) => {}
            Err(error) => say(&format!("WRONG upkeep: {error}\n")),
        }
    }
}
