//! What changes while a local KEK is in use: which version wraps, how many
//! wraps are left of those reserved, and what the key file said last.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use strongroom_core::{Error, Result};

use super::file::{KeyFile, Stamp};
use super::keyring::{Entry, KekVersion, Keyring, identity};
use super::protection::Sealing;
use super::{LocalKek, Options, format, in_file};

const FIRST_RESERVATION: u64 = 64;
const LARGEST_RESERVATION: u64 = 65_536;

/// The key file, and the sealing that it had when it was read or written last.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) file: KeyFile,
    sealing: Mutex<Sealing>,
}

impl Disk {
    pub(super) fn new(file: KeyFile, sealing: Sealing) -> Self {
        Self { file, sealing: Mutex::new(sealing) }
    }

    fn read(&self) -> Result<(Keyring, Stamp)> {
        let (bytes, stamp) = self.file.read()?;
        let keyring = format::decode(bytes.expose(), &self.sealing());
        Ok((keyring.map_err(|error| in_file(&self.file, &error))?, stamp))
    }

    fn sealing(&self) -> MutexGuard<'_, Sealing> {
        self.sealing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When a change of the key file makes a new version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rotate {
    /// When the current one makes no more wraps.
    WhenUsedUp,
    /// Also when it is too old.
    IfDue,
    /// In any case.
    Now,
}

pub(super) struct State {
    pub(super) keyring: Keyring,
    /// The version that wraps, and how many wraps of it this process has
    /// reserved and not yet made. Threads count down under the read lock, so
    /// that who holds the write lock sees them stand still.
    current: Arc<KekVersion>,
    left: AtomicU64,
    /// The state of the key file that `keyring` has seen.
    stamp: Option<Stamp>,
}

impl State {
    fn new(keyring: Keyring, left: u64, stamp: Option<Stamp>) -> Self {
        let current = Arc::clone(&keyring.current().version);
        Self { keyring, current, left: AtomicU64::new(left), stamp }
    }

    /// One of the reserved wraps, if any is left.
    fn take(&self) -> Option<Arc<KekVersion>> {
        let less_one = |left: u64| left.checked_sub(1);
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less_one);
        taken.ok().map(|_| Arc::clone(&self.current))
    }
}

impl LocalKek {
    pub(super) fn new(keyring: Keyring, disk: Option<(Disk, Stamp)>, options: Options) -> Self {
        let (disk, stamp) = disk.unzip();
        Self {
            identity: identity(keyring.id()),
            id: *keyring.id(),
            looked_nanos: AtomicU64::new(nanos(options.clock.monotonic())),
            options,
            disk,
            state: RwLock::new(State::new(keyring, 0, stamp)),
            writer: Mutex::new(FIRST_RESERVATION),
        }
    }

    /// The current version, with one wrap of it counted.
    pub(super) fn take(&self) -> Result<Arc<KekVersion>> {
        self.look()?;
        if self.is_due() {
            self.change(&mut self.writer(), Rotate::IfDue)?;
        }
        loop {
            if let Some(version) = self.state().take() {
                return Ok(version);
            }
            let mut next_reservation = self.writer();
            // Another thread may have reserved while this one waited.
            if let Some(version) = self.state().take() {
                return Ok(version);
            }
            self.change(&mut next_reservation, Rotate::WhenUsedUp)?;
        }
    }

    pub(super) fn add_version(&self) -> Result<u32> {
        let mut next_reservation = self.writer();
        self.change(&mut next_reservation, Rotate::Now)
    }

    pub(super) fn remove_version(&self, number: u32) -> Result<()> {
        self.rewrite(&mut self.writer(), None, |keyring| {
            keyring.remove(number)?;
            Ok(0)
        })
    }

    /// Whether the current version is as old as it may become.
    fn is_due(&self) -> bool {
        self.is_old(&self.state().current)
    }

    fn is_old(&self, version: &KekVersion) -> bool {
        let age = self.options.clock.now().since(version.created);
        self.options.rotate_after.is_some_and(|limit| age >= limit)
    }

    pub(super) fn current_number(&self) -> u32 {
        self.state().current.number
    }

    /// The version that a record names. One that is unknown may have been made
    /// by another process since the key file was read.
    pub(super) fn version(&self, name: &str) -> Result<Arc<KekVersion>> {
        // Only the form that we write: "01" must not be a second name for "1".
        let number = name.parse::<u32>().ok().filter(|number| number.to_string() == name);
        let find = || self.state().keyring.get(number?).cloned();
        if let Some(version) = find() {
            return Ok(version);
        }
        self.reload_if_changed()?;
        find().ok_or_else(|| {
            Error::key_unavailable(format!("the KEK {} has no version {name:?}", self.identity))
        })
    }

