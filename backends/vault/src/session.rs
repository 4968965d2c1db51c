//! A session: the token that a login gave, renewed before it ends.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use strongroom_core::{Clock, Result, SecretBytes, Timestamp};
use strongroom_remote::{Lasting, Source};

use crate::auth::Auth;
use crate::message::{Answer, Envelope, Granted, Request};
use crate::transport::Transport;

/// A token, and how long it lasts.
pub(crate) struct Session {
    pub(crate) token: Arc<SecretBytes>,
    pub(crate) ends: Option<Timestamp>,
    /// Whether Vault renews it; else there has to be another login.
    pub(crate) renewable: bool,
}

impl Session {
    pub(crate) fn of(granted: Granted, clock: &dyn Clock) -> Self {
        let life = Duration::from_secs(granted.lease_duration);
        let ends = (!life.is_zero()).then(|| clock.now().plus(life));
        Self { token: Arc::new(granted.client_token.0), ends, renewable: granted.renewable }
    }
}

impl Lasting for Session {
    fn ends(&self) -> Option<Timestamp> {
        self.ends
    }

    /// At half its life, so that a server may be away for the other half.
    fn lead(&self, life: Duration) -> Duration {
        life / 2
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("ends", &self.ends).finish_non_exhaustive()
    }
}

/// Logs in, and renews.
#[derive(Debug)]
pub(crate) struct Logins {
    pub(crate) auth: Auth,
    pub(crate) transport: Arc<Transport>,
    pub(crate) clock: Arc<dyn Clock>,
}

#[async_trait]
impl Source<Session> for Logins {
    async fn fetch(&self, held: Option<&Session>) -> Result<Session> {
        if let Some(held) = held.filter(|held| held.renewable)
            && let Ok(renewed) = self.renew(held).await
            && lasts_longer(&renewed, held)
        {
            return Ok(renewed);
        }
        // Not renewable, refused, or at its longest life: another login.
        self.auth.login(&self.transport, &*self.clock).await
    }
}

impl Logins {
    async fn renew(&self, held: &Session) -> Result<Session> {
        let request = Request::post_nothing("auth/token/renew-self")?.repeatable();
        let answer = self.transport.attempt(&request, Some(&held.token)).await?;
        granted(&answer, &*self.clock)
    }
}

/// Vault cuts a renewal to the longest life of the token. What it gave last may be the
/// rest, and then it is time for a login.
fn lasts_longer(renewed: &Session, held: &Session) -> bool {
    match (renewed.ends, held.ends) {
        (Some(renewed), Some(held)) => renewed > held,
        _ => true,
    }
}

/// The session that an answer to a login, or to a renewal, grants.
pub(crate) fn granted(answer: &Answer, clock: &dyn Clock) -> Result<Session> {
    let envelope: Envelope<serde::de::IgnoredAny> = answer.envelope()?;
    let granted = envelope.auth;
    let granted = granted.ok_or_else(|| crate::message::nonsense("there is no token in it"))?;
    Ok(Session::of(granted, clock))
}
