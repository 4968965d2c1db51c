//! Clients of the SDK with a backoff, against a server that fails: what is tried
//! again, how often, and after which delays. Nobody sleeps: the delays that the
//! SDK asks for are written down, and are over at once.

#![allow(clippy::unwrap_used, reason = "a test's helpers panic as the test does")]

mod client;
mod server;

use std::sync::Mutex;

use aws_sdk_kms::config::timeout::TimeoutConfig;
use strongroom_aws::{Backoff, Retry};

use crate::client::{Asked, call, config, fixed, json, kms, ms, ok, response};
use crate::server::{Reply, Server, nobody};

const ORDINARY: [&str; 10] = [
    "TransactionInProgressException",
    "RequestTimeout",
    "RequestTimeoutException",
    "IDPCommunicationError",
    "RequestTimeTooSkewed",
    "RequestExpired",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "AuthFailure",
    "RequestInTheFuture",
];

const THROTTLED: [&str; 12] = [
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "ProvisionedThroughputExceededException",
    "SlowDown",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "BandwidthLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "EC2ThrottledException",
    "PriorRequestNotComplete",
];

/// Fails with a reply twice, then forever: that it is retried, and how often.
async fn assert_retried(what: &str, reply: impl Fn() -> Reply + Clone + Send + Sync + 'static) {
    let failing = reply.clone();
    let twice = move |attempt| if attempt > 2 { ok() } else { failing() };
    assert_eq!(call(fixed(1), twice).await, (true, 3, vec![1, 1]), "{what}");
    assert_eq!(call(fixed(1), move |_| reply()).await, (false, 4, vec![1, 1, 1]), "{what}");
}

#[tokio::test]
async fn every_code_of_the_lists_is_retried() {
    for code in ORDINARY.into_iter().chain(THROTTLED) {
        assert_retried(code, move || json(code)).await;
        let xml = format!("<ErrorResponse><Error><Code>{code}</Code></Error></ErrorResponse>");
        assert_retried(code, move || Reply::Answer(response(403, "", &xml))).await;
    }
    let named = "x-amzn-errortype: SlowDown:http://internal.amazon.com/\r\n";
    assert_retried("a header", || Reply::Answer(response(400, named, "{}"))).await;
    let code = r#"{"code":"com.amazonaws.kms#SlowDown"}"#;
    assert_retried("a namespace", || Reply::Answer(response(400, "", code))).await;
}

#[tokio::test]
async fn statuses_are_retried() {
    for status in [429, 500, 502, 503, 504] {
        let reply = move || Reply::Answer(response(status, "", "no json"));
        assert_retried(&status.to_string(), reply).await;
    }
}

#[tokio::test]
async fn what_breaks_on_the_way_is_retried() {
    assert_retried("reset", || Reply::Reset).await;
    assert_retried("no response", || Reply::Cut(String::new())).await;
    assert_retried("no HTTP", || Reply::Cut("SSH-2.0-OpenSSH_9.9\r\n\r\n".to_owned())).await;
    for status in [200, 400] {
        let whole = response(status, "", "{}");
        let cut = whole[..whole.len() - 1].to_owned();
        assert_retried("a cut body", move || Reply::Cut(cut.clone())).await;
    }

    let asked = Asked::default();
    let client = kms(nobody(), &Retry::new(fixed(1)), &asked);
    client.list_keys().send().await.unwrap_err();
    assert_eq!(asked.ms(), [1; 3], "a refused connection");
}

#[tokio::test]
async fn timeouts_are_retried() {
    // A timeout is a sleep too, and over at once.
    let timeouts = || TimeoutConfig::builder();
    for timeout in [
        timeouts().connect_timeout(ms(70_000)),
        timeouts().read_timeout(ms(70_000)),
        timeouts().operation_attempt_timeout(ms(70_000)),
    ] {
        let (server, asked) = (Server::start(|_| Reply::Answer(String::new())), Asked::default());
        let config = config!(aws_sdk_kms, server.url(), asked).timeout_config(timeout.build());
        let config = Retry::new(fixed(1)).kms(config).build();
        let result = aws_sdk_kms::Client::from_conf(config).list_keys().send().await;
        let error = format!("{:?}", result.unwrap_err());
        assert!(error.to_lowercase().contains("timeout"), "{error}");
        assert_eq!(asked.ms(), [70_000, 1, 70_000, 1, 70_000, 1, 70_000]);
    }
}

