use proptest::prelude::*;

use super::*;

fn equal(base: u64, max: u64) -> Backoff {
    let (base_delay, max_backoff_time) = (Duration::from_millis(base), Duration::from_millis(max));
    Backoff::EqualJitter { base_delay, max_backoff_time, retry_count: 3 }
}

fn full(base: u64, max: u64) -> Backoff {
    let (base_delay, max_backoff_time) = (Duration::from_millis(base), Duration::from_millis(max));
    Backoff::FullJitter { base_delay, max_backoff_time, retry_count: 3 }
}

/// The ceiling again, in numbers that have room for it.
fn ceiling(base: u64, max: u64, retries: u32) -> u64 {
    (u128::from(base) * 2u128.pow(retries.min(30))).min(u128::from(max)).try_into().unwrap()
}

/// The smallest random number that leads to the `nth` of `count` values.
fn random_for(nth: u64, count: u64) -> u64 {
    (u128::from(nth) << 64).div_ceil(u128::from(count)).try_into().unwrap()
}

fn failure() -> impl Strategy<Value = Failure> {
    prop_oneof![Just(Failure::Ordinary), Just(Failure::Throttled)]
}

/// Milliseconds of every size, and the ends.
fn size() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(1),
        Just(u64::MAX),
        1u64..100_000,
        (any::<u64>(), 0u32..64).prop_map(|(number, shift)| number >> shift),
    ]
}

fn retries() -> impl Strategy<Value = u32> {
    prop_oneof![0u32..40, Just(u32::MAX)]
}

fn ms(delay: Duration) -> u64 {
    delay.as_millis().try_into().unwrap()
}

proptest! {
    #[test]
    fn a_fixed_delay_is_fixed(
        delay in size(), failure in failure(), retries in retries(), random: u64,
    ) {
        let fixed_backoff = Duration::from_millis(delay);
        let backoff = Backoff::FixedDelay { fixed_backoff, retry_count: 1 };
        prop_assert_eq!(backoff.delay(failure, retries, random), fixed_backoff);
    }

    #[test]
    fn equal_jitter_keeps_half(
        base in size(), max in size(), failure in failure(), retries in retries(), random: u64,
    ) {
        let half = ceiling(base, max, retries) / 2;
        let delay = ms(equal(base, max).delay(failure, retries, random));
        prop_assert!((half..=half * 2).contains(&delay), "{delay} of {half}");
    }

    #[test]
    fn equal_jitter_gives_every_value_of_the_other_half(
        base in size(), max in size(), retries in retries(), at: u64,
    ) {
        let half = ceiling(base, max, retries) / 2;
        let part = at % (half + 1);
        let random = random_for(part, half + 1);
        let delay = equal(base, max).delay(Failure::Ordinary, retries, random);
        prop_assert_eq!(ms(delay), half + part);
    }

    #[test]
    fn full_jitter_stays_below_the_ceiling(
        base in size(), max in size(), failure in failure(), retries in retries(), random: u64,
    ) {
        let ceiling = ceiling(base, max, retries);
        let delay = ms(full(base, max).delay(failure, retries, random));
        prop_assert!(delay < ceiling || (delay, ceiling) == (0, 0), "{delay} of {ceiling}");
    }

    #[test]
    fn full_jitter_gives_every_value_below_the_ceiling(
        base in size(), max in size(), retries in retries(), at: u64,
    ) {
        let ceiling = ceiling(base, max, retries);
        prop_assume!(ceiling > 0);
        let delay = at % ceiling;
        let random = random_for(delay, ceiling);
        prop_assert_eq!(ms(full(base, max).delay(Failure::Throttled, retries, random)), delay);
    }

    #[test]
    fn the_default_goes_by_the_failure(retries in retries(), random: u64) {
        let default = |failure| Backoff::SdkDefault.delay(failure, retries, random);
        let (ordinary, throttled) = (full(100, 20_000), equal(500, 20_000));
        prop_assert_eq!(
            default(Failure::Ordinary), ordinary.delay(Failure::Ordinary, retries, random));
        prop_assert_eq!(
            default(Failure::Throttled), throttled.delay(Failure::Throttled, retries, random));
    }

    #[test]
    fn durations_that_milliseconds_cannot_count_are_cut(retries in retries(), random: u64) {
        let (base_delay, max_backoff_time) = (Duration::MAX, Duration::MAX);
        let longest = Backoff::EqualJitter { base_delay, max_backoff_time, retry_count: u32::MAX };
        prop_assert_eq!(
            longest.delay(Failure::Ordinary, retries, random),
            equal(u64::MAX, u64::MAX).delay(Failure::Ordinary, retries, random));
    }
}

