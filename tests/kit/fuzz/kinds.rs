//! Values with parts, beside `serde_json` where that can be.

use strongroom_core::kinds::{Certificate, Login, SshKey, check, field, fields};
use strongroom_core::{ErrorKind, Kind, Reference, SecretBytes};

/// The input is a kind and a value. What is of its kind has its fields, and comes
/// back as it was when it is put together again; what is not is told.
///
/// # Panics
/// When that does not hold.
pub fn kinds(input: &[u8]) {
    let Some((&which, value)) = input.split_first() else { return };
    let kind = Kind::ALL[usize::from(which) % Kind::ALL.len()];
    let value = SecretBytes::copy_from(value).expect("guarded memory");
    if let Err(error) = check(kind, &value) {
        assert!(matches!(error.kind(), ErrorKind::InvalidName | ErrorKind::LimitExceeded));
        assert!(!matches!(kind, Kind::Text | Kind::File));
        return;
    }
    for name in fields(kind) {
        let found = field(kind, &value, name);
        assert!(found.is_ok() || *name == "public-key");
    }
    match kind {
        Kind::Login => {
            let login = Login::parse(&value).expect("a login");
            let theirs: serde_json::Value = serde_json::from_slice(value.expose()).expect("JSON");
            for (name, ours) in [("user", &login.user), ("password", &login.password)] {
                assert_eq!(theirs[name].as_str().map(str::as_bytes), Some(ours.expose()));
            }
            let again = Login::parse(&login.encode().expect("memory")).expect("a login");
            assert!(again.user == login.user && again.password == login.password);
        }
        Kind::Certificate => {
            let found = Certificate::parse(&value).expect("a certificate");
            let encoded = Certificate::encode(&found.chain, &found.key).expect("memory");
            let again = Certificate::parse(&encoded).expect("a certificate");
            assert!(again.chain == found.chain && again.key == found.key);
        }
        Kind::SshKey => {
            let found = SshKey::parse(&value).expect("a key");
            let again = SshKey::parse(&found.private_key).expect("a key");
            assert!(again.private_key == found.private_key && again.public_key.is_none());
        }
        Kind::Reference => {
            let reference = Reference::parse(value.expose()).expect("a reference");
            // It writes no escape that was not there.
            let again = Reference::parse(reference.to_string().as_bytes());
            assert_eq!(again.expect("a reference"), reference);
        }
        _ => {}
    }
}
