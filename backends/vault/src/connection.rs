//! [`Vault`]: a connection that everything on it shares.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use strongroom_core::{Clock, Error, ErrorKind, Result, random};
use strongroom_remote::{Renewing, Running, Runtime};
use tokio::time::{Instant, timeout};

use crate::auth::Auth;
use crate::error::{is_no_token, not_allowed};
use crate::message::{Answer, Request};
use crate::session::{Logins, Session};
use crate::settings::VaultSettings;
use crate::transport::{Failed, Transport};

/// What a repeated attempt waits for: a random part of a delay that doubles from the
/// first to the last ("full jitter", AWS Architecture Blog, "Exponential Backoff And
/// Jitter").
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LAST_DELAY: Duration = Duration::from_secs(2);

/// A session that is younger is believed to be accepted, if nobody can tell.
const BELIEVED: Duration = Duration::from_mins(1);

/// The longest time that is given to end a session.
const FAREWELL: Duration = Duration::from_secs(2);

/// Vault, as it is reached and as whom: shared by everything that works there.
#[derive(Clone)]
pub struct Vault(Arc<Shared>);

struct Shared {
    runtime: Runtime,
    asking: Asking,
    auth: Auth,
    namespace: Option<String>,
    revoke_on_close: bool,
}

/// What goes along to where requests are made.
#[derive(Clone)]
pub(crate) struct Asking {
    transport: Arc<Transport>,
    session: Renewing<Session>,
    clock: Arc<dyn Clock>,
    retries: u32,
    timeout: Duration,
}

impl Vault {
    /// Prepares connections. Nobody is asked yet.
    ///
    /// # Errors
    /// `Configuration` if the settings cannot be true: they say which, and why.
    pub fn connect(settings: &VaultSettings) -> Result<Self> {
        settings.check()?;
        let runtime = Runtime::new("strongroom-vault")?;
        let transport = Arc::new(Transport::new(settings)?);
        let clock = Arc::clone(&settings.clock);
        let logins = Logins {
            auth: settings.auth.clone(),
            transport: Arc::clone(&transport),
            clock: Arc::clone(&clock),
        };
        let session = Renewing::new(Box::new(logins), Arc::clone(&clock));
        let (retries, timeout) = (settings.retries, settings.timeout);
        let asking = Asking { transport, session, clock, retries, timeout };
        let (auth, namespace) = (settings.auth.clone(), settings.namespace.clone());
        let revoke_on_close = settings.revoke_on_close;
        Ok(Self(Arc::new(Shared { runtime, asking, auth, namespace, revoke_on_close })))
    }

    /// The first of the addresses.
    #[must_use]
    pub fn address(&self) -> &str {
        self.0.asking.transport.first_address()
    }

    pub(crate) fn auth(&self) -> &Auth {
        &self.0.auth
    }

    pub(crate) fn namespace(&self) -> Option<&str> {
        self.0.namespace.as_deref()
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.asking.clock
    }

    /// Asks from work that [`run`](Self::run) begins.
    pub(crate) fn asking(&self) -> &Asking {
        &self.0.asking
    }

    /// Begins `work` where requests are made; it ends when nobody waits for it any more.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Running<T> {
        self.0.runtime.run(work)
    }

    /// The same, and it is waited for, though not for long: for what is left to do when
    /// nobody can wait any more.
    pub(crate) fn farewell(&self, work: impl Future<Output = ()> + Send + 'static) {
        farewell(&self.0.runtime, work);
    }

    /// Asks Vault, with the session's token.
    pub(crate) async fn ask(&self, request: Request) -> Result<Answer> {
        let asking = self.0.asking.clone();
        self.0.runtime.run(async move { asking.ask(&request).await }).await
    }

    /// Asks each server once, without a token.
    pub(crate) async fn ask_each(&self, request: Request) -> Result<Vec<(String, Result<Answer>)>> {
        let transport = Arc::clone(&self.0.asking.transport);
        self.0.runtime.run(async move { Ok(transport.ask_each(&request).await) }).await
    }
}

impl Asking {
    /// The session, renewed if it is time.
    pub(crate) async fn session(&self) -> Result<Arc<Session>> {
        self.session.get().await
    }

    /// The session, as it is held now.
    pub(crate) fn held_session(&self) -> Option<Arc<Session>> {
        self.session.held()
    }

