//! A store on KV 2 while its server is killed, sealed, restarted, and revokes sessions: what
//! was acknowledged is there, nothing else is read, and nobody has to do anything.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::json;
use strongroom_core::cache::ThreadSpawn;
use strongroom_core::clock::ManualClock;
use strongroom_core::{
    CacheOptions, CachedStore, ErrorKind, PutOptions, SecretName, SecretStore, Select, Timestamp,
    Version,
};
use strongroom_kit::block_on;
use strongroom_kit::proxy::{ANY, Fault, FaultProxy};
use strongroom_kit::vault::Vault as Server;
use strongroom_vault::{KvDirectory, KvOptions, KvVersion, Policy, VaultKv, VaultSettings};

use crate::auth::{login, revoke_all};
use crate::load::{self, Call};
use crate::{bytes, connect, settings, within};

const WRITERS: usize = 3;

/// A server with KV 2, and a session there whose policy is the store's.
fn engine(server: &Server, address: &str) -> VaultSettings {
    server.mount("secret", "kv", &json!({"version": "2"}));
    server.api("POST", "secret/config", &json!({"max_versions": 100_000}));
    let at = KvDirectory { mount: "secret", version: 2, path: "strongroom/acme" };
    server.policy("store", &Policy::kv_store(at, false).unwrap().to_hcl());
    let (auth, _) = login(server, "approle", &json!({"token_policies": ["store"]}));
    settings(address, auth)
}

fn store(settings: &VaultSettings) -> VaultKv {
    let mut options = KvOptions::new("acme");
    options.version = Some(KvVersion::Two);
    block_on(VaultKv::open(&connect(settings), options)).unwrap()
}

fn name(id: &str) -> SecretName {
    SecretName::new("acme".parse().unwrap(), id).unwrap()
}

/// A secret that one writer counts up and one reader reads.
struct Counter {
    name: SecretName,
    /// The last number that somebody began to put.
    begun: AtomicU64,
    /// The last one whose put was acknowledged.
    acknowledged: AtomicU64,
    /// All that were, by their versions.
    written: Mutex<BTreeMap<u64, Version>>,
}

/// Writers and readers of one store.
struct Use {
    store: VaultKv,
    /// Whether something that fails is a fault.
    is_calm: AtomicBool,
}

impl Use {
    /// What a call gave. While the server is away it may fail, as what may pass.
    fn gave<T>(&self, result: strongroom_core::Result<T>) -> Option<T> {
        result
            .map_err(|error| {
                assert!(!self.is_calm.load(Ordering::SeqCst), "{error}");
                assert!(error.is_retryable(), "{error}");
            })
            .ok()
    }

    fn write(&self, counter: &Counter) -> bool {
        let number = 1 + counter.begun.fetch_add(1, Ordering::SeqCst);
        let value = bytes(&number.to_string());
        let put = block_on(self.store.put(&counter.name, &value, &PutOptions::default()));
        let Some(info) = self.gave(put) else { return false };
        counter.acknowledged.store(number, Ordering::SeqCst);
        counter.written.lock().unwrap().insert(number, info.version);
        true
    }

    fn read(&self, counter: &Counter) -> bool {
        let least = counter.acknowledged.load(Ordering::SeqCst);
        let read = block_on(self.store.get(&counter.name, &Select::Latest));
        if least == 0 && read.as_ref().is_err_and(|e| e.kind() == ErrorKind::NotFound) {
            return false;
        }
        let Some(secret) = self.gave(read) else { return false };
        let read = std::str::from_utf8(secret.value.expose()).unwrap().parse().unwrap();
        let most = counter.begun.load(Ordering::SeqCst);
        assert!((least..=most).contains(&read), "{read}, and not {least} to {most}");
        true
    }
}