#[tokio::test]
async fn what_is_not_listed_is_not_retried() {
    for code in [
        "AccessDeniedException",
        "NotFoundException",
        "ValidationException",
        "KMSInternalException",
        "throttlingexception",
        // The SDK's own list has it.
        "LimitExceededException",
    ] {
        assert_eq!(call(fixed(1), move |_| json(code)).await, (false, 1, vec![]), "{code}");
    }
    for status in [400, 403, 404, 408, 501, 505] {
        let reply = move |_| Reply::Answer(response(status, "", "{}"));
        assert_eq!(call(fixed(1), reply).await, (false, 1, vec![]), "{status}");
    }
    // The SDK takes it for a wrong clock's.
    let date = "date: Sat, 01 Jan 2000 00:00:00 GMT\r\n";
    let denied = r#"{"__type":"AccessDeniedException"}"#;
    let reply = move |_| Reply::Answer(response(400, date, denied));
    assert_eq!(call(fixed(1), reply).await, (false, 1, vec![]));
    let odd = |_| Reply::Answer(response(200, "", "no json"));
    assert_eq!(call(fixed(1), odd).await, (false, 1, vec![]), "a whole response, but odd");
}

#[tokio::test]
async fn attempts_are_one_more_than_retries() {
    for retry_count in [0, 1, 7] {
        let backoff = Backoff::FixedDelay { fixed_backoff: ms(0), retry_count };
        let retries = usize::try_from(retry_count).unwrap();
        let failed = (false, retries + 1, vec![0; retries]);
        assert_eq!(call(backoff.clone(), |_| json("SlowDown")).await, failed);
        let last = move |attempt| if attempt > retries { ok() } else { json("SlowDown") };
        assert_eq!(call(backoff, last).await, (true, retries + 1, vec![0; retries]));
    }
    let backoff = Backoff::FixedDelay { fixed_backoff: ms(u64::MAX), retry_count: u32::MAX };
    let thrice = |attempt| if attempt > 3 { ok() } else { json("SlowDown") };
    assert_eq!(call(backoff, thrice).await, (true, 4, vec![u64::MAX; 3]));
}

#[tokio::test]
async fn the_delays_are_those_of_the_strategy() {
    let (base_delay, max_backoff_time, retry_count) = (ms(1000), ms(3000), 4);
    let equal = Backoff::EqualJitter { base_delay, max_backoff_time, retry_count };
    let full = Backoff::FullJitter { base_delay, max_backoff_time, retry_count };
    // The least and the most for each retry, by strategy and failure.
    let equal_bounds = [(500, 1000), (1000, 2000), (1500, 3000), (1500, 3000)];
    let full_bounds = [(0, 999), (0, 1999), (0, 2999), (0, 2999)];
    let ordinary_bounds = [(0, 99), (0, 199), (0, 399), (0, 799), (0, 1599)];
    let throttled_bounds = [(250, 500), (500, 1000), (1000, 2000), (2000, 4000), (4000, 8000)];
    for (backoff, code, bounds) in [
        (fixed(7), "AuthFailure", &[(7, 7); 3][..]),
        (fixed(7), "Throttling", &[(7, 7); 3]),
        (equal.clone(), "AuthFailure", &equal_bounds),
        (equal, "Throttling", &equal_bounds),
        (full.clone(), "AuthFailure", &full_bounds),
        (full, "Throttling", &full_bounds),
        (Backoff::SdkDefault, "AuthFailure", &ordinary_bounds),
        (Backoff::SdkDefault, "Throttling", &throttled_bounds),
    ] {
        let mut all = Vec::new();
        for _ in 0..20 {
            let (_, _, delays) = call(backoff.clone(), move |_| json(code)).await;
            assert_eq!(delays.len(), bounds.len());
            for (delay, &(least, most)) in delays.iter().zip(bounds) {
                assert!((least..=most).contains(delay), "{backoff:?}, {code}: {delays:?}");
            }
            all.push(delays);
        }
        all.dedup();
        let random = bounds[0].0 != bounds[0].1;
        assert_eq!(all.len() > 1, random, "{backoff:?}: {all:?}");
    }
}

#[tokio::test]
async fn the_classes_are_those_of_the_lists() {
    // The default's first delay tells: below 100 ms, or from 250.
    let delay = async |reply: Reply| {
        let reply = Mutex::new(Some(reply));
        let script = move |_| reply.lock().unwrap().take().unwrap_or_else(ok);
        call(Backoff::SdkDefault, script).await.2[0]
    };
    for code in ORDINARY {
        assert!(delay(json(code)).await < 100, "{code}");
    }
    for code in THROTTLED {
        assert!(delay(json(code)).await >= 250, "{code}");
    }
    for status in [500, 502, 503, 504] {
        assert!(delay(Reply::Answer(response(status, "", "{}"))).await < 100, "{status}");
    }
    assert!(delay(Reply::Answer(response(429, "", "{}"))).await >= 250);
    assert!(delay(Reply::Reset).await < 100);
}

