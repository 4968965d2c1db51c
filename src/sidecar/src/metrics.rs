//! What the sidecar counts, for Prometheus. No name and no value of a secret is
//! ever a label.

use std::fmt::Write;
use std::sync::OnceLock;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use strongroom::cache::CacheStats;
use tonic::Code;

use crate::usage::Refusal;

/// The methods, as metrics name them; the last stands for every other path.
pub(crate) const METHODS: [&str; 28] = [
    "Get",
    "BatchGet",
    "Put",
    "List",
    "Versions",
    "Delete",
    "Restore",
    "Purge",
    "Watch",
    "Upload",
    "Download",
    "Seal",
    "Open",
    "Status",
    "Check",
    "Render",
    "Rotate",
    "Rewrap",
    "Reencrypt",
    "ReportKeys",
    "DestroyKeyVersion",
    "Describe",
    "Migrate",
    "Verify",
    "Backup",
    "Health",
    "Reflection",
    "other",
];

const CODES: usize = 17;

/// From 25 µs, which is a warm get, to what the longest timeouts allow.
const SECONDS: [f64; 12] =
    [25e-6, 50e-6, 100e-6, 250e-6, 1e-3, 5e-3, 25e-3, 0.1, 0.5, 2.5, 10.0, 30.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Method {
    method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Limit {
    limit: &'static str,
}

/// The sidecar's figures.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    answered: Family<Answered, Counter>,
    /// The same counters, found without hashing.
    by_code: [[OnceLock<Counter>; CODES]; METHODS.len()],
    seconds: [Histogram; METHODS.len()],
    refused: Family<Limit, Counter>,
    connections: Gauge,
    requests: Gauge,
    pub(crate) reloads: Counter,
    pub(crate) reloads_refused: Counter,
    cache: CacheGauges,
    memory: MemoryGauges,
}

#[derive(Debug, Default)]
struct CacheGauges {
    hits: Gauge,
    misses: Gauge,
    stale: Gauge,
    evictions: Gauge,
    flights: Gauge,
    entries: Gauge,
    bytes: Gauge,
}

#[derive(Debug, Default)]
struct MemoryGauges {
    locked: Gauge,
    in_use: Gauge,
    unguarded: Gauge,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("strongroom");
        let answered = Family::default();
        registry.register("requests", "Requests answered, by method and code", answered.clone());
        let refused = Family::default();
        let help = "Connections and requests refused, by the setting that was reached";
        registry.register("refused", help, refused.clone());
        let by_method =
            Family::<Method, Histogram>::new_with_constructor(|| Histogram::new(SECONDS));
        let help = "Seconds until the first byte of an answer, by method";
        registry.register("request_seconds", help, by_method.clone());
        let seconds = METHODS.map(|method| by_method.get_or_create_owned(&Method { method }));
        let mut gauge = |name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let connections = gauge("connections", "Connections that are open");
        let requests = gauge("requests_in_flight", "Requests under way");
        let cache = CacheGauges {
            hits: gauge("cache_hits", "Answers given from the cache in their time to live"),
            misses: gauge("cache_misses", "Readers who waited for the backend"),
            stale: gauge("cache_stale", "Answers given stale because the backend failed"),
            evictions: gauge("cache_evictions", "Entries pushed out by a limit"),
            flights: gauge("cache_backend_calls", "Calls of the cache to the backend"),
            entries: gauge("cache_entries", "Entries in the cache"),
            bytes: gauge("cache_bytes", "Bytes in the cache"),
        };
        let memory = MemoryGauges {
            locked: gauge("guarded_memory_locked_bytes", "Locked memory"),
            in_use: gauge("guarded_memory_in_use_bytes", "Guarded memory that holds values"),
            unguarded: gauge("guarded_memory_unguarded_bytes", "Memory that could not be locked"),
        };
        let (reloads, reloads_refused) = (Counter::default(), Counter::default());
        registry.register("reloads", "Configurations taken over", reloads.clone());
        registry.register("reloads_refused", "Reloads that failed", reloads_refused.clone());
        let by_code = std::array::from_fn(|_| std::array::from_fn(|_| OnceLock::new()));
        Self {
            registry,
            answered,
            by_code,
            seconds,
            refused,
            connections,
            requests,
            reloads,
            reloads_refused,
            cache,
            memory,
        }
    }

    /// A request of `METHODS[method]` was answered with `code`.
    pub(crate) fn answered(&self, method: usize, code: Code, took: Duration) {
        let counter = self.by_code[method][code as usize % CODES].get_or_init(|| {
            let labels = Answered { method: METHODS[method], code: code_name(code) };
            self.answered.get_or_create_owned(&labels)
        });
        counter.inc();
        self.seconds[method].observe(took.as_secs_f64());
    }

    pub(crate) fn refused(&self, refusal: Refusal) {
        self.refused.get_or_create(&Limit { limit: refusal.setting() }).inc();
    }

    /// All figures in the `OpenMetrics` text format.
    pub(crate) fn render(
        &self,
        connections: usize,
        requests: usize,
        cache: Option<CacheStats>,
    ) -> String {
        let set = |gauge: &Gauge, value: u64| {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set(&self.connections, connections as u64);
        set(&self.requests, requests as u64);
        let stats = cache.unwrap_or_default();
        set(&self.cache.hits, stats.hits);
        set(&self.cache.misses, stats.misses);
        set(&self.cache.stale, stats.stale);
        set(&self.cache.evictions, stats.evictions);
        set(&self.cache.flights, stats.flights);
        set(&self.cache.entries, stats.entries as u64);
        set(&self.cache.bytes, stats.bytes as u64);
        let memory = strongroom::guard::stats();
        set(&self.memory.locked, memory.locked_bytes as u64);
        set(&self.memory.in_use, memory.in_use_bytes as u64);
        set(&self.memory.unguarded, memory.unguarded_bytes as u64);
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            text.clear();
            let _ = writeln!(text, "# EOF");
        }
        text
    }
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_is_rendered() {
        let metrics = Metrics::new();
        metrics.answered(0, Code::Ok, Duration::from_micros(30));
        metrics.answered(0, Code::Ok, Duration::from_micros(30));
        metrics.answered(2, Code::PermissionDenied, Duration::from_micros(30));
        metrics.refused(Refusal::RequestsOfUser);
        let mut stats = CacheStats::default();
        stats.hits = 7;
        let text = metrics.render(3, 2, Some(stats));
        for line in [
            "strongroom_requests_total{method=\"Get\",code=\"OK\"} 2",
            "strongroom_requests_total{method=\"Put\",code=\"PERMISSION_DENIED\"} 1",
            "strongroom_refused_total{limit=\"max_requests_per_user\"} 1",
            "strongroom_request_seconds_bucket{le=\"0.00005\",method=\"Get\"} 2",
            "strongroom_connections 3",
            "strongroom_requests_in_flight 2",
            "strongroom_cache_hits 7",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
