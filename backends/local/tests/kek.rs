//! The local KEK's key file: what opens it, and what is refused.

#![allow(clippy::unwrap_used, reason = "a test's helpers panic as the test does")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use futures_executor::block_on;
use strongroom_core::{
    Dek, EncryptionContext, ErrorKind, KeyWrapper, Kind, Result, SecretBytes, SecretName, Version,
    WrappedDek,
};
use strongroom_local::kek::{
    LocalKek, MAX_WRAPS_PER_VERSION, Options, PassphraseCost, Protection, ProtectionKind, Unlock,
};
use tempfile::TempDir;

/// Argon2's least; the tests derive hundreds of keys.
const CHEAP: PassphraseCost = PassphraseCost { memory_kib: 8, passes: 1, lanes: 1 };

fn secret(bytes: &[u8]) -> SecretBytes {
    SecretBytes::copy_from(bytes).unwrap()
}

fn context(name: &str) -> EncryptionContext {
    let name = SecretName::new("acme/ops".parse().unwrap(), name).unwrap();
    EncryptionContext::new(&name, &Version::new("1").unwrap(), Kind::Text)
}

/// A directory and the path of a key file in it that does not exist yet.
fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kek");
    (directory, path)
}

fn plain(path: &Path) -> LocalKek {
    LocalKek::create(path, &Protection::Plain).unwrap()
}

fn open(path: &Path) -> Result<LocalKek> {
    LocalKek::open(path, &Unlock::Plain)
}

/// Every protection, and what opens it.
fn protections() -> Vec<(Protection, Unlock)> {
    let passphrase = || secret(b"correct horse battery staple");
    vec![
        (Protection::Plain, Unlock::Plain),
        (
            Protection::Passphrase { passphrase: passphrase(), cost: CHEAP },
            Unlock::Passphrase(passphrase()),
        ),
        (Protection::Credential(secret(&[7; 32])), Unlock::Credential(secret(&[7; 32]))),
    ]
}

fn wrap(kek: &LocalKek) -> (Dek, WrappedDek<'static>) {
    block_on(kek.generate(&context("db"))).unwrap()
}

