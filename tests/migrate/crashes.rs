//! A migration dies at every commit that it makes, before it and after it, and
//! is resumed.

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use strongroom_core::{Batch, Error, PageLimit, RecordPage, Stored};

use super::*;

/// How many commits both stores still make before the process dies.
#[derive(Debug)]
struct Life {
    commits: AtomicU64,
    /// Whether the last commit takes effect.
    last_counts: bool,
}

/// Records of a process that dies.
#[derive(Debug)]
struct Mortal {
    inner: Arc<MemoryRecords>,
    life: Arc<Life>,
}

impl Mortal {
    fn alive(&self) -> Result<()> {
        match self.life.commits.load(Ordering::SeqCst) {
            0 => Err(Error::unavailable("the process is dead")),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl RecordStore for Mortal {
    fn describe(&self) -> &str {
        self.inner.describe()
    }

    fn max_value_bytes(&self) -> usize {
        self.inner.max_value_bytes()
    }

    fn max_batch_bytes(&self) -> usize {
        self.inner.max_batch_bytes()
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Stored>> {
        self.alive()?;
        self.inner.get(key).await
    }

    async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: PageLimit,
    ) -> Result<RecordPage> {
        self.alive()?;
        self.inner.scan(prefix, after, limit).await
    }

    async fn commit(&self, batch: Batch) -> Result<()> {
        let take = |left: u64| left.checked_sub(1);
        let left = self.life.commits.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take);
        match left {
            Err(_) => Err(Error::unavailable("the process is dead")),
            Ok(1) if !self.life.last_counts => Err(Error::unavailable("the process dies")),
            Ok(1) => {
                self.inner.commit(batch).await?;
                Err(Error::unavailable("the process dies after it"))
            }
            Ok(_) => self.inner.commit(batch).await,
        }
    }

    async fn check(&self) -> Result<()> {
        self.inner.check().await
    }
}

/// Two stores that outlive the processes that open them.
struct World {
    records: [Arc<MemoryRecords>; 2],
    keks: [Arc<LocalKek>; 2],
}

impl World {
    fn new() -> Self {
        let records = [Arc::default(), Arc::default()];
        let world = Self { records, keks: [new_kek(), new_kek()] };
        let [source, _] = world.open(u64::MAX, true).expect("opened");
        fill_scopes(&source, &SCOPES[1..2]);
        world
    }

    fn open(&self, commits: u64, last_counts: bool) -> Result<[Arc<EnvelopeStore>; 2]> {
        let life = Arc::new(Life { commits: AtomicU64::new(commits), last_counts });
        let open = |at: usize| {
            let inner = self.records[at].clone();
            store_on(Arc::new(Mortal { inner, life: life.clone() }), &self.keks[at])
        };
        Ok([open(0)?, open(1)?])
    }

    /// How many entries both have, by the first byte of their keys.
    fn count(&self) -> [[usize; 5]; 2] {
        [0, 1].map(|at: usize| {
            let page = block_on(self.records[at].scan(b"", None, PageLimit::entries(100_000)));
            let mut kinds = [0; 5];
            for (key, _) in page.expect("scanned").entries {
                kinds[usize::from(key[0])] += 1;
            }
            kinds
        })
    }

    /// Runs until the process dies; whether it came to the end before.
    fn run(&self, what: &Migrate, commits: u64, last_counts: bool) -> bool {
        let Ok([source, target]) = self.open(commits, last_counts) else { return false };
        block_on(migrating(&source, &target).migrate(what, &|_| {})).is_ok_and(|report| {
            assert_eq!(report.failed, 0, "{:?}", report.failures);
            true
        })
    }
}

/// Each name has at most one owner, and where it has none, its move is under way.
fn one_owner_each(source: &EnvelopeStore, target: &EnvelopeStore, what: &str) {
    for name in names(source) {
        let owners = [is_owned(source, &name), is_owned(target, &name)];
        assert_ne!(owners, [true, true], "{what}: {name:?} has two owners");
        if owners == [false, false] {
            let at = [standing(source, &name), standing(target, &name)];
            let under_way = matches!(
                at,
                [Standing::Moved { has_versions: true, .. }, Standing::Incoming { .. }]
            );
            assert!(under_way, "{what}: {name:?} is lost: {at:?}");
            let error = get(target, &name).expect_err("not here yet");
            assert!(error.is_retryable(), "{what}: {error}");
        }
    }
}

fn die_at_every_commit(what: &Migrate) {
    let whole = {
        let world = World::new();
        assert!(world.run(what, u64::MAX, true));
        world.count()
    };
    let (mut commits, mut deaths) = (1, 0);
    loop {
        let mut ended = false;
        for last_counts in [false, true] {
            let world = World::new();
            let [source, target] = world.open(u64::MAX, true).expect("opened");
            let before = contents(&source);
            ended = world.run(what, commits, last_counts);
            deaths += usize::from(!ended);
            let point = format!("commit {commits}, which counts: {last_counts}");
            one_owner_each(&source, &target, &point);
            // Dies once more, somewhere else, and then it comes to the end.
            world.run(what, commits / 2 + 1, !last_counts);
            one_owner_each(&source, &target, &format!("{point}, resumed and dead again"));
            assert!(world.run(what, u64::MAX, true), "{point}");
            assert_eq!(contents(&target), before, "{point}");
            assert!(contents(&source).is_empty(), "{point}");
            for name in names(&*target) {
                let Standing::Moved { has_versions, .. } = standing(&source, &name) else {
                    panic!("{point}: {name:?} is not marked as moved");
                };
                assert_eq!(has_versions, !what.remove_source, "{point}: {name:?}");
            }
            // What a dead attempt staged is gone: both stores hold as much as after a
            // migration in one go, and no marker of an upload.
            let [source, target] = world.open(u64::MAX, true).expect("opened");
            block_on(source.sweep()).expect("swept");
            block_on(target.sweep()).expect("swept");
            assert_eq!(world.count(), whole, "{point}");
        }
        if ended {
            break;
        }
        commits += 1;
    }
    assert!(deaths > 60, "only {deaths} deaths");
}

#[test]
fn a_migration_that_dies_anywhere_is_resumed() {
    die_at_every_commit(&Migrate::default());
}

#[test]
fn a_migration_that_removes_the_source_is_resumed_too() {
    die_at_every_commit(&Migrate { remove_source: true, ..Migrate::default() });
}
