//! The entries and the flights, behind one mutex that is never held while
//! anything is awaited. Nothing here reads a clock or calls a store.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;

use super::flight::{Flight, WeakFlight};
use super::options::CacheOptions;
use super::sealed::Sealed;
use crate::error::Error;
use crate::name::SecretName;
use crate::store::Select;

pub(super) type Key = (SecretName, Select);

/// What an entry costs beside its value and name.
const ENTRY_BYTES: usize = 256;
/// A name's entries are searched one by one; this keeps the search short.
const MAX_ENTRIES_OF_A_NAME: usize = 64;

/// Figures about a cache since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Answers from the cache within their time to live, `NotFound` included.
    pub hits: u64,
    /// Readers who had to wait for the backend.
    pub misses: u64,
    /// Answers that were given marked as stale.
    pub stale: u64,
    /// Entries that were pushed out by a limit.
    pub evictions: u64,
    /// Calls to the backend; one for many secrets counts once.
    pub flights: u64,
    /// What all entries hold now, in bytes.
    pub bytes: usize,
    /// The entries now.
    pub entries: usize,
}

pub(super) struct Entry {
    select: Select,
    bytes: usize,
    pub(super) content: Content,
    /// The backend failed; it is left alone until then.
    pub(super) retry: Duration,
}

pub(super) enum Content {
    Value(Arc<Sealed>),
    Absent(Error, Duration),
}

/// A flight that new readers may join.
pub(super) struct InFlight {
    /// The call that it is part of.
    pub(super) id: u64,
    pub(super) started: Duration,
    pub(super) flight: WeakFlight,
    /// Whether it goes on in the background, whoever else waits for it.
    pub(super) in_background: bool,
}

pub(super) struct Table {
    /// By name, so that a write finds all entries of a name at once; within a
    /// name the most recently used is the last.
    names: LruCache<SecretName, Vec<Entry>>,
    flights: HashMap<Key, InFlight>,
    pub(super) stats: CacheStats,
    pub(super) background: usize,
    pub(super) next_sweep: Duration,
}

impl Table {
    pub(super) fn new() -> Self {
        Self {
            names: LruCache::unbounded(),
            flights: HashMap::new(),
            stats: CacheStats::default(),
            background: 0,
            next_sweep: Duration::ZERO,
        }
    }

    /// What `found` makes of the entry, which is now the most recently used. What
    /// is gone by now is removed.
    pub(super) fn get<T>(
        &mut self,
        name: &SecretName,
        select: &Select,
        now: Duration,
        found: impl FnOnce(&Entry) -> T,
    ) -> Option<T> {
        let entries = self.names.get_mut(name)?;
        let at = entries.iter().position(|entry| entry.select == *select)?;
        if entries[at].is_gone(now) {
            self.remove(name, select);
            return None;
        }
        let last = entries.len() - 1;
        if at != last {
            entries[at..].rotate_left(1);
        }
        entries.last().map(found)
    }

    /// The entry, without using it.
    pub(super) fn peek(&mut self, name: &SecretName, select: &Select) -> Option<&mut Entry> {
        self.names.peek_mut(name)?.iter_mut().find(|entry| entry.select == *select)
    }

    /// Keeps `content`, and pushes out what was used longest ago.
    pub(super) fn insert(
        &mut self,
        name: &SecretName,
        select: &Select,
        content: Content,
        options: &CacheOptions,
    ) {
        self.remove(name, select);
        let value_bytes = match &content {
            Content::Value(sealed) => sealed.value_bytes(),
            Content::Absent(..) => 0,
        };
        let bytes = value_bytes + name_bytes(name) + ENTRY_BYTES;
        if bytes > options.max_bytes {
            return;
        }
        let entry = Entry { select: select.clone(), bytes, content, retry: Duration::ZERO };
        self.stats.bytes += bytes;
        self.stats.entries += 1;
        self.names.get_or_insert_mut(name.clone(), Vec::new).push(entry);
        if self.names.peek(name).is_some_and(|entries| entries.len() > MAX_ENTRIES_OF_A_NAME) {
            self.push_out(&name.clone());
        }
        while self.stats.bytes > options.max_bytes || self.stats.entries > options.max_entries {
            let Some((oldest, _)) = self.names.peek_lru() else { break };
            self.push_out(&oldest.clone());
        }
    }

