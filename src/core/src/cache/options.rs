//! How a cache behaves.

use std::time::Duration;

use crate::error::{Error, Result};

/// How a [`CachedStore`](super::CachedStore) behaves.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CacheOptions {
    /// How long an answer is given without asking the backend again. A change
    /// made elsewhere is seen after this time at the latest. Default 5 minutes.
    pub ttl: Duration,
    /// The part of `ttl` by which an entry may expire early, at random, so that
    /// entries that were loaded together do not expire together. From 0 up to,
    /// not including, 1. Default 0.1.
    pub jitter: f64,
    /// The part of an entry's life after which a hit refreshes it in the
    /// background. Between 0 and 1, neither included. Default 0.8.
    pub refresh_ahead: Option<f64>,
    /// The most that all entries together may hold, in bytes: values, names and
    /// 256 bytes each. A value that alone is more is not kept. Default 16 MiB.
    pub max_bytes: usize,
    /// The most entries. Default 10000.
    pub max_entries: usize,
    /// How long past its expiry an entry may still be given, marked as stale,
    /// while the backend does not answer. Default `None`: never.
    pub max_stale: Option<Duration>,
    /// How long a reader who could be given a stale answer waits for the backend
    /// first. Default 20 ms.
    pub stale_wait: Duration,
    /// How long `NotFound` is remembered; 0 for not at all. Default 1 second.
    pub negative_ttl: Duration,
    /// How long a backend that failed is left alone where an entry can be given
    /// meanwhile. Default 5 seconds.
    pub retry_after: Duration,
    /// After this time a call to the backend counts as failed: a connection that
    /// died silently must not catch every later reader. Default 30 seconds.
    pub flight_timeout: Duration,
    /// The most calls that go on in the background at one time. Default 16.
    pub max_background: usize,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self {
            ttl: Duration::from_mins(5),
            jitter: 0.1,
            refresh_ahead: Some(0.8),
            max_bytes: 16 << 20,
            max_entries: 10_000,
            max_stale: None,
            stale_wait: Duration::from_millis(20),
            negative_ttl: Duration::from_secs(1),
            retry_after: Duration::from_secs(5),
            flight_timeout: Duration::from_secs(30),
            max_background: 16,
        }
    }
}

impl CacheOptions {
    /// Times are added up; this bounds them far from any overflow.
    const LONGEST: Duration = Duration::from_hours(10 * 365 * 24);

    pub(super) fn validate(&self) -> Result<()> {
        let durations = [
            ("ttl", Some(self.ttl)),
            ("max_stale", self.max_stale),
            ("stale_wait", Some(self.stale_wait)),
            ("negative_ttl", Some(self.negative_ttl)),
            ("retry_after", Some(self.retry_after)),
            ("flight_timeout", Some(self.flight_timeout)),
        ];
        let refuse = |what: String| Err(Error::configuration(format!("cache: {what}")));
        for (name, duration) in durations {
            if duration.is_some_and(|duration| duration > Self::LONGEST) {
                return refuse(format!("`{name}` is longer than ten years"));
            }
        }
        for (name, zero) in [
            ("ttl", self.ttl.is_zero()),
            ("flight_timeout", self.flight_timeout.is_zero()),
            ("max_bytes", self.max_bytes == 0),
            ("max_entries", self.max_entries == 0),
        ] {
            if zero {
                return refuse(format!("`{name}` is 0; leave the cache out instead"));
            }
        }
        if !(0.0..1.0).contains(&self.jitter) {
            return refuse("`jitter` is from 0 up to, not including, 1".into());
        }
        if self.refresh_ahead.is_some_and(|part| !(part > 0.0 && part < 1.0)) {
            return refuse("`refresh_ahead` is between 0 and 1, neither included".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    type Spoil = fn(&mut CacheOptions);

    #[test]
    fn nonsense_is_refused_by_name() {
        CacheOptions::default().validate().expect("the defaults are good");
        let bad: &[(&str, Spoil)] = &[
            ("ttl", |o| o.ttl = Duration::ZERO),
            ("ttl", |o| o.ttl = Duration::MAX),
            ("flight_timeout", |o| o.flight_timeout = Duration::ZERO),
            ("max_stale", |o| o.max_stale = Some(Duration::MAX)),
            ("max_bytes", |o| o.max_bytes = 0),
            ("max_entries", |o| o.max_entries = 0),
            ("jitter", |o| o.jitter = 1.0),
            ("jitter", |o| o.jitter = -0.1),
            ("jitter", |o| o.jitter = f64::NAN),
            ("refresh_ahead", |o| o.refresh_ahead = Some(0.0)),
            ("refresh_ahead", |o| o.refresh_ahead = Some(1.0)),
            ("refresh_ahead", |o| o.refresh_ahead = Some(f64::NAN)),
        ];
        for (name, spoil) in bad {
            let mut options = CacheOptions::default();
            spoil(&mut options);
            let error = options.validate().expect_err(name);
            assert_eq!(error.kind(), ErrorKind::Configuration);
            assert!(error.message().contains(name), "{error}");
        }
    }
}
