//! `strongroom status`

use std::io::{self, Write};
use std::time::Duration;

use serde_json::{Value, json};
use strongroom::SystemClock;
use strongroom_client::{SecretStatus, Status};

use super::keys;
use crate::context::Context;
use crate::failure::Result;
use crate::output::{BAD, BOLD, DIM, GOOD, time, visible};

/// Show what the sidecar is doing, and what its cache knows of secrets
///
/// Without a sidecar that answers, the exit code is 9.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom status
  strongroom status account.db account.tls-key
  strongroom status --keys")]
pub(crate) struct Args {
    /// Secrets to ask about
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Which versions of which KEKs are needed, as `strongroom keys`
    #[arg(long, conflicts_with = "names")]
    keys: bool,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Result {
        if self.keys {
            return keys::Args::default().run(context);
        }
        let session = context.session()?;
        let sidecar = session.sidecar()?;
        let names: Vec<_> = self.names.iter().map(String::as_str).collect();
        let status = sidecar.status(&names)?;
        let socket = sidecar.path().display().to_string();
        let uptime = SystemClock::shared().now().0.saturating_sub(status.started.0);
        let uptime = Duration::from_millis(uptime);
        context.output.show(&document(&status, &socket, uptime), |out| {
            describe(out, &status, &socket, uptime)
        })
    }
}

fn document(status: &Status, socket: &str, uptime: Duration) -> Value {
    let cache = status.cache.map(|cache| {
        json!({
            "hits": cache.hits,
            "misses": cache.misses,
            "stale": cache.stale,
            "backend_calls": cache.flights,
            "entries": cache.entries,
            "bytes": cache.bytes,
        })
    });
    let secrets = status.secrets.iter().map(|secret| {
        json!({
            "name": secret.name,
            "cached": secret.cached,
            "version": secret.version,
            "last_success": secret.last_success.map(time),
            "age_ms": secret.age.map(millis),
            "expires_in_ms": secret.expires_in.map(millis),
            "stale": secret.stale,
            "error": secret.error.as_ref().map(|error| json!({
                "kind": error.kind().as_str(),
                "message": error.message(),
                "retryable": error.is_retryable(),
            })),
        })
    });
    json!({
        "socket": socket,
        "version": status.version,
        "started": time(status.started),
        "uptime_ms": millis(uptime),
        "scope": status.scope.to_string(),
        "store": status.store,
        "connections": status.connections,
        "requests_in_flight": status.requests_in_flight,
        "configured": status.configured.map(time),
        "reload_error": status.reload_error,
        "cache": cache,
        "capabilities": status.capabilities,
        "secrets": secrets.collect::<Vec<_>>(),
    })
}

fn describe(
    out: &mut dyn Write,
    status: &Status,
    socket: &str,
    uptime: Duration,
) -> io::Result<()> {
    let version = visible(&status.version);
    writeln!(out, "{GOOD}serving{GOOD:#} {BOLD}{}{BOLD:#}  strongroom {version}", visible(socket))?;
    writeln!(out, "  up           {}, since {}", span(uptime), time(status.started))?;
    writeln!(out, "  scope        {}", status.scope)?;
    writeln!(out, "  store        {}", visible(&status.store))?;
    let (connections, requests) = (status.connections, status.requests_in_flight);
    writeln!(out, "  connections  {connections}, with {requests} requests under way")?;
    match &status.cache {
        Some(cache) => {
            let (hits, misses, calls) = (cache.hits, cache.misses, cache.flights);
            let (entries, bytes) = (cache.entries, cache.bytes);
            write!(out, "  cache        {entries} entries of {bytes} bytes; ")?;
            write!(out, "{hits} hits, {misses} misses, {} stale answers, ", cache.stale)?;
            writeln!(out, "{calls} calls to the store")?;
        }
        None => writeln!(out, "  cache        off")?,
    }
    if let Some(error) = &status.reload_error {
        writeln!(out, "  {BAD}reload refused{BAD:#}  {}", visible(error))?;
    }
    status.secrets.iter().try_for_each(|secret| describe_secret(out, secret))
}

fn describe_secret(out: &mut dyn Write, secret: &SecretStatus) -> io::Result<()> {
    write!(out, "{BOLD}{}{BOLD:#}  ", visible(&secret.name))?;
    if let Some(error) = &secret.error {
        return writeln!(out, "{BAD}{}{BAD:#}", visible(error.message()));
    }
    if !secret.cached {
        return writeln!(out, "{DIM}not cached{DIM:#}");
    }
    if let Some(version) = &secret.version {
        write!(out, "version {version}, ")?;
    }
    if let Some(age) = secret.age {
        write!(out, "confirmed {} ago", span(age))?;
    }
    if let Some(last) = secret.last_success {
        write!(out, " ({})", time(last))?;
    }
    if secret.stale {
        write!(out, ", {BAD}stale{BAD:#}")?;
    }
    match secret.expires_in {
        Some(left) => writeln!(out, ", expires in {}", span(left)),
        None => writeln!(out),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A duration by its two largest units.
fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{}ms", time.as_millis()),
        1..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_shown_by_two_units() {
        for (seconds, shown) in
            [(0, "0ms"), (59, "59s"), (61, "1m 1s"), (7_260, "2h 1m"), (90_000, "1d 1h")]
        {
            assert_eq!(span(Duration::from_secs(seconds)), shown);
        }
    }
}
