//! [`Backoff`]: how long to wait before a request to AWS is tried again, and how
//! often. Pure arithmetic, which [`Retry`](crate::Retry) puts to use.
//!
//! The formulas are those of the AWS SDK for Java 2
//! (`software.amazon.awssdk.core.retry.backoff`); the AWS Architecture Blog says
//! in "Exponential Backoff And Jitter" why the delays are random. They count in
//! whole milliseconds.

use std::time::Duration;

use serde::Deserialize;

use crate::failure::Failure;

/// The base delay, the longest delay and the retries of [`Backoff::SdkDefault`],
/// as in the AWS SDK for Java 2 (`SdkDefaultRetrySetting`, legacy mode).
const DEFAULT_BASE: Duration = Duration::from_millis(100);
const DEFAULT_THROTTLED_BASE: Duration = Duration::from_millis(500);
const DEFAULT_MAX: Duration = Duration::from_secs(20);
const DEFAULT_RETRIES: u32 = 5;

/// A delay doubles with each retry up to this one.
const MAX_DOUBLINGS: u32 = 30;

/// A backoff strategy.
///
/// In a configuration it is a table with a `type` (`fixed-delay`,
/// `equal-jitter`, `full-jitter`, `sdk-default`) and the parameters of that type,
/// every one of them, in milliseconds. A key that the type does not have is an
/// error.
///
/// No value is too small or too large: sums and products end at the largest
/// number, and a base delay that is longer than the longest delay is cut to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Table")]
pub enum Backoff {
    /// The same delay before every retry.
    FixedDelay {
        /// The delay.
        fixed_backoff: Duration,
        /// How often a request is tried again.
        retry_count: u32,
    },
    /// Half of a delay that doubles with each retry, and a random part of the
    /// other half.
    EqualJitter {
        /// What is doubled.
        base_delay: Duration,
        /// The longest delay.
        max_backoff_time: Duration,
        /// How often a request is tried again.
        retry_count: u32,
    },
    /// A random part of a delay that doubles with each retry.
    FullJitter {
        /// What is doubled.
        base_delay: Duration,
        /// What the delay stays below.
        max_backoff_time: Duration,
        /// How often a request is tried again.
        retry_count: u32,
    },
    /// Five retries. Full jitter from 100 ms for an ordinary failure, equal jitter
    /// from 500 ms for a throttled one, up to 20 s.
    #[default]
    SdkDefault,
}

impl Backoff {
    /// How often a request is tried again: one attempt less than there may be.
    pub fn retries(&self) -> u32 {
        match *self {
            Self::FixedDelay { retry_count, .. }
            | Self::EqualJitter { retry_count, .. }
            | Self::FullJitter { retry_count, .. } => retry_count,
            Self::SdkDefault => DEFAULT_RETRIES,
        }
    }

    /// How long to wait before the next attempt, after `failure` and
    /// `retries_so_far` retries: 0 before the first one. `random` is any number,
    /// all equally likely. Only [`Backoff::SdkDefault`] asks which failure it was.
    pub fn delay(&self, failure: Failure, retries_so_far: u32, random: u64) -> Duration {
        let doubled = |base, max| doubled(base, max, retries_so_far);
        match (self, failure) {
            (Self::FixedDelay { fixed_backoff, .. }, _) => *fixed_backoff,
            (Self::EqualJitter { base_delay, max_backoff_time, .. }, _) => {
                equal_jitter(doubled(*base_delay, *max_backoff_time), random)
            }
            (Self::FullJitter { base_delay, max_backoff_time, .. }, _) => {
                full_jitter(doubled(*base_delay, *max_backoff_time), random)
            }
            (Self::SdkDefault, Failure::Ordinary) => {
                full_jitter(doubled(DEFAULT_BASE, DEFAULT_MAX), random)
            }
            (Self::SdkDefault, Failure::Throttled) => {
                equal_jitter(doubled(DEFAULT_THROTTLED_BASE, DEFAULT_MAX), random)
            }
        }
    }

    /// The longest that a server may ask to wait: as long as the longest delay,
    /// 20 s for a strategy that has none.
    pub fn max_wait(&self) -> Duration {
        match *self {
            Self::EqualJitter { max_backoff_time, .. }
            | Self::FullJitter { max_backoff_time, .. } => max_backoff_time,
            Self::FixedDelay { .. } | Self::SdkDefault => DEFAULT_MAX,
        }
    }
}

/// `base` doubled with each retry, at most `max`, in milliseconds.
fn doubled(base: Duration, max: Duration, retries_so_far: u32) -> u64 {
    let factor = 1u64 << retries_so_far.min(MAX_DOUBLINGS);
    millis(base).saturating_mul(factor).min(millis(max))
}

/// From one half of `ceiling` to twice that half.
fn equal_jitter(ceiling: u64, random: u64) -> Duration {
    let half = ceiling / 2;
    Duration::from_millis(half + below(half + 1, random))
}

/// From 0 to less than `ceiling`; 0 if that is 0.
fn full_jitter(ceiling: u64, random: u64) -> Duration {
    Duration::from_millis(below(ceiling, random))
}

/// One of the numbers below `count`, all as likely as those of `random` allow.
fn below(count: u64, random: u64) -> u64 {
    ((u128::from(count) * u128::from(random)) >> 64) as u64
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A [`Backoff`] as a configuration has it, in milliseconds.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
enum Table {
    FixedDelay { fixed_backoff: u64, retry_count: u32 },
    EqualJitter { base_delay: u64, max_backoff_time: u64, retry_count: u32 },
    FullJitter { base_delay: u64, max_backoff_time: u64, retry_count: u32 },
    // Braces, so that serde refuses further keys here too.
    SdkDefault {},
}

impl From<Table> for Backoff {
    fn from(table: Table) -> Self {
        let ms = Duration::from_millis;
        match table {
            Table::FixedDelay { fixed_backoff, retry_count } => {
                Self::FixedDelay { fixed_backoff: ms(fixed_backoff), retry_count }
            }
            Table::EqualJitter { base_delay, max_backoff_time, retry_count } => Self::EqualJitter {
                base_delay: ms(base_delay),
                max_backoff_time: ms(max_backoff_time),
                retry_count,
            },
            Table::FullJitter { base_delay, max_backoff_time, retry_count } => Self::FullJitter {
                base_delay: ms(base_delay),
                max_backoff_time: ms(max_backoff_time),
                retry_count,
            },
            Table::SdkDefault {} => Self::SdkDefault,
        }
    }
}

#[cfg(test)]
mod tests;
