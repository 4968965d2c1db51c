//! Login with a role id and a secret id, which may come wrapped.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use strongroom_core::{Error, ErrorKind, Result, SecretBytes};

use super::secret::SecretText;
use crate::guarded::GuardedText;
use crate::message::Request;
use crate::transport::Transport;

/// Login with a role id and a secret id.
#[derive(Clone)]
pub struct AppRole {
    /// `approle`, if there is no other.
    pub mount: String,
    /// The role id.
    pub role_id: String,
    /// The secret id, unless the role needs none.
    pub secret_id: Option<SecretText>,
    /// Whether the secret id is a token that it was wrapped in (`-wrap-ttl`), which can
    /// be used once.
    pub wrapped: bool,
    unwrapped: Arc<Mutex<Option<Unwrapped>>>,
}

/// What was wrapped: the token that it came in opens nothing any more.
struct Unwrapped {
    token: Arc<SecretBytes>,
    secret_id: Arc<SecretBytes>,
}

impl AppRole {
    /// The role with this id, at `auth/approle`.
    #[must_use]
    pub fn new(role_id: &str, secret_id: Option<SecretText>) -> Self {
        let (mount, role_id) = ("approle".to_owned(), role_id.to_owned());
        Self { mount, role_id, secret_id, wrapped: false, unwrapped: Arc::default() }
    }

    /// The secret id, out of its wrapping.
    pub(super) async fn secret_id(
        &self,
        transport: &Transport,
    ) -> Result<Option<Arc<SecretBytes>>> {
        let Some(text) = &self.secret_id else { return Ok(None) };
        let given = text.read().await?;
        if !self.wrapped {
            return Ok(Some(given));
        }
        let known = self.known(&given);
        if known.is_some() {
            return Ok(known);
        }
        let secret_id = Arc::new(unwrap(transport, Arc::clone(&given)).await?);
        let unwrapped = Unwrapped { token: given, secret_id: Arc::clone(&secret_id) };
        *self.unwrapped.lock().unwrap_or_else(PoisonError::into_inner) = Some(unwrapped);
        Ok(Some(secret_id))
    }

    fn known(&self, token: &SecretBytes) -> Option<Arc<SecretBytes>> {
        let unwrapped = self.unwrapped.lock().unwrap_or_else(PoisonError::into_inner);
        let known = unwrapped.as_ref().filter(|known| *known.token == *token)?;
        Some(Arc::clone(&known.secret_id))
    }
}

async fn unwrap(transport: &Transport, token: Arc<SecretBytes>) -> Result<SecretBytes> {
    #[derive(Deserialize)]
    struct Wrapped {
        secret_id: GuardedText,
    }
    let request = Request::post_nothing("sys/wrapping/unwrap")?;
    let answer = match transport.attempt(&request, Some(&token)).await {
        Ok(answer) => answer,
        Err(error) if error.is_retryable() => return Err(error),
        Err(error) => {
            let what = "the wrapped secret id of the AppRole cannot be unwrapped: it has ended, or \
                        somebody has unwrapped it already, who can log in with it then";
            return Err(Error::new(ErrorKind::Unauthenticated, what).with_source(error));
        }
    };
    Ok(answer.data::<Wrapped>()?.secret_id.0)
}

impl fmt::Debug for AppRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("AppRole");
        out.field("mount", &self.mount).field("role_id", &self.role_id).finish_non_exhaustive()
    }
}
