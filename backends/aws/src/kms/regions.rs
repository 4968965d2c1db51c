//! The regions that a key is asked in: the connector's own, and those of replicas.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::Region;
use aws_sdk_kms::Client;
use aws_smithy_types::timeout::TimeoutConfig;
use strongroom_core::{Clock, Error, ErrorKind, Result};
use strongroom_remote::Runtime;

use crate::connection::Aws;
use crate::error::Call;
use crate::region;

/// How long a region that did not answer is asked last.
const AVOIDED_FOR: Duration = Duration::from_secs(30);

/// Where a multi-Region key has a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// The region.
    pub region: String,
    /// Another endpoint than the region's: a URL.
    pub endpoint: Option<String>,
}

impl Replica {
    /// The replica in `region`.
    #[must_use]
    pub fn new(region: &str) -> Self {
        Self { region: region.to_owned(), endpoint: None }
    }
}

/// KMS in one region.
pub(super) struct Target {
    pub(super) client: Client,
    pub(super) region: String,
    /// Until then it is asked last, by the monotonic clock.
    avoided: Mutex<Duration>,
}

impl Target {
    pub(super) fn call(&self, action: &'static str, key: &str) -> Call {
        let (resource, region) = (key.to_owned(), self.region.clone());
        Call { service: "AWS KMS", action, resource, region }
    }

    fn avoided(&self) -> Duration {
        *self.avoided.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The regions, the preferred one first.
pub(super) struct Regions {
    targets: Vec<Target>,
    runtime: Arc<Runtime>,
    clock: Arc<dyn Clock>,
    timeout: Duration,
}

impl Regions {
    pub(super) fn new(aws: &Aws, replicas: &[Replica]) -> Result<Self> {
        let own = Replica { region: aws.region().to_owned(), endpoint: None };
        let all: Vec<_> = std::iter::once(&own).chain(replicas).collect();
        let partition = region::partition(&own.region);
        // All of them together have the time of one.
        let each = aws.timeout / u32::try_from(all.len()).unwrap_or(u32::MAX);
        let mut targets = Vec::with_capacity(all.len());
        for replica in all {
            region::check(&replica.region)?;
            let is_double = targets.iter().any(|other: &Target| other.region == replica.region);
            if is_double || region::partition(&replica.region) != partition {
                return Err(Error::configuration(format!(
                    "replicas are in other regions of the partition {partition} than {}, each \
                     named once: {} is not",
                    own.region, replica.region
                )));
            }
            let timeouts = aws.config.timeout_config().map(TimeoutConfig::to_builder);
            let timeouts = timeouts.unwrap_or_default().operation_timeout(each).build();
            let mut config = aws
                .config
                .to_builder()
                .region(Region::new(replica.region.clone()))
                .timeout_config(timeouts);
            if replica.endpoint.is_some() {
                config.set_endpoint_url(replica.endpoint.clone());
            }
            let client = aws.kms(&config.build());
            let region = replica.region.clone();
            targets.push(Target { client, region, avoided: Mutex::default() });
        }
        let (runtime, clock) = (Arc::clone(&aws.runtime), Arc::clone(&aws.clock));
        Ok(Self { targets, runtime, clock, timeout: aws.timeout })
    }

    /// The preferred region.
    pub(super) fn first(&self) -> &str {
        &self.targets[0].region
    }

    /// All of them, the preferred one first.
    pub(super) fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Makes one call, where the client library works.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        call: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.runtime.run(call).await
    }

    /// Asks one region after the other, those that failed lately last, until one
    /// answers; what is wrong in all of them is the first one's error.
    pub(super) async fn ask<T, F>(&self, call: impl Fn(&Target) -> F + Send + Sync) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let started = self.clock.monotonic();
        let mut order: Vec<_> = self.targets.iter().collect();
        order.sort_by_key(|target| target.avoided() > started);
        let mut first = None;
        for target in order {
            let error = match self.runtime.run(call(target)).await {
                Err(error) if is_of_region(&error) => error,
                answer => return answer,
            };
            let now = self.clock.monotonic();
            let mut avoided = target.avoided.lock().unwrap_or_else(PoisonError::into_inner);
            *avoided = now.saturating_add(AVOIDED_FOR);
            drop(avoided);
            first.get_or_insert(error);
            if now.saturating_sub(started) >= self.timeout {
                break;
            }
        }
        Err(first.unwrap_or_else(|| Error::internal("there is no region to ask")))
    }
}

/// Whether another region may answer what this one did not.
fn is_of_region(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Throttled)
}

impl fmt::Debug for Regions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.targets.iter().map(|target| &target.region)).finish()
    }
}
