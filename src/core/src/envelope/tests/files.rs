//! The vectors of files in segments. The files stand in `tests/vectors/file/`;
//! `STRONGROOM_WRITE_VECTORS=1` writes them anew.

use super::super::manifest::Manifest;
use super::super::stream::{FileId, SEGMENT_BYTES, Sealer};
use super::*;

/// A file, and what a reader makes of it. Byte `i` of the file is `7 i mod 256`,
/// so that long ones need not be written out.
#[derive(Serialize, Deserialize)]
struct FileVector {
    description: String,
    /// `ok`, or the kind of the error.
    expect: String,
    scope: String,
    name: String,
    version: String,
    dek: String,
    /// In bytes.
    length: usize,
    record: String,
    segments: Vec<Segment>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Segment {
    number: u64,
    /// Whether it is read as the end of the file.
    last: bool,
    /// Of ciphertext and tag.
    sha256: String,
    /// Ciphertext and tag, where they are short.
    #[serde(skip_serializing_if = "Option::is_none")]
    sealed: Option<String>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/file")
}

fn plain(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 % 256) as u8).collect()
}

impl FileVector {
    fn context(&self, kind: Kind) -> Result<EncryptionContext> {
        let name = SecretName::new(self.scope.parse::<Scope>()?, &self.name)?;
        Ok(EncryptionContext::new(&name, &Version::new(self.version.as_str())?, kind))
    }

    /// What a reader makes of it, as `expect` writes it.
    fn outcome(&self) -> String {
        match self.read() {
            Ok(file) if file == plain(self.length) => "ok".to_owned(),
            Ok(_) => "another file".to_owned(),
            Err(error) => error.kind().to_string(),
        }
    }

    fn read(&self) -> Result<Vec<u8>> {
        let bytes = unhex(&self.record);
        let record = Record::parse(&bytes)?;
        let context = self.context(record.header().kind)?;
        let dek = Dek::from_secret(SecretBytes::copy_from(&unhex(&self.dek))?)?;
        if record.header().content == Content::Value {
            return Ok(record.open_with(&dek, &context)?.expose().to_vec());
        }
        let manifest = Manifest::parse(&record.open_payload(&dek, &context)?)?;
        let suite = record.header().suite;
        let opener = manifest.opener(suite)?;
        let mut file = Vec::new();
        // Those that are not written out are made again, and have the same digest.
        let mut made = Sealer::new(&manifest.key, suite, &manifest.file)?;
        for segment in &self.segments {
            let sealed = match &segment.sealed {
                Some(sealed) => unhex(sealed),
                None => next(&mut made, &plain(self.length), segment.number),
            };
            assert_eq!(hex(&Sha256::digest(&sealed)), segment.sha256, "{}", self.description);
            file.extend_from_slice(opener.open(segment.number, segment.last, &sealed)?.expose());
        }
        assert_eq!(manifest.segments(), self.segments.len() as u64);
        assert_eq!(manifest.length, self.length as u64);
        Ok(file)
    }
}

/// The next segment of `file`, sealed.
fn next(sealer: &mut Sealer, file: &[u8], number: u64) -> Vec<u8> {
    let from = number as usize * SEGMENT_BYTES;
    let piece = &file[from..file.len().min(from + SEGMENT_BYTES)];
    let last = from + piece.len() == file.len();
    let mut out = vec![0; piece.len() + TAG_BYTES];
    sealer.seal(piece, last, &mut out).expect("sealed");
    out
}

#[test]
fn vectors_of_files_read_as_they_say() {
    if std::env::var_os("STRONGROOM_WRITE_VECTORS").is_some() {
        write_vectors();
    }
    let files: Vec<PathBuf> = std::fs::read_dir(folder())
        .expect("the vectors' folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    assert!(files.len() >= 15, "only {} vectors", files.len());
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a vector");
        let vector: FileVector = serde_json::from_str(&text).expect("a vector's JSON");
        assert_eq!(vector.outcome(), vector.expect, "{}", file.display());
    }
}

/// A format that changed by accident fails here.
#[test]
fn sealing_files_gives_the_vectors_bytes() {
    for vector in good() {
        let file = folder().join(format!("{}.json", vector.description.replace(' ', "-")));
        let text = std::fs::read_to_string(&file).expect("a vector");
        let made = serde_json::to_string_pretty(&vector).expect("JSON") + "\n";
        assert!(text == made, "{}", file.display());
    }
}

/// The public way to a value does not give a manifest, which holds a key.
#[test]
fn a_manifest_is_no_value() {
    let vector = good().swap_remove(0);
    let bytes = unhex(&vector.record);
    let record = Record::parse(&bytes).expect("a record");
    let context = vector.context(record.header().kind).expect("a context");
    let dek = SecretBytes::copy_from(&unhex(&vector.dek)).expect("memory");
    let opened = record.open_with(&Dek::from_secret(dek).expect("a key"), &context);
    assert_eq!(opened.expect_err("no value").kind(), ErrorKind::Unsupported);
}

fn good() -> Vec<FileVector> {
    let cases = [
        ("aes of ten bytes", Suite::Aes256Gcm, "acme", 10),
        ("chacha of a hundred bytes", Suite::ChaCha20Poly1305, "acme/ops", 100),
        ("aes of one whole segment", Suite::Aes256Gcm, "acme", SEGMENT_BYTES),
        ("aes of a segment and a byte", Suite::Aes256Gcm, "acme/ops/web", SEGMENT_BYTES + 1),
        ("chacha of three whole segments", Suite::ChaCha20Poly1305, "acme", 3 * SEGMENT_BYTES),
        ("aes of a million bytes", Suite::Aes256Gcm, "acme", 1_000_000),
    ];
    cases
        .map(|(description, suite, scope, length)| vector(description, suite, scope, length))
        .into()
}

