//! As whom Vault sees a connection, and for how long.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use strongroom_core::Result;

use super::spoken;
use crate::auth::Auth;
use crate::connection::Vault;
use crate::message::Request;

/// As whom Vault sees a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Caller {
    /// What Vault calls it, such as `approle`.
    pub display_name: String,
    /// Where it logged in, such as `auth/approle/login`.
    pub login: String,
    /// Its policies, by name.
    pub policies: Vec<String>,
    /// How long the token lasts from now on; `None` for ever.
    pub lasts: Option<Duration>,
    /// Whether the token can be made to last longer.
    pub renewable: bool,
    /// A token with a period can be renewed for ever.
    pub period: Option<Duration>,
    /// How often the token can be used; `None` as often as one likes.
    pub uses: Option<u64>,
}

/// As `auth/token/lookup-self` has it. The token is there too, and is not read.
#[derive(Deserialize)]
struct Looked {
    #[serde(default)]
    display_name: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    policies: Vec<String>,
    #[serde(default)]
    identity_policies: Vec<String>,
    ttl: u64,
    #[serde(default)]
    renewable: bool,
    #[serde(default)]
    period: u64,
    #[serde(default)]
    num_uses: u64,
}

impl Vault {
    /// Asks Vault as whom it sees this connection.
    ///
    /// # Errors
    /// `Unauthenticated` if Vault does not accept the login; `AccessDenied` if no policy
    /// allows to ask; `Unavailable` or `Throttled` if it does not answer.
    pub async fn caller(&self) -> Result<Caller> {
        let looked: Looked = self.ask(Request::get("auth/token/lookup-self")).await?.data()?;
        let mut policies = [looked.policies, looked.identity_policies].concat();
        policies.sort_unstable();
        policies.dedup();
        let time = |seconds: u64| (seconds > 0).then(|| Duration::from_secs(seconds));
        Ok(Caller {
            display_name: looked.display_name,
            login: looked.path,
            policies,
            lasts: time(looked.ttl),
            renewable: looked.renewable,
            period: time(looked.period),
            uses: (looked.num_uses > 0).then_some(looked.num_uses),
        })
    }
}

impl Caller {
    /// When the session ends, and what comes then: a line to be read.
    pub(crate) fn end(&self, auth: &Auth) -> String {
        let Some(lasts) = self.lasts else { return "the token never ends".to_owned() };
        let lasts = spoken(lasts);
        match (auth, self.period) {
            (Auth::AgentSink(_), _) => {
                format!("the token ends in {lasts}, unless the agent renews it")
            }
            (_, Some(period)) if self.renewable => {
                let period = spoken(period);
                format!("the token ends in {lasts}; each renewal makes it last for {period}")
            }
            (Auth::Token(_), _) if self.renewable => format!(
                "the token ends in {lasts}; it is renewed before, until its longest life is \
                 over: then another one is needed"
            ),
            (Auth::Token(_), _) => format!(
                "the token ends in {lasts} and cannot be renewed: another one is needed by then"
            ),
            _ if self.renewable => {
                format!("the token ends in {lasts}; it is renewed before, or another login follows")
            }
            _ => format!("the token ends in {lasts}; another login follows before"),
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whoever manages Vault chose the names.
        let (name, login) = (self.display_name.escape_debug(), self.login.escape_debug());
        let policies = self.policies.join(", ");
        write!(f, "{name}, logged in at {login}, with policies {}", policies.escape_debug())?;
        match self.uses {
            Some(uses) => write!(f, "; the token can be used {uses} times"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use strongroom_core::SecretBytes;

    use super::*;
    use crate::auth::{AppRole, SecretText};

    #[test]
    fn the_end_of_a_session_is_told() {
        let caller = |renewable, period: Option<u64>| Caller {
            display_name: "token".to_owned(),
            login: "auth/token/create".to_owned(),
            policies: vec!["default".to_owned()],
            lasts: Some(Duration::from_hours(1)),
            renewable,
            period: period.map(Duration::from_secs),
            uses: None,
        };
        let secret = Arc::new(SecretBytes::copy_from(b"token").expect("memory"));
        let token = Auth::Token(SecretText::Given(secret));
        let role = Auth::AppRole(AppRole::new("role", None));
        let sink = Auth::AgentSink("/sink".into());
        for (auth, renewable, period, told) in [
            (&token, false, None, "cannot be renewed: another one is needed"),
            (&token, true, None, "until its longest life is over"),
            (&token, true, Some(60), "each renewal makes it last for 1 min"),
            (&role, false, None, "another login follows before"),
            (&role, true, None, "or another login follows"),
            (&sink, true, None, "unless the agent renews it"),
        ] {
            let line = caller(renewable, period).end(auth);
            assert!(line.contains("in 1 h") && line.contains(told), "{line}");
        }
        let for_ever = Caller { lasts: None, ..caller(false, None) };
        assert_eq!(for_ever.end(&token), "the token never ends");
    }
}