    /// Notices, from time to time, what other processes did to the key file.
    ///
    /// A key file that is gone stops every wrap: what is wrapped now could not
    /// be unwrapped after this process has ended.
    pub(super) fn look(&self) -> Result<()> {
        if self.disk.is_none() {
            return Ok(());
        }
        let now = nanos(self.options.clock.monotonic());
        let looked = self.looked_nanos.load(Ordering::Relaxed);
        if now.saturating_sub(looked) < nanos(self.options.refresh_interval) {
            return Ok(());
        }
        self.reload_if_changed()?;
        self.looked_nanos.store(now, Ordering::Relaxed);
        Ok(())
    }

    fn reload_if_changed(&self) -> Result<()> {
        let Some(disk) = &self.disk else { return Ok(()) };
        let stamp = disk.file.stamp()?;
        if self.state().stamp == Some(stamp) { Ok(()) } else { self.reload() }
    }

    /// Reads the key file again.
    pub(super) fn reload(&self) -> Result<()> {
        let Some(disk) = &self.disk else { return Ok(()) };
        let _writer = self.writer();
        let (on_disk, stamp) = disk.read()?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let merged = state.keyring.merged(&on_disk).map_err(|e| in_file(&disk.file, &e))?;
        // Where the file was set back and lacks a version that we hold, nothing
        // is left to wrap with, so that the next wrap writes it back first.
        let on_disk_too = |entry: &Entry| on_disk.get(entry.version.number).is_some();
        let complete = merged.entries().iter().all(on_disk_too);
        let same = merged.current().version.number == state.current.number;
        let left = if same && complete { state.left.load(Ordering::Relaxed) } else { 0 };
        *state = State::new(merged, left, Some(stamp));
        Ok(())
    }

    /// Reserves wraps, under a new version if `rotate` asks for one or none are
    /// left under the current, and returns the current version's number.
    fn change(&self, next_reservation: &mut u64, rotate: Rotate) -> Result<u32> {
        let now = self.options.clock.now();
        let limit = self.options.max_wraps_per_version;
        let wanted = *next_reservation;
        self.rewrite(next_reservation, None, |keyring| {
            // Another process may have rotated since this one looked.
            let is_due = |keyring: &Keyring| self.is_old(&keyring.current().version);
            if rotate == Rotate::Now || rotate == Rotate::IfDue && is_due(keyring) {
                keyring.rotate(now)?;
            }
            let granted = keyring.reserve(wanted, limit);
            if granted > 0 {
                return Ok(granted);
            }
            keyring.rotate(now)?;
            Ok(keyring.reserve(wanted, limit))
        })?;
        *next_reservation = (wanted * 2).min(LARGEST_RESERVATION);
        Ok(self.current_number())
    }

    /// Seals the key file otherwise. What was left of the reservation lapses.
    pub(super) fn reseal(&self, sealing: Sealing) -> Result<()> {
        self.rewrite(&mut self.writer(), Some(sealing), |_| Ok(0))
    }

    /// Changes the key file under the lock, starting from what stands in it
    /// now, and then memory. `change` returns how many wraps it reserved.
    fn rewrite(
        &self,
        _writer: &mut u64,
        resealed: Option<Sealing>,
        change: impl FnOnce(&mut Keyring) -> Result<u64>,
    ) -> Result<()> {
        let mut keyring = self.state().keyring.clone();
        let Some(disk) = &self.disk else {
            let granted = change(&mut keyring)?;
            self.set_state(State::new(keyring, granted, None));
            return Ok(());
        };
        let lock = disk.file.lock()?;
        let (on_disk, _) = disk.read()?;
        keyring = keyring.merged(&on_disk).map_err(|e| in_file(&disk.file, &e))?;
        let granted = change(&mut keyring)?;
        let mut sealing = disk.sealing();
        let bytes = format::encode(&keyring, resealed.as_ref().unwrap_or(&sealing))?;
        let stamp = disk.file.replace(&lock, &bytes)?;
        if let Some(resealed) = resealed {
            *sealing = resealed;
        }
        self.set_state(State::new(keyring, granted, Some(stamp)));
        Ok(())
    }

    fn set_state(&self, state: State) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
    }

    pub(super) fn state(&self) -> RwLockReadGuard<'_, State> {
        // A panic while one was held left the state whole: it changes in one
        // assignment.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> MutexGuard<'_, u64> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As a number for an atomic; enough for 584 years.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
