//! A value that has passed through the sidecar is nowhere in its process any
//! more: `/proc/PID/mem` is searched once its clients have left.
//!
//! Every value repeats a tag that is random for each run, closely enough that any
//! 16 bytes of a value hold the whole tag: one search finds a piece of any of
//! them. The same work on the system's allocator must leave pieces behind, and so
//! must, with `danger_keep_freed_secrets`, guarded memory.

use std::collections::BTreeMap;
use std::path::Path;

use strongroom_client::Client;
use strongroom_core::{PutOptions, SecretBytes, Select};
use strongroom_kit::daemon::{ALLOW_OWNER, Daemon, Home};
use strongroom_kit::memory::{self, Hit};
use strongroom_kit::random::Random;

/// Six random bytes do not stand in a process by chance: 2^-48 for each of its
/// 10^8 bytes.
const TAG_BYTES: usize = 6;
/// With the tag, 11: of any 16 bytes, 6 in a row are the tag.
const OWN_BYTES: usize = 5;

/// How many secrets are put and got; each piece of memory that they pass through
/// is used again and again by others.
#[cfg(not(feature = "danger_keep_freed_secrets"))]
const SECRETS: usize = 1_000;
/// A few of them are enough to be found.
const FEW_SECRETS: usize = 20;
const BATCH: usize = 100;
/// From what fits into a line of the cache to several frames.
const SIZES: [usize; 5] = [16, 64, 300, 2_000, 40_000];
const FILES: usize = 5;
const FILE_BYTES: usize = 300_000;

struct Values {
    tag: Vec<u8>,
    count: u64,
}

impl Values {
    fn new() -> Self {
        Self { tag: Random::fresh().0.bytes(TAG_BYTES), count: 0 }
    }

    /// One that no other is like.
    fn next(&mut self, bytes: usize) -> Vec<u8> {
        self.count += 1;
        let unit = [&self.tag[..], &self.count.to_be_bytes()[8 - OWN_BYTES..]].concat();
        unit.into_iter().cycle().take(bytes).collect()
    }
}

/// Everything that a value can pass through, and then no client any more.
async fn work(home: &Home, values: &mut Values, secrets: usize) {
    let client = Client::connect(home.socket()).await.expect("connected");
    let guarded = |bytes: &[u8]| SecretBytes::copy_from(bytes).expect("guarded memory");
    let options = PutOptions::default();
    let names: Vec<_> = (0..secrets).map(|index| format!("account.s{index}")).collect();
    for (name, size) in names.iter().zip(SIZES.iter().cycle()) {
        let value = values.next(*size);
        client.put(name, &guarded(&value), &options).await.expect("put");
        let secret = client.get(name, &Select::Latest).await.expect("got");
        assert!(secret.value.expose() == value, "{name}: another value");
    }
    for batch in names.chunks(BATCH) {
        let wanted: Vec<_> = batch.iter().map(|name| (name.as_str(), Select::Latest)).collect();
        let got = client.get_all(&wanted).await.expect("got");
        assert!(got.iter().all(Result::is_ok));
    }
    for index in 0..FILES {
        let (name, value) = (format!("account.f{index}"), values.next(FILE_BYTES));
        client.upload(&name, &mut &value[..], &options).await.expect("uploaded");
        let mut read = Vec::new();
        client.download(&name, &Select::Latest, &mut read).await.expect("downloaded");
        assert!(read == value, "{name}: another value");
    }
    let context = BTreeMap::from([("for".to_owned(), "a test".to_owned())]);
    for size in SIZES {
        let value = values.next(size);
        let sealed =
            client.seal("account.x", context.clone(), &guarded(&value)).await.expect("sealed");
        let opened = client.open("account.x", context.clone(), &sealed).await.expect("opened");
        assert!(opened.expose() == value, "another value was opened");
    }
    drop(client);
    // Until this one is alone.
    let last = Client::connect(home.socket()).await.expect("connected");
    while last.status(&[]).await.expect("told").connections > 1 {}
}

/// What is left of so many secrets in a sidecar that `program` runs.
async fn left_by(program: &Path, secrets: usize) -> Vec<Hit> {
    // Memory of `memfd_secret` cannot be read from outside: the search would
    // find nothing there whether it was wiped or not.
    let memory = "[memory]\nsecret_memory = \"never\"\n[cache]\nenabled = true\n";
    let home = Home::new(&format!("{memory}{ALLOW_OWNER}"));
    let sidecar = Daemon::start(home.command_of(program));
    let mut values = Values::new();
    assert!(search(&sidecar, &values).is_empty(), "before there was any value");
    work(&home, &mut values, secrets).await;
    let hits = search(&sidecar, &values);
    sidecar.end();
    hits
}

fn search(sidecar: &Daemon, values: &Values) -> Vec<Hit> {
    memory::find_all(sidecar.pid(), &[&values.tag]).expect("the sidecar's memory is read")
}

fn told(hits: &[Hit]) -> String {
    let mut mappings = BTreeMap::<_, usize>::new();
    for hit in hits {
        *mappings.entry((hit.guarded, hit.mapping.as_str())).or_default() += 1;
    }
    format!("{} pieces: {mappings:#?}", hits.len())
}

#[cfg(not(feature = "danger_keep_freed_secrets"))]
#[tokio::test(flavor = "multi_thread")]
async fn no_value_is_left_in_the_sidecar_when_its_clients_have_gone() {
    let hits = left_by(&strongroom_kit::binary::strongroom(), SECRETS).await;
    assert!(hits.is_empty(), "{}", told(&hits));
}

/// What the search finds where freed memory is left as it is.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_wiping_allocator_values_are_left_in_the_sidecar() {
    let hits = left_by(Path::new(env!("CARGO_BIN_EXE_sidecar-host")), FEW_SECRETS).await;
    assert!(hits.iter().any(|hit| !hit.guarded), "outside of guarded memory: {}", told(&hits));
    let guarded = hits.iter().any(|hit| hit.guarded);
    let kept = cfg!(feature = "danger_keep_freed_secrets");
    assert_eq!(guarded, kept, "in guarded memory: {}", told(&hits));
}
