//! [`Retry`]: a [`Backoff`] as the retry strategy of the AWS SDK.
//!
//! A client of the SDK has no place for a strategy of one's own (`runtime_plugin`
//! of its configuration is private), so the SDK's does the work and this one
//! decides. As a classifier it runs last: what fails is tried again, or
//! forbidden. As an interceptor it sees each attempt end and writes the delay as
//! the longest one there may be into the request's configuration, before the SDK
//! asks the classifier, which says to wait as long as there may be. The SDK takes
//! the smaller of the two: our delay, to the nanosecond.
//!
//! A session that AWS ends before its time is refused, and the call made once more
//! with another, beside what the backoff allows: each attempt asks for credentials
//! anew. The interceptor says how many attempts there are then, none if there is no
//! other session.

use std::time::Duration;

use aws_sdk_kms::config::retry::{RetryPartition, TokenBucket};
use aws_smithy_runtime::client::orchestrator::operation::OperationBuilder;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::connection::CaptureSmithyConnection;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef, InterceptorContext,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::retries::RequestAttempts;
use aws_smithy_runtime_api::client::retries::classifiers::{
    ClassifyRetry, RetryAction, RetryClassifierPriority,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::client::runtime_plugin::StaticRuntimePlugin;
use aws_smithy_types::config_bag::{ConfigBag, Layer, Storable, StoreReplace};
use aws_smithy_types::retry::{ErrorKind, RetryConfig};

use crate::backoff::Backoff;
use crate::credentials::Renewing;
use crate::failure::{Failure, Refused};

/// The retry strategy of clients: by a [`Backoff`], and by the lists of
/// [`Failure`] alone.
///
/// Nothing but the backoff bounds retries: there is no quota that requests share.
/// A server that asks to wait (`x-amz-retry-after`, `Retry-After`) is waited for
/// if that is longer than the backoff's delay, and at most
/// [`Backoff::max_wait`]. It holds nothing of a request, so that one may serve
/// many clients.
#[derive(Clone, Debug)]
pub struct Retry {
    backoff: Backoff,
    /// What requests are signed with, if it can be taken anew.
    session: Option<Renewing>,
}

/// The id of the credentials that an attempt was signed with.
#[derive(Debug)]
struct SignedBy(String);

/// The call is made once more because its session was refused.
#[derive(Debug)]
struct Renewed;

impl Storable for SignedBy {
    type Storer = StoreReplace<Self>;
}

impl Storable for Renewed {
    type Storer = StoreReplace<Self>;
}

impl Retry {
    /// The strategy that `backoff` describes.
    #[must_use]
    pub fn new(backoff: Backoff) -> Self {
        Self { backoff, session: None }
    }

    /// The same for clients that sign with `session`.
    pub(crate) fn of_session(&self, session: Option<&Renewing>) -> Self {
        Self { session: session.cloned(), ..self.clone() }
    }

    /// Gives a client of KMS this strategy, in place of any other.
    #[must_use]
    pub fn kms(&self, client: aws_sdk_kms::config::Builder) -> aws_sdk_kms::config::Builder {
        client
            .retry_config(self.config())
            .retry_partition(Self::partition())
            .retry_classifier(self.clone())
            .interceptor(self.clone())
    }

    /// Gives a client of STS this strategy, in place of any other.
    #[must_use]
    pub fn sts(&self, client: aws_sdk_sts::config::Builder) -> aws_sdk_sts::config::Builder {
        client
            .retry_config(self.config())
            .retry_partition(Self::partition())
            .retry_classifier(self.clone())
            .interceptor(self.clone())
    }

    /// Gives a client of Secrets Manager this strategy, in place of any other.
    #[must_use]
    pub fn secrets_manager(
        &self,
        client: aws_sdk_secretsmanager::config::Builder,
    ) -> aws_sdk_secretsmanager::config::Builder {
        client
            .retry_config(self.config())
            .retry_partition(Self::partition())
            .retry_classifier(self.clone())
            .interceptor(self.clone())
    }

    /// Gives an operation that has no client this strategy, in place of any other.
    pub(crate) fn operation<I, O, E>(
        &self,
        operation: OperationBuilder<I, O, E>,
    ) -> OperationBuilder<I, O, E> {
        let mut quota = Layer::new("strongroom-retry");
        quota.store_put(Self::partition());
        operation
            .standard_retry(&self.config())
            .runtime_plugin(StaticRuntimePlugin::new().with_config(quota.freeze()))
            .retry_classifier(self.clone())
            .interceptor(self.clone())
    }

    /// What the SDK is told of the strategy, and puts into the header
    /// `amz-sdk-request`: the attempts.
    fn config(&self) -> RetryConfig {
        RetryConfig::standard().with_max_attempts(self.backoff.retries().saturating_add(1))
    }

    /// The quota of the SDK's strategy, without an end.
    fn partition() -> RetryPartition {
        RetryPartition::custom("strongroom").token_bucket(TokenBucket::unlimited()).build()
    }

    fn delay(
        &self,
        failure: Failure,
        retries_so_far: u32,
        response: Option<&HttpResponse>,
    ) -> Duration {
        // Without randomness, the longest delay.
        let random = getrandom::u64().unwrap_or(u64::MAX);
        let delay = self.backoff.delay(failure, retries_so_far, random);
        let asked = response.and_then(retry_after).unwrap_or_default();
        delay.max(asked.min(self.backoff.max_wait()))
    }
}

impl Retry {
    /// Sees to another session where this attempt's was refused: the attempts that
    /// there are then. Nothing if it was not refused, or is none that can be renewed.
    fn renew(&self, attempt: &InterceptorContext, config: &mut ConfigBag) -> Option<RetryConfig> {
        let (session, refused) = (self.session.as_ref()?, Refused::of(attempt)?);
        let made = attempts(config);
        let again = config.load::<Renewed>().is_none()
            && config.load::<SignedBy>().is_some_and(|by| session.refuse(&by.0, refused));
        if again {
            config.interceptor_state().store_put(Renewed);
        }
        let attempts = made + u32::from(again);
        Some(self.config().with_max_attempts(attempts).with_max_backoff(Duration::ZERO))
    }
}

impl Intercept for Retry {
    fn name(&self) -> &'static str {
        "strongroom-retry"
    }

    fn read_after_signing(
        &self,
        attempt: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if self.session.is_some()
            && let Some(id) = signed_by(attempt.request())
        {
            config.interceptor_state().store_put(SignedBy(id.to_owned()));
        }
        Ok(())
    }

    fn read_after_attempt(
        &self,
        attempt: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(renewed) = self.renew(attempt.inner(), config) {
            config.interceptor_state().store_put(renewed);
            return Ok(());
        }
        let Some(failure) = Failure::of(attempt.inner()) else {
            return Ok(());
        };
        // The next attempt may reach another host. The SDK would see to it, but
        // does not know a failure with a delay for one.
        if failure == Failure::Ordinary
            && let Some(connection) =
                config.load::<CaptureSmithyConnection>().and_then(CaptureSmithyConnection::get)
        {
            connection.poison();
        }
        let renewals = u32::from(config.load::<Renewed>().is_some());
        let retries = attempts(config).saturating_sub(1 + renewals);
        let delay = self.delay(failure, retries, attempt.response());
        let attempts = self.backoff.retries().saturating_add(1 + renewals);
        let retry = self.config().with_max_attempts(attempts).with_max_backoff(delay);
        config.interceptor_state().store_put(retry);
        Ok(())
    }
}