#[test]
fn delays_double_up_to_the_maximum() {
    let delays = |backoff: Backoff, random| {
        (0..5).map(|n| ms(backoff.delay(Failure::Ordinary, n, random))).collect::<Vec<_>>()
    };
    assert_eq!(delays(equal(100, 1000), 0), [50, 100, 200, 400, 500]);
    assert_eq!(delays(equal(100, 1000), u64::MAX), [100, 200, 400, 800, 1000]);
    assert_eq!(delays(equal(101, 101), u64::MAX), [100; 5]);
    assert_eq!(delays(full(100, 1000), 0), [0; 5]);
    assert_eq!(delays(full(100, 1000), u64::MAX), [99, 199, 399, 799, 999]);
    // What is doubled is doubled 30 times and no more.
    let most = |n| ms(full(1, u64::MAX).delay(Failure::Ordinary, n, u64::MAX));
    assert_eq!((most(30), most(31)), ((1 << 30) - 1, (1 << 30) - 1));
}

#[test]
fn the_default_has_the_figures_of_the_sdk() {
    let delays =
        |failure, random| [0, 1, 8, 50].map(|n| ms(Backoff::SdkDefault.delay(failure, n, random)));
    assert_eq!(delays(Failure::Ordinary, 0), [0; 4]);
    assert_eq!(delays(Failure::Ordinary, u64::MAX), [99, 199, 19_999, 19_999]);
    assert_eq!(delays(Failure::Throttled, 0), [250, 500, 10_000, 10_000]);
    assert_eq!(delays(Failure::Throttled, u64::MAX), [500, 1000, 20_000, 20_000]);
    assert_eq!(Backoff::SdkDefault.retries(), 5);
    assert_eq!(Backoff::default(), Backoff::SdkDefault);
}

#[test]
fn a_server_may_ask_for_the_longest_delay() {
    assert_eq!(equal(1, 30).max_wait(), Duration::from_millis(30));
    assert_eq!(full(1, 40).max_wait(), Duration::from_millis(40));
    assert_eq!(Backoff::SdkDefault.max_wait(), Duration::from_secs(20));
    let fixed = Backoff::FixedDelay { fixed_backoff: Duration::from_mins(1), retry_count: 0 };
    assert_eq!(fixed.max_wait(), Duration::from_secs(20));
}

#[test]
fn a_configuration_is_read_whole_or_refused() {
    let read = |json: &str| serde_json::from_str::<Backoff>(json);
    let fixed = r#"{"type":"fixed-delay","fixed_backoff":250,"retry_count":2}"#;
    let fixed_backoff = Duration::from_millis(250);
    assert_eq!(read(fixed).unwrap(), Backoff::FixedDelay { fixed_backoff, retry_count: 2 });
    let parameters = r#""base_delay":100,"max_backoff_time":18446744073709551615,"retry_count":3"#;
    let of = |kind: &str, more: &str| read(&format!(r#"{{"type":"{kind}",{parameters}{more}}}"#));
    assert_eq!(of("equal-jitter", "").unwrap(), equal(100, u64::MAX));
    assert_eq!(of("full-jitter", "").unwrap(), full(100, u64::MAX));
    assert_eq!(read(r#"{"type":"sdk-default"}"#).unwrap(), Backoff::SdkDefault);

    assert!(of("full-jitter", r#","fixed_backoff":1"#).is_err());
    assert!(of("sdk-default", "").is_err());
    assert!(of("fixed-delay", "").is_err());
    assert!(of("no-jitter", "").is_err());
    for json in [
        r#"{"type":"fixed-delay","fixed_backoff":250}"#,
        r#"{"type":"fixed-delay","fixed_backoff":-1,"retry_count":2}"#,
        r#"{"type":"fixed-delay","fixed_backoff":250,"retry_count":4294967296}"#,
        r#"{"type":"full-jitter","base_delay":"1s","max_backoff_time":1,"retry_count":1}"#,
        r#"{"retry_count":1}"#,
        "{}",
    ] {
        assert!(read(json).is_err(), "{json}");
    }
}