    fn push_out(&mut self, name: &SecretName) {
        let oldest = self.names.peek(name).and_then(|entries| entries.first());
        if let Some(select) = oldest.map(|entry| entry.select.clone()) {
            self.remove(name, &select);
            self.stats.evictions += 1;
        }
    }

    pub(super) fn remove(&mut self, name: &SecretName, select: &Select) {
        let Some(entries) = self.names.peek_mut(name) else { return };
        if let Some(at) = entries.iter().position(|entry| entry.select == *select) {
            let entry = entries.remove(at);
            self.stats.bytes -= entry.bytes;
            self.stats.entries -= 1;
        }
        if entries.is_empty() {
            self.names.pop(name);
        }
    }

    /// Drops every entry of `name`, and its flights from sight: who waits for
    /// one is answered, but nobody joins it and it leaves no entry.
    pub(super) fn forget(&mut self, name: &SecretName) {
        for entry in self.names.pop(name).into_iter().flatten() {
            self.stats.bytes -= entry.bytes;
            self.stats.entries -= 1;
        }
        self.flights.retain(|(other, _), _| other != name);
    }

    pub(super) fn clear(&mut self) {
        self.names.clear();
        self.flights.clear();
        (self.stats.bytes, self.stats.entries) = (0, 0);
    }

    /// Removes everything that may not be given any more.
    pub(super) fn sweep(&mut self, now: Duration) {
        let stats = &mut self.stats;
        self.names.retain(|_, entries| {
            entries.retain(|entry| {
                let keep = !entry.is_gone(now);
                if !keep {
                    stats.bytes -= entry.bytes;
                    stats.entries -= 1;
                }
                keep
            });
            !entries.is_empty()
        });
    }

    /// The flight that is under way, and since when. Drop it only after the
    /// mutex is released: the last holder's drop cancels the call, and that locks
    /// the table.
    pub(super) fn flight(&self, key: &Key) -> Option<(Flight, Duration)> {
        let flying = self.flights.get(key)?;
        Some((flying.flight.upgrade()?, flying.started))
    }

    #[cfg(test)]
    pub(super) fn flights_under_way(&self) -> usize {
        self.flights.len()
    }

    /// The id of a call that begins.
    pub(super) fn begin_call(&mut self) -> u64 {
        self.stats.flights += 1;
        self.stats.flights
    }

    pub(super) fn depart(&mut self, key: Key, flight: InFlight) {
        self.flights.insert(key, flight);
    }

    /// Whether the flight goes on in the background already.
    pub(super) fn is_in_background(&self, key: &Key) -> bool {
        self.flights.get(key).is_some_and(|flight| flight.in_background)
    }

    /// Makes the flight one of the background's; false if it is already, or is
    /// not there, or the background has enough.
    pub(super) fn send_to_background(&mut self, key: &Key, options: &CacheOptions) -> bool {
        let room = self.background < options.max_background;
        let flight = self.flights.get_mut(key).filter(|flight| room && !flight.in_background);
        let taken = flight.map(|flight| flight.in_background = true).is_some();
        self.background += usize::from(taken);
        taken
    }

    /// Takes the flight from the table; false if it is not there any more, so
    /// that what it brings is not to be kept.
    pub(super) fn arrive(&mut self, key: &Key, id: u64) -> bool {
        let known = self.flights.get(key).is_some_and(|flight| flight.id == id);
        if known {
            self.flights.remove(key);
        }
        known
    }
}

impl Entry {
    fn is_gone(&self, now: Duration) -> bool {
        match &self.content {
            Content::Value(sealed) => now >= sealed.times.gone,
            Content::Absent(_, until) => now >= *until,
        }
    }
}

fn name_bytes(name: &SecretName) -> usize {
    name.id().len() + name.scope().identifiers().map(str::len).sum::<usize>()
}
