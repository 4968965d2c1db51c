//! The process's guarded memory: the slab, the large values, and their limits.

#![allow(unsafe_code, reason = "follows the pointer to the pool of this process")]

use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::block::Home;
use crate::fork::fork_generation;
use crate::mapping::{self, Mapping, Refusal, page_size};
use crate::slab::{MAX_SLOT, PageId, Slab};
use crate::{Config, Error, Stats};

/// The first region: small enough for a lock limit of 64 KiB, which containers have.
const FIRST_REGION: usize = 16 << 10;
/// Regions double up to this size.
const LARGEST_REGION: usize = 1 << 20;
/// The most bytes of large values' mappings that stay locked for the next ones.
/// A mapping of 64 KiB costs 34 µs, in `memfd_secret` memory 260 µs, and whoever
/// streams a file wants one again and again.
const MAX_SPARE: usize = 1 << 20;

/// The newest process's pool. It is never freed: a thread may be in it at any time,
/// and a child must not touch its parent's mutex, which may have been held when the
/// process forked.
static POOL: AtomicPtr<Pool> = AtomicPtr::new(ptr::null_mut());

struct Pool {
    /// The process that it belongs to.
    generation: u64,
    config: Config,
    state: Mutex<State>,
}

struct State {
    slab: Slab,
    /// The size of the next region.
    next_region: usize,
    locked: usize,
    unguarded: usize,
    /// Bytes and number of the large values' mappings.
    large: usize,
    mappings: usize,
    /// Mappings of large values that are gone, wiped.
    spare: Vec<Mapping>,
    memfd_secret: bool,
}

/// Memory that was handed out.
pub(crate) struct Grant {
    pub(crate) start: NonNull<u8>,
    pub(crate) capacity: usize,
    pub(crate) home: Home,
    pub(crate) generation: u64,
}

/// At least `len` zero bytes; `len` is not zero.
pub(crate) fn allocate(len: usize) -> Result<Grant, Error> {
    let pool = current();
    let generation = pool.generation;
    if len > MAX_SLOT {
        let mapping = pool.large(len)?;
        return Ok(Grant {
            start: mapping.at(0),
            capacity: mapping.len(),
            home: Home::Own(Some(mapping)),
            generation,
        });
    }
    let mut state = pool.state();
    loop {
        if let Some((page, start, capacity)) = state.slab.take(len) {
            return Ok(Grant { start, capacity, home: Home::Slot(page), generation });
        }
        pool.grow(&mut state)?;
    }
}

/// Takes back a slot of this process, wiped.
pub(crate) fn give_back(page: PageId, start: NonNull<u8>) {
    current().state().slab.give_back(page, start);
}

/// Takes back a large value's mapping of this process, wiped.
pub(crate) fn give_back_large(mapping: Mapping) {
    let mut state = current().state();
    state.mappings -= 1;
    state.large -= mapping.len();
    let mut excess = Vec::new();
    if mapping.locked && mapping.len() <= MAX_SPARE {
        state.spare.push(mapping);
        let mut spare: usize = state.spare.iter().map(Mapping::len).sum();
        while spare > MAX_SPARE {
            let oldest = state.spare.remove(0);
            spare -= oldest.len();
            excess.push(oldest);
        }
    } else {
        excess.push(mapping);
    }
    drop(state);
    for mapping in excess {
        let (len, locked) = (mapping.len(), mapping.locked);
        // Until it is unmapped it counts against the lock limit.
        drop(mapping);
        current().state().forget(len, locked);
    }
}

/// Sets the configuration, unless another is in force.
pub(crate) fn configure(config: Config) -> Result<(), Error> {
    let (pool, wanted) = (current_with(Some(&config)), config);
    if pool.config == wanted { Ok(()) } else { Err(Error::AlreadyInUse) }
}

/// What this process's guarded memory holds. Asking does not fix the configuration.
pub(crate) fn stats() -> Stats {
    let generation = fork_generation();
    // SAFETY: a pool that was published is never freed.
    let newest = unsafe { POOL.load(Ordering::Acquire).as_ref() };
    let config = newest.map(|pool| pool.config.clone()).unwrap_or_default();
    let mut answer = Stats {
        lock_limit: mapping::lock_limit(),
        max_locked_bytes: config.max_locked_bytes,
        ..Stats::default()
    };
    if let Some(pool) = newest.filter(|pool| pool.generation == generation) {
        let state = &*pool.state();
        answer.locked_bytes = state.locked;
        answer.in_use_bytes = state.large + state.slab.in_use();
        answer.unguarded_bytes = state.unguarded;
        answer.slabs = state.slab.regions();
        answer.mappings = state.mappings;
        answer.memfd_secret = state.memfd_secret;
    }
    answer
}

/// The pool of this process.
fn current() -> &'static Pool {
    current_with(None)
}

