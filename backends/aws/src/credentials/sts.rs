//! Sources of credentials: the host, and sessions of STS.

use async_trait::async_trait;
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_credential_types::provider::ProvideCredentials;
use aws_sdk_sts::Client;
use aws_sdk_sts::types::{Credentials, Tag};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use strongroom_core::{Clock, Error, Result, SecretBytes, Timestamp};

use super::keys::Keys;
use super::renewing::Source;
use super::{AssumeRole, SESSION_NAME, WebIdentity};
use crate::error::Call;

/// How long what the host gives without an end is taken for what it is: a file may
/// change.
const LASTING: Duration = Duration::from_mins(15);

/// What the host gives.
pub(crate) struct Host {
    pub(crate) chain: DefaultCredentialsChain,
    pub(crate) clock: Arc<dyn Clock>,
}

/// A role, assumed with the credential that the client has.
pub(crate) struct RoleSession {
    pub(crate) sts: Client,
    pub(crate) region: String,
    pub(crate) role: AssumeRole,
}

/// A role, in exchange for a token.
pub(crate) struct WebIdentitySession {
    pub(crate) sts: Client,
    pub(crate) region: String,
    pub(crate) role: WebIdentity,
}

#[async_trait]
impl Source for Host {
    async fn fetch(&self) -> Result<Keys> {
        let given = self.chain.provide_credentials().await.map_err(|error| {
            // What the providers say names files and addresses, never a value.
            let why = std::error::Error::source(&error).map(|why| format!(": {why}"));
            Error::unauthenticated(format!(
                "the host gives no AWS credential: {error}{}",
                why.unwrap_or_default()
            ))
            .with_source(error)
        })?;
        let mut keys = Keys::of_sdk(&given)?;
        keys.ends.get_or_insert_with(|| self.clock.now().plus(LASTING));
        Ok(keys)
    }

    fn makes_sessions(&self) -> bool {
        false
    }
}

#[async_trait]
impl Source for RoleSession {
    async fn fetch(&self) -> Result<Keys> {
        let role = &self.role;
        let call = call("sts:AssumeRole", &role.role_arn, &self.region);
        let tags = role.tags.iter().map(|(key, value)| {
            Tag::builder().key(key).value(value).build().map_err(|error| {
                Error::configuration("a session's tag has no key").with_source(error)
            })
        });
        let tags = tags.collect::<Result<Vec<_>>>()?;
        let request = self
            .sts
            .assume_role()
            .role_arn(&role.role_arn)
            .role_session_name(role.session_name.as_deref().unwrap_or(SESSION_NAME))
            .set_external_id(role.external_id.clone())
            .set_duration_seconds(seconds(role.duration))
            .set_tags((!tags.is_empty()).then_some(tags));
        let answer = request.send().await.map_err(|error| call.failed(error))?;
        keys(answer.credentials, &call)
    }
}

#[async_trait]
impl Source for WebIdentitySession {
    async fn fetch(&self) -> Result<Keys> {
        let role = &self.role;
        let call = call("sts:AssumeRoleWithWebIdentity", &role.role_arn, &self.region);
        let token = role.token.take().await?;
        // Printable text, as `take` has seen. The client copies it into its request.
        let token = String::from_utf8_lossy(token.expose()).into_owned();
        let request = self
            .sts
            .assume_role_with_web_identity()
            .role_arn(&role.role_arn)
            .role_session_name(role.session_name.as_deref().unwrap_or(SESSION_NAME))
            .set_duration_seconds(seconds(role.duration))
            .web_identity_token(token);
        let answer = request.send().await.map_err(|error| call.failed(error))?;
        keys(answer.credentials, &call)
    }
}

fn call(action: &'static str, role: &str, region: &str) -> Call {
    Call { service: "AWS STS", action, resource: role.to_owned(), region: region.to_owned() }
}

fn keys(given: Option<Credentials>, call: &Call) -> Result<Keys> {
    let given = given.ok_or_else(|| {
        Error::internal(format!("the answer to {call} makes no sense: there are no credentials"))
    })?;
    let ends = given.expiration().to_millis().ok().and_then(|ms| u64::try_from(ms).ok());
    let id = given.access_key_id().to_owned();
    let secret = SecretBytes::take(given.secret_access_key.into_bytes())?;
    let token = SecretBytes::take(given.session_token.into_bytes())?;
    Keys::new(&id, secret, Some(token), Some(Timestamp(ends.unwrap_or(0))))
}

fn seconds(duration: Option<Duration>) -> Option<i32> {
    duration.map(|duration| i32::try_from(duration.as_secs()).unwrap_or(i32::MAX))
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Host")
    }
}

impl fmt::Debug for RoleSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RoleSession").field(&self.role).finish()
    }
}

impl fmt::Debug for WebIdentitySession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebIdentitySession")
            .field("role", &self.role.role_arn)
            .finish_non_exhaustive()
    }
}
