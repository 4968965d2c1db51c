//! Random bytes for keys and nonces: a generator for each thread, seeded from
//! the operating system, that a fork can never duplicate.
//!
//! One call to the operating system for the 56 bytes of a seal costs 330 ns,
//! half of what sealing 1 KiB may cost. The generator is *fast key erasure*
//! (D. J. Bernstein, 2017-07-23, <https://blog.cr.yp.to/20170723-random.html>):
//! `ChaCha20` under a 256-bit key makes a block of output whose first 32 bytes
//! replace the key at once, and output is erased as it is given away, so that
//! who reads the state later learns nothing of what was given before. The state
//! lives in guarded memory. It is seeded anew from the operating system after
//! 64 KiB of output, and whenever [`fork_generation`] shows that this is a
//! forked child, whose copy would repeat the parent's keys and nonces.
//!
//! [`fork_generation`]: strongroom_guard::fork_generation

use std::cell::RefCell;

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use strongroom_guard::{SecretBytes, fork_generation};
use zeroize::Zeroize;

use crate::error::{Error, Result};

const KEY_BYTES: usize = 32;
/// The state fills one slot of guarded memory.
const STATE_BYTES: usize = 1024;
/// How much output comes from one seed.
const RESEED_BYTES: usize = 64 << 10;
/// Longer requests go to the operating system, whose cost they amortize.
const LARGEST_BUFFERED: usize = 256;

thread_local! {
    static GENERATOR: RefCell<Option<Generator>> = const { RefCell::new(None) };
}

/// Fills `out` with random bytes that nobody can predict or repeat.
///
/// Fails with `Internal` when the operating system gives no randomness.
pub fn fill(out: &mut [u8]) -> Result<()> {
    if out.len() > LARGEST_BUFFERED {
        return from_system(out);
    }
    // While the thread ends, its generator is gone; the system is still there.
    GENERATOR.try_with(|cell| fill_buffered(cell, out)).unwrap_or_else(|_| from_system(out))
}

/// An array of random bytes; for nonces and identifiers, not for keys, which
/// belong in guarded memory.
pub fn array<const N: usize>() -> Result<[u8; N]> {
    let mut out = [0; N];
    fill(&mut out)?;
    Ok(out)
}

fn fill_buffered(cell: &RefCell<Option<Generator>>, out: &mut [u8]) -> Result<()> {
    let mut slot = cell.borrow_mut();
    if slot.as_ref().is_none_or(Generator::is_spent) {
        *slot = None;
        *slot = Generator::seeded()?;
    }
    match slot.as_mut() {
        Some(generator) => {
            generator.fill(out);
            Ok(())
        }
        None => from_system(out),
    }
}

fn from_system(out: &mut [u8]) -> Result<()> {
    getrandom::fill(out).map_err(|source| {
        Error::internal("the operating system gives no randomness").with_source(source)
    })
}

/// A key and the output that it made: `state[..32]` is the next key,
/// `state[next..]` is output not yet given away.
struct Generator {
    state: SecretBytes,
    next: usize,
    made: usize,
    generation: u64,
}

impl Generator {
    /// `None` when guarded memory has no room for the state.
    fn seeded() -> Result<Option<Self>> {
        let generation = fork_generation();
        let Ok(mut state) = SecretBytes::zeroed(STATE_BYTES) else { return Ok(None) };
        from_system(&mut state.expose_mut()[..KEY_BYTES])?;
        Ok(Some(Self { state, next: STATE_BYTES, made: 0, generation }))
    }

    /// A forked child must not go on with its parent's state.
    fn is_spent(&self) -> bool {
        self.made >= RESEED_BYTES || self.generation != fork_generation()
    }

    fn fill(&mut self, out: &mut [u8]) {
        if STATE_BYTES - self.next < out.len() {
            self.refill();
        }
        let source = &mut self.state.expose_mut()[self.next..self.next + out.len()];
        out.copy_from_slice(source);
        source.zeroize();
        self.next += out.len();
    }

    fn refill(&mut self) {
        let state = self.state.expose_mut();
        let (key, output) = state.split_at_mut(KEY_BYTES);
        output.fill(0);
        // A key makes one block of output and is gone: the nonce may be fixed.
        // `new_from_slices` cannot fail for these lengths.
        if let Ok(mut cipher) = ChaCha20::new_from_slices(key, &[0; 12]) {
            key.fill(0);
            cipher.apply_keystream(state);
        }
        self.next = KEY_BYTES;
        self.made += STATE_BYTES - KEY_BYTES;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::io::{Read, Write, pipe};

    use super::*;

    #[test]
    fn output_never_repeats_across_refills_and_reseeds() {
        let mut seen = HashSet::new();
        for _ in 0..3 * RESEED_BYTES / 16 {
            assert!(seen.insert(array::<16>().expect("randomness")));
        }
    }

    #[test]
    fn output_is_erased_and_the_key_replaced() {
        let mut generator = Generator::seeded().expect("randomness").expect("memory");
        let first_key = generator.state.expose()[..KEY_BYTES].to_vec();
        let mut out = [0; 48];
        generator.fill(&mut out);
        assert!(out != [0; 48]);
        assert!(generator.state.expose()[..KEY_BYTES] != first_key[..]);
        assert!(generator.state.expose()[KEY_BYTES..KEY_BYTES + 48] == [0; 48]);
        assert!(generator.state.expose()[KEY_BYTES + 48..] != [0; STATE_BYTES - KEY_BYTES - 48]);
    }

    #[test]
    fn long_and_odd_requests_are_filled() {
        for len in [0, 1, 255, 256, 257, 100_000] {
            let mut out = vec![0; len];
            fill(&mut out).expect("randomness");
            assert!(len < 16 || out.iter().any(|&byte| byte != 0));
        }
    }

    /// Parent and child draw after the fork, from a generator that both
    /// inherited in the same state.
    #[test]
    fn a_forked_child_draws_other_bytes() {
        let _ = array::<32>().expect("randomness");
        let (mut reader, mut writer) = pipe().expect("a pipe");
        match fork::fork().expect("fork") {
            fork::Fork::Child => {
                let drawn = array::<32>().unwrap_or([0; 32]);
                let written = writer.write_all(&drawn);
                std::process::exit(i32::from(written.is_err()));
            }
            fork::Fork::Parent(_) => {
                drop(writer);
                let parent = array::<32>().expect("randomness");
                let mut child = Vec::new();
                reader.read_to_end(&mut child).expect("the child's bytes");
                assert_eq!(child.len(), 32);
                assert!(child != parent && child != [0; 32], "parent and child drew the same");
            }
        }
    }
}
