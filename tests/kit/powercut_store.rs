//! What the power-cut test's workload writes and its check expects: a function
//! of key and number, so that nothing need be remembered but numbers.

use std::collections::HashMap;
use std::path::Path;

use strongroom_core::{Batch, RecordStore};
use strongroom_local::records::{RecordOptions, RecordStoreKind, open_records};

use crate::block_on;
use crate::powercut::Output;
use crate::random::Random;

/// So many keys, few enough that each is overwritten often: a log-structured
/// store then frees segments and uses them again.
pub const KEYS: usize = 24;

/// Mostly the size of a sealed password; some as long as a file.
fn value(key: usize, number: u64) -> Option<Vec<u8>> {
    let mut random = Random::new(number ^ (key as u64) << 48);
    let bytes = match random.below(16) {
        0 => return None,
        1 => 64 << 10,
        2 | 3 => 9_000 + random.below(20_000),
        _ => 100 + random.below(3_000),
    };
    let mut value = number.to_le_bytes().to_vec();
    value.extend_from_slice(&random.bytes(bytes));
    Some(value)
}

fn names(key: usize) -> [Vec<u8>; 2] {
    [format!("{key}/a").into_bytes(), format!("{key}/b").into_bytes()]
}

/// The commit that makes `number` the state of `key`: two writes, or two
/// deletes.
#[must_use]
pub fn batch(key: usize, number: u64) -> Batch {
    let value = value(key, number);
    names(key).into_iter().fold(Batch::new(), |batch, name| match &value {
        Some(value) => batch.write(name, value.clone()),
        None => batch.delete(name),
    })
}

/// Opens what a power cut left and compares it with what had been printed: of
/// each key, the last acknowledged number or one that had been begun since,
/// whole, in both records; and the store takes new commits.
///
/// # Errors
/// Says what is wrong.
pub fn check(kind: RecordStoreKind, dir: &Path, output: Output<'_>) -> Result<(), String> {
    let mut begun: HashMap<usize, Vec<u64>> = HashMap::new();
    for line in output.lines() {
        let mut words = line.split(' ');
        let mut number = || words.next_back().and_then(|word| word.parse::<u64>().ok());
        let (Some(number), Some(key)) = (number(), number()) else { continue };
        let possible = begun.entry(key as usize).or_default();
        if line.starts_with("ACK") {
            // A key has one writer at a time: what was begun before is gone.
            possible.retain(|begun| *begun >= number);
        } else {
            // Before the first acknowledgement there may be nothing at all.
            if possible.is_empty() {
                possible.push(0);
            }
            possible.push(number);
        }
    }
    let store = open_records(kind, dir, &RecordOptions::default())
        .map_err(|error| format!("it does not open: {error:?}"))?;
    for key in 0..KEYS {
        let possible = begun.remove(&key).unwrap_or_else(|| vec![0]);
        check_key(&*store, key, &possible)?;
    }
    block_on(store.commit(batch(0, 1))).map_err(|error| format!("no new commit: {error:?}"))?;
    check_key(&*store, 0, &[1])
}

fn check_key(store: &dyn RecordStore, key: usize, possible: &[u64]) -> Result<(), String> {
    let expected = |number: u64| if number == 0 { None } else { value(key, number) };
    let [a, b] = names(key).map(|name| {
        let stored = block_on(store.get(&name));
        stored.map(|stored| stored.map(|stored| stored.value))
    });
    let describe = |value: &Option<Vec<u8>>| match value {
        Some(value) => match value.first_chunk() {
            Some(number) => format!("{} ({} bytes)", u64::from_le_bytes(*number), value.len()),
            None => "garbage".to_owned(),
        },
        None => "nothing".to_owned(),
    };
    match (a, b) {
        (Ok(a), Ok(b)) if a == b && possible.iter().any(|number| expected(*number) == a) => Ok(()),
        (Ok(a), Ok(b)) => Err(format!(
            "key {key} holds {} and {}, may be one of {possible:?}",
            describe(&a),
            describe(&b)
        )),
        (Err(error), _) | (_, Err(error)) => Err(format!("key {key} cannot be read: {error:?}")),
    }
}
