//! Clients that do not sleep, and what the server of a test says to them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_kms::config::{AsyncSleep, Sleep};
use strongroom_aws::{Backoff, Retry};

use crate::server::{Reply, Server};

const RETRIES: u32 = 3;

/// Delays as they were asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked(Arc<Mutex<Vec<Duration>>>);

impl AsyncSleep for Asked {
    fn sleep(&self, duration: Duration) -> Sleep {
        self.0.lock().unwrap().push(duration);
        Sleep::new(async {})
    }
}

impl Asked {
    pub(crate) fn ms(&self) -> Vec<u64> {
        let asked = self.0.lock().unwrap();
        asked.iter().map(|delay| delay.as_millis().try_into().unwrap()).collect()
    }
}

pub(crate) fn ms(number: u64) -> Duration {
    Duration::from_millis(number)
}

pub(crate) fn fixed(delay_ms: u64) -> Backoff {
    Backoff::FixedDelay { fixed_backoff: ms(delay_ms), retry_count: RETRIES }
}

pub(crate) fn response(status: u16, headers: &str, body: &str) -> String {
    let len = body.len();
    format!("HTTP/1.1 {status} Of course\r\ncontent-length: {len}\r\n{headers}\r\n{body}")
}

pub(crate) fn json(code: &str) -> Reply {
    Reply::Answer(response(400, "", &format!(r#"{{"__type":"{code}","message":"No."}}"#)))
}

pub(crate) fn ok() -> Reply {
    Reply::Answer(response(200, "", r#"{"Keys":[],"Truncated":false}"#))
}

/// The base of every client here: no timeouts, no caches that would sleep.
macro_rules! config {
    ($sdk:ident, $url:expr, $asked:expr) => {
        $sdk::Config::builder()
            .behavior_version(aws_sdk_kms::config::BehaviorVersion::latest())
            .region(aws_sdk_kms::config::Region::new("us-east-1"))
            .endpoint_url($url)
            .credentials_provider(aws_credential_types::Credentials::new(
                "AKIDTEST",
                "not a secret",
                None,
                None,
                "test",
            ))
            .identity_cache(aws_sdk_kms::config::IdentityCache::no_cache())
            .stalled_stream_protection(
                aws_sdk_kms::config::StalledStreamProtectionConfig::disabled(),
            )
            .timeout_config(aws_sdk_kms::config::timeout::TimeoutConfig::disabled())
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .sleep_impl($asked.clone())
    };
}

pub(crate) use config;

pub(crate) fn kms(url: impl Into<String>, retry: &Retry, asked: &Asked) -> aws_sdk_kms::Client {
    aws_sdk_kms::Client::from_conf(retry.kms(config!(aws_sdk_kms, url, asked)).build())
}

/// One call that `script` answers: whether it succeeded, the attempts, the delays.
pub(crate) async fn call(
    backoff: Backoff,
    script: impl Fn(usize) -> Reply + Send + Sync + 'static,
) -> (bool, usize, Vec<u64>) {
    let (server, asked) = (Server::start(script), Asked::default());
    let client = kms(server.url(), &Retry::new(backoff), &asked);
    let result = client.list_keys().send().await;
    (result.is_ok(), server.attempts(), asked.ms())
}
