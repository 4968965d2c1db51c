//! What callers are told while the backend hangs, fails or refuses.

use std::sync::Arc;
use std::time::{Duration, Instant};

use strongroom::config::Verb;
use strongroom_client::Client;
use strongroom_core::cache::CacheOptions;
use strongroom_core::clock::ManualClock;
use strongroom_core::{ErrorKind, PutOptions, Secret, Select, Timestamp};
use strongroom_kit::faults::{Fault, FaultyStore, Gate};
use strongroom_kit::sidecar::{Setup, Sidecar, anyone, memory_store, secret};
use strongroom_rpc::v1;
use tokio::task::JoinSet;
use tonic::Code;
use tonic_types::StatusExt;

use crate::{arrivals, until};

const TTL: Duration = Duration::from_mins(1);
const MAX_STALE: Duration = Duration::from_mins(10);
const START: Timestamp = Timestamp(1_700_000_000_000);
/// The longest that an answer from the cache may take: it shows that nothing
/// waited for anything, not how fast it was.
const AT_ONCE: Duration = Duration::from_millis(50);

/// A sidecar on a store that fails as it is told, by a clock that does too.
struct Fixture {
    // Dropped first: the sidecar ends while the rest is still there.
    sidecar: Sidecar,
    store: Arc<FaultyStore>,
    clock: ManualClock,
}

impl Fixture {
    fn new(change: impl FnOnce(&mut CacheOptions)) -> Self {
        let store = FaultyStore::new(memory_store());
        let clock = ManualClock::new(START);
        let mut options = CacheOptions::default();
        (options.ttl, options.jitter, options.refresh_ahead) = (TTL, 0.0, None);
        (options.max_stale, options.stale_wait) = (Some(MAX_STALE), Duration::ZERO);
        change(&mut options);
        let mut setup = Setup::new(store.clone());
        (setup.cache, setup.clock) = (Some(options), Arc::new(clock.clone()));
        let sidecar = setup.start();
        sidecar.seed("account.db", "hunter2");
        Self { sidecar, store, clock }
    }

    /// How often the backend was asked for a value.
    fn reads(&self) -> usize {
        self.store.faults().calls("get")
    }
}

async fn read(client: &Client) -> strongroom_core::Result<Secret> {
    client.get("account.db", &Select::Latest).await
}

fn is_value(secret: &Secret) -> bool {
    secret.value.expose() == b"hunter2"
}

