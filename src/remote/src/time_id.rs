//! [`TimeId`]: ids of our own making, for stores that have none.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use strongroom_core::{Result, Timestamp, random};

/// The digits of an id.
const DIGITS: usize = 32;

/// A UUID of version 7 (RFC 9562 §5.7), written as 32 hexadecimal digits: the time of
/// the writer's clock in milliseconds, a counter within the millisecond, and 62 random
/// bits. Ids of one process are in the order of their making.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeId {
    head: u64,
    tail: u64,
}

impl TimeId {
    /// An id that nothing has had.
    ///
    /// # Errors
    /// `Internal` if there is no randomness.
    pub fn new() -> Result<Self> {
        let ticks = next_ticks();
        let head = (ticks >> 12) << 16 | 0x7000 | (ticks & 0xfff);
        let tail = u64::from_be_bytes(random::array()?) >> 2 | 1 << 63;
        Ok(Self { head, tail })
    }

    /// The id that is written so; `None` if that is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() != DIGITS || !text.bytes().all(digit) || text.as_bytes()[12] != b'7' {
            return None;
        }
        let (head, tail) = text.split_at(DIGITS / 2);
        let part = |digits| u64::from_str_radix(digits, 16).ok();
        Some(Self { head: part(head)?, tail: part(tail)? })
    }

    /// When it was made, as a number that grows: milliseconds, and behind them 12 bits
    /// that count.
    #[must_use]
    pub fn ticks(self) -> u64 {
        (self.head >> 16) << 12 | (self.head & 0xfff)
    }

    /// When it was made.
    #[must_use]
    pub fn created(self) -> Timestamp {
        Timestamp(self.head >> 16)
    }
}

impl fmt::Display for TimeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.head, self.tail)
    }
}

/// Now, and later than whatever this process was told before.
fn next_ticks() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = (now.as_millis() as u64) << 12;
    let next = |last: u64| now.max(last + 1);
    let before = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)));
    next(before.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_its_time_and_is_read_as_it_is_written() {
        let before = next_ticks();
        let id = TimeId::new().expect("randomness");
        assert!(id.ticks() > before && id.ticks() < next_ticks(), "{id}");
        assert_eq!(id.created().0, id.ticks() >> 12);
        assert_eq!(TimeId::parse(&id.to_string()), Some(id));
    }

    #[test]
    fn ids_are_in_the_order_of_their_making() {
        let made: Vec<_> = (0..10_000).map(|_| TimeId::new().expect("made")).collect();
        assert!(made.windows(2).all(|pair| pair[0].ticks() < pair[1].ticks()));
    }

    #[test]
    fn nothing_else_is_an_id() {
        for text in [
            "",
            "0190b8a3-0000-7000-8000-000000000000",
            "0190b8a3000040008000000000000000",
            "0190B8A3000070008000000000000000",
            "x190b8a3000070008000000000000000",
            "0190b8a30000700080000000000000001",
            "+190b8a3000070008000000000000000",
        ] {
            assert_eq!(TimeId::parse(text), None, "{text}");
        }
    }
}
