//! Comparing a store with its audit log: a store that was set back as a whole
//! to an older state is internally sound, and only the log knows better.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::audit::{Line, Phase};
use crate::error::Result;
use crate::migrate::{HAND_OVER, RECEIVE};
use crate::name::Scope;
use crate::secret::{Listing, Version};
use crate::store::{PageRequest, SecretStore};

const PAGE: usize = 1000;

/// What the log says a store holds, gathered line by line from
/// [`audit::verify`](crate::audit::verify). It keeps some hundred bytes for
/// each name in the log.
#[derive(Debug, Default)]
pub struct Expected {
    secrets: BTreeMap<(String, String), Track>,
    scopes: BTreeSet<String>,
}

/// What the lines about one secret say.
#[derive(Debug, Default)]
struct Track {
    state: State,
    /// The newest version that a put returned.
    latest: Option<Version>,
    /// Changes that may have happened, because they failed in an outage or were
    /// never seen to end, as after a crash.
    unsettled: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Absent,
    Live,
    Deleted,
    /// It came from another store, as it was there.
    Received,
    /// It went to another store. What is recorded of it after that happened there.
    Away,
}

/// One difference between a store and its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The scope of the secret.
    pub scope: String,
    /// Its identifier there.
    pub name: String,
    /// What is wrong, and what it means.
    pub finding: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}: {}", self.name, self.scope, self.finding)
    }
}

impl Expected {
    /// Looks at `scope` and its parents even if the log says nothing of them:
    /// a log that was replaced by an empty one is then noticed.
    #[must_use]
    pub fn in_scope(scope: &Scope) -> Self {
        let mut text = scope.account_id().to_owned();
        let mut scopes = BTreeSet::from([text.clone()]);
        for id in scope.identifiers().skip(1) {
            text = format!("{text}/{id}");
            scopes.insert(text.clone());
        }
        Self { scopes, ..Self::default() }
    }

    /// Takes in the next line of the log of `store`.
    pub fn visit(&mut self, store: &dyn SecretStore, line: &Line) {
        let is_change = matches!(
            line.operation.as_str(),
            "put" | "delete" | "restore" | "purge" | HAND_OVER | RECEIVE
        );
        let (Some(scope), Some(name), true) = (&line.scope, &line.name, is_change) else { return };
        let track = self.secrets.entry((scope.clone(), name.clone())).or_default();
        if track.state == State::Away && !matches!(line.operation.as_str(), HAND_OVER | RECEIVE) {
            return;
        }
        if line.phase == Phase::Intent {
            track.unsettled += 1;
            return;
        }
        match line.outcome.as_deref() {
            Some("ok") => {}
            // The backend did not say whether it happened.
            Some("unavailable" | "throttled" | "internal") => return,
            _ => {
                track.unsettled = track.unsettled.saturating_sub(1);
                return;
            }
        }
        track.unsettled = track.unsettled.saturating_sub(1);
        track.state = match line.operation.as_str() {
            "delete" => State::Deleted,
            "purge" => State::Absent,
            HAND_OVER => State::Away,
            RECEIVE => State::Received,
            _ => State::Live,
        };
        // Lines of concurrent puts may stand in either order; versions do not.
        let version = line.version.as_ref().and_then(|text| Version::new(text.as_str()).ok());
        if let Some(version) =
            version.filter(|_| matches!(line.operation.as_str(), "put" | RECEIVE))
        {
            let known = track.latest.as_ref().and_then(|latest| store.version_order(latest));
            if known.is_none() || store.version_order(&version) >= known {
                track.latest = Some(version);
            }
        }
    }

    /// Compares with what `store` holds now. Nobody may write meanwhile.
    pub async fn compare(mut self, store: &dyn SecretStore) -> Result<Vec<Difference>> {
        let mut differences = Vec::new();
        let logged = self.secrets.keys().map(|(scope, _)| scope.clone());
        let scopes: BTreeSet<_> = logged.chain(std::mem::take(&mut self.scopes)).collect();
        for text in scopes {
            let scope: Scope = text.parse()?;
            let mut page = PageRequest::first(PAGE);
            loop {
                let found = store.list(&scope, true, &page).await?;
                for item in &found.items {
                    let key = (text.clone(), item.name.id().to_owned());
                    let track = self.secrets.remove(&key).unwrap_or_default();
                    differences.extend(difference(key, track.stored(store, item)));
                }
                match found.next {
                    Some(next) => page.after = Some(next),
                    None => break,
                }
            }
        }
        let missing = self.secrets.into_iter();
        differences.extend(missing.filter_map(|(key, track)| difference(key, track.missing())));
        Ok(differences)
    }
}

fn difference((scope, name): (String, String), finding: Option<String>) -> Option<Difference> {
    finding.map(|finding| Difference { scope, name, finding })
}

impl Track {
    /// What is wrong with a secret that the store has.
    fn stored(&self, store: &dyn SecretStore, item: &Listing) -> Option<String> {
        let stored = if item.deleted.is_some() { State::Deleted } else { State::Live };
        let order = |version: &Version| store.version_order(version);
        if let Some(latest) = &self.latest {
            let (logged, found) = (order(latest), order(&item.latest));
            if found < logged {
                return Some(format!(
                    "version {latest} was written and the store ends at {}: it was set back",
                    item.latest
                ));
            }
        }
        if self.state == State::Away {
            return Some("it was moved to another store and is there again: set back".to_owned());
        }
        if self.unsettled > 0 {
            return None;
        }
        if self.latest.as_ref() != Some(&item.latest) {
            return Some(format!("version {} was written without the log", item.latest));
        }
        match (self.state, stored) {
            (logged, stored) if logged == stored => None,
            (State::Received, _) => None,
            (State::Deleted, _) => Some("it was deleted and is live again: set back".to_owned()),
            (State::Absent, _) => Some("it was purged and is there again: set back".to_owned()),
            _ => Some("it was deleted without the log".to_owned()),
        }
    }

    /// What is wrong with a secret that the store does not have. A deleted one
    /// may be past its recovery window.
    fn missing(&self) -> Option<String> {
        (matches!(self.state, State::Live | State::Received) && self.unsettled == 0)
            .then(|| "it was written and is not in the store: set back, or removed".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_stands_for_its_parents_too() {
        let expected = Expected::in_scope(&"a/b/c".parse().expect("a scope"));
        assert_eq!(expected.scopes.into_iter().collect::<Vec<_>>(), ["a", "a/b", "a/b/c"]);
    }
}
