//! What a check asks of Vault: which servers there are, as whom they are asked, and what
//! that one may not do.

mod caller;
mod capabilities;

use std::time::Duration;

use serde::Deserialize;
use strongroom_core::{Error, Result};

pub use self::caller::Caller;
pub use self::capabilities::Allowed;
use crate::connection::Vault;
use crate::message::{Answer, Request};

/// Any state is an answer (API documentation, `/sys/health`).
const ANY_STATE: &str =
    "standbyok=true&perfstandbyok=true&sealedcode=200&uninitcode=200&drsecondarycode=200";

/// What a server says of itself.
#[derive(Deserialize)]
struct Health {
    initialized: bool,
    sealed: bool,
    standby: bool,
    #[serde(default)]
    version: String,
    #[serde(default)]
    cluster_name: String,
}

impl Vault {
    /// Asks every server how it is, and Vault as whom it sees this connection: lines to be
    /// read.
    ///
    /// # Errors
    /// `Unavailable` if no server is active; `Unauthenticated` if Vault does not accept the
    /// login.
    pub async fn check(&self) -> Result<Vec<String>> {
        let health = Request::get("sys/health").with_query(ANY_STATE.to_owned());
        let mut lines = Vec::new();
        let mut failed = None;
        let mut is_active = false;
        for (address, answer) in self.ask_each(health).await? {
            match answer.and_then(|answer| Health::of(&answer)) {
                Ok(health) => {
                    is_active |= health.is_active();
                    lines.push(format!("{address}: {}", health.told()));
                }
                Err(error) => {
                    lines.push(format!("{address}: {}", error.message()));
                    failed.get_or_insert(error);
                }
            }
        }
        if !is_active {
            let told = lines.join("; ");
            let error = Error::unavailable(format!("no server of Vault is active: {told}"));
            return Err(match failed {
                Some(source) => error.with_source(source),
                None => error,
            });
        }
        let caller = self.caller().await?;
        lines.push(caller.to_string());
        lines.push(caller.end(self.auth()));
        Ok(lines)
    }
}

impl Health {
    /// It is not in an envelope, as other answers are.
    fn of(answer: &Answer) -> Result<Self> {
        answer.bare()
    }

    fn is_active(&self) -> bool {
        self.initialized && !self.sealed && !self.standby
    }

    fn told(&self) -> String {
        let state = match self {
            Self { initialized: false, .. } => "not initialized",
            Self { sealed: true, .. } => "sealed",
            Self { standby: true, .. } => "stands by",
            _ => "active",
        };
        let mut told = format!("version {}, {state}", self.version);
        if !self.cluster_name.is_empty() {
            told.push_str(", cluster ");
            told.push_str(&self.cluster_name);
        }
        told
    }
}

/// A time as people say it: its two largest units.
fn spoken(time: Duration) -> String {
    let seconds = time.as_secs();
    let units = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)];
    let first = units.iter().position(|(_, unit)| seconds >= *unit).unwrap_or(units.len() - 1);
    let mut rest = seconds;
    let mut told = Vec::new();
    for (name, unit) in units.into_iter().skip(first).take(2) {
        if rest >= unit || (told.is_empty() && unit == 1) {
            told.push(format!("{} {name}", rest / unit));
        }
        rest %= unit;
    }
    told.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_two_units() {
        for (seconds, told) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3_599, "59 min 59 s"),
            (3_600, "1 h"),
            (3_601, "1 h"),
            (2_764_800, "32 d"),
            (90_061, "1 d 1 h"),
        ] {
            assert_eq!(spoken(Duration::from_secs(seconds)), told);
        }
    }
}
