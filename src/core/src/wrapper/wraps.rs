//! What a record says of the KEKs that its DEK is wrapped under, and how that
//! compares with what a wrapper would do now.

use serde::Serialize;

use super::{BRANCH_PREFIX, WrappedDek};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind};

/// A KEK that wraps, and its version that does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KekState {
    /// As it stands in records.
    pub identity: String,
    /// The version that wraps now; `None` where the KMS cannot be asked, and
    /// others can.
    pub current: Option<String>,
}

/// One version of a KEK.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KekVersion {
    /// As it stands in records.
    pub version: String,
    /// When it was made, if the KMS tells.
    pub created: Option<Timestamp>,
    /// Whether it wraps now.
    pub is_current: bool,
}

/// A KEK that a DEK should have been wrapped under, and was not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MissingWrap {
    /// The KEK.
    pub kek: String,
    /// Why.
    pub kind: ErrorKind,
    /// The same in words; never a value.
    pub message: String,
}

impl MissingWrap {
    /// `kek` did not wrap because of `error`.
    #[must_use]
    pub fn new(kek: &str, error: &Error) -> Self {
        Self { kek: kek.to_owned(), kind: error.kind(), message: error.message().to_owned() }
    }
}

/// One DEK, wrapped under every KEK that could be had.
#[derive(Clone, Debug)]
pub struct Wraps {
    /// In the order in which they are to be tried; never empty.
    pub deks: Vec<WrappedDek<'static>>,
    /// Which KEKs could not be had. A rewrap adds them later.
    pub missing: Vec<MissingWrap>,
}

impl Wraps {
    /// One wrap, as of a wrapper of one KEK.
    #[must_use]
    pub fn of(wrapped: WrappedDek<'static>) -> Self {
        Self { deks: vec![wrapped], missing: Vec::new() }
    }
}

/// Whether these wraps are what `keks` would give now: each KEK once, under its
/// current version, in this order, and nothing else.
pub(crate) fn are_current<'a>(
    wraps: impl Iterator<Item = WrappedDek<'a>>,
    keks: &[KekState],
) -> bool {
    let mut keks = keks.iter();
    for wrapped in wraps {
        let is_current = keks.next().is_some_and(|kek| {
            let versions = kek.current.as_ref();
            wrapped.kek == kek.identity && versions.is_none_or(|now| wrapped.kek_version == *now)
        });
        if !is_current {
            return false;
        }
    }
    keks.next().is_none()
}

/// The KEK that a wrap needs, whether there is a branch key in between or not.
pub(crate) fn base_kek(kek: &str) -> &str {
    kek.strip_prefix(BRANCH_PREFIX).unwrap_or(kek)
}