#[test]
fn nothing_that_was_acknowledged_is_lost_and_no_wrong_value_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::in_directory(within(), dir.path());
    let settings = engine(&server, server.address());
    let used = Use { store: store(&settings), is_calm: AtomicBool::new(true) };
    let counter = |number: usize| Counter {
        name: name(&format!("counter-{number}")),
        begun: AtomicU64::new(0),
        acknowledged: AtomicU64::new(0),
        written: Mutex::default(),
    };
    let counters: Vec<_> = (0..WRITERS).map(counter).collect();
    let calls = counters.iter().flat_map(|counter| -> [Call<'_>; 2] {
        [Box::new(|| used.write(counter)), Box::new(|| used.read(counter))]
    });
    load::under(calls.collect(), |load| {
        load.progress(40);
        // A session that is revoked is nobody's error.
        for _ in 0..3 {
            revoke_all(&server, "approle");
            load.progress(40);
        }
        used.is_calm.store(false, Ordering::SeqCst);
        server.kill();
        server.restart();
        load.progress(40);
        server.seal();
        server.unseal();
        load.progress(40);
        server.kill();
        server.restart_sealed();
        server.unseal();
        revoke_all(&server, "approle");
        load.progress(40);
    });
    let mut count = 0;
    for counter in &counters {
        let written = counter.written.lock().unwrap();
        for (number, version) in &*written {
            let select = Select::Version(version.clone());
            let read = block_on(used.store.get(&counter.name, &select)).unwrap();
            assert!(read.value.expose() == number.to_string().as_bytes(), "{version}");
        }
        count += written.len();
    }
    assert!(count > 60, "{count} puts");
}

/// A cache whose time stands still in front of a store behind a proxy; `db` is in it.
fn cached(server: &Server) -> (CachedStore, ManualClock, FaultProxy) {
    let proxy = FaultProxy::start(server.address());
    let mut settings = engine(server, &proxy.endpoint());
    settings.retries = 0;
    let store = store(&settings);
    block_on(store.put(&name("db"), &bytes("value"), &PutOptions::default())).unwrap();
    let clock = ManualClock::new(Timestamp(1_000_000));
    let mut options = CacheOptions::default();
    (options.jitter, options.refresh_ahead) = (0.0, None);
    options.max_stale = Some(10 * options.ttl);
    let spawn = Arc::new(ThreadSpawn::new());
    let cache = CachedStore::new(Arc::new(store), options, Arc::new(clock.clone()), spawn).unwrap();
    assert_read(&cache, false);
    proxy.reset_counts();
    (cache, clock, proxy)
}

#[track_caller]
fn assert_read(cache: &CachedStore, stale: bool) {
    let read = block_on(cache.get(&name("db"), &Select::Latest)).unwrap();
    assert!(read.value.expose() == b"value");
    assert_eq!(read.stale, stale);
}

#[test]
fn a_server_that_is_stopped_is_bridged_for_as_long_as_is_configured() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::in_directory(within(), dir.path());
    let (cache, clock, _proxy) = cached(&server);
    let ttl = CacheOptions::default().ttl;
    server.kill();
    assert_read(&cache, false);
    clock.advance(2 * ttl);
    assert_read(&cache, true);
    clock.advance(8 * ttl);
    assert_read(&cache, true);
    clock.advance(2 * ttl);
    let error = block_on(cache.get(&name("db"), &Select::Latest)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    server.restart();
    clock.advance(ttl);
    assert_read(&cache, false);
}

#[test]
fn a_black_hole_does_not_slow_what_is_cached() {
    let server = Server::start(within());
    let (cache, clock, proxy) = cached(&server);
    let options = CacheOptions::default();
    proxy.always(ANY, Fault::BlackHole);
    (0..100).for_each(|_| assert_read(&cache, false));
    assert!(proxy.requests().is_empty());
    // Past its time, the first who reads waits for `stale_wait`, and nobody else does: not
    // one of them could go on while this clock stands.
    clock.advance(2 * options.ttl);
    thread::scope(|scope| {
        let first = scope.spawn(|| assert_read(&cache, true));
        block_on(proxy.wait_for(ANY, 1));
        while !first.is_finished() {
            clock.advance(options.stale_wait);
        }
    });
    (0..100).for_each(|_| assert_read(&cache, true));
    assert_eq!(proxy.count(ANY), 1, "and one request waits for Vault");
    proxy.clear();
}
