//! Login with a role id and a secret id, which may come wrapped.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use strongroom_core::{Error, ErrorKind, Result, SecretBytes};
use tokio::sync::Mutex;

use super::secret::SecretText;
use crate::guarded::{Exposed, GuardedText};
use crate::message::Request;
use crate::transport::{Failed, Transport};

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
        // Whoever else logs in waits: it can be unwrapped once.
        let mut unwrapped = self.unwrapped.lock().await;
        if let Some(known) = unwrapped.as_ref().filter(|known| *known.token == *given) {
            return Ok(Some(Arc::clone(&known.secret_id)));
        }
        self.check_origin(transport, &given).await?;
        let secret_id = Arc::new(unwrap(transport, &given).await?);
        *unwrapped = Some(Unwrapped { token: given, secret_id: Arc::clone(&secret_id) });
        Ok(Some(secret_id))
    }

    /// Whoever has unwrapped a secret id on its way can wrap it again, or another one:
    /// but not so that Vault says the role's own path made it (Vault's documentation,
    /// "Response wrapping token validation").
    async fn check_origin(&self, transport: &Transport, token: &SecretBytes) -> Result<()> {
        #[derive(Serialize)]
        struct Body<'a> {
            token: Exposed<'a>,
        }
        #[derive(Deserialize)]
        struct Origin {
            creation_path: String,
        }
        let token = Exposed::new(token)
            .ok_or_else(|| Error::configuration("the wrapped secret id is no token"))?;
        let request = Request::post("sys/wrapping/lookup", &Body { token })?.repeatable();
        let answer = transport.attempt(&request, None).await.map_err(used)?;
        let path = answer.data::<Origin>()?.creation_path;
        let of_role = path.strip_prefix(&format!("auth/{}/role/", self.mount));
        let is_secret_id = |rest: &str| {
            matches!(rest.rsplit_once('/'), Some((_, "secret-id" | "custom-secret-id")))
        };
        if of_role.is_some_and(is_secret_id) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Unauthenticated,
            format!(
                "the wrapped secret id of the AppRole was made by {}, and not by a role of \
                 auth/{}: somebody may have unwrapped the true one, and can log in with it",
                path.escape_debug(),
                self.mount
            ),
        ))
    }
}

async fn unwrap(transport: &Transport, token: &SecretBytes) -> Result<SecretBytes> {
    #[derive(Deserialize)]
    struct Wrapped {
        secret_id: GuardedText,
    }
    let request = Request::post_nothing("sys/wrapping/unwrap")?;
    let answer = transport.attempt(&request, Some(token)).await.map_err(used)?;
    Ok(answer.data::<Wrapped>()?.secret_id.0)
}

fn used(failed: Failed) -> Error {
    let error = Error::from(failed);
    if error.is_retryable() {
        return error;
    }
    let what = "the wrapped secret id of the AppRole cannot be unwrapped: it has ended, or \
                somebody has unwrapped it already, who can log in with it then; destroy that \
                secret id, and give another one";
    Error::new(ErrorKind::Unauthenticated, what).with_source(error)
}

impl fmt::Debug for AppRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("AppRole");
        out.field("mount", &self.mount).field("role_id", &self.role_id).finish_non_exhaustive()
    }
}
