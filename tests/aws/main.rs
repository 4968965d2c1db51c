//! AWS: who calls, what becomes of a call, and what KMS keeps; against moto over
//! HTTP, with signatures checked, and behind a proxy that fails as it is told.

#![allow(clippy::unwrap_used, reason = "a test's helpers panic as the test does")]

mod check;
mod configured;
mod counts;
mod credentials;
mod ended;
mod instance;
mod kms;
mod log;
mod quiet;
mod secrets_manager;

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use strongroom_aws::{Aws, AwsSettings, Backoff, Credential};
use strongroom_core::{EncryptionContext, Kind, SecretBytes, SecretName, Version};
use strongroom_kit::block_on;
use strongroom_kit::moto::{ALLOW_ALL, AccessKey, Moto, REGION};
use strongroom_kit::proxy::FaultProxy;

fn within() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// A moto that checks signatures, with a user who may do everything.
fn moto() -> &'static (Moto, AccessKey) {
    static MOTO: OnceLock<(Moto, AccessKey)> = OnceLock::new();
    MOTO.get_or_init(|| Moto::with_auth(within(), ALLOW_ALL))
}

fn proxy() -> FaultProxy {
    FaultProxy::start(moto().0.endpoint())
}

fn bytes(text: &str) -> SecretBytes {
    SecretBytes::copy_from(text.as_bytes()).unwrap()
}

fn credential(key: &AccessKey) -> Credential {
    let token = key.token.as_deref().map(bytes);
    Credential::access_key(&key.id, bytes(&key.secret), token).unwrap()
}

/// Through `proxy`, as the user who may do everything, with one retry at once.
fn settings(proxy: &FaultProxy) -> AwsSettings {
    let mut settings = AwsSettings::new(REGION);
    settings.endpoint = Some(proxy.endpoint());
    settings.credential = credential(&moto().1);
    settings.backoff = Backoff::FixedDelay { fixed_backoff: Duration::ZERO, retry_count: 1 };
    settings.attempt_timeout = Duration::from_mins(1);
    settings.timeout = Duration::from_mins(2);
    settings
}

fn connect(settings: &AwsSettings) -> Aws {
    block_on(Aws::connect(settings)).unwrap()
}

/// A new key; its ARN.
fn key(script: &str) -> String {
    moto().0.boto3(script, &[])
}

const KEY: &str = "import boto3; \
    print(boto3.client('kms').create_key()['KeyMetadata']['Arn'], end='')";

const MULTI_REGION_KEY: &str = "import boto3; \
    print(boto3.client('kms').create_key(MultiRegion=True)['KeyMetadata']['Arn'], end='')";

/// Whoever is allowed to may assume the role.
const TRUST: &str = r#"{"Version": "2012-10-17", "Statement": [{
    "Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]}"#;

fn context(id: &str) -> EncryptionContext {
    let name = SecretName::new("acme/pay".parse().unwrap(), id).unwrap();
    EncryptionContext::new(&name, &Version::new("1").unwrap(), Kind::Text)
}

fn shared<T>(value: T) -> Arc<T> {
    Arc::new(value)
}
