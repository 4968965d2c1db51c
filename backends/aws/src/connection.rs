//! How AWS is reached: region, endpoint, TLS, proxy, time, and as whom.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_config::provider_config::ProviderConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::timeout::TimeoutConfig;
use strongroom_core::{Error, Result};

use crate::credentials::{AssumeRole, Credential};
use crate::runtime::Runtime;

/// How AWS is reached, and as whom.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AwsSettings {
    /// The region, such as `eu-central-1`.
    pub region: String,
    /// Another endpoint than the region's, for every service.
    pub endpoint: Option<String>,
    /// Whether the region's FIPS endpoints are used.
    pub fips: bool,
    /// Certificates, in PEM, that servers are trusted by instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// With which credential calls are signed.
    pub credential: Credential,
    /// A role that is assumed with it.
    pub role: Option<AssumeRole>,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long one attempt of a call may take.
    pub attempt_timeout: Duration,
    /// How long a call may take, with all attempts.
    pub timeout: Duration,
}

impl AwsSettings {
    /// The host's own credential in `region`: 3 s to connect, 5 s for an attempt, 15 s
    /// for all of them.
    #[must_use]
    pub fn new(region: &str) -> Self {
        Self {
            region: region.to_owned(),
            endpoint: None,
            fips: false,
            ca_file: None,
            credential: Credential::Host,
            role: None,
            connect_timeout: Duration::from_secs(3),
            attempt_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(15),
        }
    }
}

/// AWS, as it is reached and as whom: shared by everything that works there.
#[derive(Clone, Debug)]
pub struct Aws {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) config: SdkConfig,
}

impl Aws {
    /// Prepares connections. Nothing is asked yet, but what the host's credential is.
    ///
    /// # Errors
    /// `Configuration` if the certificates cannot be used.
    pub async fn connect(settings: &AwsSettings) -> Result<Self> {
        let runtime = Arc::new(Runtime::new()?);
        let http = http_client(settings)?;
        let own = settings.clone();
        let config = runtime.run(async move { Ok(configure(&own, http).await) }).await?;
        Ok(Self { runtime, config })
    }

    /// The region.
    #[must_use]
    pub fn region(&self) -> &str {
        self.config.region().map_or("", |region| region.as_ref())
    }
}

fn http_client(settings: &AwsSettings) -> Result<SharedHttpClient> {
    let mut trusted = TrustStore::default();
    if let Some(file) = &settings.ca_file {
        let pem = fs::read(file).map_err(|error| {
            let what = format!("the certificates {} cannot be read: {error}", file.display());
            Error::configuration(what).with_source(error)
        })?;
        trusted = TrustStore::empty().with_pem_certificate(pem);
    }
    let context = TlsContext::builder().with_trust_store(trusted).build().map_err(|error| {
        Error::configuration("the certificates for AWS cannot be used").with_source(error)
    })?;
    let builder = aws_smithy_http_client::Builder::new();
    let builder = builder.tls_provider(Provider::Rustls(CryptoMode::AwsLc));
    Ok(builder.tls_context(context).build_https())
}

async fn configure(settings: &AwsSettings, http: SharedHttpClient) -> SdkConfig {
    let region = Region::new(settings.region.clone());
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(settings.connect_timeout)
        .operation_attempt_timeout(settings.attempt_timeout)
        .operation_timeout(settings.timeout)
        .build();
    let provider = ProviderConfig::without_region()
        .with_region(Some(region.clone()))
        .with_http_client(http.clone())
        .with_use_fips(Some(settings.fips))
        .with_timeout_config(timeouts.clone());
    let credentials = settings.credential.provider(&provider).ready().await;
    let build = |credentials: SharedCredentialsProvider| {
        let mut config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(region.clone())
            .http_client(http.clone())
            .timeout_config(timeouts.clone())
            .use_fips(settings.fips)
            .credentials_provider(credentials);
        config.set_endpoint_url(settings.endpoint.clone());
        config.build()
    };
    let base = build(credentials);
    match &settings.role {
        None => base,
        Some(role) => build(role.provider(&base).await),
    }
}
