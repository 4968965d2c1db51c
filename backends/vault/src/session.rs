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
    /// When Vault gave it, or was last seen to accept it.
    pub(crate) since: Timestamp,
    pub(crate) ends: Option<Timestamp>,
    /// Whether Vault renews it; else there has to be another login.
    pub(crate) renewable: bool,
}

impl Session {
    /// One that lasts for `life` from now on; for ever without it.
    pub(crate) fn new(
        token: Arc<SecretBytes>,
        life: Duration,
        renewable: bool,
        clock: &dyn Clock,
    ) -> Self {
        let since = clock.now();
        let ends = (!life.is_zero()).then(|| since.plus(life));
        Self { token, since, ends, renewable }
    }

    fn of(granted: Granted, clock: &dyn Clock) -> Self {
        let life = Duration::from_secs(granted.lease_duration);
        Self::new(Arc::new(granted.client_token.0), life, granted.renewable, clock)
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
        if let Some(held) = held.filter(|held| held.renewable) {
            match self.renew(held).await {
                Ok(renewed) if is_worthwhile(&renewed, held) => return Ok(renewed),
                // Whoever does not answer lets nobody log in either.
                Err(error) if error.is_retryable() => return Err(error),
                _ => {}
            }
        }
        // Not renewable, refused, or near its longest life: another login.
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

/// Vault cuts a renewal to the longest life of the token. The last ones would give less
/// and less: what gives no quarter of the life before is left, for a login.
fn is_worthwhile(renewed: &Session, held: &Session) -> bool {
    let (Some(renewed), Some(ends)) = (renewed.ends, held.ends) else { return true };
    renewed.since(ends) >= ends.since(held.since) / 4
}

/// The session that an answer to a login, or to a renewal, grants.
pub(crate) fn granted(answer: &Answer, clock: &dyn Clock) -> Result<Session> {
    let envelope: Envelope<serde::de::IgnoredAny> = answer.envelope()?;
    let granted = envelope.auth;
    let granted = granted.ok_or_else(|| crate::message::nonsense("there is no token in it"))?;
    Ok(Session::of(granted, clock))
}

#[cfg(test)]
mod tests {
    use strongroom_core::clock::ManualClock;

    use super::*;

    #[test]
    fn a_renewal_that_gives_little_more_is_left_for_a_login() {
        let clock = ManualClock::new(Timestamp(1_000_000));
        let session = |life: u64| {
            let token = Arc::new(SecretBytes::copy_from(b"token").expect("memory"));
            Session::new(token, Duration::from_mins(life), true, &clock)
        };
        let held = session(60);
        clock.advance(Duration::from_mins(30));
        assert!(is_worthwhile(&session(60), &held));
        assert!(is_worthwhile(&session(45), &held));
        assert!(!is_worthwhile(&session(44), &held));
        assert!(!is_worthwhile(&session(30), &held), "the rest");
        assert!(!is_worthwhile(&session(1), &held));
        assert!(is_worthwhile(&session(0), &held), "for ever");
        assert!(is_worthwhile(&session(1), &session(0)));
    }
}
