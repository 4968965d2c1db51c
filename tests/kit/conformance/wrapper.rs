//! The contract of [`KeyWrapper`], point by point.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use crate::block_on;
use strongroom_core::{
    Dek, EncryptionContext, ErrorKind, KeyWrapper, Kind, Result, Scope, SecretName, Version,
    WrappedDek,
};
use tempfile::TempDir;

use super::{Factory, assert_kind, points, temporary_directory};

/// A key wrapper to be tested.
pub struct WrapperBackend {
    open: Factory<Arc<dyn KeyWrapper>>,
    rotate: Option<Factory<()>>,
}

impl WrapperBackend {
    /// `open` gives a wrapper of the KEK that belongs to a directory: opened
    /// again the same one, in another directory another one.
    pub fn new(
        open: impl Fn(&Path) -> Result<Arc<dyn KeyWrapper>> + Send + Sync + 'static,
    ) -> Self {
        Self { open: Box::new(open), rotate: None }
    }

    /// `rotate` rotates the KEK that belongs to a directory. A wrapper that is
    /// opened afterwards uses the new version.
    #[must_use]
    pub fn with_rotation(
        self,
        rotate: impl Fn(&Path) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self { rotate: Some(Box::new(rotate)), ..self }
    }
}

impl fmt::Debug for WrapperBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrapperBackend").finish_non_exhaustive()
    }
}

points! { $ conformance_wrapper for WrapperBackend as wrapper:
    what_was_wrapped_is_unwrapped,
    a_generated_dek_is_the_wrapped_one,
    generated_deks_differ,
    one_dek_wrapped_twice_looks_different,
    another_context_does_not_unwrap,
    no_altered_byte_unwraps,
    no_other_length_unwraps,
    another_kek_says_that_it_cannot,
    an_unknown_version_is_key_unavailable,
    another_instance_of_the_kek_unwraps,
    a_rewrapped_dek_is_the_same,
    a_forged_dek_is_not_rewrapped,
    the_current_version_is_what_wraps,
    rotation_keeps_old_wraps_and_uses_the_new_version,
    names_fit_into_a_record,
    many_threads_wrap_and_unwrap,
    the_kek_checks_itself,
}

struct Bench {
    backend: WrapperBackend,
    dir: TempDir,
}

impl Bench {
    fn new(backend: WrapperBackend) -> Self {
        Self { backend, dir: temporary_directory() }
    }

    fn open(&self) -> Arc<dyn KeyWrapper> {
        self.open_kek("kek")
    }

    fn open_kek(&self, kek: &str) -> Arc<dyn KeyWrapper> {
        (self.backend.open)(&self.dir.path().join(kek)).expect("the wrapper opens")
    }
}

fn context(scope: &str, id: &str, version: &str, kind: Kind) -> EncryptionContext {
    let scope: Scope = scope.parse().expect("a valid scope");
    let name = SecretName::new(scope, id).expect("a valid name");
    EncryptionContext::new(&name, &Version::new(version).expect("a valid version"), kind)
}

fn usual() -> EncryptionContext {
    context("acme/ops/web", "db", "3", Kind::Text)
}

fn same(a: &Dek, b: &Dek) -> bool {
    a.expose() == b.expose()
}

// === points ===

async fn what_was_wrapped_is_unwrapped(bench: &Bench) {
    let kek = bench.open();
    for context in [usual(), context("a", "b", "1", Kind::File)] {
        let dek = Dek::random().expect("randomness");
        let wrapped = kek.wrap(&dek, &context).await.expect("wrapped");
        let unwrapped = kek.unwrap(&wrapped, &context).await.expect("unwrapped");
        assert!(same(&dek, &unwrapped), "another DEK came back");
        let clear = wrapped.bytes.windows(8).any(|part| dek.expose().windows(8).any(|d| d == part));
        assert!(!clear, "the wrapped bytes hold a part of the DEK");
    }
}

async fn a_generated_dek_is_the_wrapped_one(bench: &Bench) {
    let kek = bench.open();
    let (dek, wrapped) = kek.generate(&usual()).await.expect("generated");
    let unwrapped = kek.unwrap(&wrapped, &usual()).await.expect("unwrapped");
    assert!(same(&dek, &unwrapped));
}

async fn generated_deks_differ(bench: &Bench) {
    let kek = bench.open();
    let mut seen = BTreeSet::new();
    for _ in 0..20 {
        let (dek, _) = kek.generate(&usual()).await.expect("generated");
        assert!(seen.insert(dek.expose().to_vec()), "a DEK was given twice");
    }
}

