//! What others do to the same secrets while upkeep goes on.

use super::*;

/// Does something else just before some of the next commits, as another process
/// could.
#[derive(Debug)]
struct Meddling {
    inner: MemoryRecords,
    before_commits: Mutex<VecDeque<Batch>>,
    before_gets: Mutex<VecDeque<Batch>>,
}

impl Meddling {
    fn new() -> Arc<Self> {
        let (before_commits, before_gets) = (Mutex::default(), Mutex::default());
        Arc::new(Self { inner: MemoryRecords::new(), before_commits, before_gets })
    }

    /// Everything that is stored, as a batch that writes it.
    fn dump(&self) -> Batch {
        let page = block_on(self.inner.scan(b"", None, PageLimit::entries(1000)));
        let entries = page.expect("a page").entries.into_iter();
        entries.fold(Batch::new(), |batch, (key, stored)| batch.write(key, stored.value))
    }
}

#[async_trait]
impl RecordStore for Meddling {
    fn describe(&self) -> &'static str {
        "meddling"
    }

    fn max_value_bytes(&self) -> usize {
        self.inner.max_value_bytes()
    }

    fn max_batch_bytes(&self) -> usize {
        self.inner.max_batch_bytes()
    }

    async fn get(&self, key: &[u8]) -> Result<Option<crate::Stored>> {
        let before = self.before_gets.lock().expect("no panic").pop_front();
        if let Some(before) = before {
            self.inner.commit(before).await?;
        }
        self.inner.get(key).await
    }

    async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: PageLimit,
    ) -> Result<crate::RecordPage> {
        self.inner.scan(prefix, after, limit).await
    }

    async fn commit(&self, batch: Batch) -> Result<()> {
        let before = self.before_commits.lock().expect("no panic").pop_front();
        if let Some(before) = before {
            self.inner.commit(before).await?;
        }
        self.inner.commit(batch).await
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}

#[test]
fn what_others_remove_or_change_meanwhile_is_neither_brought_back_nor_overwritten() {
    for reencrypt in [false, true] {
        let records = Meddling::new();
        let (kek, options) = (Kek::new("a"), EnvelopeOptions::default());
        let made = EnvelopeStore::create(records.clone(), kek.clone(), "acme", options);
        let store = block_on(made).expect("created");
        let names: Vec<_> = names().take(3).collect();
        for name in &names {
            put(&store, name, b"first");
            put(&store, name, b"second");
        }
        let key = |at: usize| super::super::super::keys::version(&names[at], 1);
        let read = |at: usize| block_on(records.get(&key(at))).expect("read");
        let other = read(1).expect("there").value;
        kek.turn();
        let batch = Batch::new().delete(key(0)).write(key(1), other);
        let meddle = |batches: [Batch; 2]| {
            *records.before_commits.lock().expect("no panic") = batches.into();
        };
        if reencrypt {
            let what = Reencrypt::default();
            // The job's own commit comes first.
            meddle([Batch::new(), batch]);
            block_on(store.reencrypt(&what, &quiet)).expect("done");
        } else {
            meddle([batch, Batch::new()]);
            block_on(store.rewrap(&quiet)).expect("done");
        }
        assert!(read(0).is_none(), "what was removed is back");
        let version = Version::new("1").expect("valid");
        for name in &names[1..] {
            let secret = block_on(store.get(name, &Select::Version(version.clone())));
            assert!(secret.expect("opens").value.expose() == b"first");
        }
        assert_eq!(stale(&store), 0, "what was changed is done, too");
    }
}

/// Head and record are read one after the other.
#[test]
fn a_read_between_which_a_secret_is_encrypted_anew_is_made_again() {
    let (records, kek) = (Meddling::new(), Kek::new("a"));
    let options = EnvelopeOptions::default();
    let made = EnvelopeStore::create(records.clone(), kek, "acme", options);
    let store = block_on(made).expect("created");
    let name = names().next().expect("some");
    put(&store, &name, b"value");
    let before = records.dump();
    block_on(store.reencrypt(&Reencrypt::default(), &quiet)).expect("done");
    let after = records.dump();
    for deleted in [false, true] {
        block_on(records.inner.commit(before.clone())).expect("set back");
        *records.before_gets.lock().expect("no panic") = [Batch::new(), after.clone()].into();
        if deleted {
            block_on(store.delete(&name)).expect("deleted");
            block_on(store.restore(&name)).expect("restored");
        }
        let secret = block_on(store.get(&name, &Select::Latest)).expect("read");
        assert!(secret.value.expose() == b"value");
    }
    // A purge, between its read and its commit.
    block_on(records.inner.commit(before)).expect("set back");
    *records.before_commits.lock().expect("no panic") = [after].into();
    block_on(store.purge(&name)).expect("purged");
    assert!(block_on(store.get(&name, &Select::Latest)).is_err());
}

/// A write that began under the old version of the KEK, and has not ended.
#[test]
fn a_key_version_is_not_destroyed_under_a_write_that_uses_it() {
    use futures_util::FutureExt;
    let Fixture { kek, store, .. } = filled();
    let name = names().nth(1).expect("some");
    let value = SecretBytes::copy_from(b"late").expect("memory");
    let options = PutOptions::default();
    *kek.holds.lock().expect("no panic") = true;
    let mut late = Box::pin(store.put(&name, &value, &options));
    assert!((&mut late).now_or_never().is_none(), "it has wrapped, and not written");
    *kek.holds.lock().expect("no panic") = false;
    kek.turn();
    let mut rewrap = Box::pin(store.rewrap(&quiet));
    assert!((&mut rewrap).now_or_never().is_none(), "it waits for the write");
    drop(rewrap);
    let mut destroy = Box::pin(store.destroy_key_version(None, "1", &quiet));
    assert!((&mut destroy).now_or_never().is_none(), "it waits for the write");
    block_on(&mut late).expect("written");
    let error = block_on(destroy).expect_err("it is needed");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    block_on(store.rewrap(&quiet)).expect("rewrapped");
    block_on(store.destroy_key_version(None, "1", &quiet)).expect("destroyed");
    let secret = block_on(store.get(&name, &Select::Latest)).expect("read");
    assert!(secret.value.expose() == b"late");
}
