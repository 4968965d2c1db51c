//! The vectors of heads. The files stand in `tests/vectors/head/`;
//! `STRONGROOM_WRITE_VECTORS=1` writes them anew.

use super::super::head::{Head, State};
use super::*;
use crate::metadata::Metadata;

/// A head, and what a reader makes of it.
#[derive(Serialize, Deserialize)]
struct HeadVector {
    description: String,
    /// `ok`, or the kind of the error.
    expect: String,
    scope: String,
    name: String,
    /// The latest version, and whose DEK this is.
    version: u64,
    dek: String,
    about: String,
    tags: BTreeMap<String, String>,
    head: String,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/head")
}

impl HeadVector {
    fn outcome(&self) -> String {
        match self.read() {
            Ok(head) if head.latest != self.version => "another version".to_owned(),
            Ok(head) if self.metadata() != head.metadata => "other metadata".to_owned(),
            Ok(_) => "ok".to_owned(),
            Err(error) => error.kind().to_string(),
        }
    }

    fn metadata(&self) -> Metadata {
        Metadata::new(self.about.as_str(), self.tags.clone()).expect("valid metadata")
    }

    fn read(&self) -> Result<Head> {
        let bytes = unhex(&self.head);
        let head = Head::parse(&bytes)?;
        let (dek, context) = self.key(head.kind)?;
        Head::authenticate(&bytes, &dek, &context)?;
        Ok(head)
    }

    fn key(&self, kind: Kind) -> Result<(Dek, EncryptionContext)> {
        let name = SecretName::new(self.scope.parse::<Scope>()?, &self.name)?;
        let version = Version::new(self.version.to_string())?;
        let dek = Dek::from_secret(SecretBytes::copy_from(&unhex(&self.dek))?)?;
        Ok((dek, EncryptionContext::new(&name, &version, kind)))
    }
}

fn good() -> Vec<HeadVector> {
    let deleted =
        State::Deleted { since: Timestamp(1_790_000_000_000), until: Timestamp(u64::MAX) };
    let cases = [
        ("live without metadata", State::Live, Kind::Text, "", &[][..]),
        ("deleted without metadata", deleted.clone(), Kind::File, "", &[]),
        ("live with a description", State::Live, Kind::Login, "the shop,\nread only: \u{e4}", &[]),
        ("live with tags", State::Live, Kind::Reference, "", &[("env", "prod"), ("pci", "")]),
        ("deleted with both", deleted, Kind::Certificate, "old", &[("env", "prod")]),
    ];
    let case = |(description, state, kind, about, tags): (&str, _, _, &str, &[(&str, &str)])| {
        let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let mut vector = HeadVector {
            description: description.to_owned(),
            expect: "ok".to_owned(),
            scope: "acme/ops".to_owned(),
            name: "db.password".to_owned(),
            version: 17,
            dek: hex(&[0x11; KEY_BYTES]),
            about: about.to_owned(),
            tags: tags.collect(),
            head: String::new(),
        };
        let (updated, metadata) = (Timestamp(1_780_000_000_000), vector.metadata());
        let head = Head { state, kind, first: 3, latest: vector.version, updated, metadata };
        let (dek, context) = vector.key(kind).expect("a key");
        vector.head = hex(&head.seal(Some((&dek, &context))).expect("sealed"));
        vector
    };
    cases.into_iter().map(case).collect()
}

/// Computes the checksum anew, as an attacker would.
fn repair(head: &mut [u8]) {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&head[..3]);
    crc.update(&head[7..]);
    head[3..7].copy_from_slice(&crc.finalize().to_le_bytes());
}

fn write_vectors() {
    let mut vectors = good();
    let mut bad = |description: &str, expect: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut vector = good().swap_remove(3);
        let mut head = unhex(&vector.head);
        change(&mut head);
        vector.head = hex(&head);
        description.clone_into(&mut vector.description);
        expect.clone_into(&mut vector.expect);
        vectors.push(vector);
    };
    // Fields end at 49; the description's length, the count of tags, and `env`.
    bad("with an altered tag", "tampered", &|head| head[57] ^= 1);
    bad("with an altered tag and a repaired checksum", "tampered", &|head| {
        head[57] ^= 1;
        repair(head);
    });
    bad("with its metadata taken away and a repaired checksum", "tampered", &|head| {
        head.drain(49..head.len() - 32);
        head[2] = 1;
        repair(head);
    });
    bad("with tags out of order and a repaired checksum", "tampered", &|head| {
        head[53] = b'z';
        repair(head);
    });
    bad("with empty metadata and a repaired checksum", "tampered", &|head| {
        head.drain(49..head.len() - 32);
        let _ = head.splice(49..49, [0; 3]).count();
        repair(head);
    });
    bad("of a later format", "unsupported", &|head| {
        head[2] = 3;
        repair(head);
    });
    bad("of a later kind", "unsupported", &|head| {
        head[8] = 7;
        repair(head);
    });
    bad("truncated", "tampered", &|head| head.truncate(head.len() - 1));
    std::fs::create_dir_all(folder()).expect("a folder");
    for vector in vectors {
        let file = folder().join(format!("{}.json", vector.description.replace(' ', "-")));
        let json = serde_json::to_string_pretty(&vector).expect("JSON") + "\n";
        std::fs::write(file, json).expect("written");
    }
}

#[test]
fn vectors_of_heads_read_as_they_say() {
    if std::env::var_os("STRONGROOM_WRITE_VECTORS").is_some() {
        write_vectors();
    }
    let files: Vec<PathBuf> = std::fs::read_dir(folder())
        .expect("the vectors' folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    assert!(files.len() >= 13, "only {} vectors", files.len());
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a vector");
        let vector: HeadVector = serde_json::from_str(&text).expect("a vector's JSON");
        assert_eq!(vector.outcome(), vector.expect, "{}", file.display());
    }
}

/// A format that changed by accident fails here.
#[test]
fn sealing_heads_gives_the_vectors_bytes() {
    for vector in good() {
        let file = folder().join(format!("{}.json", vector.description.replace(' ', "-")));
        let text = std::fs::read_to_string(&file).expect("a vector");
        let stored: HeadVector = serde_json::from_str(&text).expect("a vector's JSON");
        assert_eq!(stored.head, vector.head, "{}", file.display());
    }
}
