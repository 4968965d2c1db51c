//! How AWS is reached: region, endpoint, TLS, proxy, time, and as whom.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::provider_config::ProviderConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_kms::config::IdentityCache;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::http::{HttpConnectorSettings, SharedHttpClient};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::timeout::TimeoutConfig;
use strongroom_core::{Clock, Error, Result, SecretBytes, SystemClock};
use strongroom_remote::Runtime;

use crate::backoff::Backoff;
use crate::credentials::{
    AssumeRole, Credential, Host, Renewing, RoleSession, Source, WebIdentitySession,
};
use crate::region;
use crate::retry::Retry;

/// Where an instance and a container get their credentials (EC2 User Guide, "Instance
/// metadata"; EKS User Guide, "Pod Identity"). A proxy would ask its own host, and give
/// us the role of that.
const OF_THE_HOST: &str = "169.254.0.0/16,fd00:ec2::/32";

/// How AWS is reached, and as whom.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AwsSettings {
    /// The region, such as `eu-central-1`.
    pub region: String,
    /// Another endpoint than the region's, for every service: a URL.
    pub endpoint: Option<String>,
    /// Whether the region's FIPS endpoints are used.
    pub fips: bool,
    /// Certificates, in PEM, that servers are trusted by instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// The URL of a proxy that everything goes through but what the host gives, perhaps
    /// with user and password. Without it, connections are direct, whatever the
    /// environment says.
    pub proxy: Option<Arc<SecretBytes>>,
    /// With which credential calls are signed.
    pub credential: Credential,
    /// A role that is assumed with it.
    pub role: Option<AssumeRole>,
    /// When a failed call is made again.
    pub backoff: Backoff,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long one attempt of a call may take.
    pub attempt_timeout: Duration,
    /// How long a call may take, with all attempts.
    pub timeout: Duration,
    /// The time, for what ends.
    pub clock: Arc<dyn Clock>,
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
            proxy: None,
            credential: Credential::Host,
            role: None,
            backoff: Backoff::default(),
            connect_timeout: Duration::from_secs(3),
            attempt_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(15),
            clock: SystemClock::shared(),
        }
    }

    fn check(&self) -> Result<()> {
        region::check(&self.region)?;
        let partition = region::partition(&self.region);
        self.credential.check(partition)?;
        self.role.as_ref().map_or(Ok(()), |role| role.check(partition))?;
        let endpoint = self.endpoint.as_deref().unwrap_or("https://");
        if !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
            return Err(Error::configuration(format!(
                "the endpoint {} is no URL: it begins with https://",
                endpoint.escape_debug()
            )));
        }
        Ok(())
    }
}

/// AWS, as it is reached and as whom: shared by everything that works there.
#[derive(Clone)]
pub struct Aws {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) config: SdkConfig,
    pub(crate) retry: Retry,
    pub(crate) timeout: Duration,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Aws {
    /// Prepares connections. Nobody is asked yet.
    ///
    /// # Errors
    /// `Configuration` if the settings cannot be true: they say which, and why.
    pub async fn connect(settings: &AwsSettings) -> Result<Self> {
        settings.check()?;
        let runtime = Arc::new(Runtime::new("strongroom-aws")?);
        let http = http_client(settings)?;
        let (retry, clock) = (Retry::new(settings.backoff.clone()), Arc::clone(&settings.clock));
        let own = settings.clone();
        // Providers are made where the client library's runtime is.
        let configured = runtime.run(async move { Ok(configure(&own, http, &retry).await) });
        let ((config, retry), timeout) = (configured.await?, settings.timeout);
        Ok(Self { runtime, config, retry, timeout, clock })
    }

    /// The region.
    #[must_use]
    pub fn region(&self) -> &str {
        self.config.region().map_or("", |region| region.as_ref())
    }

    pub(crate) fn kms(&self, config: &SdkConfig) -> aws_sdk_kms::Client {
        let config = self.retry.kms(aws_sdk_kms::config::Builder::from(config));
        aws_sdk_kms::Client::from_conf(config.build())
    }

    pub(crate) fn sts(&self) -> aws_sdk_sts::Client {
        let config = self.retry.sts(aws_sdk_sts::config::Builder::from(&self.config));
        aws_sdk_sts::Client::from_conf(config.build())
    }

    pub(crate) fn secrets_manager(&self) -> aws_sdk_secretsmanager::Client {
        let config = aws_sdk_secretsmanager::config::Builder::from(&self.config);
        aws_sdk_secretsmanager::Client::from_conf(self.retry.secrets_manager(config).build())
    }
}

impl fmt::Debug for Aws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aws").field("region", &self.region()).finish_non_exhaustive()
    }
}

