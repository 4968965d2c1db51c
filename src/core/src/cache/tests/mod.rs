//! A cache in front of a store that the test holds by the hand: it can be
//! closed, so that calls hang until it is opened, and told to fail.

#![expect(clippy::unchecked_time_subtraction, reason = "of constants")]

mod ends;
mod limits;
mod many;
mod outage;
mod reads;
mod writes;

use std::collections::HashMap;
use std::task::{Poll, Waker};

use futures_executor::block_on;
use futures_util::future::{BoxFuture, FutureExt, join_all, poll_fn};

use super::*;
use crate::clock::ManualClock;
use crate::error::{Error, ErrorKind};
use crate::secret::Kind;

const ALL: [&str; 5] = ["a", "b", "c", "d", "e"];
const TTL: Duration = Duration::from_secs(100);
const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

#[derive(Debug, Default)]
struct FakeState {
    versions: HashMap<String, u64>,
    /// One for many counts once.
    calls: usize,
    /// What each call for many was about.
    batches: Vec<Vec<String>>,
    under_way: usize,
    closed: bool,
    failure: Option<Error>,
    waiting: Vec<Waker>,
    value_bytes: usize,
    /// Of every answer.
    valid_for: Option<Duration>,
    /// A call for many gives no more.
    most_answers: Option<usize>,
}

/// Answers with the version that was current when a call began, when it is let.
#[derive(Debug, Default)]
struct Fake(Mutex<FakeState>);

impl Fake {
    fn state(&self) -> std::sync::MutexGuard<'_, FakeState> {
        self.0.lock().expect("not poisoned")
    }

    fn close(&self) {
        self.state().closed = true;
    }

    fn open(&self) {
        let mut state = self.state();
        state.closed = false;
        std::mem::take(&mut state.waiting).into_iter().for_each(Waker::wake);
    }

    fn fail(&self, kind: Option<ErrorKind>) {
        self.state().failure = kind.map(|kind| Error::new(kind, "as the test wants"));
    }

    /// A write by somebody else.
    fn bump(&self, name: &SecretName) {
        *self.state().versions.entry(name.to_string()).or_default() += 1;
    }

    fn calls(&self) -> usize {
        self.state().calls
    }

    /// The version that is current when a call begins.
    fn current(&self, name: &SecretName) -> Option<u64> {
        self.state().versions.get(&name.to_string()).copied()
    }

    fn begin(&self) -> UnderWay<'_> {
        let mut state = self.state();
        state.calls += 1;
        state.under_way += 1;
        UnderWay(self)
    }

    fn answer(&self, current: Option<u64>, select: &Select) -> Result<Secret> {
        let current = current.ok_or_else(|| Error::not_found("no secret has this name"))?;
        let version = match select {
            Select::Latest => Version::new(current.to_string())?,
            Select::Version(version) => version.clone(),
        };
        if version.as_str().parse().is_ok_and(|number: u64| number > current) {
            return Err(Error::not_found("no such version"));
        }
        let mut value = format!("canary {version}").into_bytes();
        value.resize(value.len().max(self.state().value_bytes), b'.');
        let value = SecretBytes::copy_from(&value)?;
        let secret = Secret::fresh(value, Kind::Text, version, Timestamp(7));
        Ok(Secret { valid_for: self.state().valid_for, ..secret })
    }

    /// Waits for the test, and then fails if the test wants.
    async fn pass(&self) -> Result<()> {
        poll_fn(|context| {
            let mut state = self.state();
            if state.closed {
                state.waiting.push(context.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
        self.state().failure.clone().map_or(Ok(()), Err)
    }
}

struct UnderWay<'a>(&'a Fake);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.state().under_way -= 1;
    }
}

#[async_trait]
impl SecretStore for Fake {
    fn describe(&self) -> &'static str {
        "the fake"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { restore: true, max_value_bytes: 7, ..Capabilities::default() }
    }

    async fn put(&self, name: &SecretName, _: &SecretBytes, _: &PutOptions) -> Result<VersionInfo> {
        self.pass().await?;
        self.bump(name);
        let version = Version::new("0")?;
        Ok(VersionInfo::new(version, Kind::Text, Timestamp(0)))
    }

    async fn get(&self, name: &SecretName, select: &Select) -> Result<Secret> {
        let current = self.current(name);
        let _under_way = self.begin();
        self.pass().await?;
        self.answer(current, select)
    }

    async fn get_many(&self, wanted: &[(&SecretName, &Select)]) -> Vec<Result<Secret>> {
        let current: Vec<_> = wanted.iter().map(|(name, _)| self.current(name)).collect();
        self.state().batches.push(wanted.iter().map(|(name, _)| name.id().to_owned()).collect());
        let _under_way = self.begin();
        let passed = self.pass().await;
        let most = self.state().most_answers.unwrap_or(usize::MAX);
        let answers = wanted.iter().zip(current).map(|((_, select), current)| {
            passed.clone().and_then(|()| self.answer(current, select))
        });
        answers.take(most).collect()
    }

    async fn versions(&self, _: &SecretName, _: &PageRequest) -> Result<Page<VersionInfo>> {
        self.state().calls += 1;
        Ok(Page { items: Vec::new(), next: None })
    }

    async fn list(&self, _: &Scope, _: bool, _: &PageRequest) -> Result<Page<Listing>> {
        self.state().calls += 1;
        Ok(Page { items: Vec::new(), next: None })
    }

    async fn delete(&self, name: &SecretName) -> Result<()> {
        self.pass().await?;
        self.state().versions.remove(&name.to_string());
        Ok(())
    }

    async fn restore(&self, name: &SecretName) -> Result<()> {
        self.pass().await?;
        self.bump(name);
        Ok(())
    }

    async fn purge(&self, name: &SecretName) -> Result<()> {
        self.delete(name).await
    }

    async fn check(&self) -> Result<Vec<String>> {
        self.state().calls += 1;
        Ok(vec!["well".into()])
    }
}

