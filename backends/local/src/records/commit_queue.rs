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

    /// Commits get into a group up to this size; a larger one goes alone.
    fn max_group_bytes(&self) -> usize {
        MAX_GROUP_BYTES
    }
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

/// How large a group gets unless its writer says otherwise; it bounds what the
/// writer holds beside the callers' own batches.
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

type Answers = Vec<oneshot::Sender<Result<()>>>;

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
        while let Some((batches, answers)) = self.next_group(writer.max_group_bytes()) {
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
    fn next_group(&self, max_bytes: usize) -> Option<(Vec<Batch>, Answers)> {
        let idle = |state: &mut State| state.waiting.is_empty() && !state.closed;
        let mut state =
            self.wake.wait_while(self.state(), idle).unwrap_or_else(PoisonError::into_inner);
        let mut bytes = 0;
        let mut count = 0;
        for waiting in &state.waiting {
            bytes += waiting.batch.bytes();
            if count > 0 && bytes > max_bytes {
                break;
            }
            count += 1;
        }
        let group = state.waiting.drain(..count);
        let group: (Vec<_>, Vec<_>) = group.map(|waiting| (waiting.batch, waiting.answer)).unzip();
        (!group.0.is_empty()).then_some(group)
    }

    /// Fails every later commit; returns those that wait already.
    fn refuse_from_now_on(&self, error: &Error) -> Answers {
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

fn fail(answers: Answers, error: &Error) {
    for answer in answers {
        let _ = answer.send(Err(error.clone()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures_executor::block_on;
    use futures_util::FutureExt;
    use futures_util::future::join_all;
    use strongroom_core::ErrorKind;

    use super::*;

    /// A writer whose every group waits for the test's word.
    struct Scripted {
        groups: mpsc::Sender<usize>,
        answers: mpsc::Receiver<Answer>,
    }

    enum Answer {
        Good,
        Conflict,
        Refused,
        Unknown,
        Panic,
    }

    impl GroupWriter for Scripted {
        fn commit_group(&mut self, group: &[Batch]) -> Result<Vec<Result<()>>, GroupError> {
            self.groups.send(group.len()).unwrap();
            match self.answers.recv().unwrap() {
                Answer::Good => Ok(group.iter().map(|_| Ok(())).collect()),
                Answer::Conflict => Ok(group.iter().map(|_| Err(Error::conflict("x"))).collect()),
                Answer::Refused => Err(GroupError::Refused(Error::unavailable("full"))),
                Answer::Unknown => Err(GroupError::Unknown(Error::unavailable("sync failed"))),
                Answer::Panic => panic!("on request"),
            }
        }

        fn syncs(&self) -> u64 {
            0
        }
    }

    fn start() -> (CommitQueue, mpsc::Receiver<usize>, mpsc::Sender<Answer>) {
        let (groups, seen) = mpsc::channel();
        let (say, answers) = mpsc::channel();
        (CommitQueue::start("test", Scripted { groups, answers }).unwrap(), seen, say)
    }

    fn batch(bytes: usize) -> Batch {
        Batch::new().write(b"k".to_vec(), vec![0; bytes])
    }

    /// Commits one batch, and those of `sizes` while the writer works on it;
    /// answers both groups. Returns the verdicts' kinds.
    fn one_then_many(
        queue: &CommitQueue,
        seen: &mpsc::Receiver<usize>,
        say: &mpsc::Sender<Answer>,
        answers: impl IntoIterator<Item = Answer>,
        sizes: &[usize],
    ) -> (Option<ErrorKind>, Vec<Option<ErrorKind>>) {
        let kind = |verdict: Result<()>| verdict.err().map(|error| error.kind());
        let mut first = Box::pin(queue.commit(batch(0)));
        assert!((&mut first).now_or_never().is_none());
        assert_eq!(seen.recv().unwrap(), 1);
        let mut rest = Box::pin(join_all(sizes.iter().map(|bytes| queue.commit(batch(*bytes)))));
        assert!((&mut rest).now_or_never().is_none());
        for answer in answers {
            say.send(answer).unwrap();
        }
        (kind(block_on(first)), block_on(rest).into_iter().map(kind).collect())
    }

    #[test]
    fn what_waits_becomes_one_group() {
        let (queue, seen, say) = start();
        let answers = [Answer::Good, Answer::Conflict];
        let (first, rest) = one_then_many(&queue, &seen, &say, answers, &[0; 10]);
        assert_eq!(first, None);
        assert_eq!(rest, [Some(ErrorKind::Conflict); 10]);
        assert_eq!(seen.recv().unwrap(), 10);
        let stats = queue.stats();
        assert_eq!((stats.commits, stats.groups), (11, 2));
    }

    #[test]
    fn a_group_is_bounded_and_a_large_batch_goes_alone() {
        let (queue, seen, say) = start();
        let sizes = [10, 10, MAX_GROUP_BYTES, MAX_GROUP_BYTES];
        let answers = [Answer::Good, Answer::Good, Answer::Good, Answer::Good];
        one_then_many(&queue, &seen, &say, answers, &sizes);
        let groups: Vec<_> = seen.try_iter().collect();
        assert_eq!(groups, [2, 1, 1]);
    }

    #[test]
    fn a_refused_group_leaves_the_store_working() {
        let (queue, seen, say) = start();
        let answers = [Answer::Refused, Answer::Good];
        let (first, rest) = one_then_many(&queue, &seen, &say, answers, &[0]);
        assert_eq!(first, Some(ErrorKind::Unavailable));
        assert_eq!(rest, [None]);
        assert!(queue.failure().is_none());
    }

    #[test]
    fn after_an_unknown_outcome_nothing_is_acknowledged_any_more() {
        for (answer, kind) in
            [(Answer::Unknown, ErrorKind::Unavailable), (Answer::Panic, ErrorKind::Internal)]
        {
            let (queue, seen, say) = start();
            // The second answer would be a good one; nobody asks for it.
            let (first, rest) = one_then_many(&queue, &seen, &say, [answer, Answer::Good], &[0, 0]);
            assert_eq!(first, Some(kind));
            assert_eq!(rest, [Some(kind); 2]);
            let late = block_on(queue.commit(batch(0))).unwrap_err();
            assert_eq!(late.kind(), kind);
            assert!(!late.is_retryable());
            assert!(late.message().contains("until it is reopened"), "{late}");
            assert!(seen.try_recv().is_err(), "no group reached the writer");
        }
    }

    #[test]
    fn closing_finishes_what_waits_and_drops_the_writer() {
        let (queue, seen, say) = start();
        let mut dropped = Box::pin(queue.commit(batch(0)));
        assert!((&mut dropped).now_or_never().is_none());
        assert_eq!(seen.recv().unwrap(), 1);
        drop(dropped);
        say.send(Answer::Good).unwrap();
        drop(queue);
        // The writer's ends of both channels are gone with it.
        assert!(seen.recv().is_err());
        assert!(say.send(Answer::Good).is_err());
    }
}
