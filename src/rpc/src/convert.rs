//! Times, durations, kinds and metadata, between the engine's types and the wire's.

use std::time::Duration;

use strongroom_core::{Error, Kind, Metadata, Result, Timestamp};

use crate::v1;

/// A time on the wire.
#[must_use]
pub fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    let seconds = i64::try_from(time.0 / 1_000).unwrap_or(i64::MAX);
    prost_types::Timestamp { seconds, nanos: (time.0 % 1_000) as i32 * 1_000_000 }
}

/// A time from the wire; what no clock shows is clamped.
#[must_use]
pub fn from_timestamp(time: prost_types::Timestamp) -> Timestamp {
    let millis = u64::try_from(time.nanos).unwrap_or(0) / 1_000_000;
    Timestamp(u64::try_from(time.seconds).unwrap_or(0).saturating_mul(1_000).saturating_add(millis))
}

/// A duration on the wire.
#[must_use]
pub fn duration(duration: Duration) -> prost_types::Duration {
    let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    prost_types::Duration { seconds, nanos: duration.subsec_nanos().cast_signed() }
}

/// A duration from the wire; a negative one is zero.
#[must_use]
pub fn from_duration(duration: prost_types::Duration) -> Duration {
    let nanos = u32::try_from(duration.nanos).unwrap_or(0).min(999_999_999);
    Duration::new(u64::try_from(duration.seconds).unwrap_or(0), nanos)
}

/// A kind on the wire.
#[must_use]
pub fn kind_to_wire(kind: Kind) -> i32 {
    // The numbers are those of the record format, in both; a test compares them.
    i32::from(kind as u8)
}

/// A kind from the wire; unspecified is `default`.
///
/// # Errors
/// `Unsupported` for a kind that this build does not know.
pub fn kind_from_wire(kind: i32, default: Kind) -> Result<Kind> {
    match v1::Kind::try_from(kind) {
        Ok(v1::Kind::Unspecified) => Ok(default),
        Ok(v1::Kind::Text) => Ok(Kind::Text),
        Ok(v1::Kind::File) => Ok(Kind::File),
        Ok(v1::Kind::SshKey) => Ok(Kind::SshKey),
        Ok(v1::Kind::Login) => Ok(Kind::Login),
        Ok(v1::Kind::Certificate) => Ok(Kind::Certificate),
        Ok(v1::Kind::Reference) => Ok(Kind::Reference),
        Err(_) => Err(Error::unsupported(format!("there is no kind number {kind}"))),
    }
}

/// Metadata on the wire.
#[must_use]
pub fn metadata_to_wire(metadata: &Metadata) -> v1::Metadata {
    let tags = metadata.tags().clone().into_iter().collect();
    v1::Metadata { description: metadata.description().to_owned(), tags }
}

/// Metadata from the wire.
///
/// # Errors
/// As [`Metadata::new`].
pub fn metadata_from_wire(metadata: v1::Metadata) -> Result<Metadata> {
    Metadata::new(metadata.description, metadata.tags.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_durations_come_back() {
        for millis in [0, 1, 999, 1_000, 1_700_000_000_007] {
            assert_eq!(from_timestamp(timestamp(Timestamp(millis))), Timestamp(millis));
            let time = Duration::from_millis(millis);
            assert_eq!(from_duration(duration(time)), time);
        }
    }

    #[test]
    fn what_no_clock_shows_is_clamped() {
        let wild = prost_types::Timestamp { seconds: -5, nanos: -7 };
        assert_eq!(from_timestamp(wild), Timestamp(0));
        let wild = prost_types::Timestamp { seconds: i64::MAX, nanos: i32::MAX };
        assert_eq!(from_timestamp(wild), Timestamp(u64::MAX));
        let wild = prost_types::Duration { seconds: i64::MIN, nanos: i32::MAX };
        assert!(from_duration(wild) < Duration::from_secs(1));
        assert_eq!(duration(Duration::MAX).seconds, i64::MAX);
    }

    #[test]
    fn kinds_come_back_and_unknown_ones_are_refused() {
        for kind in Kind::ALL {
            assert_eq!(kind_from_wire(kind_to_wire(kind), Kind::Text).ok(), Some(kind));
        }
        assert_eq!(kind_from_wire(0, Kind::File).ok(), Some(Kind::File));
        assert!(kind_from_wire(99, Kind::Text).is_err());
    }
}