/// Keeps the tasks until the test runs them.
#[derive(Default)]
struct ManualSpawn(Mutex<Vec<BoxFuture<'static, ()>>>);

impl Spawn for ManualSpawn {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.0.lock().expect("not poisoned").push(task);
    }
}

impl fmt::Debug for ManualSpawn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ManualSpawn")
    }
}

impl ManualSpawn {
    fn waiting(&self) -> usize {
        self.0.lock().expect("not poisoned").len()
    }

    /// Polls every task once; what is not done stays.
    fn poll(&self) {
        let tasks = std::mem::take(&mut *self.0.lock().expect("not poisoned"));
        let left = tasks.into_iter().filter_map(|mut task| {
            let done = (&mut task).now_or_never().is_some();
            (!done).then_some(task)
        });
        let left: Vec<_> = left.collect();
        self.0.lock().expect("not poisoned").extend(left);
    }
}

struct Fixture {
    fake: Arc<Fake>,
    clock: ManualClock,
    spawn: Arc<ManualSpawn>,
    cache: CachedStore,
}

impl Fixture {
    /// No jitter, a time to live of 100 s, and every secret of `ALL` at version 1.
    fn new(adjust: impl FnOnce(&mut CacheOptions)) -> Self {
        let mut options =
            CacheOptions { ttl: TTL, jitter: 0.0, refresh_ahead: None, ..CacheOptions::default() };
        adjust(&mut options);
        let fake = Arc::new(Fake::default());
        for id in ALL {
            fake.bump(&name(id));
        }
        let clock = ManualClock::new(Timestamp(1_000_000));
        let spawn = Arc::new(ManualSpawn::default());
        let cache = CachedStore::new(fake.clone(), options, Arc::new(clock.clone()), spawn.clone())
            .expect("a cache");
        Self { fake, clock, spawn, cache }
    }

    fn get(&self, id: &str) -> Result<Secret> {
        block_on(self.cache.get(&name(id), &Select::Latest))
    }

    fn load(&self, ids: &[&str]) {
        for id in ids {
            self.get(id).expect("an answer");
        }
    }

    fn answer(&self, id: &str) -> (String, u64, bool) {
        seen(&self.get(id).expect("an answer"))
    }

    fn kind(&self, id: &str) -> ErrorKind {
        self.get(id).expect_err("an error").kind()
    }

    fn reader(&self, id: &str) -> BoxFuture<'static, Result<Secret>> {
        let core = Arc::clone(&self.cache.core);
        let name = name(id);
        async move { core.get(&name, &Select::Latest).await }.boxed()
    }

    /// Gets the latest versions in one call.
    fn many(&self, ids: &[&str]) -> BoxFuture<'static, Vec<Result<Secret>>> {
        let core = Arc::clone(&self.cache.core);
        let names: Vec<_> = ids.iter().map(|id| name(id)).collect();
        async move {
            let wanted: Vec<_> = names.iter().map(|name| (name, &Select::Latest)).collect();
            core.get_many(&wanted).await
        }
        .boxed()
    }

    /// The calls for many so far, since they were last asked for.
    fn batches(&self) -> Vec<Vec<String>> {
        std::mem::take(&mut self.fake.state().batches)
    }

    fn put(&self, id: &str) -> Result<VersionInfo> {
        let value = SecretBytes::zeroed(0).expect("memory");
        block_on(self.cache.put(&name(id), &value, &PutOptions::default()))
    }
}

fn name(id: &str) -> SecretName {
    SecretName::new("acme".parse().expect("a scope"), id).expect("a name")
}

fn version(number: u64) -> Select {
    Select::Version(Version::new(number.to_string()).expect("a version"))
}

/// The version, the age in seconds and the mark of an answer.
fn seen(secret: &Secret) -> (String, u64, bool) {
    let version = secret.version.to_string();
    let value = secret.value.expose();
    assert!(value.starts_with(format!("canary {version}").as_bytes()));
    (version, secret.age.as_secs(), secret.stale)
}

fn fresh(version: &str, age: u64) -> (String, u64, bool) {
    (version.into(), age, false)
}

fn stale(version: &str, age: u64) -> (String, u64, bool) {
    (version.into(), age, true)
}

fn polled<T>(reader: &mut BoxFuture<'static, T>) -> Option<T> {
    reader.now_or_never()
}
