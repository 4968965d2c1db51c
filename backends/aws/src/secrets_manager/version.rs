//! Version ids of our own making.
//!
//! AWS takes the id of a version from whoever writes it (`ClientRequestToken`, 32 to
//! 64 characters), shows it wherever it tells of a version, and never lets it change.
//! So what belongs to a version for ever stands in it: `strongroom-KIND-UUID`, with
//! `-empty` behind the kind of a value without bytes, which AWS does not store. It is
//! there from the same call on as the value, costs no tag (50 for a secret) and no
//! staging label (20, and AWS never removes a version that has one), and a repeated
//! call writes nothing twice.
//!
//! The UUID is a [`TimeId`]. Versions that AWS dates alike are in order by it.

use strongroom_core::{Error, Kind, Result, Timestamp, Version};
use strongroom_remote::TimeId;

const PREFIX: &str = "strongroom-";
const EMPTY: &str = "-empty";

/// What the id of a version says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// We wrote it.
    ByUs(Own),
    /// Somebody else did, and nothing is known but what AWS tells.
    Elsewhere,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) kind: Kind,
    pub(super) is_empty: bool,
    id: TimeId,
}

impl Own {
    pub(super) fn created(self) -> Timestamp {
        self.id.created()
    }
}

/// An id that no version has had.
pub(super) fn new(kind: Kind, is_empty: bool) -> Result<Version> {
    let id = TimeId::new()?;
    let empty = if is_empty { EMPTY } else { "" };
    Version::new(format!("{PREFIX}{}{empty}-{id}", kind.as_str()))
}

/// What `id` says.
///
/// # Errors
/// `Unsupported` if a later release wrote it.
pub(super) fn read(id: &str) -> Result<Written> {
    let parts = id.strip_prefix(PREFIX).and_then(|rest| rest.rsplit_once('-'));
    let parts = parts.and_then(|(kind, uuid)| Some((kind, TimeId::parse(uuid)?)));
    let Some((kind, own)) = parts else { return Ok(Written::Elsewhere) };
    let (kind, is_empty) = match kind.strip_suffix(EMPTY) {
        Some(kind) => (kind, true),
        None => (kind, false),
    };
    let known = Kind::ALL.into_iter().find(|known| known.as_str() == kind);
    let kind = known.ok_or_else(|| {
        Error::unsupported(format!(
            "version {id} is of a kind that this build does not know: use a newer release"
        ))
    })?;
    Ok(Written::ByUs(Own { kind, is_empty, id: own }))
}

/// Whether AWS may have a version of this id.
pub(super) fn is_possible(id: &str) -> bool {
    (32..=64).contains(&id.len())
}

/// Where a version stands among those of its secret: by the time that AWS says, in
/// milliseconds, and by ours where that is the same.
pub(super) fn place(created: Timestamp, id: &str) -> (Timestamp, u64, &str) {
    (created, ticks(id), id)
}

/// When a version was written by us, as a number that grows; zero if it was not.
pub(super) fn ticks(id: &str) -> u64 {
    match read(id) {
        Ok(Written::ByUs(own)) => own.id.ticks(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use strongroom_core::ErrorKind;

    use super::*;

    #[test]
    fn an_id_tells_kind_and_time() {
        for kind in Kind::ALL {
            for is_empty in [false, true] {
                let before = TimeId::new().expect("randomness");
                let id = new(kind, is_empty).expect("randomness");
                let Written::ByUs(own) = read(id.as_str()).expect("known") else {
                    panic!("{id} is ours");
                };
                assert_eq!((own.kind, own.is_empty), (kind, is_empty), "{id}");
                assert!(own.id.ticks() > before.ticks(), "{id}");
                assert!(own.created() >= before.created());
                assert!(is_possible(id.as_str()), "{id}");
            }
        }
    }

    #[test]
    fn ids_are_in_the_order_of_their_making() {
        let made: Vec<_> = (0..10_000).map(|_| new(Kind::Text, false).expect("made")).collect();
        let at = Timestamp(7);
        let places: Vec<_> = made.iter().map(|id| place(at, id.as_str())).collect();
        assert!(places.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(place(Timestamp(8), "x") > places[9999]);
    }

    #[test]
    fn the_id_of_somebody_else_says_nothing() {
        for id in [
            "EXAMPLE1-90ab-cdef-fedc-ba987SECRET1",
            "0190b8a3-0000-7000-8000-000000000000",
            "strongroom-text-0190b8a3000040008000000000000000",
            "strongroom-text-0190B8A3000070008000000000000000",
            "strongroom-text-x190b8a3000070008000000000000000",
            "strongroom-text",
            "terraform-20240101000000000000000001",
        ] {
            assert_eq!(read(id).expect("no error"), Written::Elsewhere, "{id}");
        }
        let later = read("strongroom-token-0190b8a3000070008000000000000000").expect_err("later");
        assert_eq!(later.kind(), ErrorKind::Unsupported);
    }
}
