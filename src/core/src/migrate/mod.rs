//! Migrate: secrets go from one store to another, and each has one owner at
//! every moment.
//!
//! For each secret: every version is copied, read back from the target and
//! compared; then the source marks the secret as moved, in one commit and only if
//! nobody wrote it meanwhile; then the target publishes it, in one commit. Who
//! owns a secret stands in the two stores and nowhere else, so that a migration
//! that was killed is finished by the next one:
//!
//! | killed | the source says | the target says | the next migration |
//! |---|---|---|---|
//! | before the hand-over | owned | coming, or nothing | copies anew |
//! | between the two commits | moved | coming | copies what the source still has, compares, publishes |
//! | after the publication | moved | owned | has nothing to do |
//!
//! Between the two commits nobody serves the secret, for as long as one commit
//! takes, or until the migration is resumed after a kill: reads and writes get an
//! error that says so and that a retry cures.
//!
//! [`Migrating`] serves both stores as one while this goes on.
//!
//! # Stores that cannot do that
//! The above needs a [`Transfer`](crate::Transfer) on both sides.
//! - A target without one gets the versions by `put`, in order; they have the
//!   numbers and times that it gives them. If it keeps no versions, it gets the
//!   latest. What a killed migration has put there is known by its values: the
//!   target's versions are the source's first ones. Deleted secrets stay behind,
//!   since their recovery window could not be kept.
//! - A source without one cannot say that a secret was moved. Its secrets move
//!   only if they are to be removed there: the removal is the switch. The copy is
//!   complete before it, and until then the source is the one that is asked.
//!   Nothing but [`Migrating`] may write meanwhile: such a store has no way to
//!   remove a secret only if it is still at a version.

mod compare;
mod copy;
mod journal;
mod migrating;
mod names;
mod one;
mod run;
mod upkeep;

use serde::Serialize;

pub use self::journal::Recorder;
pub use self::migrating::Migrating;
use crate::upkeep::{Failed, Progress, Selection};

/// What the audit logs call the switch: in the source's log, and in the target's.
pub(crate) const HAND_OVER: &str = "hand-over";
/// As [`HAND_OVER`].
pub(crate) const RECEIVE: &str = "receive";

/// The most failures that a report lists; all are counted.
const MAX_LISTED: usize = 1000;

/// What to migrate, and how.
#[derive(Clone, Debug, Default)]
pub struct Migrate {
    /// Which secrets, each with all its versions.
    pub selection: Selection,
    /// Remove the versions from the source, after they have been read back from
    /// the target once more. The mark of the move stays.
    pub remove_source: bool,
    /// Change nothing, and report what would not fit.
    pub dry_run: bool,
}

/// What a migration did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Migrated {
    /// How many secrets were looked at.
    pub examined: u64,
    /// How many moved.
    pub moved: u64,
    /// With how many versions.
    pub versions: u64,
    /// How many older versions stayed behind, because the target keeps none.
    pub versions_left: u64,
    /// How many had been moved there before.
    pub already: u64,
    /// Of how many the source's versions were removed.
    pub removed: u64,
    /// How many could not be moved, and are where they were.
    pub failed: u64,
    /// The first of those.
    pub failures: Vec<Failed>,
    /// Whether nothing was changed.
    pub dry_run: bool,
}

impl Migrated {
    fn fail(&mut self, failed: Failed) {
        self.failed += 1;
        if self.failures.len() < MAX_LISTED {
            self.failures.push(failed);
        }
    }

    /// In secrets.
    fn progress(&self, total: u64) -> Progress {
        Progress {
            done: self.examined,
            total: Some(total.max(self.examined)),
            changed: self.moved,
            failed: self.failed,
        }
    }
}