fn key(byte: u8) -> Dek {
    let key = SecretBytes::copy_from(&[byte; KEY_BYTES]).expect("memory");
    Dek::from_secret(key).expect("a key")
}

fn vector(description: &str, suite: Suite, scope: &str, length: usize) -> FileVector {
    let manifest = Manifest { file: FileId([0x33; 16]), key: key(0x44), length: length as u64 };
    let mut sealer = Sealer::new(&manifest.key, suite, &manifest.file).expect("a key");
    let file = plain(length);
    let segments = (0..manifest.segments()).map(|number| {
        let bytes = next(&mut sealer, &file, number);
        let (last, sha256) = (number + 1 == manifest.segments(), hex(&Sha256::digest(&bytes)));
        let written = (bytes.len() < 1000).then(|| hex(&bytes));
        Segment { number, last, sha256, sealed: written }
    });
    let mut vector = FileVector {
        description: description.to_owned(),
        expect: "ok".to_owned(),
        scope: scope.to_owned(),
        name: "backup.tar".to_owned(),
        version: "17".to_owned(),
        dek: hex(&[0x11; KEY_BYTES]),
        length,
        record: String::new(),
        segments: segments.collect(),
    };
    vector.record = record(&vector, suite, manifest.encode().expect("encoded").expose());
    vector
}

fn record(vector: &FileVector, suite: Suite, payload: &[u8]) -> String {
    let (kind, created) = (Kind::File, Timestamp(1_790_000_000_000));
    let header = Header { content: Content::Manifest, suite, kind, created };
    let context = vector.context(kind).expect("a context");
    let wraps = [WrappedDek {
        kek: Cow::Borrowed("test:0"),
        kek_version: Cow::Borrowed("1"),
        bytes: Cow::Owned(vec![0; 60]),
    }];
    let nonce = [0x22; NONCE_BYTES];
    let sealed = seal_with_nonce(&key(0x11), &nonce, &wraps, &context, &header, payload);
    hex(&sealed.expect("sealed"))
}

fn write_vectors() {
    std::fs::create_dir_all(folder()).expect("a folder");
    let changed = |description: &str, expect: &str, change: &dyn Fn(&mut FileVector)| {
        let mut vector = good().swap_remove(0);
        (vector.description, vector.expect) = (description.to_owned(), expect.to_owned());
        change(&mut vector);
        vector
    };
    let segment = |change: fn(&mut Vec<u8>)| {
        move |vector: &mut FileVector| {
            let segment = &mut vector.segments[0];
            let mut sealed = unhex(segment.sealed.as_ref().expect("a short one"));
            change(&mut sealed);
            segment.sha256 = hex(&Sha256::digest(&sealed));
            segment.sealed = Some(hex(&sealed));
        }
    };
    let prelude = |change: fn(&mut Vec<u8>)| {
        move |vector: &mut FileVector| {
            let mut bytes = unhex(&vector.record);
            change(&mut bytes);
            repair(&mut bytes);
            vector.record = hex(&bytes);
        }
    };
    let payload = |change: fn(&mut Vec<u8>)| {
        move |vector: &mut FileVector| {
            let manifest = Manifest { file: FileId([0x33; 16]), key: key(0x44), length: 10 };
            let mut bytes = manifest.encode().expect("encoded").expose().to_vec();
            change(&mut bytes);
            vector.record = record(vector, Suite::Aes256Gcm, &bytes);
        }
    };
    let told = "tampered";
    let mut vectors = good();
    vectors.extend([
        changed("read as if more followed", told, &|v| v.segments[0].last = false),
        changed("read as the second segment", told, &|v| v.segments[0].number = 1),
        changed("with an altered segment", told, &segment(|bytes| bytes[0] ^= 1)),
        changed("with an altered tag", told, &segment(|bytes| bytes[25] ^= 0x80)),
        changed("with a segment that was cut", told, &segment(|bytes| drop(bytes.drain(..1)))),
        changed("with a segment without a tag", told, &segment(|bytes| bytes.truncate(10))),
        changed("with a longer segment", told, &segment(|bytes| bytes.push(0))),
        changed("with the segment of another suite", told, &|v| {
            let chacha = vector("", Suite::ChaCha20Poly1305, "acme", 10);
            v.segments.clone_from(&chacha.segments);
        }),
        changed("moved to another version", told, &|v| v.version = "18".to_owned()),
        changed("moved to another name", told, &|v| v.name = "backup.taq".to_owned()),
        changed("opened with another dek", told, &|v| v.dek = hex(&[0x12; KEY_BYTES])),
        changed("its manifest passed off as a value", told, &prelude(|bytes| bytes[2] = 1)),
        changed("with another suite in the record", told, &prelude(|bytes| bytes[9] = 2)),
        changed("with another file id", told, &payload(|bytes| bytes[1] ^= 1)),
        changed("with another file key", told, &payload(|bytes| bytes[17] ^= 1)),
        changed("with a manifest of a later format", "unsupported", &payload(|b| b[0] = 2)),
        changed("with other segment lengths", "unsupported", &payload(|bytes| bytes[59] = 2)),
        changed("with a longer manifest", "unsupported", &payload(|bytes| bytes.push(0))),
    ]);
    for vector in vectors {
        let file = folder().join(format!("{}.json", vector.description.replace(' ', "-")));
        let text = serde_json::to_string_pretty(&vector).expect("JSON");
        std::fs::write(file, text + "\n").expect("written");
    }
}