/// The shortest of several gets that the cache answers.
async fn shortest(client: &Client) -> Duration {
    let mut shortest = Duration::MAX;
    for _ in 0..20 {
        let began = Instant::now();
        assert!(is_value(&read(client).await.expect("it is cached")));
        shortest = shortest.min(began.elapsed());
    }
    shortest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_hangs_delays_nothing_that_the_cache_knows() {
    // As a network that loses everything, and as a driver that keeps its thread:
    // more calls than the backend has threads.
    let hangs: [fn(Gate) -> Fault; 2] = [Fault::Wait, Fault::Block];
    for hang in hangs {
        let fixture = Fixture::new(|_| ());
        let client = fixture.sidecar.client().await;
        read(&client).await.expect("the backend answers");
        let gate = Gate::closed();
        fixture.store.faults().always("get", hang(gate.clone()));
        fixture.store.faults().always("put", hang(gate.clone()));
        let mut waiting = JoinSet::new();
        for number in 0..8 {
            let (reader, writer) = (client.clone(), client.clone());
            waiting.spawn(async move {
                let missing = reader.get(&format!("account.n{number}"), &Select::Latest).await;
                assert_eq!(missing.expect_err("it is not there").kind(), ErrorKind::NotFound);
            });
            waiting.spawn(async move {
                let name = format!("account.new{number}");
                writer.put(&name, &secret("x"), &PutOptions::default()).await.expect("a put");
            });
        }
        arrivals(&gate, 4).await;

        // The gate is shut: what is answered waited for nothing behind it.
        let took = shortest(&client).await;
        assert!(took < AT_ONCE, "{took:?}");
        let status = client.status(&["account.db"]).await.expect("a status");
        assert!(status.secrets[0].cached);
        assert!(status.requests_in_flight >= 5, "{}", status.requests_in_flight);
        let other = fixture.sidecar.client().await;
        assert!(is_value(&read(&other).await.expect("another connection")));

        gate.open();
        while let Some(ended) = waiting.join_next().await {
            ended.expect("those who waited are answered");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_batch_misses_is_one_call_on_another_thread() {
    let fixture = Fixture::new(|_| ());
    let client = fixture.sidecar.client().await;
    for number in 0..50 {
        fixture.sidecar.seed(&format!("account.n{number}"), &number.to_string());
    }
    read(&client).await.expect("it is known from now on");
    let gate = Gate::closed();
    fixture.store.faults().next("get_many", Fault::Block(gate.clone()));
    let batch = async |client: &Client| {
        let names: Vec<_> = (0..50).map(|number| format!("account.n{number}")).collect();
        let names = names.iter().map(String::as_str).chain(["account.none", "account.db"]);
        let wanted: Vec<_> = names.map(|name| (name, Select::Latest)).collect();
        client.get_all(&wanted).await.expect("answers")
    };
    let asking = client.clone();
    let asked = tokio::spawn(async move { batch(&asking).await });
    arrivals(&gate, 1).await;
    let took = shortest(&client).await;
    assert!(took < AT_ONCE, "{took:?}");
    gate.open();
    let answers = asked.await.expect("no panic");
    for (number, answer) in answers[..50].iter().enumerate() {
        let secret = answer.as_ref().expect("it is there");
        assert!(secret.value.expose() == number.to_string().as_bytes());
    }
    let none = answers[50].as_ref().expect_err("it is not there");
    assert_eq!(none.kind(), ErrorKind::NotFound);
    assert!(is_value(answers[51].as_ref().expect("it was known")));
    assert_eq!(batch(&client).await.iter().flatten().count(), 51);
    assert_eq!((fixture.store.faults().calls("get_many"), fixture.reads()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_hangs_is_bridged_with_what_is_stale() {
    let store = FaultyStore::new(memory_store());
    let mut options = CacheOptions::default();
    (options.ttl, options.max_stale) = (Duration::from_nanos(1), Some(Duration::from_hours(1)));
    let mut setup = Setup::new(store.clone());
    setup.cache = Some(options);
    let sidecar = setup.start();
    sidecar.seed("account.db", "hunter2");
    let client = sidecar.client().await;
    read(&client).await.expect("the backend answers");
    let gate = Gate::closed();
    store.faults().always("get", Fault::Wait(gate.clone()));
    let took = shortest(&client).await;
    assert!(read(&client).await.expect("stale").stale);
    assert!(took < AT_ONCE, "{took:?}");
    gate.open();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_many_read_at_once_the_backend_is_asked_once() {
    let fixture = Fixture::new(|options| options.max_stale = None);
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(fixture.sidecar.client().await);
    }
    // Cold, and then at an expiry.
    for flights in 1..=2 {
        let gate = Gate::closed();
        fixture.store.faults().next("get", Fault::Wait(gate.clone()));
        let mut readers = JoinSet::new();
        for number in 0..50 {
            let client = clients[number % clients.len()].clone();
            readers.spawn(async move { is_value(&read(&client).await.expect("a get")) });
        }
        let under_way = || fixture.sidecar.metric("strongroom_requests_in_flight");
        until("all of them wait", || under_way() == 50).await;
        assert_eq!(fixture.reads(), flights);
        gate.open();
        assert!(readers.join_all().await.into_iter().all(|right| right));
        assert_eq!(fixture.reads(), flights);
        fixture.clock.advance(TTL);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_is_remembered_until_it_is_written() {
    let fixture = Fixture::new(|options| options.negative_ttl = Duration::from_secs(5));
    let client = fixture.sidecar.client().await;
    let missing = async || {
        let answer = client.get("account.absent", &Select::Latest).await;
        assert_eq!(answer.expect_err("it is not there").kind(), ErrorKind::NotFound);
        fixture.reads()
    };
    assert_eq!((missing().await, missing().await, missing().await), (1, 1, 1));
    fixture.clock.advance(Duration::from_secs(5));
    assert_eq!((missing().await, missing().await), (2, 2));
    let put = client.put("account.absent", &secret("here"), &PutOptions::default()).await;
    let version = put.expect("a put").version;
    let found = client.get("account.absent", &Select::Latest).await.expect("it was written");
    assert!(found.version == version && found.value.expose() == b"here");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_denial_by_the_backend_evicts_at_once() {
    let fixture = Fixture::new(|options| {
        // By a clock that stands still: until the backend has answered.
        (options.refresh_ahead, options.stale_wait) = (Some(0.5), Duration::from_secs(1));
    });
    let client = fixture.sidecar.client().await;
    read(&client).await.expect("the backend answers");
    // With time to live: the refresh is refused.
    fixture.clock.advance(TTL * 3 / 4);
    fixture.store.faults().always("get", Fault::Fail(ErrorKind::AccessDenied));
    assert!(is_value(&read(&client).await.expect("the cache answers, and asks")));
    let name = fixture.sidecar.engine().resolve("account.db").expect("a name");
    until("it is evicted", || fixture.sidecar.cache().status(&name).is_none()).await;
    let denied = read(&client).await.expect_err("nothing is left");
    assert_eq!(denied.kind(), ErrorKind::AccessDenied);
    assert!(!client.status(&["account.db"]).await.expect("a status").secrets[0].cached);

    // Expired, where an outage would be bridged.
    fixture.store.faults().clear();
    read(&client).await.expect("the backend answers again");
    fixture.clock.advance(TTL);
    fixture.store.faults().next("get", Fault::Fail(ErrorKind::Unauthenticated));
    let denied = read(&client).await.expect_err("it is not bridged");
    assert_eq!(denied.kind(), ErrorKind::Unauthenticated);
    fixture.store.faults().next("get", Fault::Fail(ErrorKind::Unavailable));
    let gone = read(&client).await.expect_err("nothing is left to bridge with");
    assert_eq!(gone.kind(), ErrorKind::Unavailable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stale_answers_are_marked_bounded_and_visible() {
    let fixture = Fixture::new(|_| ());
    let client = fixture.sidecar.client().await;
    assert!(!read(&client).await.expect("the backend answers").stale);
    fixture.store.faults().always("get", Fault::Fail(ErrorKind::Unavailable));
    let state = async || {
        let status = client.status(&["account.db"]).await.expect("a status");
        status.secrets.into_iter().next().expect("one secret")
    };
    let almost = TTL.saturating_sub(Duration::from_millis(1));
    fixture.clock.advance(almost);
    let fresh = read(&client).await.expect("in its time to live");
    assert!(!fresh.stale && !state().await.stale);
    assert_eq!(fresh.age, almost);

    fixture.clock.advance(Duration::from_millis(1));
    let old = read(&client).await.expect("bridged");
    assert!(is_value(&old) && old.stale);
    assert_eq!(old.age, TTL);
    let mut bytes = Vec::new();
    let download = client.download("account.db", &Select::Latest, &mut bytes).await;
    assert!(download.expect("bridged").stale && bytes == b"hunter2");
    let told = state().await;
    assert!(told.cached && told.stale);
    assert_eq!((told.last_success, told.age), (Some(START), Some(TTL)));
    assert_eq!(told.expires_in, Some(Duration::ZERO));
    assert!(fixture.sidecar.metric("strongroom_cache_stale") >= 2);

    fixture.clock.advance(MAX_STALE);
    let error = read(&client).await.expect_err("that is too old");
    assert!(error.kind() == ErrorKind::Unavailable && error.is_retryable());
    assert!(!state().await.cached);

    fixture.store.faults().clear();
    let again = read(&client).await.expect("the backend answers again");
    assert!(is_value(&again) && !again.stale);
    let since = START.plus(TTL + MAX_STALE);
    assert_eq!(state().await.last_success, Some(since));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_says_whether_to_try_again() {
    let fixture = Fixture::new(|_| ());
    let mut grpc = fixture.sidecar.grpc().await;
    for (kind, code, again) in [
        (ErrorKind::Unavailable, Code::Unavailable, true),
        (ErrorKind::Throttled, Code::ResourceExhausted, true),
        (ErrorKind::KeyUnavailable, Code::FailedPrecondition, false),
        (ErrorKind::Tampered, Code::DataLoss, false),
    ] {
        fixture.store.faults().next("get", Fault::Fail(kind));
        let request = v1::GetRequest { name: "account.db".into(), ..Default::default() };
        let status = grpc.get(request).await.expect_err("it fails");
        assert_eq!(status.code(), code);
        let details = status.get_error_details();
        let info = details.error_info().expect("details");
        assert_eq!(info.reason, strongroom_rpc::reason_of(kind));
        assert_eq!(details.retry_info().is_some(), again, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_are_asked_before_the_cache_and_a_refusal_is_recorded() {
    let fixture = Fixture::new(|_| ());
    let client = fixture.sidecar.client().await;
    read(&client).await.expect("allowed as yet");
    let mut section = strongroom::config::SidecarSection::default();
    section.allow = vec![
        anyone(&["account.other"], &[Verb::All]),
        anyone(&["account.db"], &[Verb::Put, Verb::Status]),
    ];
    fixture.sidecar.replace(section).expect("good rules");
    let (reads, lines) = (fixture.reads(), fixture.sidecar.audit().lines().count());
    assert!(client.status(&["account.db"]).await.expect("a status").secrets[0].cached);

    let denied = read(&client).await.expect_err("no rule allows it");
    assert_eq!(denied.kind(), ErrorKind::AccessDenied);
    let batch = client.get_all(&[("account.db", Select::Latest)]).await.expect("a batch");
    let denied = batch.into_iter().next().expect("one").expect_err("no rule allows it");
    assert_eq!(denied.kind(), ErrorKind::AccessDenied);
    let download = client.download("account.db", &Select::Latest, &mut Vec::new()).await;
    let denied = download.expect_err("nor this");
    assert_eq!(denied.kind(), ErrorKind::AccessDenied);
    assert_eq!(fixture.reads(), reads);

    let audit = fixture.sidecar.audit();
    let refusals: Vec<_> = audit.lines().skip(lines).collect();
    assert_eq!(refusals.len(), 3);
    for line in refusals {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(
            (&line["operation"], &line["outcome"]),
            (&"get".into(), &"access_denied".into())
        );
        assert_eq!((&line["scope"], &line["name"]), (&"acme".into(), &"db".into()));
        assert_eq!(line["actor"]["pid"], std::process::id());
    }
}
