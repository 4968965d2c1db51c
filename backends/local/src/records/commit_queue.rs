//! Group commit: a thread per store takes all commits that wait, applies them
//! as one group and syncs once, because a sync costs a hundred times what the
//! write in front of it does.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use futures_channel::oneshot;
use strongroom_core::{Batch, Error, Result};

/// What a store's writer has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommitStats {
    /// Commits that were answered, with whatever answer.
    pub commits: u64,
    /// Groups that they were put into.
    pub groups: u64,
    /// Syncs that were asked of the kernel to make them durable; a group that
    /// changes nothing needs none.
    pub syncs: u64,
}

/// The part of a record store that changes it; lives on the queue's thread.
pub(super) trait GroupWriter: Send + 'static {
    /// Applies those batches of `group` whose preconditions hold, each wholly,
    /// in order, and makes them durable. Returns each batch's own verdict.
    fn commit_group(&mut self, group: &[Batch]) -> Result<Vec<Result<()>>, GroupError>;

    /// How many syncs the groups have cost.
    fn syncs(&self) -> u64;
}

/// Why a whole group failed.
#[derive(Debug)]
pub(super) enum GroupError {
    /// Nothing was changed; the store goes on.
    Refused(Error),
    /// Any of it may be on the disk or not. After a failed fsync(2) the kernel
    /// may have dropped the dirty pages and report success next time
    /// ("fsyncgate", 2018), so nothing more is acknowledged until the store
    /// was reopened.
    Unknown(Error),
}

/// A commit gets into a group up to this size; it bounds what the writer holds
/// beside the callers' own batches. A larger batch goes alone.
const MAX_GROUP_BYTES: usize = 1 << 20;

/// Hands commits to the writer thread and ends it on drop.
pub(super) struct CommitQueue {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    commits: AtomicU64,
    groups: AtomicU64,
    syncs: AtomicU64,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    closed: bool,
    failed: Option<Error>,
}

struct Waiting {
    batch: Batch,
    answer: oneshot::Sender<Result<()>>,
}

impl CommitQueue {
    /// Starts the thread. The writer is dropped on it, before
    /// [`CommitQueue::close`] returns.
    pub(super) fn start(name: &str, writer: impl GroupWriter) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn({
                let shared = shared.clone();
                move || shared.run(writer)
            })
            .map_err(|source| {
                Error::unavailable("cannot start the store's writer thread").with_source(source)
            })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Queues `batch` and waits until its group is durable.
    pub(super) async fn commit(&self, batch: Batch) -> Result<()> {
        let (answer, answered) = oneshot::channel();
        {
            let mut state = self.shared.state();
            if let Some(error) = &state.failed {
                return Err(error.clone());
            }
            state.waiting.push_back(Waiting { batch, answer });
        }
        self.shared.wake.notify_one();
        // Every sender is used; a lost one means that the thread is gone.
        answered.await.unwrap_or_else(|_| Err(Error::internal("the store's writer has ended")))
    }

    /// What the writer has done.
    pub(super) fn stats(&self) -> CommitStats {
        CommitStats {
            commits: self.shared.commits.load(Ordering::Relaxed),
            groups: self.shared.groups.load(Ordering::Relaxed),
            syncs: self.shared.syncs.load(Ordering::Relaxed),
        }
    }

    /// The error that made the writer refuse further commits, if there is one.
    pub(super) fn failure(&self) -> Option<Error> {
        self.shared.state().failed.clone()
    }

    /// Finishes what waits and joins the thread.
    pub(super) fn close(&mut self) {
        self.shared.state().closed = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // Panics are caught inside; nothing is left to report.
            let _ = thread.join();
        }
    }
}

impl Drop for CommitQueue {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for CommitQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommitQueue").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

// === impl Shared ===

impl Shared {
    /// The state is consistent between any two statements, so that a poisoned
    /// lock carries no information.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, mut writer: impl GroupWriter) {
        while let Some((batches, answers)) = self.next_group() {
            let outcome = catch_unwind(AssertUnwindSafe(|| writer.commit_group(&batches)))
                .unwrap_or_else(|_| {
                    Err(GroupError::Unknown(Error::internal("the store's writer panicked")))
                });
            self.commits.fetch_add(batches.len() as u64, Ordering::Relaxed);
            self.groups.fetch_add(1, Ordering::Relaxed);
            self.syncs.store(writer.syncs(), Ordering::Relaxed);
            match outcome {
                Ok(verdicts) => {
                    debug_assert_eq!(verdicts.len(), answers.len());
                    // A caller that dropped its future does not want to know.
                    for (answer, verdict) in answers.into_iter().zip(verdicts) {
                        let _ = answer.send(verdict);
                    }
                }
                Err(GroupError::Refused(error)) => fail(answers, &error),
                Err(GroupError::Unknown(error)) => {
                    let late = self.refuse_from_now_on(&error);
                    fail(answers, &error);
                    fail(late, &error);
                }
            }
        }
    }

    /// Waits for commits; `None` when the queue was closed and is empty.
    fn next_group(&self) -> Option<(Vec<Batch>, Vec<oneshot::Sender<Result<()>>>)> {
        let idle = |state: &mut State| state.waiting.is_empty() && !state.closed;
        let mut state =
            self.wake.wait_while(self.state(), idle).unwrap_or_else(PoisonError::into_inner);
        let mut bytes = 0;
        let mut count = 0;
        for waiting in &state.waiting {
            bytes += batch_bytes(&waiting.batch);
            if count > 0 && bytes > MAX_GROUP_BYTES {
                break;
            }
            count += 1;
        }
        let group = state.waiting.drain(..count);
        let group: (Vec<_>, Vec<_>) = group.map(|waiting| (waiting.batch, waiting.answer)).unzip();
        (!group.0.is_empty()).then_some(group)
    }

    /// Fails every later commit; returns those that wait already.
    fn refuse_from_now_on(&self, error: &Error) -> Vec<oneshot::Sender<Result<()>>> {
        let mut state = self.state();
        let message = format!(
            "the store takes no more writes until it is reopened, because a commit failed: {}",
            error.message()
        );
        let refusal = Error::new(error.kind(), message).retryable(false).with_source(error.clone());
        state.failed = Some(refusal);
        state.waiting.drain(..).map(|waiting| waiting.answer).collect()
    }
}

fn fail(answers: Vec<oneshot::Sender<Result<()>>>, error: &Error) {
    for answer in answers {
        let _ = answer.send(Err(error.clone()));
    }
}

/// What a batch takes in memory and on disk, roughly.
pub(super) fn batch_bytes(batch: &Batch) -> usize {
    let change = |(key, value): &(Vec<u8>, Option<Vec<u8>>)| {
        key.len() + value.as_ref().map_or(0, Vec::len) + 32
    };
    batch.changes.iter().map(change).sum()
}
