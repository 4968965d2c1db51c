//! What the integration tests cannot do from outside: failures at every step of
//! a write, and the bytes of a file whose keys are known.

use std::fs;

use futures_executor::block_on;
use strongroom_core::{
    EncryptionContext, ErrorKind, KeyWrapper, Kind, SecretBytes, SecretName, Timestamp, Version,
    WrappedDek,
};

use super::file::fault::{self, Fault, Step};
use super::keyring::Keyring;
use super::protection::Sealing;
use super::{LocalKek, PassphraseCost, Protection, Unlock, format};

const NO_SPACE: i32 = 28;
const READ_ONLY: i32 = 30;

const STEPS: [Step; 5] =
    [Step::Create, Step::Write, Step::SyncFile, Step::Publish, Step::SyncDirectory];

fn context() -> EncryptionContext {
    let name = SecretName::new("acme".parse().unwrap(), "db").unwrap();
    EncryptionContext::new(&name, &Version::new("1").unwrap(), Kind::Text)
}

fn wrap(kek: &LocalKek) -> WrappedDek<'static> {
    block_on(kek.generate(&context())).unwrap().1
}

fn opens(kek: &LocalKek, wrapped: &WrappedDek<'_>) -> bool {
    block_on(kek.unwrap(wrapped, &context())).is_ok()
}

#[test]
fn a_write_that_fails_at_any_step_leaves_the_old_file_or_the_new_one() {
    for step in STEPS {
        for crash in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("kek");
            let kek = LocalKek::create(&path, &Protection::Plain).unwrap();
            let wrapped = wrap(&kek);
            let before = fs::read(&path).unwrap();

            fault::set(Some(Fault { step, errno: NO_SPACE, crash }));
            let error = kek.rotate().unwrap_err();
            fault::set(None);
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{step:?}");
            let published = step == Step::SyncDirectory;
            assert_eq!(before == fs::read(&path).unwrap(), !published, "{step:?}");
            let left = directory.path().join("kek.new").exists();
            assert_eq!(left, crash && matches!(step, Step::Write | Step::SyncFile | Step::Publish));

            // The next process, and this one, go on as if nothing had happened.
            let next = LocalKek::open(&path, &Unlock::Plain).unwrap();
            assert!(opens(&next, &wrapped));
            let expected = if published { 3 } else { 2 };
            assert_eq!(next.rotate().unwrap(), expected, "{step:?}");
            assert_eq!(kek.rotate().unwrap(), expected + 1, "{step:?}");
            assert!(opens(&next, &wrap(&kek)) && opens(&kek, &wrap(&next)));
            assert!(!directory.path().join("kek.new").exists());
        }
    }
}

#[test]
fn a_creation_that_fails_can_be_repeated() {
    for step in STEPS {
        for crash in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("kek");
            fault::set(Some(Fault { step, errno: NO_SPACE, crash }));
            let error = LocalKek::create(&path, &Protection::Plain).unwrap_err();
            fault::set(None);
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{step:?}");
            if step == Step::SyncDirectory {
                LocalKek::open(&path, &Unlock::Plain).unwrap();
            } else {
                assert!(!path.exists(), "{step:?}");
                LocalKek::create(&path, &Protection::Plain).unwrap();
            }
        }
    }
}

#[test]
fn a_read_only_key_file_unwraps_and_wraps_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kek");
    let wrapped = wrap(&LocalKek::create(&path, &Protection::Plain).unwrap());
    fault::set(Some(Fault { step: Step::Create, errno: READ_ONLY, crash: false }));
    let kek = LocalKek::open(&path, &Unlock::Plain).unwrap();
    let error = block_on(kek.generate(&context())).unwrap_err();
    let unwrapped = opens(&kek, &wrapped);
    let check = block_on(kek.check()).unwrap_err();
    fault::set(None);
    assert!(unwrapped);
    for error in [error, check] {
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.message().contains("read-only"), "{error}");
        assert!(error.message().contains(path.to_str().unwrap()), "{error}");
    }
}

#[test]
fn a_sealed_file_holds_no_key_and_a_plain_one_does() {
    let keyring = Keyring::random(Timestamp(5)).unwrap();
    let key = &keyring.current().version.key;
    let secret = || SecretBytes::copy_from(&[9; 32]).unwrap();
    let cost = PassphraseCost { memory_kib: 8, passes: 1, lanes: 1 };
    let holds_key = |protection| {
        let sealing = Sealing::create(&protection, keyring.id()).unwrap();
        let file = format::encode(&keyring, &sealing).unwrap();
        let again = format::encode(&keyring, &sealing).unwrap();
        let sealed = !matches!(sealing, Sealing::Plain);
        assert_eq!(file != again, sealed, "a fresh nonce for every write");
        let decoded = format::decode(file.expose(), &sealing).unwrap();
        assert!(decoded.current().version.key == *key);
        // Half a key would be as bad.
        file.expose().windows(8).any(|window| key.expose().windows(8).any(|part| part == window))
    };
    assert!(holds_key(Protection::Plain));
    assert!(!holds_key(Protection::Passphrase { passphrase: secret(), cost }));
    assert!(!holds_key(Protection::Credential(secret())));
}
