//! `[aws]`: the connectors to AWS, and what they become.

mod check;
mod connect;
mod policy;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use strongroom_aws::{AwsSettings, Backoff};
use strongroom_core::{Error, Result};

use super::connector::{ConnectorSpec, Service, named};
use super::{ConnectorSecret, value};

/// `[aws]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct AwsSection {
    /// The connectors, by name.
    pub connectors: Vec<AwsConnector>,
}

/// `[[aws.connectors]]`: how AWS is reached, and as whom.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct AwsConnector {
    /// What the rest of the configuration calls it.
    pub name: String,
    /// The region.
    pub region: String,
    /// The region that `strongroom aws check` asks for the list of regions.
    pub test_region: Option<String>,
    /// With which credential calls are signed.
    pub credential: CredentialType,
    /// The id of an access key.
    pub access_key_id: Option<String>,
    /// Where the secret of the access key is.
    pub secret_access_key: Option<ConnectorSecret>,
    /// Where the session token is, for an access key that is temporary.
    pub session_token: Option<ConnectorSecret>,
    /// The role of a web identity.
    pub role_arn: Option<String>,
    /// Where the token of a web identity is, which is read for each session.
    pub token: Option<ConnectorSecret>,
    /// The file with the token of a web identity.
    pub token_file: Option<PathBuf>,
    /// The program that prints the token, and its arguments.
    pub token_command: Vec<String>,
    /// A role that is assumed with the credential.
    pub assume_role_arn: Option<String>,
    /// What that role's trust policy asks for.
    pub external_id: Option<String>,
    /// The name of the sessions.
    pub session_name: Option<String>,
    /// How long a session lasts.
    #[serde(deserialize_with = "value::optional_duration::deserialize")]
    pub session_duration: Option<Duration>,
    /// Tags of the sessions of the assumed role.
    pub session_tags: BTreeMap<String, String>,
    /// When a failed call is made again.
    pub backoff: Backoff,
    /// Another endpoint than the region's, for every service.
    pub endpoint: Option<String>,
    /// Whether FIPS endpoints are used.
    pub fips: bool,
    /// The certificates that servers are trusted by instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Where the URL of a proxy is, which may hold a password.
    pub proxy: Option<ConnectorSecret>,
    /// How long a connection may take to come about.
    #[serde(with = "value::duration")]
    pub connect_timeout: Duration,
    /// How long one attempt of a call may take.
    #[serde(with = "value::duration")]
    pub attempt_timeout: Duration,
    /// How long a call may take, with all attempts.
    #[serde(with = "value::duration")]
    pub timeout: Duration,
}

/// The kinds of AWS credentials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CredentialType {
    /// What the host gives: environment, profile, container role, instance role.
    #[default]
    Host,
    /// An access key.
    AccessKey,
    /// The role of a Kubernetes service account.
    Irsa,
    /// A role, in exchange for a token of an OIDC issuer.
    Oidc,
}

impl Default for AwsConnector {
    fn default() -> Self {
        let settings = AwsSettings::new("");
        Self {
            name: String::new(),
            region: String::new(),
            test_region: None,
            credential: CredentialType::Host,
            access_key_id: None,
            secret_access_key: None,
            session_token: None,
            role_arn: None,
            token: None,
            token_file: None,
            token_command: Vec::new(),
            assume_role_arn: None,
            external_id: None,
            session_name: None,
            session_duration: None,
            session_tags: BTreeMap::new(),
            backoff: settings.backoff,
            endpoint: None,
            fips: settings.fips,
            ca_file: None,
            proxy: None,
            connect_timeout: settings.connect_timeout,
            attempt_timeout: settings.attempt_timeout,
            timeout: settings.timeout,
        }
    }
}

impl AwsSection {
    /// The connector of this name; the only one there is where none is named.
    ///
    /// # Errors
    /// `Configuration` if there is none, or if it is not clear which.
    pub fn connector(&self, name: Option<&str>) -> Result<&AwsConnector> {
        let service = Service { called: "AWS", list: "aws.connectors", needs: "name and region" };
        named(&self.connectors, |one| &one.name, name, &service)
    }

    pub(super) fn check(&self) -> Result<()> {
        let mut names = BTreeSet::new();
        for (index, connector) in self.connectors.iter().enumerate() {
            let place = |error: &Error| {
                let place = index + 1;
                let what = format!("[[aws.connectors]] {place}: {}", error.message());
                Error::configuration(what)
            };
            connector.check().map_err(|error| place(&error))?;
            if !names.insert(&connector.name) {
                return Err(place(&Error::configuration("it has the name of another one")));
            }
        }
        Ok(())
    }
}

