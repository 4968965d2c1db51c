//! Stores and key wrappers that fail as they are told: each wraps one of its
//! own seam, so that anything can stand in front of it and behind it.
//!
//! ```
//! use std::sync::Arc;
//! use strongroom_core::{ErrorKind, RecordStore, memory::MemoryRecords};
//! use strongroom_kit::faults::{Fault, FaultyRecords};
//!
//! let records = FaultyRecords::new(Arc::new(MemoryRecords::new()));
//! records.faults().next("get", Fault::Fail(ErrorKind::Unavailable));
//! let answer = strongroom_kit::block_on(records.get(b"key"));
//! assert_eq!(answer.unwrap_err().kind(), ErrorKind::Unavailable);
//! assert_eq!(records.faults().calls("get"), 1);
//! ```

mod gate;
mod seams;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::{Future, pending};
use std::sync::{Mutex, MutexGuard, PoisonError};

use strongroom_core::{Error, ErrorKind, Result};

pub use self::gate::Gate;
pub use self::seams::{FaultyRecords, FaultyStore, FaultyWrapper};
use crate::random::Random;

/// What becomes of one call.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It fails before anything happened.
    Fail(ErrorKind),
    /// It takes effect, and its answer is lost.
    LoseAnswer(ErrorKind),
    /// It waits at the gate, then goes on.
    Wait(Gate),
    /// It keeps its thread until the gate opens, then goes on.
    Block(Gate),
    /// It never ends, and nothing happens.
    Hang,
    /// It takes effect, and its answer is random bytes of the same length.
    Garbage,
    /// It takes effect, and its answer breaks off in the middle.
    Torn,
}

/// The faults of one store, and the count of its calls. Operations have the
/// names of the trait's methods.
#[derive(Debug)]
pub struct Faults(Mutex<State>);

struct State {
    next: BTreeMap<&'static str, VecDeque<Option<Fault>>>,
    always: BTreeMap<&'static str, Fault>,
    sometimes: Option<Sometimes>,
    calls: BTreeMap<&'static str, usize>,
    random: Random,
}

/// Faults by chance.
struct Sometimes {
    per_mille: usize,
    faults: Vec<Fault>,
}

/// How an answer is spoilt.
#[derive(Clone, Copy, Debug)]
enum Spoil {
    Garbage,
    Torn,
}

impl Faults {
    fn new() -> Self {
        Self(Mutex::new(State {
            next: BTreeMap::new(),
            always: BTreeMap::new(),
            sometimes: None,
            calls: BTreeMap::new(),
            random: Random::new(1),
        }))
    }

    /// The next call of `operation` that nothing is planned for fails so.
    pub fn next(&self, operation: &'static str, fault: Fault) {
        self.state().next.entry(operation).or_default().push_back(Some(fault));
    }

    /// The next call of `operation` that nothing is planned for goes well.
    pub fn pass(&self, operation: &'static str) {
        self.state().next.entry(operation).or_default().push_back(None);
    }

    /// Every call of `operation` fails so, from now on.
    pub fn always(&self, operation: &'static str, fault: Fault) {
        self.state().always.insert(operation, fault);
    }

    /// So many of a thousand calls fail in one of these ways; which ones is
    /// decided by `seed`.
    pub fn sometimes(&self, seed: u64, per_mille: usize, faults: Vec<Fault>) {
        let mut state = self.state();
        state.random = Random::new(seed);
        state.sometimes = Some(Sometimes { per_mille, faults });
    }

    /// Nothing fails any more.
    pub fn clear(&self) {
        let mut state = self.state();
        state.next.clear();
        state.always.clear();
        state.sometimes = None;
    }

    /// How often `operation` was called, however it ended.
    pub fn calls(&self, operation: &'static str) -> usize {
        self.state().calls.get(operation).copied().unwrap_or_default()
    }

    /// Lets `call` happen as is planned for the next call of `operation`.
    async fn around<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T>>,
        spoil: impl FnOnce(&mut T, Spoil, &mut Random),
    ) -> Result<T> {
        match self.take(operation) {
            None => call.await,
            Some(Fault::Fail(kind)) => Err(injected(operation, kind)),
            Some(Fault::LoseAnswer(kind)) => {
                call.await?;
                Err(injected(operation, kind))
            }
            Some(Fault::Wait(gate)) => {
                gate.pass().await;
                call.await
            }
            Some(Fault::Block(gate)) => {
                crate::block_on(gate.pass());
                call.await
            }
            Some(Fault::Hang) => pending().await,
            Some(fault @ (Fault::Garbage | Fault::Torn)) => {
                let mut answer = call.await?;
                let how = if matches!(fault, Fault::Torn) { Spoil::Torn } else { Spoil::Garbage };
                spoil(&mut answer, how, &mut self.state().random);
                Ok(answer)
            }
        }
    }

    fn take(&self, operation: &'static str) -> Option<Fault> {
        let mut state = self.state();
        *state.calls.entry(operation).or_default() += 1;
        if let Some(planned) = state.next.get_mut(operation).and_then(VecDeque::pop_front) {
            return planned;
        }
        if let Some(fault) = state.always.get(operation) {
            return Some(fault.clone());
        }
        let State { sometimes, random, .. } = &mut *state;
        let Sometimes { per_mille, faults } = sometimes.as_ref()?;
        (random.below(1000) < *per_mille).then(|| faults[random.below(faults.len())].clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("calls", &self.calls).finish_non_exhaustive()
    }
}

fn injected(operation: &'static str, kind: ErrorKind) -> Error {
    Error::new(kind, format!("injected: {operation} fails with {kind}"))
}

fn spoil_bytes(bytes: &mut Vec<u8>, how: Spoil, random: &mut Random) {
    match how {
        Spoil::Garbage => *bytes = random.bytes(bytes.len()),
        Spoil::Torn => bytes.truncate(bytes.len() / 2),
    }
}
