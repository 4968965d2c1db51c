//! The standard services beside ours: health and reflection.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use strongroom::{Error, Result};
use tonic::body::Body;
use tonic_health::server::{HealthReporter, health_reporter};
use tower_service::Service;

/// Answers one request.
type Call = dyn Fn(Request<Body>) -> BoxFuture<'static, Response<Body>> + Send + Sync;

/// Health, for whoever watches over the sidecar, and reflection, for tools that
/// have no .proto file.
#[derive(Clone)]
pub(crate) struct Standard {
    health: Arc<Call>,
    reflection: Arc<Call>,
    /// The version before, which tools still ask for first.
    reflection_alpha: Arc<Call>,
}

impl Standard {
    pub(crate) fn new() -> Result<(Self, HealthReporter)> {
        let (reporter, health) = health_reporter();
        let failed = |e| Error::internal("reflection cannot be set up").with_source(e);
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(strongroom_rpc::DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
                // So that tools can show the details of an error.
                .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        };
        let standard = Self {
            health: erase(health),
            reflection: erase(reflection().build_v1().map_err(failed)?),
            reflection_alpha: erase(reflection().build_v1alpha().map_err(failed)?),
        };
        Ok((standard, reporter))
    }

    pub(crate) fn health(&self, request: Request<Body>) -> BoxFuture<'static, Response<Body>> {
        (self.health)(request)
    }

    pub(crate) fn reflection(&self, request: Request<Body>) -> BoxFuture<'static, Response<Body>> {
        if request.uri().path().starts_with("/grpc.reflection.v1alpha.") {
            return (self.reflection_alpha)(request);
        }
        (self.reflection)(request)
    }
}

impl fmt::Debug for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Standard").finish_non_exhaustive()
    }
}

fn erase<S>(service: S) -> Arc<Call>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    Arc::new(move |request| {
        let answer = service.clone().call(request);
        answer.map(|answer| answer.unwrap_or_else(|never| match never {})).boxed()
    })
}
