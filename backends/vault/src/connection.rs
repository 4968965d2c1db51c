//! [`Vault`]: a connection that everything on it shares.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use strongroom_core::{Clock, Error, ErrorKind, Result, random};
use strongroom_remote::{Renewing, Running, Runtime};
use tokio::time::timeout;

use crate::message::{Answer, Request};
use crate::session::{Logins, Session};
use crate::settings::VaultSettings;
use crate::transport::Transport;

/// What a repeated attempt waits for: a random part of a delay that doubles from the
/// first to the last ("full jitter", AWS Architecture Blog, "Exponential Backoff And
/// Jitter").
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LAST_DELAY: Duration = Duration::from_secs(2);

/// The longest time that is given to end a session.
const FAREWELL: Duration = Duration::from_secs(2);

/// Vault, as it is reached and as whom: shared by everything that works there.
#[derive(Clone)]
pub struct Vault(Arc<Shared>);

struct Shared {
    runtime: Runtime,
    asking: Asking,
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
        let (namespace, revoke_on_close) = (settings.namespace.clone(), settings.revoke_on_close);
        Ok(Self(Arc::new(Shared { runtime, asking, namespace, revoke_on_close })))
    }

    /// The first of the addresses.
    #[must_use]
    pub fn address(&self) -> &str {
        self.0.asking.transport.first_address()
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

    /// Asks Vault, with the session's token unless the request has one of its own.
    pub(crate) async fn ask(&self, request: Request) -> Result<Answer> {
        let asking = self.0.asking.clone();
        self.0.runtime.run(async move { asking.ask(&request).await }).await
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
        let mut attempts = 0;
        loop {
            let error = match self.ask_once(request).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            // What may have had its effect is not repeated.
            let was_refused = error.kind() == ErrorKind::Throttled;
            let may_repeat = error.is_retryable() && (request.repeatable || was_refused);
            if !may_repeat || attempts >= self.retries {
                return Err(error);
            }
            let jitter = random_part(delay(attempts))?;
            let wait = error.retry_after().map_or(jitter, |asked| asked.max(jitter));
            tokio::time::sleep(wait).await;
            attempts += 1;
        }
    }

    /// With a new session once, if the one that was held has ended before its time.
    async fn ask_once(&self, request: &Request) -> Result<Answer> {
        if let Some(token) = &request.token {
            return self.transport.attempt(request, Some(token)).await;
        }
        let session = self.session.get().await?;
        let error = match self.transport.attempt(request, Some(&session.token)).await {
            Err(error) if error.kind() == ErrorKind::AccessDenied => error,
            answer => return answer,
        };
        if self.is_accepted(&session, &error).await {
            return Err(error);
        }
        self.session.forget(&session);
        let session = self.session.get().await?;
        self.transport.attempt(request, Some(&session.token)).await
    }

    /// Whether a token that was refused is one, and only its policies do not allow what
    /// was asked. Newer servers say so, the others are asked about the token.
    async fn is_accepted(&self, session: &Session, refused: &Error) -> bool {
        if refused.message().contains("invalid token") {
            return false;
        }
        let looked = Request::get("auth/token/lookup-self");
        match self.transport.attempt(&looked, Some(&session.token)).await {
            Ok(_) => true,
            Err(error) => error.kind() != ErrorKind::AccessDenied,
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