fn http_client(settings: &AwsSettings) -> Result<SharedHttpClient> {
    let mut trusted = TrustStore::default();
    if let Some(file) = &settings.ca_file {
        let pem = fs::read(file).map_err(|error| {
            let what = format!("the certificates {} cannot be read: {error}", file.display());
            Error::configuration(what).with_source(error)
        })?;
        if !String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE-----") {
            let what = format!("there is no certificate in {}", file.display());
            return Err(Error::configuration(what));
        }
        trusted = TrustStore::empty().with_pem_certificate(pem);
    }
    let context = TlsContext::builder().with_trust_store(trusted).build().map_err(|error| {
        Error::configuration("the certificates for AWS cannot be used").with_source(error)
    })?;
    let proxy = settings.proxy.as_ref().map_or_else(
        || Ok(ProxyConfig::disabled()),
        |url| {
            let url = String::from_utf8_lossy(url.expose()).into_owned();
            let all = ProxyConfig::all(url).map_err(|_| {
                // Not the URL: it may hold a password.
                Error::configuration("the proxy is no URL: it is http://HOST:PORT")
            });
            all.map(|all| all.no_proxy(OF_THE_HOST))
        },
    )?;
    let connector = move |settings: Option<&_>, components: Option<&_>| {
        connector(&context, &proxy, settings, components)
    };
    Ok(Builder::new().build_with_connector_fn(connector))
}

fn connector(
    context: &TlsContext,
    proxy: &ProxyConfig,
    settings: Option<&HttpConnectorSettings>,
    components: Option<&RuntimeComponents>,
) -> Connector {
    let mut builder = Connector::builder().proxy_config(proxy.clone());
    builder.set_connector_settings(settings.cloned());
    builder.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
    let builder = builder.tls_provider(Provider::Rustls(CryptoMode::AwsLc));
    builder.tls_context(context.clone()).build()
}

/// What clients are made from, and their retries, which renew the session that the
/// clients sign with.
async fn configure(
    settings: &AwsSettings,
    http: SharedHttpClient,
    retry: &Retry,
) -> (SdkConfig, Retry) {
    let region = Region::new(settings.region.clone());
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(settings.connect_timeout)
        .operation_attempt_timeout(settings.attempt_timeout)
        .operation_timeout(settings.timeout)
        .build();
    let build = |credentials: Option<SharedCredentialsProvider>| {
        let mut config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(region.clone())
            .http_client(http.clone())
            .timeout_config(timeouts.clone())
            .use_fips(settings.fips)
            // `Renewing` holds what lasts, in guarded memory.
            .identity_cache(IdentityCache::no_cache());
        config.set_endpoint_url(settings.endpoint.clone());
        config.set_credentials_provider(credentials);
        config.build()
    };
    let sts = |config: &SdkConfig, retry: &Retry| {
        let config = retry.sts(aws_sdk_sts::config::Builder::from(config));
        aws_sdk_sts::Client::from_conf(config.build())
    };
    let sign = |source: Box<dyn Source>| {
        let session = Renewing::new(source, Arc::clone(&settings.clock));
        let retry = retry.of_session(Some(&session));
        (build(Some(SharedCredentialsProvider::new(session))), retry)
    };
    let (base, retry_of_base) = match &settings.credential {
        Credential::Host => {
            let provider = ProviderConfig::without_region()
                .with_region(Some(region.clone()))
                .with_http_client(http.clone())
                .with_use_fips(Some(settings.fips))
                .with_timeout_config(timeouts.clone());
            let chain = DefaultCredentialsChain::builder().configure(provider).build().await;
            sign(Box::new(Host { chain, clock: Arc::clone(&settings.clock) }))
        }
        Credential::AccessKey(key) => {
            (build(Some(SharedCredentialsProvider::new(key.clone()))), retry.clone())
        }
        Credential::WebIdentity(role) => {
            let (sts, region) = (sts(&build(None), retry), settings.region.clone());
            sign(Box::new(WebIdentitySession { sts, region, role: role.clone() }))
        }
    };
    let Some(role) = &settings.role else { return (base, retry_of_base) };
    let (sts, region) = (sts(&base, &retry_of_base), settings.region.clone());
    sign(Box::new(RoleSession { sts, region, role: role.clone() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(change: impl FnOnce(&mut AwsSettings)) -> String {
        let mut settings = AwsSettings::new("eu-central-1");
        change(&mut settings);
        let connected = futures_executor::block_on(Aws::connect(&settings));
        connected.expect_err("refused").message().to_owned()
    }

    #[test]
    fn settings_that_cannot_be_true_are_refused_before_anybody_is_asked() {
        assert!(error(|s| s.region = "Frankfurt".to_owned()).contains("is no region"));
        assert!(error(|s| s.endpoint = Some("localhost:4566".to_owned())).contains("is no URL"));
        let proxy = || SecretBytes::copy_from(b"user:hunter2@host").expect("guarded memory");
        let said = error(|s| s.proxy = Some(Arc::new(proxy())));
        assert!(said.contains("proxy") && !said.contains("hunter2"), "{said}");
        let file = |text: &str| {
            let file = tempfile::NamedTempFile::new().expect("a file");
            fs::write(file.path(), text).expect("written");
            file
        };
        let empty = file("nothing");
        let said = error(|s| s.ca_file = Some(empty.path().to_owned()));
        assert!(said.contains("there is no certificate"), "{said}");
        assert!(error(|s| s.ca_file = Some("/no/such/file".into())).contains("cannot be read"));
        let gov = "arn:aws-us-gov:iam::123456789012:role/x";
        assert!(error(|s| s.role = Some(AssumeRole::new(gov))).contains("GovCloud"));
    }
}