fn opens(kek: &LocalKek, wrapped: &(Dek, WrappedDek<'static>)) -> bool {
    let dek = block_on(kek.unwrap(&wrapped.1, &context("db"))).unwrap();
    dek.expose() == wrapped.0.expose()
}

fn kind<T>(result: Result<T>) -> ErrorKind {
    result.err().map(|error| error.kind()).expect("an error")
}

fn numbers(kek: &LocalKek) -> Vec<u32> {
    kek.versions().unwrap().iter().map(|version| version.number).collect()
}

#[test]
fn every_protection_opens_again_and_rotates() {
    for (protection, unlock) in protections() {
        let (_directory, path) = place();
        let kek = LocalKek::create(&path, &protection).unwrap();
        let first = wrap(&kek);
        let identity = kek.identity().to_owned();
        assert!(identity.starts_with("local:") && identity.len() == 6 + 32, "{identity}");
        drop(kek);

        let kek = LocalKek::open(&path, &unlock).unwrap();
        assert_eq!(kek.identity(), identity);
        assert!(opens(&kek, &first), "{protection:?}");
        assert_eq!(kek.rotate().unwrap(), 2);
        let second = wrap(&kek);
        assert_eq!((&*first.1.kek_version, &*second.1.kek_version), ("1", "2"));
        drop(kek);

        let kek = LocalKek::open(&path, &unlock).unwrap();
        assert!(opens(&kek, &first) && opens(&kek, &second), "{protection:?}");
        assert_eq!(block_on(kek.current_version()).unwrap(), "2");
        assert_eq!(numbers(&kek), [1, 2]);
        block_on(kek.check()).unwrap();
    }
}

#[test]
fn only_the_right_key_of_the_right_kind_opens() {
    for (at, (protection, _)) in protections().into_iter().enumerate() {
        let (_directory, path) = place();
        LocalKek::create(&path, &protection).unwrap();
        for (other, (_, unlock)) in protections().into_iter().enumerate() {
            if other != at {
                let refused = kind(LocalKek::open(&path, &unlock));
                assert_eq!(refused, ErrorKind::Configuration, "{protection:?} {unlock:?}");
            }
        }
        let wrong = match protection {
            Protection::Passphrase { .. } => Unlock::Passphrase(secret(b"correct horse battery")),
            Protection::Credential(_) => Unlock::Credential(secret(&[8; 32])),
            _ => continue,
        };
        let error = LocalKek::open(&path, &wrong).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        assert!(error.message().contains("does not open it"), "{error}");
        assert!(error.message().contains(path.to_str().unwrap()), "{error}");
    }
}

#[test]
fn weak_inputs_are_refused() {
    let (_directory, path) = place();
    let huge = PassphraseCost { memory_kib: u32::MAX, ..CHEAP };
    for protection in [
        Protection::Passphrase { passphrase: secret(b""), cost: CHEAP },
        Protection::Passphrase { passphrase: secret(b"x"), cost: huge },
        Protection::Credential(secret(&[7; 31])),
    ] {
        assert_eq!(kind(LocalKek::create(&path, &protection)), ErrorKind::Configuration);
    }
    for max_wraps in [0, (1 << 32) + 1] {
        let mut options = Options::default();
        options.max_wraps_per_version = max_wraps;
        let created = LocalKek::create_with(&path, &Protection::Plain, options);
        assert_eq!(kind(created), ErrorKind::Configuration);
    }
    assert!(!path.exists());
    assert_eq!(Options::default().max_wraps_per_version, MAX_WRAPS_PER_VERSION);
    const { assert!(MAX_WRAPS_PER_VERSION <= 1 << 28, "a 16th of SP 800-38D §8.3") };
}

#[test]
fn every_altered_byte_of_a_key_file_is_noticed() {
    for (protection, unlock) in protections() {
        let (_directory, path) = place();
        LocalKek::create(&path, &protection).unwrap();
        let original = fs::read(&path).unwrap();
        for at in 0..original.len() {
            for flip in [0x01, 0x80] {
                let mut altered = original.clone();
                altered[at] ^= flip;
                fs::write(&path, altered).unwrap();
                let kek = LocalKek::open(&path, &unlock);
                assert!(kek.is_err(), "{protection:?}, byte {at}, bit {flip:#x}");
            }
        }
        fs::write(&path, original).unwrap();
        LocalKek::open(&path, &unlock).unwrap();
    }
}

#[test]
fn a_truncated_or_extended_key_file_is_noticed() {
    for (protection, unlock) in protections() {
        let (_directory, path) = place();
        LocalKek::create(&path, &protection).unwrap();
        let original = fs::read(&path).unwrap();
        for len in 0..original.len() {
            fs::write(&path, &original[..len]).unwrap();
            let refused = kind(LocalKek::open(&path, &unlock));
            assert_eq!(refused, ErrorKind::Tampered, "{protection:?}, {len} bytes");
        }
        fs::write(&path, [&original[..], &[0]].concat()).unwrap();
        assert_eq!(kind(LocalKek::open(&path, &unlock)), ErrorKind::Tampered);
    }
}

#[test]
fn a_hostile_key_file_asks_for_no_absurd_memory() {
    let (_directory, path) = place();
    let (protection, unlock) = protections().remove(1);
    LocalKek::create(&path, &protection).unwrap();
    let mut file = fs::read(&path).unwrap();
    // The memory's place in FORMAT.md.
    assert_eq!(file[26..30], CHEAP.memory_kib.to_le_bytes());
    file[26..30].copy_from_slice(&u32::MAX.to_le_bytes());
    fs::write(&path, file).unwrap();
    assert_eq!(kind(LocalKek::open(&path, &unlock)), ErrorKind::Tampered);
}

#[test]
fn what_is_made_is_for_us_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new").join("deeper").join("kek");
    plain(&path).rotate().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    let mut files: Vec<_> = fs::read_dir(path.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(files, ["kek", "kek.lock"]);
    assert_eq!(mode(&path.with_file_name("kek.lock")), 0o600);
}

#[test]
fn a_key_file_that_others_may_access_is_refused() {
    let (_directory, path) = place();
    plain(&path);
    for mode in [0o644, 0o640, 0o604, 0o620, 0o602, 0o610, 0o601] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{mode:o}");
        let command = format!("chmod 600 {}", path.display());
        assert!(error.message().contains(&command), "{error}");
    }
    for mode in [0o600, 0o400] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        open(&path).unwrap();
    }
}

#[test]
fn a_directory_in_which_everybody_writes_is_refused() {
    let (directory, path) = place();
    plain(&path);
    let set = |mode| fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode));
    set(0o777).unwrap();
    assert_eq!(kind(open(&path)), ErrorKind::Configuration);
    let other = directory.path().join("other");
    assert_eq!(kind(LocalKek::create(other, &Protection::Plain)), ErrorKind::Configuration);
    set(0o1777).unwrap();
    open(&path).unwrap();
    set(0o700).unwrap();
}

