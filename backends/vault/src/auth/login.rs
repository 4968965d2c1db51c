//! The requests of each login.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use strongroom_core::{Clock, Error, ErrorKind, Result, SecretBytes};

use super::secret::read_file;
use super::{AppRole, Auth, Identity, Jwt, SecretText};
use crate::guarded::{self, Exposed};
use crate::message::{Answer, Request};
use crate::session::{Session, granted};
use crate::transport::Transport;

/// After this time a sink is read again: an agent may have written another token.
const SINK_AGAIN: Duration = Duration::from_mins(1);

impl Auth {
    /// A session. It is asked for once, whatever the answer: a login that fails may count
    /// against who logs in.
    pub(crate) async fn login(&self, transport: &Transport, clock: &dyn Clock) -> Result<Session> {
        let answer = match self {
            Self::Token(token) => return of_token(token, transport, clock).await,
            Self::AgentSink(path) => return of_sink(path, clock),
            Self::AppRole(login) => with_approle(login, transport).await,
            Self::Kubernetes(login) => {
                let jwt = read_file(&login.token_file)?;
                with_jwt(&login.mount, Some(&login.role), &jwt, transport).await
            }
            Self::Jwt(Jwt { mount, role, token }) => {
                let jwt = token.read().await?;
                with_jwt(mount, role.as_deref(), &jwt, transport).await
            }
            Self::Aws { mount, role, server_id, identity } => {
                let server_id = server_id.as_deref();
                with_aws(mount, role.as_deref(), server_id, &**identity, transport).await
            }
            Self::Certificate { mount, role } => {
                #[derive(Serialize)]
                struct Body<'a> {
                    #[serde(skip_serializing_if = "Option::is_none")]
                    name: Option<&'a str>,
                }
                login_at(mount, &Body { name: role.as_deref() }, transport).await
            }
        };
        granted(&answer?, clock)
    }
}

/// What an agent looks after, and not us.
fn of_sink(path: &Path, clock: &dyn Clock) -> Result<Session> {
    let token = read_file(path)?;
    if token.expose().starts_with(b"{") {
        let shown = path.display();
        return Err(Error::configuration(format!(
            "the token in the sink {shown} is wrapped or encrypted: give the agent a sink \
             without wrap_ttl and dh_type, which only this user can read"
        )));
    }
    Ok(Session::new(Arc::new(token), SINK_AGAIN, false, clock))
}

/// A token tells itself how long it lasts.
async fn of_token(token: &SecretText, transport: &Transport, clock: &dyn Clock) -> Result<Session> {
    #[derive(Deserialize)]
    struct Told {
        /// Seconds; 0 for ever.
        ttl: u64,
        #[serde(default)]
        renewable: bool,
    }
    let token = token.read().await?;
    let request = Request::get("auth/token/lookup-self");
    let answer = transport.attempt(&request, Some(&token)).await.map_err(|failed| {
        let error = Error::from(failed);
        if error.kind() == ErrorKind::AccessDenied {
            let what = "Vault does not accept the token: it has ended, or was revoked, or its \
                        policies do not allow it to look itself up (auth/token/lookup-self)";
            return Error::unauthenticated(what).with_source(error);
        }
        error
    })?;
    let told: Told = answer.data()?;
    Ok(Session::new(token, Duration::from_secs(told.ttl), told.renewable, clock))
}

async fn with_approle(login: &AppRole, transport: &Transport) -> Result<Answer> {
    #[derive(Serialize)]
    struct Body<'a> {
        role_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        secret_id: Option<Exposed<'a>>,
    }
    let secret_id = login.secret_id(transport).await?;
    let secret_id = secret_id.as_deref().map(text).transpose()?;
    login_at(&login.mount, &Body { role_id: &login.role_id, secret_id }, transport).await
}

async fn with_jwt(
    mount: &str,
    role: Option<&str>,
    jwt: &SecretBytes,
    transport: &Transport,
) -> Result<Answer> {
    #[derive(Serialize)]
    struct Body<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        role: Option<&'a str>,
        jwt: Exposed<'a>,
    }
    login_at(mount, &Body { role, jwt: text(jwt)? }, transport).await
}

async fn with_aws(
    mount: &str,
    role: Option<&str>,
    server_id: Option<&str>,
    identity: &dyn Identity,
    transport: &Transport,
) -> Result<Answer> {
    #[derive(Serialize)]
    struct Signed<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        role: Option<&'a str>,
        #[serde(rename = "iam_http_request_method")]
        method: &'a str,
        #[serde(rename = "iam_request_url")]
        url: Exposed<'a>,
        #[serde(rename = "iam_request_body")]
        body: Exposed<'a>,
        #[serde(rename = "iam_request_headers")]
        headers: Exposed<'a>,
    }
    let signed = identity.sign(server_id).await?;
    let mut headers = BTreeMap::<&str, Vec<&str>>::new();
    for (name, value) in &signed.headers {
        headers.entry(name).or_default().push(value);
    }
    let url = guarded::base64(signed.url.as_bytes())?;
    let body = guarded::base64(signed.body.as_bytes())?;
    let headers = guarded::base64(guarded::json(&headers)?.expose())?;
    let signed = Signed {
        role,
        method: "POST",
        url: text(&url)?,
        body: text(&body)?,
        headers: text(&headers)?,
    };
    login_at(mount, &signed, transport).await
}

async fn login_at(mount: &str, body: &impl Serialize, transport: &Transport) -> Result<Answer> {
    let request = Request::post(format!("auth/{mount}/login"), body)?;
    transport.attempt(&request, None).await.map_err(|failed| {
        let error = Error::from(failed);
        match error.kind() {
            // Vault has many ways to say that it does not know who that is.
            ErrorKind::AccessDenied | ErrorKind::Internal | ErrorKind::NotFound => {
                let what = format!("Vault refuses the login: {}", error.message());
                Error::unauthenticated(what).with_source(error)
            }
            _ => error,
        }
    })
}

fn text(secret: &SecretBytes) -> Result<Exposed<'_>> {
    Exposed::new(secret).ok_or_else(|| Error::configuration("a secret of a login is no text"))
}