async fn one_dek_wrapped_twice_looks_different(bench: &Bench) {
    let kek = bench.open();
    let dek = Dek::random().expect("randomness");
    let first = kek.wrap(&dek, &usual()).await.expect("wrapped");
    let second = kek.wrap(&dek, &usual()).await.expect("wrapped");
    assert!(first.bytes != second.bytes, "equal DEKs can be told from their wraps");
}

async fn another_context_does_not_unwrap(bench: &Bench) {
    let kek = bench.open();
    let (_, wrapped) = kek.generate(&usual()).await.expect("generated");
    let others = [
        context("acme/ops/web", "db", "4", Kind::Text),
        context("acme/ops/web", "db", "33", Kind::Text),
        context("acme/ops/web", "db2", "3", Kind::Text),
        context("acme/ops/web", "db", "3", Kind::File),
        context("acme/ops/api", "db", "3", Kind::Text),
        context("acme/dev/web", "db", "3", Kind::Text),
        context("acmee/ops/web", "db", "3", Kind::Text),
        context("acme/ops", "db", "3", Kind::Text),
        context("acme", "db", "3", Kind::Text),
    ];
    for other in &others {
        let what = format!("{other:?}");
        assert_kind(kek.unwrap(&wrapped, other).await, ErrorKind::Tampered, what);
    }
}

async fn no_altered_byte_unwraps(bench: &Bench) {
    let kek = bench.open();
    let (_, wrapped) = kek.generate(&usual()).await.expect("generated");
    for at in 0..wrapped.bytes.len() {
        for mask in [1, 0x80, 0xff] {
            let mut altered = wrapped.clone();
            altered.bytes.to_mut()[at] ^= mask;
            match kek.unwrap(&altered, &usual()).await {
                Ok(_) => panic!("byte {at} ^ {mask:#x}: a DEK came out"),
                // A KMS may find a key's id within the bytes, one that is not there or
                // that we may not use.
                Err(error) => assert!(
                    matches!(
                        error.kind(),
                        ErrorKind::Tampered | ErrorKind::KeyUnavailable | ErrorKind::AccessDenied
                    ),
                    "byte {at}: {error}"
                ),
            }
        }
    }
    let last = wrapped.bytes.len() - 1;
    let mut altered = wrapped.clone();
    altered.bytes.to_mut()[last] ^= 1;
    assert_kind(kek.unwrap(&altered, &usual()).await, ErrorKind::Tampered, "the last byte");
}

async fn no_other_length_unwraps(bench: &Bench) {
    let kek = bench.open();
    let (_, wrapped) = kek.generate(&usual()).await.expect("generated");
    let cuts = (0..wrapped.bytes.len()).map(|bytes| wrapped.bytes[..bytes].to_vec());
    let longer = [vec![0; 65_535], [&wrapped.bytes[..], b"\0"].concat()];
    for bytes in cuts.chain(longer) {
        let count = bytes.len();
        let altered = WrappedDek { bytes: bytes.into(), ..wrapped.clone() };
        assert!(kek.unwrap(&altered, &usual()).await.is_err(), "{count} bytes unwrapped");
    }
}

async fn another_kek_says_that_it_cannot(bench: &Bench) {
    let (kek, other) = (bench.open(), bench.open_kek("other"));
    assert_ne!(kek.identity(), other.identity());
    let (_, wrapped) = kek.generate(&usual()).await.expect("generated");
    assert_kind(other.unwrap(&wrapped, &usual()).await, ErrorKind::KeyUnavailable, "another KEK");
    // Passed off as the other's own.
    let identity = other.identity().to_owned();
    let forged = WrappedDek { kek: identity.into(), ..wrapped };
    assert!(other.unwrap(&forged, &usual()).await.is_err(), "another KEK's name was believed");
}

async fn an_unknown_version_is_key_unavailable(bench: &Bench) {
    let kek = bench.open();
    let (_, wrapped) = kek.generate(&usual()).await.expect("generated");
    for version in ["", "0", "999999", "no such version", "-1", "1 "] {
        let altered = WrappedDek { kek_version: version.into(), ..wrapped.clone() };
        assert_kind(
            kek.unwrap(&altered, &usual()).await,
            ErrorKind::KeyUnavailable,
            format!("version {version:?}"),
        );
    }
}

