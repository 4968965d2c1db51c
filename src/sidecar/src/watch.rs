//! Watches: the state of secrets, and from then on every change that is made
//! through this sidecar.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use futures_util::stream::unfold;
use strongroom::config::Verb;
use strongroom::{
    Engine, Error, ErrorKind, PageRequest, Result, Scope, SecretName, Select, Version,
};
use strongroom_rpc::{status_of, v1};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tonic::Status;

use crate::state::{Caller, Shared};

/// What happened to a secret.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) name: SecretName,
    pub(crate) what: v1::Change,
    pub(crate) version: Option<Version>,
}

/// What a watcher reads.
pub(crate) type Changes = Pin<Box<dyn Stream<Item = Result<v1::WatchResponse, Status>> + Send>>;

/// Which secrets are watched.
pub(crate) enum Watched {
    Names(Vec<SecretName>),
    Scope(Scope),
}

struct Watcher {
    shared: Arc<Shared>,
    caller: Arc<Caller>,
    engine: Engine,
    watched: Watched,
    changes: broadcast::Receiver<Arc<Change>>,
    ending: watch::Receiver<bool>,
    /// What is to be told before the next change.
    queue: VecDeque<v1::WatchResponse>,
    /// Whether the state has to be told, at first or anew.
    behind: bool,
    /// Where the list of a scope goes on.
    after: Option<String>,
    told: usize,
    over: bool,
}

/// The changes of `watched`, beginning with the state.
pub(crate) fn changes(
    shared: Arc<Shared>,
    caller: Arc<Caller>,
    engine: Engine,
    watched: Watched,
) -> Changes {
    let state = Watcher {
        // Before the state is read, so that nothing is missed in between.
        changes: shared.changes.subscribe(),
        ending: shared.ending.subscribe(),
        shared,
        caller,
        engine,
        watched,
        queue: VecDeque::new(),
        behind: true,
        after: None,
        told: 0,
        over: false,
    };
    Box::pin(unfold(state, |mut watcher| async move {
        if watcher.over {
            return None;
        }
        let next = watcher.next().await;
        // An error is the last that a watcher is told.
        watcher.over = next.is_err();
        Some((next, watcher))
    }))
}

impl Watcher {
    async fn next(&mut self) -> Result<v1::WatchResponse, Status> {
        loop {
            if let Some(response) = self.queue.pop_front() {
                return Ok(response);
            }
            if self.behind {
                self.read_state().await.map_err(|e| status_of(&e.during("watch")))?;
                continue;
            }
            let change = tokio::select! {
                change = self.changes.recv() => change,
                _ = self.ending.wait_for(|ending| *ending) => {
                    let gone = Error::unavailable("the sidecar ends: watch again");
                    return Err(status_of(&gone.during("watch")));
                }
            };
            match change {
                Ok(change) if self.is_watched(&change.name) => return Ok(response(&change)),
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => {
                    // What was kept is older than the state that is told now.
                    self.changes = self.changes.resubscribe();
                    (self.behind, self.told) = (true, 0);
                }
                // The sender lives as long as the sidecar.
                Err(RecvError::Closed) => {
                    return Err(status_of(&Error::unavailable("the sidecar ends: watch again")));
                }
            }
        }
    }

    /// Whether the caller watches `name`, and, by the rules of this moment, may.
    fn is_watched(&self, name: &SecretName) -> bool {
        let watched = match &self.watched {
            Watched::Names(names) => names.contains(name),
            Watched::Scope(scope) => name.scope() == scope,
        };
        watched && self.caller.session(&self.shared).allows(Verb::Watch, name)
    }

    /// The next piece of the state: one name, or one page of a scope.
    async fn read_state(&mut self) -> Result<()> {
        let next = match &self.watched {
            Watched::Names(names) => match names.get(self.told).cloned() {
                Some(name) => {
                    if self.is_watched(&name) {
                        let response = state_of(&self.engine, &name).await?;
                        self.queue.push_back(response);
                    }
                    self.told += 1;
                    true
                }
                None => false,
            },
            Watched::Scope(scope) => {
                let scope = scope.clone();
                let page = PageRequest { after: self.after.take(), limit: 256 };
                let page = self.engine.store().list(&scope, false, &page).await?;
                let session = self.caller.session(&self.shared);
                for listing in page.items {
                    if session.allows(Verb::Watch, &listing.name) {
                        self.queue.push_back(v1::WatchResponse {
                            name: listing.name.to_string(),
                            change: v1::Change::Present.into(),
                            version: listing.latest.to_string(),
                        });
                    }
                }
                self.after = page.next;
                self.after.is_some()
            }
        };
        if !next {
            self.behind = false;
            self.queue.push_back(v1::WatchResponse {
                change: v1::Change::Synced.into(),
                ..v1::WatchResponse::default()
            });
        }
        Ok(())
    }
}

/// The state of one secret. Its value is read, since no store tells the latest
/// version alone, and dropped at once.
async fn state_of(engine: &Engine, name: &SecretName) -> Result<v1::WatchResponse> {
    let found = match engine.store().get(name, &Select::Latest).await {
        Ok(secret) => Ok(secret),
        // A reference is there, also while what it leads to cannot be had.
        Err(_) => engine.store().get_stored(name, &Select::Latest).await,
    };
    let (change, version) = match found {
        Ok(secret) => (v1::Change::Present, secret.version.to_string()),
        Err(error) if error.kind() == ErrorKind::NotFound => (v1::Change::Absent, String::new()),
        Err(error) => return Err(error),
    };
    Ok(v1::WatchResponse { name: name.to_string(), change: change.into(), version })
}

fn response(change: &Change) -> v1::WatchResponse {
    v1::WatchResponse {
        name: change.name.to_string(),
        change: change.what.into(),
        version: change.version.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}
