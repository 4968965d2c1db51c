//! Changes of secrets, as they happen.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::{Stream, StreamExt};
use strongroom_core::{Result, Version};
use strongroom_rpc::v1;
use tonic::Streaming;

use crate::fault::nonsense;
use crate::{Client, convert};

/// What happened to a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The secret, as it is written in the scope that is watched; empty for
    /// [`ChangeKind::Synced`].
    pub name: String,
    /// What happened.
    pub kind: ChangeKind,
    /// The latest version, where there is one.
    pub version: Option<Version>,
}

/// The kinds of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChangeKind {
    /// The secret exists. Told when the watch begins, and again when it begins
    /// anew because changes came faster than they were read.
    Present,
    /// There is no such secret, or it is deleted; told as [`Present`](Self::Present) is.
    Absent,
    /// The state of every secret has been told; changes follow.
    Synced,
    /// A new version was written.
    Put,
    /// The secret was deleted.
    Deleted,
    /// It was brought back.
    Restored,
    /// Every version was removed for good.
    Purged,
    /// Its description or tags were changed.
    Described,
}

impl ChangeKind {
    /// The stable name, as it is shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Absent => "absent",
            Self::Synced => "synced",
            Self::Put => "put",
            Self::Deleted => "deleted",
            Self::Restored => "restored",
            Self::Purged => "purged",
            Self::Described => "described",
        }
    }
}

/// A stream of changes. After an error, or the sidecar's end, it is at its own:
/// watch again for the state and what follows.
pub struct Watch {
    /// None after an error, which tonic would tell twice.
    events: Option<Streaming<v1::WatchResponse>>,
    client: Client,
}

impl Watch {
    pub(crate) fn new(events: Streaming<v1::WatchResponse>, client: Client) -> Self {
        Self { events: Some(events), client }
    }

    /// The next change; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Change>> {
        StreamExt::next(self).await
    }
}

impl Stream for Watch {
    type Item = Result<Change>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(events) = &mut self.events else { return Poll::Ready(None) };
        let event = std::task::ready!(events.poll_next_unpin(cx));
        let event = event.map(|event| {
            let event = event.map_err(|status| self.client.fault(status));
            event.and_then(change).map_err(|error| error.during("watch"))
        });
        if !matches!(event, Some(Ok(_))) {
            self.events = None;
        }
        Poll::Ready(event)
    }
}

fn change(message: v1::WatchResponse) -> Result<Change> {
    let kind = match v1::Change::try_from(message.change) {
        Ok(v1::Change::Present) => ChangeKind::Present,
        Ok(v1::Change::Absent) => ChangeKind::Absent,
        Ok(v1::Change::Synced) => ChangeKind::Synced,
        Ok(v1::Change::Put) => ChangeKind::Put,
        Ok(v1::Change::Deleted) => ChangeKind::Deleted,
        Ok(v1::Change::Restored) => ChangeKind::Restored,
        Ok(v1::Change::Purged) => ChangeKind::Purged,
        Ok(v1::Change::Described) => ChangeKind::Described,
        Ok(v1::Change::Unspecified) | Err(_) => {
            return Err(nonsense("a change is of no known kind"));
        }
    };
    let version = Some(message.version).filter(|version| !version.is_empty());
    let version = version.as_deref().map(convert::answered).transpose()?;
    Ok(Change { name: message.name, kind, version })
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("client", &self.client).finish_non_exhaustive()
    }
}
