//! What the fuzz targets do with their input. The targets in `fuzz/` only call
//! these, and an ordinary test replays the corpus through the same functions.
//! Each panics when a promise is broken.

mod backup;
mod files;
mod hostile;
mod input;
mod kinds;
mod mask;
mod sidecar;

use std::sync::LazyLock;

use strongroom_core::envelope::Record;
use strongroom_core::{
    CallerContext, Dek, EncryptionContext, ErrorKind, Scope, SecretBytes, SecretName, Version,
    audit,
};

pub use self::backup::backup;
pub use self::files::files;
pub use self::kinds::kinds;
pub use self::mask::{expression, mask};
pub use self::sidecar::{end, request, rules};

/// A target's name, which is its corpus folder's too, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("record", record),
    ("name", name),
    ("config", config),
    ("audit_line", audit_line),
    ("rules", rules),
    ("request", request),
    ("mask", mask),
    ("expression", expression),
    ("kinds", kinds),
    ("files", files),
    ("backup", backup),
];

struct Sealed {
    bytes: Vec<u8>,
    dek: Dek,
    context: EncryptionContext,
    plaintext: Vec<u8>,
}

/// Good vectors of `tests/vectors/record`, secrets' and callers': fixed bytes, so that a finding
/// can be replayed.
static SEALED: LazyLock<Vec<Sealed>> = LazyLock::new(|| {
    let vectors = [
        include_str!("../vectors/record/aes-text-in-an-account.json"),
        include_str!("../vectors/record/aes-file-in-an-org.json"),
        include_str!("../vectors/record/chacha-text-in-a-project.json"),
        include_str!("../vectors/record/aes-empty-value.json"),
        include_str!("../vectors/record/aes-with-three-wrapped-deks.json"),
        include_str!("../vectors/record/aes-sealed-for-a-caller.json"),
    ];
    vectors.into_iter().map(sealed).collect()
});

fn sealed(json: &str) -> Sealed {
    let vector: serde_json::Value = serde_json::from_str(json).expect("a vector");
    let field = |name: &str| vector[name].as_str().expect("a field").to_owned();
    let bytes = unhex(&field("record"));
    let scope: Scope = field("scope").parse().expect("a scope");
    let name = SecretName::new(scope, &field("name")).expect("a name");
    let context = if let Some(pairs) = vector["pairs"].as_object() {
        let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
        let pairs = pairs.iter().map(|(key, value)| (key.clone(), text(value)));
        let caller = CallerContext::new(name, pairs.collect()).expect("a context");
        EncryptionContext::of_caller(&caller)
    } else {
        let version = Version::new(field("version")).expect("a version");
        let kind = Record::parse(&bytes).expect("a record").header().kind;
        EncryptionContext::new(&name, &version, kind)
    };
    let dek = SecretBytes::copy_from(&unhex(&field("dek"))).expect("guarded memory");
    let dek = Dek::from_secret(dek).expect("a key");
    Sealed { bytes, dek, context, plaintext: unhex(&field("plaintext")) }
}

/// Bytes that were never sealed do not open, and sealed bytes that were altered
/// do not open to anything but what was sealed.
///
/// # Panics
/// When they do.
pub fn record(input: &[u8]) {
    // As a secret's record, and as what a caller sealed.
    open(&SEALED[0], input);
    open(&SEALED[SEALED.len() - 1], input);
    let Some((&[which, repair], edits)) = input.split_first_chunk::<2>() else { return };
    let sealed = &SEALED[usize::from(which) % SEALED.len()];
    let mut bytes = sealed.bytes.clone();
    for edit in edits.chunks_exact(3).take(8) {
        let at = usize::from(u16::from_le_bytes([edit[0], edit[1]]));
        match edit[2] {
            0 => bytes.truncate(bytes.len().saturating_sub(at % 64)),
            flip => {
                let at = at % bytes.len().max(1);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= flip;
                }
            }
        }
    }
    if repair & 1 == 1 {
        repair_checksum(&mut bytes);
    }
    open(sealed, &bytes);
}

fn open(sealed: &Sealed, bytes: &[u8]) {
    let record = match Record::parse(bytes) {
        Ok(record) => record,
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::Tampered | ErrorKind::Unsupported));
            return;
        }
    };
    for wrap in record.wraps() {
        assert!(wrap.bytes.len() <= bytes.len());
    }
    match record.open_with(&sealed.dek, &sealed.context) {
        Ok(value) => {
            let original = Record::parse(&sealed.bytes).expect("a record");
            assert!(value.expose() == sealed.plaintext, "another plaintext opened");
            assert!(record.header() == original.header(), "an altered header was accepted");
        }
        Err(error) => assert_eq!(error.kind(), ErrorKind::Tampered),
    }
}

/// The checksum of FORMAT.md; an attacker computes it as we do.
fn repair_checksum(bytes: &mut [u8]) {
    let Some(&[low, high]) = bytes.get(3..5) else { return };
    let prelude = usize::from(u16::from_le_bytes([low, high]));
    if !(9..=bytes.len()).contains(&prelude) {
        return;
    }
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes[..5]);
    crc.update(&bytes[9..prelude]);
    bytes[5..9].copy_from_slice(&crc.finalize().to_le_bytes());
}

/// A name that is accepted reads back as itself, and two names that differ
/// never have the same encoding.
///
/// # Panics
/// When they do.
pub fn name(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (scope, written) = text.split_once(' ').unwrap_or(("acme/ops/web", &text));
    let Ok(scope) = scope.parse::<Scope>() else { return };
    assert_eq!(scope.to_string().parse::<Scope>().expect("reads back"), scope);
    let Ok(name) = scope.resolve(written) else { return };
    assert!(scope.sees(name.scope()));
    assert_eq!(name.to_string(), written);
    assert_eq!(name.scope().resolve(written).expect("resolves in its own scope"), name);
    let mut encoded = Vec::new();
    name.encode_into(&mut encoded);
    let mut joined = Vec::new();
    let parts = name.scope().identifiers().chain([name.id()]);
    for part in parts {
        joined.extend_from_slice(&u16::try_from(part.len()).expect("short").to_le_bytes());
        joined.extend_from_slice(part.as_bytes());
    }
    assert_eq!(encoded[1..], joined);
}

/// A configuration is accepted or refused with a message, never with a panic.
pub fn config(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input)
        && let Err(error) = strongroom::config::Config::parse(text)
    {
        assert!(!error.to_string().is_empty());
    }
}

/// An audit line is read or refused; what is read is bounded.
///
/// # Panics
/// When a line that is too long is read.
pub fn audit_line(input: &[u8]) {
    if audit::parse_line(input).is_ok() {
        assert!(input.len() <= audit::MAX_LINE_BYTES);
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex");
    (0..text.len()).step_by(2).map(byte).collect()
}
