//! [`Renewing`]: credentials that last for a while, taken anew before they end, or when
//! AWS ends them.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use strongroom_core::{Clock, Result, Timestamp};
use strongroom_remote::{self as remote, Lasting};

use super::keys::Keys;
use crate::failure::Refused;

/// How long a source whose credentials AWS refused is left alone, so that it is not asked
/// for each call in vain.
const PAUSE: Duration = Duration::from_secs(30);

/// Who gives credentials.
#[async_trait]
pub(crate) trait Source: Send + Sync + fmt::Debug + 'static {
    async fn fetch(&self) -> Result<Keys>;

    /// Whether each fetch makes a session of its own. Others may give the same again.
    fn makes_sessions(&self) -> bool {
        true
    }
}

/// Credentials of a source, held until shortly before they end.
#[derive(Clone, Debug)]
pub(crate) struct Renewing {
    keys: remote::Renewing<Keys>,
    makes_sessions: bool,
    clock: Arc<dyn Clock>,
    /// When credentials were refused last, by the monotonic clock.
    refused: Arc<Mutex<Option<Duration>>>,
}

impl Renewing {
    pub(crate) fn new(source: Box<dyn Source>, clock: Arc<dyn Clock>) -> Self {
        let (makes_sessions, refused) = (source.makes_sessions(), Arc::default());
        let keys = remote::Renewing::new(Box::new(Fetching(source)), Arc::clone(&clock));
        Self { keys, makes_sessions, clock, refused }
    }

    /// AWS refused a request that was signed with the credentials of this id: they are
    /// not given again. Whether there may be others.
    pub(crate) fn refuse(&self, id: &str, how: Refused) -> bool {
        if how == Refused::Unknown && !self.makes_sessions {
            return false;
        }
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(held) = self.keys.held().filter(|held| held.id() == id) else {
            // Somebody else was refused before, and others are there or on their way.
            return true;
        };
        let now = self.clock.monotonic();
        if refused.is_some_and(|before| now.saturating_sub(before) < PAUSE) {
            return false;
        }
        *refused = Some(now);
        self.keys.forget(&held);
        true
    }

    /// Credentials that have not ended.
    pub(crate) async fn keys(&self) -> Result<Arc<Keys>> {
        self.keys.get().await
    }
}

impl Lasting for Keys {
    fn ends(&self) -> Option<Timestamp> {
        self.ends
    }
}

/// No credentials of AWS are renewed: there are others each time.
#[derive(Debug)]
struct Fetching(Box<dyn Source>);

#[async_trait]
impl remote::Source<Keys> for Fetching {
    async fn fetch(&self, _: Option<&Keys>) -> Result<Keys> {
        self.0.fetch().await
    }
}

impl ProvideCredentials for Renewing {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async move {
            // The error comes back from the client, in the end of its chain.
            self.keys().await.map(|keys| keys.for_sdk()).map_err(CredentialsError::provider_error)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use strongroom_core::SecretBytes;
    use strongroom_core::clock::ManualClock;

    use super::*;

    const LIFE: Duration = Duration::from_hours(1);

    /// Gives credentials for an hour, one for each permit, and counts.
    #[derive(Clone, Debug)]
    struct Counting {
        clock: ManualClock,
        given: Arc<AtomicUsize>,
        makes_sessions: bool,
    }

    #[async_trait]
    impl Source for Counting {
        async fn fetch(&self) -> Result<Keys> {
            let number = 1 + self.given.fetch_add(1, Ordering::Relaxed);
            let secret = SecretBytes::copy_from(b"secret")?;
            Keys::new(&format!("ASIA{number}"), secret, None, Some(self.clock.now().plus(LIFE)))
        }

        fn makes_sessions(&self) -> bool {
            self.makes_sessions
        }
    }

    fn source() -> (Counting, Renewing) {
        let clock = ManualClock::new(Timestamp(1_000_000));
        let source = Counting { clock, given: Arc::default(), makes_sessions: true };
        (source.clone(), renewing(&source))
    }

    fn renewing(source: &Counting) -> Renewing {
        Renewing::new(Box::new(source.clone()), Arc::new(source.clock.clone()))
    }

    async fn id(renewing: &Renewing) -> String {
        renewing.keys().await.expect("credentials").for_sdk().access_key_id().to_owned()
    }

    #[tokio::test]
    async fn what_aws_refuses_is_taken_anew_once_for_all_and_not_at_once_again() {
        let (source, renewing) = source();
        assert_eq!(id(&renewing).await, "ASIA1");
        // All who were refused at the same time.
        for _ in 0..5 {
            assert!(renewing.refuse("ASIA1", Refused::Ended));
        }
        assert_eq!(id(&renewing).await, "ASIA2");
        assert!(renewing.refuse("ASIA1", Refused::Unknown), "one who comes late has another");
        assert_eq!(id(&renewing).await, "ASIA2");
        let moment = Duration::from_millis(1);
        source.clock.advance(PAUSE.saturating_sub(moment));
        assert!(!renewing.refuse("ASIA2", Refused::Ended), "the source gives nothing better");
        assert_eq!(id(&renewing).await, "ASIA2");
        source.clock.advance(moment);
        assert!(renewing.refuse("ASIA2", Refused::Unknown));
        assert_eq!(id(&renewing).await, "ASIA3");
        assert_eq!(source.given.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn what_somebody_else_set_and_aws_does_not_know_is_not_asked_for_again() {
        let source = Counting { makes_sessions: false, ..source().0 };
        let renewing = renewing(&source);
        assert_eq!(id(&renewing).await, "ASIA1");
        assert!(!renewing.refuse("ASIA1", Refused::Unknown));
        assert_eq!(id(&renewing).await, "ASIA1");
        assert!(renewing.refuse("ASIA1", Refused::Ended), "it may have been set anew");
        assert_eq!(id(&renewing).await, "ASIA2");
    }
}
