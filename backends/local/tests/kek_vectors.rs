//! Key files of format 1 that an independent implementation of `FORMAT.md`
//! made: a reader for a format stays for ever.

#![allow(clippy::unwrap_used, reason = "a test's helpers panic as the test does")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use futures_executor::block_on;
use strongroom_core::{
    EncryptionContext, KeyWrapper, Kind, SecretBytes, SecretName, Timestamp, Version, WrappedDek,
};
use strongroom_local::kek::{KekVersionInfo, LocalKek, Unlock};

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digit).collect()
}

/// The values of `key`, in the order of the file.
fn values<'a>(vector: &'a str, key: &str) -> Vec<&'a str> {
    let lines = vector.lines().filter_map(|line| line.split_once(" = "));
    lines.filter(|(name, _)| *name == key).map(|(_, value)| value).collect()
}

fn replay(vector: &str) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kek");
    fs::write(&path, bytes(values(vector, "file")[0])).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let secret = || SecretBytes::take(bytes(values(vector, "unlock")[0])).unwrap();
    let unlock = match values(vector, "protection")[0] {
        "plain" => Unlock::Plain,
        "passphrase" => Unlock::Passphrase(secret()),
        "credential" => Unlock::Credential(secret()),
        other => panic!("a vector of protection {other}"),
    };
    let kek = LocalKek::open(&path, &unlock).unwrap();
    assert_eq!(kek.identity(), values(vector, "identity")[0]);
    let versions: Vec<_> = values(vector, "version")
        .into_iter()
        .map(|version| {
            let parts: Vec<u64> = version.split(' ').map(|part| part.parse().unwrap()).collect();
            KekVersionInfo {
                number: u32::try_from(parts[0]).unwrap(),
                created: Timestamp(parts[1]),
                wraps_reserved: parts[2],
            }
        })
        .collect();
    assert_eq!(kek.versions().unwrap(), versions);

    let name = SecretName::new("acme/ops".parse().unwrap(), "db").unwrap();
    let context = EncryptionContext::new(&name, &Version::new("7").unwrap(), Kind::Text);
    for wrapped in values(vector, "wrapped") {
        let (version, hex) = wrapped.split_once(' ').unwrap();
        let wrapped = WrappedDek {
            kek: kek.identity().into(),
            kek_version: version.into(),
            bytes: bytes(hex).into(),
        };
        let dek = block_on(kek.unwrap(&wrapped, &context)).unwrap();
        assert!(dek.expose() == bytes(values(vector, "dek")[0]), "version {version}");
    }
    // What we write over it, we read again.
    kek.rotate().unwrap();
    assert_eq!(LocalKek::open(&path, &unlock).unwrap().versions().unwrap().len(), 3);
}

#[test]
fn every_key_file_ever_written_opens() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/key-files");
    let mut replayed = 0;
    for entry in fs::read_dir(directory).unwrap() {
        replay(&fs::read_to_string(entry.unwrap().path()).unwrap());
        replayed += 1;
    }
    assert_eq!(replayed, 3);
}