#[test]
fn what_is_not_a_regular_file_is_refused() {
    let (directory, path) = place();
    plain(&path);
    let link = directory.path().join("link");
    symlink(&path, &link).unwrap();
    let error = open(&link).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.message().contains("symbolic link"), "{error}");
    // Opening a FIFO without NONBLOCK would wait for ever.
    let fifo = directory.path().join("fifo");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert_eq!(kind(open(&fifo)), ErrorKind::Configuration);
    assert_eq!(kind(open(directory.path())), ErrorKind::Configuration);
    assert_eq!(kind(open(&directory.path().join("none"))), ErrorKind::KeyUnavailable);
}

#[test]
fn create_overwrites_nothing() {
    let (directory, path) = place();
    plain(&path);
    let before = fs::read(&path).unwrap();
    for (protection, _) in protections() {
        assert_eq!(kind(LocalKek::create(&path, &protection)), ErrorKind::AlreadyExists);
    }
    assert!(before == fs::read(&path).unwrap());

    let (target, link) = (directory.path().join("target"), directory.path().join("link"));
    symlink(&target, &link).unwrap();
    assert_eq!(kind(LocalKek::create(&link, &Protection::Plain)), ErrorKind::AlreadyExists);
    assert!(!target.exists());
}

#[test]
fn what_a_crash_left_behind_is_replaced_and_never_followed() {
    let (directory, path) = place();
    let kek = plain(&path);
    let new = directory.path().join("kek.new");
    fs::write(&new, "half a file").unwrap();
    assert_eq!(kek.rotate().unwrap(), 2);
    assert!(!new.exists());
    let victim = directory.path().join("victim");
    fs::write(&victim, "untouched").unwrap();
    symlink(&victim, &new).unwrap();
    assert_eq!(kek.rotate().unwrap(), 3);
    assert_eq!(fs::read(&victim).unwrap(), b"untouched");
    assert_eq!(numbers(&open(&path).unwrap()), [1, 2, 3]);
}

#[test]
fn the_protection_can_be_changed() {
    let all = protections();
    let next = [2, 0, 1, 1].map(|at| &all[at]);
    let (_directory, path) = place();
    let kek = LocalKek::create(&path, &all[1].0).unwrap();
    let wrapped = wrap(&kek);
    let mut before = &all[1].1;
    for (protection, unlock) in next {
        let other = LocalKek::open(&path, before).unwrap();
        kek.protect(protection).unwrap();
        assert!(opens(&LocalKek::open(&path, unlock).unwrap(), &wrapped));
        assert!(opens(&other, &wrapped), "it had read the keys");
        assert_eq!(kind(other.rotate()), ErrorKind::Unauthenticated, "{protection:?}");
        kek.rotate().unwrap();
        before = unlock;
    }
    assert_eq!(numbers(&LocalKek::open(&path, before).unwrap()), [1, 2, 3, 4, 5]);
    let unsupported = LocalKek::in_memory().unwrap().protect(&Protection::Plain);
    assert_eq!(kind(unsupported), ErrorKind::Unsupported);
}

#[test]
fn inspection_needs_no_key() {
    let kinds = [ProtectionKind::Plain, ProtectionKind::Passphrase, ProtectionKind::Credential];
    for ((protection, _), kind) in protections().into_iter().zip(kinds) {
        let (_directory, path) = place();
        let kek = LocalKek::create(&path, &protection).unwrap();
        let info = LocalKek::inspect(&path).unwrap();
        assert_eq!((info.identity.as_str(), info.protection), (kek.identity(), kind));
    }
}

#[test]
fn a_check_writes_nothing_while_wraps_are_left() {
    let (_directory, path) = place();
    let kek = plain(&path);
    block_on(kek.check()).unwrap();
    let before = fs::read(&path).unwrap();
    block_on(kek.check()).unwrap();
    assert!(before == fs::read(&path).unwrap());
}

#[test]
fn debug_shows_names_and_numbers_only() {
    let (_directory, path) = place();
    let kek = plain(&path);
    kek.rotate().unwrap();
    let expected = format!(
        "LocalKek {{ identity: {:?}, path: Some({:?}), current_version: 2, .. }}",
        kek.identity(),
        path
    );
    assert_eq!(format!("{kek:?}"), expected);
    let (protection, unlock) = protections().remove(1);
    assert!(!format!("{protection:?} {unlock:?}").contains("horse"));
}
