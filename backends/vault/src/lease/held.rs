//! A [`Lease`], and how one is had: read, and renewed for as long as Vault lets it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use strongroom_core::{Clock, Error, ErrorKind, Result, SecretBytes, Timestamp};
use strongroom_remote::{Lasting, Source};

use crate::connection::Asking;
use crate::message::{Envelope, Request, nonsense};
use crate::session::Session;

/// The longest time before its end that a lease which cannot be renewed is replaced; it
/// is a quarter of its life if that is less.
const LONGEST_LEAD: Duration = Duration::from_mins(15);

/// Credentials that Vault has made, and looks after until they end.
pub(super) struct Lease {
    pub(super) id: String,
    /// What Vault gave, as JSON.
    pub(super) value: Arc<SecretBytes>,
    pub(super) ends: Timestamp,
    renewable: bool,
    /// The token that it was read with: its leases end with it.
    token: Arc<SecretBytes>,
}

impl Lease {
    /// Whether it was read in this session, or before that was renewed.
    pub(super) fn is_of(&self, session: &Session) -> bool {
        *self.token == *session.token
    }
}

impl Lasting for Lease {
    fn ends(&self) -> Option<Timestamp> {
        Some(self.ends)
    }

    /// What is renewed stays what it is: at half its life, so that a server may be away
    /// for the other half. What is replaced changes: later.
    fn lead(&self, life: Duration) -> Duration {
        if self.renewable { life / 2 } else { (life / 4).min(LONGEST_LEAD) }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Lease");
        out.field("id", &self.id).field("ends", &self.ends).finish_non_exhaustive()
    }
}

/// The leases that have not ended, also those that others have taken the place of.
#[derive(Clone, Debug, Default)]
pub(super) struct Taken(Arc<Mutex<Vec<(String, Timestamp)>>>);

impl Taken {
    fn note(&self, lease: &Lease, now: Timestamp) {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.retain(|(id, ends)| *ends > now && *id != lease.id);
        taken.push((lease.id.clone(), lease.ends));
    }

    /// The ids of all of them, which are forgotten here.
    pub(super) fn take(&self) -> Vec<String> {
        let taken = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        taken.into_iter().map(|(id, _)| id).collect()
    }
}

/// Reads a path, and renews what it gave.
pub(super) struct Reader {
    pub(super) path: String,
    pub(super) asking: Asking,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) taken: Taken,
}

#[async_trait]
impl Source<Lease> for Reader {
    async fn fetch(&self, held: Option<&Lease>) -> Result<Lease> {
        if let Some(held) = held.filter(|held| held.renewable) {
            match self.renew(held).await {
                // Vault cuts a renewal to the longest life of the credentials. What it
                // gave last may be the rest, and then it is time for others.
                Ok(renewed) if renewed.ends > held.ends => return Ok(self.noted(renewed)),
                Err(error) if error.is_retryable() => return Err(error),
                // Or it was revoked, or may not be renewed.
                _ => {}
            }
        }
        self.read().await.map(|lease| self.noted(lease))
    }
}

impl Reader {
    async fn read(&self) -> Result<Lease> {
        // Each time, there are other credentials.
        let request = Request::get(self.path.clone()).once();
        // The lease begins after that.
        let asked = self.clock.now();
        let answer = self.asking.ask(&request).await.map_err(missing)?;
        let envelope: Envelope<&RawValue> = answer.envelope()?;
        if envelope.lease_id.is_empty() {
            return Err(Error::unsupported(format!(
                "what Vault has at {} has no lease: this is for credentials that it makes, such \
                 as database/creds/ROLE",
                self.path
            )));
        }
        let data = envelope.data.ok_or_else(|| nonsense("there is no data in it"))?;
        let session = self.asking.held_session();
        let session = session.ok_or_else(|| Error::unavailable("the session at Vault ended"))?;
        Ok(Lease {
            value: Arc::new(SecretBytes::copy_from(data.get().as_bytes())?),
            ends: asked.plus(Duration::from_secs(envelope.lease_duration)),
            renewable: envelope.renewable,
            id: envelope.lease_id,
            token: Arc::clone(&session.token),
        })
    }

    async fn renew(&self, held: &Lease) -> Result<Lease> {
        let request = Request::post("sys/leases/renew", &LeaseId { lease_id: &held.id })?;
        let asked = self.clock.now();
        let answer = self.asking.ask(&request.repeatable()).await?;
        let envelope: Envelope<IgnoredAny> = answer.envelope()?;
        Ok(Lease {
            id: held.id.clone(),
            value: Arc::clone(&held.value),
            ends: asked.plus(Duration::from_secs(envelope.lease_duration)),
            renewable: envelope.renewable,
            token: Arc::clone(&held.token),
        })
    }

    fn noted(&self, lease: Lease) -> Lease {
        self.taken.note(&lease, self.clock.now());
        lease
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Ends a lease, and with it what it was for.
pub(super) async fn revoke(asking: &Asking, lease_id: &str) -> Result<()> {
    #[derive(Serialize)]
    struct Body<'a> {
        lease_id: &'a str,
        /// An answer means that it has happened.
        sync: bool,
    }
    let request = Request::post("sys/leases/revoke", &Body { lease_id, sync: true })?;
    asking.ask(&request.repeatable()).await.map(drop)
}

#[derive(Serialize)]
struct LeaseId<'a> {
    lease_id: &'a str,
}

/// The engines say in words that they do not know a role.
fn missing(error: Error) -> Error {
    let is_missing = error.kind() == ErrorKind::Internal
        && (error.message().contains("unknown role") || error.message().contains("not found"));
    if !is_missing {
        return error;
    }
    Error::not_found(error.message().to_owned()).with_source(error)
}
