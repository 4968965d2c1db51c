//! Searching another process's memory for what should not be there.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;

use memchr::memmem::Finder;

/// How many bytes are looked for at once. Eight random bytes do not stand in a
/// process by chance, and any longer fragment of a value holds such a word.
const WORD: usize = 8;
/// A large value is looked for by so many of its words.
const MAX_WORDS: usize = 32;

/// One piece of a value that was found.
#[derive(Clone, Debug)]
pub struct Hit {
    /// Where in the value the piece is from.
    pub offset: usize,
    /// Where in the process it stands.
    pub address: u64,
    /// What the mapping is, as `/proc/PID/maps` has it.
    pub mapping: String,
    /// Whether the mapping is locked and kept out of core dumps.
    pub guarded: bool,
}

/// One readable mapping.
struct Mapping {
    start: u64,
    end: u64,
    line: String,
    guarded: bool,
}

/// Searches every readable mapping of the process `pid` for words of `value`.
///
/// # Errors
/// When the process's memory cannot be read at all.
pub fn find(pid: u32, value: &[u8]) -> io::Result<Vec<Hit>> {
    let words: Vec<_> = value.chunks_exact(WORD).collect();
    let step = words.len().div_ceil(MAX_WORDS).max(1);
    let chosen: Vec<_> = words.into_iter().step_by(step).collect();
    let mut hits = find_all(pid, &chosen)?;
    for hit in &mut hits {
        hit.offset *= step * WORD;
    }
    Ok(hits)
}

/// The same for each of `words`; a hit's offset is the number of its word.
///
/// # Errors
/// When the process's memory cannot be read at all.
pub fn find_all(pid: u32, words: &[&[u8]]) -> io::Result<Vec<Hit>> {
    let finders: Vec<_> = words.iter().map(Finder::new).collect();
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let mut hits = Vec::new();
    let mut searched = 0;
    for mapping in mappings(pid)? {
        let Some(bytes) = read(&memory, &mapping) else { continue };
        searched += bytes.len();
        for (number, finder) in finders.iter().enumerate() {
            hits.extend(finder.find_iter(&bytes).map(|at| Hit {
                offset: number,
                address: mapping.start + at as u64,
                mapping: mapping.line.clone(),
                guarded: mapping.guarded,
            }));
        }
    }
    if searched == 0 {
        return Err(io::Error::other("no mapping of the process could be read"));
    }
    Ok(hits)
}

fn read(memory: &File, mapping: &Mapping) -> Option<Vec<u8>> {
    let bytes = usize::try_from(mapping.end - mapping.start).ok()?;
    let mut buffer = vec![0; bytes];
    // The kernel's own pages ([vvar]) and secret memory refuse; what can be
    // read is read to the end.
    let mut done = 0;
    while done < bytes {
        match memory.read_at(&mut buffer[done..], mapping.start + done as u64) {
            Ok(0) | Err(_) => break,
            Ok(read) => done += read,
        }
    }
    buffer.truncate(done);
    (done > 0).then_some(buffer)
}

fn mappings(pid: u32) -> io::Result<Vec<Mapping>> {
    let mut found = Vec::<Mapping>::new();
    for line in fs::read_to_string(format!("/proc/{pid}/smaps"))?.lines() {
        if let Some(flags) = line.strip_prefix("VmFlags:") {
            let has = |flag| flags.split_whitespace().any(|other| other == flag);
            if let Some(mapping) = found.last_mut() {
                mapping.guarded = has("lo") && has("dd");
            }
        } else if let Some((start, end)) = range(line) {
            found.push(Mapping { start, end, line: line.to_owned(), guarded: false });
        }
    }
    Ok(found
        .into_iter()
        .filter(|m| m.line.split(' ').nth(1).is_some_and(|p| p.contains('r')))
        .collect())
}

fn range(line: &str) -> Option<(u64, u64)> {
    let (start, end) = line.split_once(' ')?.0.split_once('-')?;
    Some((u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// A search that finds nothing anywhere would prove nothing.
    #[test]
    fn finds_a_value_and_a_fragment_of_it() {
        let value = Random::fresh().0.bytes(64);
        let copy: Vec<u8> = [b"###", &value[16..40]].concat();
        let hits = find(std::process::id(), &value).expect("searched");
        assert!(hits.iter().any(|hit| hit.offset == 0 && !hit.guarded));
        let copied = |hit: &Hit| hit.address == copy[3..].as_ptr() as u64;
        assert!(hits.iter().any(copied), "the fragment was not found");
    }
}