    pub(crate) async fn ask(&self, request: &Request) -> Result<Answer> {
        let asked = timeout(self.timeout, self.ask_again(request)).await;
        asked.unwrap_or_else(|_| {
            let address = self.transport.first_address();
            let what = format!("Vault at {address} did not answer {request} in time");
            Err(Error::unavailable(what))
        })
    }

    async fn ask_again(&self, request: &Request) -> Result<Answer> {
        let deadline = Instant::now() + self.timeout;
        let mut attempts = 0;
        loop {
            let Failed { error, may_be_done, .. } = match self.ask_once(request).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            let may_repeat = error.is_retryable() && (request.repeatable || !may_be_done);
            if !may_repeat || attempts >= self.retries {
                return Err(error);
            }
            let jitter = random_part(delay(attempts))?;
            let wait = error.retry_after().map_or(jitter, |asked| asked.max(jitter));
            if Instant::now() + wait >= deadline {
                return Err(error);
            }
            tokio::time::sleep(wait).await;
            attempts += 1;
        }
    }

    /// With a new session once, if the one that was held has ended before its time.
    async fn ask_once(&self, request: &Request) -> Result<Answer, Failed> {
        let session = self.session.get().await?;
        let refused = match self.transport.attempt(request, Some(&session.token)).await {
            Err(failed) if failed.error.kind() == ErrorKind::AccessDenied => failed.error,
            answer => return answer,
        };
        if self.is_accepted(&session, &refused).await {
            return Err(not_allowed(request, &refused).into());
        }
        self.session.forget(&session);
        let session = self.session.get().await?;
        let refused = match self.transport.attempt(request, Some(&session.token)).await {
            Err(failed) if failed.error.kind() == ErrorKind::AccessDenied => failed.error,
            answer => return answer,
        };
        if is_no_token(&refused) {
            self.session.forget(&session);
            let what = "Vault does not accept the token that it was just given: it has ended, \
                        or was revoked";
            return Err(Error::unauthenticated(what).with_source(refused).into());
        }
        Err(not_allowed(request, &refused).into())
    }

    /// Whether a token that was refused is one, and only its policies do not allow what
    /// was asked. Vault says so, others are asked about the token.
    async fn is_accepted(&self, session: &Session, refused: &Error) -> bool {
        if is_no_token(refused) {
            return false;
        }
        let looked = Request::get("auth/token/lookup-self");
        match self.transport.attempt(&looked, Some(&session.token)).await.map_err(Error::from) {
            Err(error) if is_no_token(&error) => false,
            // A policy may not allow that either, and then nobody knows. What is denied
            // again and again must not log in again and again.
            Err(error) if error.kind() == ErrorKind::AccessDenied => {
                self.clock.now().since(session.since) < BELIEVED
            }
            _ => true,
        }
    }
}

/// The delay after so many attempts, before its random part is taken.
fn delay(attempts: u32) -> Duration {
    FIRST_DELAY.saturating_mul(1 << attempts.min(20)).min(LAST_DELAY)
}

fn random_part(delay: Duration) -> Result<Duration> {
    let part = u128::from(u64::from_be_bytes(random::array()?));
    let micros = (delay.as_micros() * part) >> 64;
    Ok(Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)))
}

impl Drop for Shared {
    fn drop(&mut self) {
        let Some(session) = self.asking.session.held().filter(|_| self.revoke_on_close) else {
            return;
        };
        let Ok(request) = Request::post_nothing("auth/token/revoke-self") else { return };
        let transport = Arc::clone(&self.asking.transport);
        farewell(&self.runtime, async move {
            let _ = transport.attempt(&request, Some(&session.token)).await;
        });
    }
}

/// Waits for `work`, though not for long: the end of the runtime would end it too.
fn farewell(runtime: &Runtime, work: impl Future<Output = ()> + Send + 'static) {
    let (done, ended) = std::sync::mpsc::channel();
    runtime.go_on(async move {
        work.await;
        let _ = done.send(());
    });
    let _ = ended.recv_timeout(FAREWELL);
}

impl fmt::Debug for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asking").field("transport", &self.transport).finish_non_exhaustive()
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("address", &self.address()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_doubles_and_ends() {
        assert_eq!(delay(0), FIRST_DELAY);
        assert_eq!(delay(1), FIRST_DELAY * 2);
        assert_eq!(delay(5), LAST_DELAY);
        assert_eq!(delay(u32::MAX), LAST_DELAY);
        for attempts in 0..9 {
            assert!(random_part(delay(attempts)).expect("random") <= delay(attempts));
        }
    }
}