async fn another_instance_of_the_kek_unwraps(bench: &Bench) {
    let (dek, wrapped) = bench.open().generate(&usual()).await.expect("generated");
    let unwrapped = bench.open().unwrap(&wrapped, &usual()).await.expect("unwrapped");
    assert!(same(&dek, &unwrapped));
}

async fn a_rewrapped_dek_is_the_same(bench: &Bench) {
    let kek = bench.open();
    let (dek, wrapped) = kek.generate(&usual()).await.expect("generated");
    let rewrapped = kek.rewrap(&wrapped, &usual()).await.expect("rewrapped");
    assert!(rewrapped.bytes != wrapped.bytes, "nothing was wrapped anew");
    let unwrapped = kek.unwrap(&rewrapped, &usual()).await.expect("unwrapped");
    assert!(same(&dek, &unwrapped));
}

async fn a_forged_dek_is_not_rewrapped(bench: &Bench) {
    let kek = bench.open();
    let (_, wrapped) = kek.generate(&usual()).await.expect("generated");
    let other = context("acme/ops/web", "other", "3", Kind::Text);
    assert_kind(kek.rewrap(&wrapped, &other).await, ErrorKind::Tampered, "another context");
    let mut altered = wrapped;
    let last = altered.bytes.len() - 1;
    altered.bytes.to_mut()[last] ^= 1;
    assert_kind(kek.rewrap(&altered, &usual()).await, ErrorKind::Tampered, "an altered byte");
}

async fn the_current_version_is_what_wraps(bench: &Bench) {
    let kek = bench.open();
    let (_, wrapped) = kek.generate(&usual()).await.expect("generated");
    assert_eq!(wrapped.kek, kek.identity());
    assert_eq!(wrapped.kek_version, kek.current_version().await.expect("a version"));
}

async fn rotation_keeps_old_wraps_and_uses_the_new_version(bench: &Bench) {
    let Some(rotate) = &bench.backend.rotate else { return };
    let before = bench.open();
    let (dek, old) = before.generate(&usual()).await.expect("generated");
    let identity = before.identity().to_owned();
    rotate(&bench.dir.path().join("kek")).expect("rotated");

    let after = bench.open();
    assert_eq!(after.identity(), identity, "a rotated KEK keeps its name");
    let current = after.current_version().await.expect("a version");
    assert_ne!(current, old.kek_version, "there is no new version");
    let unwrapped = after.unwrap(&old, &usual()).await.expect("old wraps open");
    assert!(same(&dek, &unwrapped));
    let renewed = after.rewrap(&old, &usual()).await.expect("rewrapped");
    assert_eq!(renewed.kek_version, current, "a rewrap uses the new version");
    // An instance that was open throughout opens what the new version wrapped.
    let unwrapped = before.unwrap(&renewed, &usual()).await.expect("new wraps open");
    assert!(same(&dek, &unwrapped));
    // A wrap of one version does not pass for one of the other.
    let forged = WrappedDek { kek_version: current.into(), ..old };
    assert!(after.unwrap(&forged, &usual()).await.is_err(), "a version's name was believed");
}

async fn names_fit_into_a_record(bench: &Bench) {
    let kek = bench.open();
    let (_, wrapped) = kek.generate(&usual()).await.expect("generated");
    for text in [&wrapped.kek, &wrapped.kek_version] {
        assert!((1..=255).contains(&text.len()), "{text}");
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
    assert!((1..=65_535).contains(&wrapped.bytes.len()));
}

async fn many_threads_wrap_and_unwrap(bench: &Bench) {
    let kek = bench.open();
    thread::scope(|scope| {
        for thread in 0..8 {
            let kek = &kek;
            scope.spawn(move || {
                for round in 0..50 {
                    let context =
                        context("acme", &format!("s{thread}"), &round.to_string(), Kind::Text);
                    let (dek, wrapped) = block_on(kek.generate(&context)).expect("generated");
                    let back = block_on(kek.unwrap(&wrapped, &context)).expect("unwrapped");
                    assert!(same(&dek, &back), "thread {thread}, round {round}");
                }
            });
        }
    });
}

async fn the_kek_checks_itself(bench: &Bench) {
    let kek = bench.open();
    kek.check().await.expect("a new KEK is sound");
    assert!(!kek.identity().is_empty());
    assert!(!format!("{kek:?}").is_empty());
}
