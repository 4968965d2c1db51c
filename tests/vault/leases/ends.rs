//! The end of a lease: revoked when it is released, with its session, and what a cache
//! makes of it.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use strongroom_core::cache::ThreadSpawn;
use strongroom_core::memory::MemoryRecords;
use strongroom_core::{
    CacheOptions, CachedStore, EnvelopeOptions, ErrorKind, ExternalStore, Kind, PutOptions,
    ReferencingStore, SecretName, SecretStore, Select,
};
use strongroom_kit::proxy::{ANY, Fault};
use strongroom_kit::{block_on, embedded};
use strongroom_local::kek::LocalKek;
use strongroom_vault::{Auth, LeaseOptions, SecretText, Vault, VaultLeases};

use super::{LIFE, Role};
use crate::client::settings;
use crate::{bytes, server};

fn revoking() -> LeaseOptions {
    let mut options = LeaseOptions::default();
    options.revoke_on_close = true;
    options
}

#[test]
fn what_is_released_is_revoked() {
    let role = Role::new("released");
    let leases = role.leases(LeaseOptions::default());
    let (first, _) = role.read(&leases);
    block_on(leases.revoke_all()).unwrap();
    assert!(!first.let_in(), "an answer means that it has happened");
    let (second, _) = role.read(&leases);
    assert!(second != first && second.let_in());
    drop(leases);
    assert!(second.let_in(), "unless it is asked for, they end by themselves");

    let leases = role.leases(revoking());
    let (third, _) = role.read(&leases);
    drop(leases);
    assert!(!third.let_in());
    assert_eq!(role.users(), 1);
}

#[test]
fn whoever_may_not_revoke_is_told() {
    let role = Role::new("kept");
    let policy = format!("path \"{}\" {{ capabilities = [\"read\"] }}", role.path);
    server().policy("lease-reader", &policy);
    let token = server().token(&["lease-reader"], Duration::from_hours(1), true);
    let leases = VaultLeases::new(&role.vault(&token), revoking());
    let (first, _) = role.read(&leases);
    let error = block_on(leases.revoke_all()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AccessDenied);
    assert!(error.message().contains("path \"sys/leases/revoke\""), "{error}");
    assert!(first.let_in());
}

/// Vault ends the leases of a token with the token.
#[test]
fn a_lease_is_good_for_no_longer_than_its_session() {
    let role = Role::new("session");
    let policy = format!("path \"{}\" {{ capabilities = [\"read\"] }}", role.path);
    server().policy("lease-session", &policy);
    let token = || server().token(&["lease-session"], LIFE / 2, false);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    fs::write(&file, token()).unwrap();
    let mut settings = settings(&role.proxy, "");
    settings.auth = Auth::Token(SecretText::File(file.clone()));
    settings.clock = Arc::new(role.clock.clone());
    let leases = VaultLeases::new(&Vault::connect(&settings).unwrap(), LeaseOptions::default());
    let (first, valid_for) = role.read(&leases);
    assert!(valid_for <= LIFE / 2, "{valid_for:?}");

    fs::write(&file, token()).unwrap();
    role.clock.advance(LIFE / 2);
    let (other, _) = role.read(&leases);
    assert!(other != first && other.let_in(), "the former ones end with their session");
    assert_eq!(role.reads(), 2);
}

#[test]
fn a_cache_gives_credentials_until_their_end_and_no_longer() {
    let role = Role::new("cached");
    let kek = Arc::new(LocalKek::in_memory().unwrap());
    let records = Arc::new(MemoryRecords::new());
    let inner = embedded::envelope(records, kek, EnvelopeOptions::default());
    let inner: Arc<dyn SecretStore> = Arc::new(block_on(inner).unwrap());
    let leases: Arc<dyn ExternalStore> = Arc::new(role.leases(LeaseOptions::default()));
    let external = BTreeMap::from([("vault".to_owned(), leases)]);
    let store = Arc::new(ReferencingStore::new(inner, external).unwrap());
    let hour = Duration::from_hours(1);
    let mut options = CacheOptions::default();
    (options.ttl, options.max_stale, options.refresh_ahead) = (hour, Some(hour), None);
    let (clock, spawn) = (Arc::new(role.clock.clone()), Arc::new(ThreadSpawn::new()));
    let store = CachedStore::new(store, options, clock, spawn).unwrap();
    let name = SecretName::new(embedded::ACCOUNT.parse().unwrap(), "db").unwrap();
    let put = |reference: String| {
        let options = PutOptions { kind: Kind::Reference, ..PutOptions::default() };
        block_on(store.put(&name, &bytes(&reference), &options)).unwrap();
    };
    let get = || block_on(store.get(&name, &Select::Latest));
    put(format!("vault://{}#username", role.path));
    let user = get().unwrap();
    assert_eq!(user.valid_for, Some(LIFE));
    put(format!("vault://{}#password", role.path));
    let password = get().unwrap();
    let who = std::str::from_utf8(user.value.expose()).unwrap().to_owned();
    let password = std::str::from_utf8(password.value.expose()).unwrap().to_owned();
    assert!(super::Credentials { user: who, password }.let_in(), "both are of one lease");
    assert_eq!(role.users(), 1);

    role.proxy.always(ANY, Fault::status(503));
    let moment = Duration::from_millis(1);
    role.clock.advance(LIFE.saturating_sub(moment));
    let last = get().unwrap();
    assert_eq!((last.stale, last.valid_for), (false, Some(moment)));
    role.clock.advance(moment);
    assert_eq!(get().unwrap_err().kind(), ErrorKind::Unavailable, "not even stale");
}
