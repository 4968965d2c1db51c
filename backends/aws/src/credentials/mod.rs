//! As whom AWS is asked: a [`Credential`], and on top of it a role that is assumed.
//!
//! What lasts for a while is renewed before it ends, once for all who wait, and stands
//! in guarded memory in between; the client library gets a copy for each request and
//! wipes it when it drops it.

mod keys;
mod renewing;
mod sts;
mod token;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::provider::{ProvideCredentials, future};
use strongroom_core::{Error, Result, SecretBytes};

use crate::policy;

pub(crate) use self::keys::Keys;
pub(crate) use self::renewing::{Renewing, Source};
pub(crate) use self::sts::{Host, RoleSession, WebIdentitySession};
pub use self::token::{Token, TokenSource};

/// What is told to STS as the name of a session, unless the settings say another.
const SESSION_NAME: &str = "strongroom";

/// How long STS lets a session last (API reference of `AssumeRole`).
const SHORTEST_SESSION: Duration = Duration::from_mins(15);
const LONGEST_SESSION: Duration = Duration::from_hours(12);

/// The most tags of a session, and the most characters of a key and of a value (API
/// reference of `AssumeRole`).
const MAX_TAGS: usize = 50;
const MAX_TAG_KEY: usize = 128;
const MAX_TAG_VALUE: usize = 256;

/// The credential that calls are signed with, or that a role is assumed with.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Credential {
    /// What the host gives: environment variables, the profile that they name, a
    /// web-identity token that they name, the container's role, the instance's role; in
    /// this order.
    #[default]
    Host,
    /// An access key.
    AccessKey(AccessKey),
    /// A role, in exchange for a token of an OIDC issuer that the role trusts: IRSA, or
    /// any other issuer.
    WebIdentity(WebIdentity),
}

/// An access key, in guarded memory.
#[derive(Clone, Debug)]
pub struct AccessKey(pub(crate) Arc<Keys>);

/// A role, in exchange for a token.
#[derive(Clone, Debug)]
pub struct WebIdentity {
    /// The role.
    pub role_arn: String,
    /// Where the token comes from; it is taken anew for each session.
    pub token: Token,
    /// The session's name, as the account's log has it; `strongroom` without one.
    pub session_name: Option<String>,
    /// How long a session lasts; an hour without it.
    pub duration: Option<Duration>,
}

/// A role that is assumed with the credential, also of another account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AssumeRole {
    /// The role.
    pub role_arn: String,
    /// What the role's trust policy asks for, against the confused deputy.
    pub external_id: Option<String>,
    /// The session's name, as the account's log has it; `strongroom` without one.
    pub session_name: Option<String>,
    /// How long a session lasts; an hour without it.
    pub duration: Option<Duration>,
    /// Tags of the session. The trust policy has to allow `sts:TagSession`.
    pub tags: Vec<(String, String)>,
}

impl Credential {
    /// An access key, with a session token if it is a temporary one.
    ///
    /// # Errors
    /// `Configuration` if one of them is no printable text.
    pub fn access_key(
        id: &str,
        secret: SecretBytes,
        session_token: Option<SecretBytes>,
    ) -> Result<Self> {
        Ok(Self::AccessKey(AccessKey(Arc::new(Keys::new(id, secret, session_token, None)?))))
    }

    /// The role and the token file that EKS names in the environment of a pod whose
    /// service account has a role (IRSA): `AWS_ROLE_ARN` and
    /// `AWS_WEB_IDENTITY_TOKEN_FILE`.
    ///
    /// # Errors
    /// `Configuration` if one of them is missing.
    pub fn irsa() -> Result<Self> {
        let variable = |name: &str| {
            std::env::var(name).ok().filter(|value| !value.is_empty()).ok_or_else(|| {
                Error::configuration(format!(
                    "there is no {name} in the environment: give the pod's service account a \
                     role, or set role_arn and token_file"
                ))
            })
        };
        let role_arn = variable("AWS_ROLE_ARN")?;
        let file = PathBuf::from(variable("AWS_WEB_IDENTITY_TOKEN_FILE")?);
        Ok(Self::web_identity(&role_arn, Token::File(file)))
    }

    /// A role, in exchange for a token.
    #[must_use]
    pub fn web_identity(role_arn: &str, token: Token) -> Self {
        Self::WebIdentity(WebIdentity::new(role_arn, token))
    }

    /// Refuses what STS would refuse.
    pub(crate) fn check(&self, partition: &str) -> Result<()> {
        let Self::WebIdentity(role) = self else { return Ok(()) };
        check_role(&role.role_arn, partition)?;
        check_session(role.session_name.as_deref(), role.duration)?;
        role.token.check()
    }
}

impl WebIdentity {
    /// The role, by its ARN.
    #[must_use]
    pub fn new(role_arn: &str, token: Token) -> Self {
        Self { role_arn: role_arn.to_owned(), token, session_name: None, duration: None }
    }
}

impl ProvideCredentials for AccessKey {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(Ok(self.0.for_sdk()))
    }
}

