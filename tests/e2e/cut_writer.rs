//! The power-cut test's workload: commits pairs of records from waiting
//! writers, and says what it begins and what was acknowledged.
//!
//!     cut-writer KIND DIR ROUNDS SEED
//!
//! `TRY key number` and `ACK key number` frame each commit. A commit writes the
//! same number under `key/a` and `key/b`, or deletes both.

use std::io::Write;
use std::path::Path;

use futures_util::future::join_all;
use strongroom_core::{Batch, RecordStore};
use strongroom_kit::block_on;
use strongroom_kit::powercut_store::{KEYS, batch};
use strongroom_kit::random::Random;
use strongroom_local::records::{RecordOptions, open_records};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, kind, dir, rounds, seed] = arguments.as_slice() else {
        return Err("usage: cut-writer KIND DIR ROUNDS SEED".into());
    };
    let mut random = Random::new(seed.parse()?);
    let store = open_records(kind.parse()?, Path::new(dir), &RecordOptions::default())?;
    let first: u64 = seed.parse::<u64>()? << 32;
    for round in 0..rounds.parse()? {
        // From a lone writer to many that share a sync, each on its own key.
        let writers = [1, 1, 2, 8][random.below(4)];
        let start = random.below(KEYS);
        let commits = (0..writers).map(|n| {
            let number = first + round * 16 + n as u64;
            commit(&*store, (start + n) % KEYS, number)
        });
        for result in block_on(join_all(commits)) {
            result?;
        }
    }
    Ok(())
}

async fn commit(store: &dyn RecordStore, key: usize, number: u64) -> strongroom_core::Result<()> {
    say("TRY", key, number);
    let batch: Batch = batch(key, number);
    store.commit(batch).await?;
    say("ACK", key, number);
    Ok(())
}

/// One line, one write(2): the harness sees when it began.
fn say(word: &str, key: usize, number: u64) {
    let line = format!("{word} {key} {number}\n");
    std::io::stdout().lock().write_all(line.as_bytes()).expect("standard output");
}
