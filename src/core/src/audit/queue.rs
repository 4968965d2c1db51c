//! Lines that wait to be written together: every caller puts its own into a
//! group, lets the others on its executor do the same, and whoever is polled
//! first after that writes the group.

use std::future::poll_fn;
use std::mem;
use std::slice;
use std::sync::{Arc, MutexGuard, OnceLock, PoisonError};
use std::task::Poll;

use super::AuditLog;
use super::event::Event;
use crate::error::{Error, Result};

/// What a buffer keeps for the next group, at most.
pub(super) const KEPT_BYTES: usize = 256 << 10;

/// A group of so many lines waits for no others. One write of more costs hardly
/// less for each; and where many requests are under way, those who are recorded
/// are answered while the next are still worked on.
pub(super) const FULL_GROUP: usize = 16;

/// The bodies of lines, one behind the other.
#[derive(Default)]
pub(super) struct Bodies {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// The group that is being gathered.
#[derive(Default)]
pub(super) struct Queue {
    bodies: Bodies,
    group: Option<Arc<Group>>,
    /// An empty one, whose memory the next group uses.
    spare: Bodies,
}

/// How the writing of a group ended, once it has.
type Group = OnceLock<Result<()>>;

impl AuditLog {
    /// Writes `event` as the next line, together with what others record at the
    /// same time; the whole line is with the kernel when this returns.
    ///
    /// It yields to its executor once, unless enough wait already, and then blocks for one write(2), and for
    /// as long as other processes hold the log. When the future is dropped after
    /// its first poll, the line is written all the same.
    ///
    /// # Errors
    /// As of [`append_all`](Self::append_all). A line that cannot be written
    /// fails everybody whose line was to be written with it; one that is too long
    /// fails its own caller only.
    pub async fn record(&self, event: &Event<'_>) -> Result<()> {
        self.record_all(slice::from_ref(event)).await
    }

    /// Writes `events` as [`record`](Self::record) writes one: in their order, all
    /// or none of them.
    pub async fn record_all(&self, events: &[Event<'_>]) -> Result<()> {
        let waiting = self.enqueue(events)?;
        if !waiting.is_full {
            yield_once().await;
        }
        waiting.settle()
    }

    fn enqueue(&self, events: &[Event<'_>]) -> Result<Waiting<'_>> {
        self.check_generation()?;
        let mut queue = self.queue();
        let before = queue.bodies.ends.len();
        let pushed = events.iter().try_for_each(|event| queue.bodies.push(event));
        pushed.inspect_err(|_| queue.bodies.truncate(before))?;
        let group = Arc::clone(queue.group.get_or_insert_default());
        let is_full = queue.bodies.ends.len() >= FULL_GROUP;
        Ok(Waiting { log: self, group, is_full })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A caller whose lines are in a group.
struct Waiting<'a> {
    log: &'a AuditLog,
    group: Arc<Group>,
    is_full: bool,
}

impl Waiting<'_> {
    /// How the group ended: whoever comes first writes it.
    fn settle(&self) -> Result<()> {
        if let Some(result) = self.group.get() {
            return result.clone();
        }
        self.log.check_generation()?;
        // Another thread may be writing this group: it is done when it unlocks.
        let mut state = self.log.state();
        if let Some(result) = self.group.get() {
            return result.clone();
        }
        let mut queue = self.log.queue();
        if queue.group.take_if(|open| Arc::ptr_eq(open, &self.group)).is_none() {
            return Err(Error::internal("whoever was to write this audit line has panicked"));
        }
        let spare = mem::take(&mut queue.spare);
        let mut bodies = mem::replace(&mut queue.bodies, spare);
        drop(queue);
        let result = self.log.write_bodies(&mut state, &bodies);
        let _ = self.group.set(result.clone());
        bodies.clear();
        self.log.queue().spare = bodies;
        result
    }
}

impl Drop for Waiting<'_> {
    /// Nobody waits for this line any more, and others may for theirs: what was
    /// done is recorded.
    fn drop(&mut self) {
        let _ = self.settle();
    }
}

impl Bodies {
    pub(super) fn push(&mut self, event: &Event<'_>) -> Result<()> {
        event.write_body(&mut self.bytes)?;
        self.ends.push(self.bytes.len());
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut begin = 0;
        self.ends.iter().map(move |&end| &self.bytes[mem::replace(&mut begin, end)..end])
    }

    fn truncate(&mut self, count: usize) {
        self.ends.truncate(count);
        self.bytes.truncate(self.ends.last().copied().unwrap_or_default());
    }

    fn clear(&mut self) {
        self.truncate(0);
        self.bytes.shrink_to(KEPT_BYTES);
    }
}

/// Lets everything else that is ready on this executor run first.
async fn yield_once() {
    let mut yielded = false;
    poll_fn(|context| {
        if mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