impl ClassifyRetry for Retry {
    fn classify_retry(&self, attempt: &InterceptorContext) -> RetryAction {
        let kind = match (attempt.output_or_error(), Failure::of(attempt)) {
            (None | Some(Ok(_)), _) => return RetryAction::NoActionIndicated,
            // `renew` has said how often.
            (_, None) if self.session.is_some() && Refused::of(attempt).is_some() => {
                ErrorKind::TransientError
            }
            (_, None) => return RetryAction::RetryForbidden,
            (_, Some(Failure::Ordinary)) => ErrorKind::TransientError,
            (_, Some(Failure::Throttled)) => ErrorKind::ThrottlingError,
        };
        RetryAction::retryable_error_with_explicit_delay(kind, Duration::MAX)
    }

    fn name(&self) -> &'static str {
        "strongroom-retry"
    }

    fn priority(&self) -> RetryClassifierPriority {
        RetryClassifierPriority::run_after(RetryClassifierPriority::transient_error_classifier())
    }
}

fn attempts(config: &ConfigBag) -> u32 {
    config.load::<RequestAttempts>().map_or(1, RequestAttempts::attempts)
}

/// The id in `Authorization: AWS4-HMAC-SHA256 Credential=ID/DATE/REGION/SERVICE/...`
/// (IAM User Guide, "Create a signed AWS API request").
fn signed_by(request: &HttpRequest) -> Option<&str> {
    let (_, scope) = request.headers().get("authorization")?.split_once("Credential=")?;
    scope.split_once('/').map(|(id, _)| id)
}

/// How long the server asks to wait: `x-amz-retry-after` in milliseconds, or
/// `Retry-After` in seconds (RFC 9110 §10.2.3; a date is not read).
fn retry_after(response: &HttpResponse) -> Option<Duration> {
    let number = |name| response.headers().get(name)?.trim().parse::<u64>().ok();
    let exact = number("x-amz-retry-after").map(Duration::from_millis);
    exact.or_else(|| number("retry-after").map(Duration::from_secs))
}