#[tokio::test]
async fn a_server_may_ask_to_wait() {
    let max_backoff_time = ms(50);
    let full = Backoff::FullJitter { base_delay: ms(0), max_backoff_time, retry_count: 1 };
    for (backoff, headers, delay) in [
        (fixed(7), "x-amz-retry-after: 90\r\n", 90),
        (fixed(7), "Retry-After: 2\r\n", 2_000),
        (fixed(7), "Retry-After: 2\r\nx-amz-retry-after: 90\r\n", 90),
        (fixed(7), "Retry-After: 2\r\nx-amz-retry-after: soon\r\n", 2_000),
        (fixed(7), "x-amz-retry-after: 6\r\n", 7),
        (fixed(7), "x-amz-retry-after: -90\r\n", 7),
        (fixed(7), "Retry-After: 18446744073709551615\r\n", 20_000),
        (fixed(30_000), "Retry-After: 60\r\n", 30_000),
        (full, "Retry-After: 60\r\n", 50),
    ] {
        let reply = move |attempt| match attempt {
            1 => Reply::Answer(response(503, headers, "{}")),
            _ => ok(),
        };
        assert_eq!(call(backoff, reply).await, (true, 2, vec![delay]), "{headers}");
    }
    // To ask is not to be listed.
    let denied = |_| Reply::Answer(response(403, "Retry-After: 1\r\n", "{}"));
    assert_eq!(call(fixed(1), denied).await, (false, 1, vec![]));
}

#[tokio::test]
async fn one_strategy_serves_many_requests_of_many_clients() {
    // Far more retries than the SDK's own quota has, and none of them knows of
    // another.
    let retry = Retry::new(fixed(1));
    let server = Server::start(|_| Reply::Answer(response(503, "", "{}")));
    let asked = Asked::default();
    let clients = [kms(server.url(), &retry, &asked), kms(server.url(), &retry, &asked)];
    let calls = (0..120).map(|n| {
        let client = clients[n % 2].clone();
        tokio::spawn(async move { client.list_keys().send().await.is_err() })
    });
    for call in calls.collect::<Vec<_>>() {
        assert!(call.await.unwrap());
    }
    assert_eq!(server.attempts(), 120 * 4);
    let seen = server.seen();
    for attempt in 1..=4 {
        let these = seen.iter().filter(|request| request.attempt == attempt);
        assert_eq!(these.count(), 120);
    }
    let max = |header: Option<&str>| header.is_some_and(|header| header.contains("max=4"));
    assert!(seen.iter().all(|request| max(request.header("amz-sdk-request"))));
}

#[tokio::test]
async fn a_failed_host_is_connected_to_anew() {
    let connections = async |first: fn() -> Reply| {
        let server = Server::start(move |attempt| if attempt > 1 { ok() } else { first() });
        let client = kms(server.url(), &Retry::new(fixed(1)), &Asked::default());
        client.list_keys().send().await.unwrap();
        server.seen().iter().map(|request| request.connection).collect::<Vec<_>>()
    };
    assert_eq!(connections(|| Reply::Answer(response(503, "", "{}"))).await, [0, 1]);
    assert_eq!(connections(|| json("SlowDown")).await, [0, 0]);
}

#[tokio::test]
async fn a_wrong_clock_is_set_right() {
    let server = Server::start(|attempt| match attempt {
        1 => {
            let date = "date: Sat, 01 Jan 2000 00:00:00 GMT\r\n";
            let body = r#"{"__type":"InvalidSignatureException"}"#;
            Reply::Answer(response(403, date, body))
        }
        _ => ok(),
    });
    let client = kms(server.url(), &Retry::new(fixed(1)), &Asked::default());
    client.list_keys().send().await.unwrap();
    let signed = server.seen()[1].header("x-amz-date").unwrap().to_owned();
    assert!(signed.starts_with("20000101") || signed.starts_with("19991231"), "{signed}");
}

#[tokio::test]
async fn sts_has_it_too() {
    let ok = "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
              <GetCallerIdentityResult><Account>1</Account></GetCallerIdentityResult>\
              </GetCallerIdentityResponse>";
    for (code, attempts) in [("IDPCommunicationError", 3), ("Throttling", 3), ("AccessDenied", 1)] {
        let error = format!(
            "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error>\
             <Type>Sender</Type><Code>{code}</Code><Message>No.</Message></Error></ErrorResponse>"
        );
        let server = Server::start(move |attempt| match attempt {
            1 | 2 => Reply::Answer(response(400, "", &error)),
            _ => Reply::Answer(response(200, "", ok)),
        });
        let asked = Asked::default();
        let config = config!(aws_sdk_sts, server.url(), asked);
        let client = aws_sdk_sts::Client::from_conf(Retry::new(fixed(1)).sts(config).build());
        let result = client.get_caller_identity().send().await;
        assert_eq!((result.is_ok(), server.attempts()), (attempts == 3, attempts), "{code}");
        assert_eq!(asked.ms(), vec![1; attempts - 1]);
    }
}