impl AwsConnector {
    /// What it has to be told before it connects.
    pub(super) fn spec(&self) -> ConnectorSpec<'_> {
        let parts = [
            ("secret_access_key", &self.secret_access_key),
            ("session_token", &self.session_token),
            ("token", &self.token),
            ("proxy", &self.proxy),
        ];
        let secrets = parts.into_iter().filter_map(|(key, secret)| Some((key, secret.as_ref()?)));
        ConnectorSpec { list: "aws.connectors", name: &self.name, secrets: secrets.collect() }
    }

    fn check(&self) -> Result<()> {
        use CredentialType::{AccessKey, Host, Irsa, Oidc};
        let is_name = !self.name.is_empty()
            && self.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if !is_name {
            return refuse("it needs a name of letters, digits, - and _");
        }
        if self.region.is_empty() {
            return refuse("it needs region = \"…\", such as eu-central-1");
        }
        let kind = self.credential;
        let keys = [
            ("access_key_id", self.access_key_id.is_some(), &[AccessKey][..]),
            ("secret_access_key", self.secret_access_key.is_some(), &[AccessKey]),
            ("session_token", self.session_token.is_some(), &[AccessKey]),
            ("role_arn", self.role_arn.is_some(), &[Irsa, Oidc]),
            ("token", self.token.is_some(), &[Oidc]),
            ("token_file", self.token_file.is_some(), &[Irsa, Oidc]),
            ("token_command", !self.token_command.is_empty(), &[Oidc]),
        ];
        if let Some((key, ..)) = keys.iter().find(|(_, set, of)| *set && !of.contains(&kind)) {
            return refuse(&format!("{key} has no use with credential = \"{}\"", kind.as_str()));
        }
        let has_command = !self.token_command.is_empty();
        let tokens = [self.token.is_some(), self.token_file.is_some(), has_command];
        let tokens = tokens.into_iter().filter(|is_set| *is_set).count();
        match kind {
            AccessKey if self.access_key_id.is_none() || self.secret_access_key.is_none() => {
                return refuse("an access key needs access_key_id and secret_access_key");
            }
            Irsa if self.role_arn.is_some() != self.token_file.is_some() => {
                return refuse(
                    "credential = \"irsa\" takes role_arn and token_file, both or none of them",
                );
            }
            Oidc if self.role_arn.is_none() || tokens == 0 => {
                return refuse(
                    "credential = \"oidc\" needs role_arn and token, token_file or token_command",
                );
            }
            Oidc if tokens > 1 => {
                return refuse("of token, token_file and token_command there is to be one");
            }
            _ => {}
        }
        let of_role = [
            ("external_id", self.external_id.is_some()),
            ("session_tags", !self.session_tags.is_empty()),
        ];
        if self.assume_role_arn.is_none()
            && let Some((key, _)) = of_role.iter().find(|(_, set)| *set)
        {
            return refuse(&format!("{key} has no use without assume_role_arn"));
        }
        let of_session = [
            ("session_name", self.session_name.is_some()),
            ("session_duration", self.session_duration.is_some()),
        ];
        if self.assume_role_arn.is_none()
            && matches!(kind, Host | AccessKey)
            && let Some((key, _)) = of_session.iter().find(|(_, set)| *set)
        {
            return refuse(&format!("{key} has no use without a role"));
        }
        Ok(())
    }
}

impl CredentialType {
    /// The name in a configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::AccessKey => "access-key",
            Self::Irsa => "irsa",
            Self::Oidc => "oidc",
        }
    }
}

fn refuse(what: &str) -> Result<()> {
    Err(Error::configuration(what.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    fn error(text: &str) -> String {
        let entry = format!("[[aws.connectors]]\nname = \"a\"\nregion = \"eu-central-1\"\n{text}");
        Config::parse(&entry).expect_err(text).to_string()
    }

    #[test]
    fn what_a_credential_needs_and_what_has_no_use_is_told() {
        let key = "credential = \"access-key\"\naccess_key_id = \"AKIDEXAMPLE\"\n";
        assert!(error(key).contains("[[aws.connectors]] 1: an access key needs"));
        assert!(error("access_key_id = \"x\"").contains("no use with credential = \"host\""));
        let secret = format!("{key}secret_access_key = \"hunter2\"\n");
        assert!(!error(&secret).contains("hunter2"));
        assert!(error("credential = \"oidc\"").contains("needs role_arn"));
        assert!(error("credential = \"irsa\"\nrole_arn = \"x\"").contains("both or none"));
        assert!(error("external_id = \"x\"").contains("without assume_role_arn"));
        assert!(error("session_name = \"x\"").contains("without a role"));
        assert!(error("credential = \"acess-key\"").contains("access-key"));
        assert!(error("regoin = \"x\"").contains("did you mean `region`"));
        assert!(error("backoff = { type = \"full-jitter\" }").contains("base_delay"));
        assert!(error("[[aws.connectors]]\nname = \"a\"\nregion = \"x\"").contains("of another"));
    }

    #[test]
    fn the_only_connector_needs_no_name() {
        let entry = |name: &str| format!("[[aws.connectors]]\nname = \"{name}\"\nregion = \"r\"\n");
        let one = Config::parse(&entry("a")).expect("valid").aws;
        assert_eq!(one.connector(None).expect("it").name, "a");
        assert!(one.connector(Some("b")).expect_err("another").message().contains("known are a"));
        let two = Config::parse(&(entry("a") + &entry("b"))).expect("valid").aws;
        assert!(two.connector(None).expect_err("which").message().contains("one of a, b"));
        assert_eq!(two.connector(Some("b")).expect("it").name, "b");
    }
}
