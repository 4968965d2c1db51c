//! Where in a text a pattern may begin. Almost every place is ruled out by one
//! look at a table of bits, and most are not even looked at.

use zeroize::Zeroizing;

/// Every how many bytes a text is looked at, at most: beyond it there are more
/// grams to remember, and little to gain.
const MAX_STRIDE: usize = 8;
/// Bits of the table for each gram in it: 1 of 32 grams that are in no pattern
/// looks as if it were.
const BITS_PER_GRAM: usize = 32;
/// The fewest bits of a table, 16 KiB, which is at the processor anyhow; and the
/// most, 1 MiB, which is still near.
const MIN_BITS: usize = 1 << 17;
const MAX_BITS: usize = 1 << 23;
/// 2^64 divided by the golden ratio: spreads a gram over the upper bits (Knuth,
/// The Art of Computer Programming 6.4).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Finds places by grams of `N` bytes, 4 or 8.
///
/// Where the shortest pattern has `N + stride - 1` bytes, each occurrence of a
/// pattern has a whole gram at a multiple of `stride`, among its first `stride`
/// grams. Only those places of the text are looked at.
pub(super) struct Filter<const N: usize> {
    stride: usize,
    /// The first `stride` grams of each pattern.
    near: Bits,
    /// The first gram of each pattern.
    first: Bits,
}

impl<const N: usize> Filter<N> {
    /// For patterns of at least `N` bytes.
    pub(super) fn new<'a>(patterns: impl Iterator<Item = &'a [u8]> + Clone) -> Option<Self> {
        let shortest = patterns.clone().map(<[u8]>::len).min()?;
        let stride = (shortest + 1).saturating_sub(N).clamp(1, MAX_STRIDE);
        let count = patterns.clone().count();
        let (mut near, mut first) = (Bits::new(count * stride), Bits::new(count));
        for pattern in patterns {
            for (at, gram) in pattern.windows(N).take(stride).enumerate() {
                let gram = gram_at::<N>(gram, 0).unwrap_or_default();
                near.set(gram);
                if at == 0 {
                    first.set(gram);
                }
            }
        }
        Some(Self { stride, near, first })
    }

    /// Gives each place of `text` where a pattern may begin that is wholly in it,
    /// in order.
    #[inline]
    pub(super) fn each(&self, text: &[u8], mut found: impl FnMut(usize)) {
        let mut at = 0;
        while let Some(gram) = gram_at::<N>(text, at) {
            if self.near.has(gram) {
                let from = at.saturating_sub(self.stride - 1);
                (from..=at).filter(|at| self.may_begin(text, *at)).for_each(&mut found);
            }
            at += self.stride;
        }
    }

    /// Whether a pattern may begin at `at`, where the text has `N` more bytes.
    #[inline]
    pub(super) fn may_begin(&self, text: &[u8], at: usize) -> bool {
        gram_at::<N>(text, at).is_some_and(|gram| self.first.has(gram))
    }
}

#[inline]
fn gram_at<const N: usize>(text: &[u8], at: usize) -> Option<u64> {
    let gram = text.get(at..)?.first_chunk::<N>()?;
    let mut bytes = [0; 8];
    bytes[..N].copy_from_slice(gram);
    Some(u64::from_le_bytes(bytes))
}

/// A set of grams that may also seem to have others. Wiped when dropped.
struct Bits {
    words: Zeroizing<Vec<u64>>,
    shift: u32,
}

impl Bits {
    fn new(grams: usize) -> Self {
        let bits = (grams * BITS_PER_GRAM).next_power_of_two().clamp(MIN_BITS, MAX_BITS);
        let words = Zeroizing::new(vec![0; bits / 64]);
        Self { words, shift: 64 - bits.trailing_zeros() }
    }

    #[inline]
    fn place(&self, gram: u64) -> (usize, u64) {
        let bit = gram.wrapping_mul(SPREAD) >> self.shift;
        ((bit / 64) as usize, 1 << (bit % 64))
    }

    fn set(&mut self, gram: u64) {
        let (word, bit) = self.place(gram);
        self.words[word] |= bit;
    }

    #[inline]
    fn has(&self, gram: u64) -> bool {
        let (word, bit) = self.place(gram);
        self.words[word] & bit != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_pattern_wherever_it_begins() {
        let patterns = [b"0123456789ab".as_slice(), b"xyzXYZxyzXYZxyz"];
        let filter = Filter::<4>::new(patterns.into_iter()).expect("patterns");
        assert_eq!(filter.stride, 8);
        for pattern in patterns {
            for before in 0..20 {
                let text = [&vec![b'.'; before], pattern].concat();
                let mut found = Vec::new();
                filter.each(&text, |at| found.push(at));
                assert!(found.contains(&before));
            }
        }
        assert!(Filter::<8>::new(std::iter::empty()).is_none());
    }

    /// The bits tell of each value which grams it may begin with: whatever holds them
    /// is wiped when it is dropped, which its type says.
    #[test]
    fn what_is_known_of_the_patterns_is_wiped() {
        fn is_wiped(_: &impl zeroize::ZeroizeOnDrop) {}
        let patterns = [b"0123456789ab".as_slice()];
        let Filter { near, first, .. } = Filter::<4>::new(patterns.into_iter()).expect("patterns");
        for bits in [near, first] {
            let Bits { words, shift: _ } = bits;
            assert!(words.iter().any(|word| *word != 0));
            is_wiped(&words);
        }
    }

    #[test]
    fn passes_over_almost_everything_else() {
        let patterns: Vec<String> = (0..1000).map(|n| format!("{n:x<20}")).collect();
        let filter = Filter::<8>::new(patterns.iter().map(String::as_bytes)).expect("patterns");
        let text: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        let mut found = 0;
        filter.each(&text, |_| found += 1);
        assert!(found < 1000, "{found} of 400,000");
    }
}
