//! Times as Vault writes them.

use strongroom_core::{Result, Timestamp};

use crate::message::nonsense;

/// What `2018-03-22T02:24:06.945319214Z` says (RFC 3339 §5.6), to the millisecond. Vault
/// writes UTC.
pub(super) fn timestamp(text: &str) -> Result<Timestamp> {
    parse(text).ok_or_else(|| nonsense("it has a time that is none"))
}

fn parse(text: &str) -> Option<Timestamp> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let [year, month, day] = numbers(date, '-')?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let [hour, minute, second] = numbers(time, ':')?;
    let is_good = (1970..10_000).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !is_good || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let millis: u64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    let seconds = ((days_since_1970(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    Some(Timestamp(seconds * 1000 + millis))
}

fn numbers(text: &str, separator: char) -> Option<[u64; 3]> {
    let mut parts = text.split(separator);
    let mut next = || parts.next().filter(|part| part.len() >= 2)?.parse().ok();
    let found = [next()?, next()?, next()?];
    parts.next().is_none().then_some(found)
}

/// In the Gregorian calendar. A year begins in March here, so that the day that some
/// years have more is its last.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let of_years = year * 365 + year / 4 - year / 100 + year / 400;
    // Days from 0000-03-01 to 1970-01-01.
    of_years + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_to_the_millisecond() {
        for (text, millis) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T00:00:00.001999999Z", 1),
            ("2000-02-29T23:59:59.9Z", 951_868_799_900),
            ("2000-03-01T00:00:00Z", 951_868_800_000),
            ("2018-03-22T02:24:06.945319214Z", 1_521_685_446_945),
            ("2100-03-01T00:00:00Z", 4_107_542_400_000),
        ] {
            assert_eq!(parse(text), Some(Timestamp(millis)), "{text}");
        }
        for bad in [
            "",
            "2018-03-22",
            "2018-03-22T02:24:06",
            "2018-13-22T02:24:06Z",
            "2018-03-22T24:24:06Z",
            "2018-03-22T02:24:06+01:00",
            "2018-03-22T02:24:06.xZ",
            "1969-12-31T23:59:59Z",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
