//! What the sidecar tells of itself and of its cache.

use std::time::Duration;

use strongroom_core::cache::CacheStats;
use strongroom_core::{Capabilities, Error, Result, Scope, Timestamp, Version};
use strongroom_rpc::{from_duration, from_timestamp, from_wire, v1};

use crate::convert;
use crate::fault::nonsense;

/// What a sidecar is doing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// Its version.
    pub version: String,
    /// When it started.
    pub started: Timestamp,
    /// The scope that names are read in, where a request names none.
    pub scope: Scope,
    /// The store behind it: its type and place.
    pub store: String,
    /// Figures of its cache, if it has one.
    pub cache: Option<CacheStats>,
    /// One for each name that was asked for, in that order.
    pub secrets: Vec<SecretStatus>,
    /// When the configuration was last read.
    pub configured: Option<Timestamp>,
    /// Why the last reload was refused, if it was.
    pub reload_error: Option<String>,
    /// Connections that are open.
    pub connections: u32,
    /// Requests that are being answered, this one among them.
    pub requests_in_flight: u32,
    /// What the store can do.
    pub capabilities: Capabilities,
}

/// What the sidecar's cache knows of a secret.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SecretStatus {
    /// The name, as it was asked for.
    pub name: String,
    /// Whether the cache has the latest version.
    pub cached: bool,
    /// That version.
    pub version: Option<Version>,
    /// When the backend last confirmed it.
    pub last_success: Option<Timestamp>,
    /// How long ago that is.
    pub age: Option<Duration>,
    /// How long it is still given without asking the backend.
    pub expires_in: Option<Duration>,
    /// Whether it is past its time to live.
    pub stale: bool,
    /// Why nothing is told, if so.
    pub error: Option<Error>,
}

impl Status {
    pub(crate) fn new(message: v1::StatusResponse) -> Result<Self> {
        let capabilities = message.capabilities.unwrap_or_default();
        let secrets = message.secrets.into_iter().map(SecretStatus::new);
        Ok(Self {
            version: message.version,
            started: from_timestamp(message.started.ok_or_else(|| nonsense("a time is missing"))?),
            scope: convert::scope(&message.scope)?,
            store: message.store,
            cache: message.cache.as_ref().map(cache_stats),
            secrets: secrets.collect::<Result<_>>()?,
            configured: message.configured.map(from_timestamp),
            reload_error: Some(message.reload_error).filter(|error| !error.is_empty()),
            connections: message.connections,
            requests_in_flight: message.requests_in_flight,
            capabilities: convert::capabilities(&capabilities),
        })
    }
}

impl SecretStatus {
    fn new(message: v1::SecretStatus) -> Result<Self> {
        let version = Some(message.version).filter(|version| !version.is_empty());
        Ok(Self {
            name: message.name,
            cached: message.cached,
            version: version.as_deref().map(convert::answered).transpose()?,
            last_success: message.last_success.map(from_timestamp),
            age: message.age.map(from_duration),
            expires_in: message.expires_in.map(from_duration),
            stale: message.stale,
            error: message.error.map(from_wire),
        })
    }
}

fn cache_stats(message: &v1::CacheStatus) -> CacheStats {
    let mut stats = CacheStats::default();
    stats.hits = message.hits;
    stats.misses = message.misses;
    stats.stale = message.stale;
    stats.flights = message.flights;
    stats.entries = usize::try_from(message.entries).unwrap_or(usize::MAX);
    stats.bytes = usize::try_from(message.bytes).unwrap_or(usize::MAX);
    stats
}