/// The pool of this process; a new one takes `config`, or else its parent's.
fn current_with(config: Option<&Config>) -> &'static Pool {
    let generation = fork_generation();
    let mut found = POOL.load(Ordering::Acquire);
    loop {
        // SAFETY: a pool that was published is never freed.
        let pool = unsafe { found.as_ref() };
        if let Some(pool) = pool.filter(|pool| pool.generation == generation) {
            return pool;
        }
        let inherited = pool.map(|parent| parent.config.clone());
        let new = Box::into_raw(Box::new(Pool {
            generation,
            config: config.cloned().or(inherited).unwrap_or_default(),
            state: Mutex::new(State::new()),
        }));
        match POOL.compare_exchange(found, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => found = new,
            Err(theirs) => {
                // SAFETY: this box was not published; nobody else has its address.
                drop(unsafe { Box::from_raw(new) });
                found = theirs;
            }
        }
    }
}

impl Pool {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics half-way through a change of the state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the slab one more region: of the next size, or of the largest that the
    /// limits leave room for.
    fn grow(&self, state: &mut State) -> Result<(), Error> {
        let mut len = state.next_region.next_multiple_of(page_size());
        let error = loop {
            let room = self.config.max_locked_bytes.saturating_sub(state.locked);
            len = len.min(room - room % page_size());
            let error = if len == 0 {
                self.over_limit(page_size(), state)
            } else {
                match Mapping::locked(len, self.config.secret_memory) {
                    Ok(mapping) => return state.add_region(mapping),
                    Err(Refusal::LockLimit) if len > page_size() => {
                        len = (len / 2).next_multiple_of(page_size());
                        continue;
                    }
                    Err(Refusal::LockLimit) => lock_limit(len, state),
                    Err(Refusal::Other(error)) => break error,
                }
            };
            if !state.release_unused() {
                break error;
            }
            len = FIRST_REGION.next_multiple_of(page_size());
        };
        if !self.config.accept_unguarded_memory {
            return Err(error);
        }
        let len = state.next_region.next_multiple_of(page_size());
        state.add_region(Mapping::unlocked(len)?)
    }

    /// A mapping for one value.
    fn large(&self, len: usize) -> Result<Mapping, Error> {
        let len = len.checked_next_multiple_of(page_size()).unwrap_or(usize::MAX);
        let mut state = self.state();
        if let Some(mapping) = state.take_spare(len) {
            return Ok(mapping);
        }
        let error = loop {
            let error = if len > self.config.max_locked_bytes.saturating_sub(state.locked) {
                self.over_limit(len, &state)
            } else {
                // The mutex is not held across the system calls; the bytes are
                // booked before, so that two threads together stay below the limit.
                state.locked += len;
                drop(state);
                let answer = Mapping::locked(len, self.config.secret_memory);
                state = self.state();
                state.locked -= len;
                match answer {
                    Ok(mapping) => return Ok(state.add_large(mapping)),
                    Err(Refusal::LockLimit) => lock_limit(len, &state),
                    Err(Refusal::Other(error)) => break error,
                }
            };
            // What is locked and not needed may be what is missing.
            if !state.release_unused() {
                break error;
            }
        };
        if !self.config.accept_unguarded_memory {
            return Err(error);
        }
        Mapping::unlocked(len).map(|mapping| state.add_large(mapping))
    }

    fn over_limit(&self, requested: usize, state: &State) -> Error {
        Error::Limit { requested, locked: state.locked, max: self.config.max_locked_bytes }
    }
}

impl State {
    const fn new() -> Self {
        Self {
            slab: Slab::new(),
            next_region: FIRST_REGION,
            locked: 0,
            unguarded: 0,
            large: 0,
            mappings: 0,
            spare: Vec::new(),
            memfd_secret: false,
        }
    }

    #[allow(clippy::unnecessary_wraps, reason = "it ends `grow` on both ways")]
    fn add_region(&mut self, mapping: Mapping) -> Result<(), Error> {
        self.remember(&mapping);
        self.next_region = (mapping.len() * 2).min(LARGEST_REGION);
        self.slab.add(mapping);
        Ok(())
    }

    fn add_large(&mut self, mapping: Mapping) -> Mapping {
        self.remember(&mapping);
        self.large += mapping.len();
        self.mappings += 1;
        mapping
    }

    /// A spare mapping that is not much too large.
    fn take_spare(&mut self, len: usize) -> Option<Mapping> {
        let fits = |spare: &Mapping| spare.len() >= len && spare.len() / 2 <= len;
        let place = self.spare.iter().position(fits)?;
        let mapping = self.spare.swap_remove(place);
        self.large += mapping.len();
        self.mappings += 1;
        Some(mapping)
    }

    /// Unmaps something that is locked for later use only, if there is any.
    fn release_unused(&mut self) -> bool {
        let Some(unused) = self.spare.pop().or_else(|| self.slab.remove_unused()) else {
            return false;
        };
        self.forget(unused.len(), unused.locked);
        self.next_region = FIRST_REGION;
        true
    }

    fn remember(&mut self, mapping: &Mapping) {
        self.memfd_secret = mapping.secret;
        if mapping.locked {
            self.locked += mapping.len();
        } else {
            self.unguarded += mapping.len();
        }
    }

    fn forget(&mut self, len: usize, locked: bool) {
        if locked {
            self.locked -= len;
        } else {
            self.unguarded -= len;
        }
    }
}

fn lock_limit(requested: usize, state: &State) -> Error {
    Error::LockLimit { requested, locked: state.locked, limit: mapping::lock_limit() }
}