impl AssumeRole {
    /// The role, by its ARN.
    #[must_use]
    pub fn new(role_arn: &str) -> Self {
        Self { role_arn: role_arn.to_owned(), ..Self::default() }
    }

    /// Refuses what STS would refuse.
    pub(crate) fn check(&self, partition: &str) -> Result<()> {
        check_role(&self.role_arn, partition)?;
        check_session(self.session_name.as_deref(), self.duration)?;
        let id_is_good = |id: &String| {
            (2..=1224).contains(&id.len())
                && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@:/-\\".contains(&b))
        };
        if !self.external_id.as_ref().is_none_or(id_is_good) {
            return Err(Error::configuration(
                "an external id has 2 to 1224 letters, digits and _+=,.@:/-",
            ));
        }
        let tag_is_good = |(key, value): &(String, String)| {
            (1..=MAX_TAG_KEY).contains(&key.chars().count())
                && value.chars().count() <= MAX_TAG_VALUE
        };
        if self.tags.len() > MAX_TAGS || !self.tags.iter().all(tag_is_good) {
            return Err(Error::configuration(format!(
                "a session has at most {MAX_TAGS} tags, with keys of 1 to {MAX_TAG_KEY} and \
                 values of at most {MAX_TAG_VALUE} characters"
            )));
        }
        Ok(())
    }
}

fn check_role(arn: &str, partition: &str) -> Result<()> {
    let of = policy::names::role_arn(arn).map_err(|_| {
        let shown = arn.escape_debug();
        Error::configuration(format!(
            "{shown} is no role: its ARN is arn:{partition}:iam::ACCOUNT:role/NAME"
        ))
    })?;
    let of = of.as_str();
    if of != partition {
        return Err(Error::configuration(format!(
            "the role {arn} is of the partition {of}, and the region of {partition}: standard \
             regions, GovCloud and China have accounts and credentials of their own"
        )));
    }
    Ok(())
}

fn check_session(name: Option<&str>, duration: Option<Duration>) -> Result<()> {
    let is_good = |name: &str| {
        (2..=64).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b))
    };
    if !name.is_none_or(is_good) {
        return Err(Error::configuration(
            "the name of a session has 2 to 64 letters, digits and _+=,.@-",
        ));
    }
    if duration.is_some_and(|lasts| !(SHORTEST_SESSION..=LONGEST_SESSION).contains(&lasts)) {
        return Err(Error::configuration(
            "a session lasts from 15 minutes to 12 hours, and no longer than the role allows",
        ));
    }
    Ok(())
}

/// Where something is read from, for a message.
fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLE: &str = "arn:aws:iam::123456789012:role/team/reader";

    fn role(change: impl FnOnce(&mut AssumeRole)) -> Result<()> {
        let mut role = AssumeRole::new(ROLE);
        change(&mut role);
        role.check("aws")
    }

    #[test]
    fn a_role_is_of_the_regions_partition() {
        assert!(role(|_| ()).is_ok());
        let error = AssumeRole::new(ROLE).check("aws-us-gov").expect_err("another partition");
        assert!(error.message().contains("GovCloud"), "{error}");
        for bad in ["", "reader", "arn:aws:iam::123456789012:user/x", "arn:aws:iam::1:role/x"] {
            let error = AssumeRole::new(bad).check("aws").expect_err(bad);
            assert!(error.message().contains("is no role"), "{error}");
        }
    }

    #[test]
    fn what_sts_refuses_is_told_before_it_is_asked() {
        let minutes = Duration::from_mins;
        assert!(role(|role| role.duration = Some(minutes(15))).is_ok());
        assert!(role(|role| role.duration = Some(minutes(14))).is_err());
        assert!(role(|role| role.duration = Some(minutes(721))).is_err());
        assert!(role(|role| role.external_id = Some("customer-7".to_owned())).is_ok());
        assert!(role(|role| role.external_id = Some("x".to_owned())).is_err());
        assert!(role(|role| role.external_id = Some("a\nb".to_owned())).is_err());
        assert!(role(|role| role.session_name = Some("a b".to_owned())).is_err());
        let tag = |n: usize| (n.to_string(), "v".repeat(MAX_TAG_VALUE));
        assert!(role(|role| role.tags = (0..MAX_TAGS).map(tag).collect()).is_ok());
        assert!(role(|role| role.tags = (0..=MAX_TAGS).map(tag).collect()).is_err());
    }

    #[test]
    fn debug_shows_the_id_of_an_access_key_and_no_more() {
        let bytes = |text: &str| SecretBytes::copy_from(text.as_bytes()).expect("guarded memory");
        let token = Some(bytes("a-token"));
        let key = Credential::access_key("AKIDEXAMPLE", bytes("hunter2"), token).expect("text");
        let shown = format!("{key:?}");
        assert!(shown.contains("AKIDEXAMPLE"), "{shown}");
        assert!(!shown.contains("hunter2") && !shown.contains("a-token"), "{shown}");
        assert!(Credential::access_key("AKID", bytes("a\nb"), None).is_err());
    }
}
