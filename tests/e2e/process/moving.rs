//! Migrate, verify and backup through a sidecar, while it serves others.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use async_trait::async_trait;
use strongroom::envelope::backup::{BackupSink, WriteSink};
use strongroom::upkeep::Selection;
use strongroom::{
    Config, Error, ErrorKind, FileSource, Migrate, OpenOptions, Progress, PutOptions, ReadSource,
    Result, Select,
};
use strongroom_kit::daemon::{ALLOW_OWNER, Home};
use strongroom_kit::random::Random;
use strongroom_kit::{block_on, embedded};
use tokio::io::{AsyncWriteExt, duplex};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::{client, value};

const RELOADED: &str = "the configuration was reloaded";
const NAMES: usize = 200;
const FILE_BYTES: usize = 12 << 20;

/// A second store, of which `home`'s may become the first.
struct Target {
    config: PathBuf,
}

impl Target {
    fn beside(home: &Home) -> Self {
        let dir = home.path().join("new");
        fs::create_dir(&dir).expect("a directory");
        let config = dir.join("strongroom.toml");
        let text = format!("[scope]\naccount = \"{}\"\n", embedded::ACCOUNT);
        fs::write(&config, text + "[store]\ntype = \"sled\"\n").expect("written");
        let target = Self { config };
        drop(block_on(target.config().create(OpenOptions::default())).expect("a store"));
        target
    }

    fn config(&self) -> Config {
        Config::load(&self.config).expect("a configuration")
    }
}

fn migrate() -> Migrate {
    Migrate { selection: Selection::All, ..Migrate::default() }
}

/// Calls until it succeeds; an error that a retry would not cure fails the test.
macro_rules! persistently {
    ($call:expr) => {
        loop {
            match $call.await {
                Ok(answer) => break answer,
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
        }
    };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_move_while_the_sidecar_serves_and_then_it_serves_the_other_store() {
    let cached = format!("{ALLOW_OWNER}[cache]\nenabled = true\n");
    let home = Home::new(&cached);
    let target = Target::beside(&home);
    let daemon = home.start();
    let asked = client(&home).await;
    for number in 0..NAMES {
        let name = format!("account.n{number}");
        asked.put(&name, &value(b"0"), &PutOptions::default()).await.expect("put");
    }
    let nowhere = asked.migrate(&migrate(), Some(&target.config), &|_| ()).await;
    let nowhere = nowhere.expect_err("not configured");
    assert_eq!(nowhere.kind(), ErrorKind::Configuration);
    assert!(nowhere.message().contains("moving_to"), "{nowhere}");

    // An upload that begins before secrets can move, and ends after they have.
    let bytes = Random::new(3).bytes(FILE_BYTES);
    let (go, told) = oneshot::channel();
    let (mut giver, mut held) = duplex(1 << 16);
    let (sent, (begun, beginning)) = (bytes.clone(), oneshot::channel());
    tokio::spawn(async move {
        let (most, last) = sent.split_at(sent.len() - 1);
        giver.write_all(most).await.expect("taken");
        begun.send(()).expect("somebody waits");
        told.await.expect("told");
        giver.write_all(last).await.expect("taken");
    });
    let uploader = client(&home).await;
    let upload = tokio::spawn(async move {
        uploader.upload("account.file", &mut held, &PutOptions::default()).await
    });
    beginning.await.expect("nearly all of it is stored");
    let over = Arc::new(AtomicBool::new(false));
    let rounds = Arc::new(AtomicUsize::new(0));
    let mut writers = JoinSet::new();
    for writer in 0..4 {
        let (over, rounds) = (Arc::clone(&over), Arc::clone(&rounds));
        let own = client(&home).await;
        writers.spawn(async move {
            let mut number = 0_u32;
            while !over.load(SeqCst) {
                number += 1;
                let name = format!("account.n{}", writer + 4 * (number as usize % (NAMES / 4)));
                let written = value(number.to_string().as_bytes());
                let put = persistently!(own.put(&name, &written, &PutOptions::default()));
                let read = persistently!(own.get(&name, &Select::Latest));
                assert!(read.value == written && read.version == put.version, "{name} is stale");
                rounds.fetch_add(1, SeqCst);
            }
            number
        });
    }
    let text = format!("{cached}[store]\nmoving_to = \"new/strongroom.toml\"\n");
    home.configure(&text);
    daemon.reload(RELOADED);
    let elsewhere = asked.migrate(&migrate(), Some(&home.config_file()), &|_| ()).await;
    assert_eq!(elsewhere.expect_err("another one").kind(), ErrorKind::Configuration);
    let steps = AtomicUsize::new(0);
    let observer = |_: &Progress| {
        steps.fetch_add(1, SeqCst);
    };
    let moved = persistently!(asked.migrate(&migrate(), Some(&target.config), &observer));
    assert_eq!((moved.failed, moved.examined >= NAMES as u64), (0, true), "{moved:?}");
    let seen = rounds.load(SeqCst);
    while rounds.load(SeqCst) < seen + 100 {
        tokio::task::yield_now().await;
    }
    go.send(()).expect("it waits");
    match upload.await.expect("no panic") {
        Ok(_) => {}
        // It was begun at a store that does not have the name any more.
        Err(error) => {
            assert!(error.is_retryable(), "{error}");
            let options = PutOptions::default();
            persistently!(asked.upload("account.file", &mut &bytes[..], &options));
        }
    }
    // The rest: what was written at the source while the others moved.
    persistently!(asked.migrate(&migrate(), None, &observer));
    over.store(true, SeqCst);
    let mut last = Vec::new();
    while let Some(number) = writers.join_next().await {
        last.push(number.expect("never a wrong value"));
    }
    assert!(last.iter().all(|number| *number > 10), "{last:?}");

    // The other store alone, in the same process.
    let other = "[store]\ntype = \"sled\"\npath = \"new/records\"\n\
        [kek]\nkey_file = \"new/keys/local.kek\"\n[audit]\npath = \"new/audit/audit.log\"\n";
    home.configure(&format!("{cached}{other}"));
    daemon.reload(RELOADED);
    let after = client(&home).await;
    for number in 0..NAMES {
        after.get(&format!("account.n{number}"), &Select::Latest).await.expect("it is there");
    }
    let mut back = Vec::new();
    after.download("account.file", &Select::Latest, &mut back).await.expect("it is there");
    assert!(back == bytes);
    let verified = after.verify(&|_| ()).await.expect("verified");
    assert!(verified.is_good() && verified.secrets == NAMES as u64 + 1, "{verified:?}");
    daemon.end();
}

/// A sink that takes one piece and then no more.
struct Full(usize);

#[async_trait]
impl BackupSink for Full {
    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.0 += bytes.len();
        Err(Error::unavailable("the disk is full").retryable(false))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_taken_from_a_sidecar_while_others_write() {
    let home = Home::new(ALLOW_OWNER);
    let daemon = home.start();
    let asked = client(&home).await;
    let bytes = Random::new(4).bytes(FILE_BYTES);
    let options = PutOptions::default();
    asked.upload("account.file", &mut &bytes[..], &options).await.expect("stored");
    asked.put("account.db", &value(b"before"), &options).await.expect("put");
    let over = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (own, over) = (client(&home).await, Arc::clone(&over));
        async move {
            while !over.load(SeqCst) {
                own.put("account.busy", &value(b"x"), &PutOptions::default()).await.expect("put");
            }
        }
    });
    let mut full = Full(0);
    let cut = asked.backup(&mut full, &|_| ()).await.expect_err("the disk is full");
    assert!(cut.message().contains("disk is full") && full.0 > 0, "{cut}");
    let mut sink = WriteSink(Vec::new());
    let info = asked.backup(&mut sink, &|_| ()).await.expect("a backup");
    over.store(true, SeqCst);
    writer.await.expect("no error");
    assert_eq!((info.bytes, info.one_moment), (sink.0.len() as u64, true));
    assert!(memchr::memmem::find(&sink.0, b"before").is_none(), "a value is in clear");
    assert!(memchr::memmem::find(&sink.0, &bytes[..64]).is_none(), "a file is in clear");
    asked.put("account.db", &value(b"after"), &options).await.expect("put");
    daemon.end();

    let elsewhere = home.path().join("elsewhere");
    fs::create_dir(&elsewhere).expect("a directory");
    let config = elsewhere.join("strongroom.toml");
    let text = format!("[scope]\naccount = \"{}\"\n", embedded::ACCOUNT);
    fs::write(&config, text + "[kek]\nkey_file = \"../keys/local.kek\"\n").expect("written");
    let config = Config::load(&config).expect("a configuration");
    let mut source = ReadSource::new(&sink.0[..], None);
    let source: &mut dyn FileSource = &mut source;
    let restored = config.restore_backup(OpenOptions::default(), source, &|_| ()).await;
    assert_eq!(restored.expect("restored"), info);
    let engine = config.open(OpenOptions::default()).await.expect("opened");
    let got = engine.get("account.db", &Select::Latest).await.expect("got");
    assert!(got.value == value(b"before"));
    assert!(engine.verify(&|_| ()).await.expect("verified").is_good());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_about_the_whole_store_needs_a_rule_for_all_of_it() {
    for rule in
        ["names = [\"account.*\"]\nverbs = [\"all\"]", "names = [\"**\"]\nverbs = [\"get\"]"]
    {
        let home = Home::new(&format!("[[sidecar.allow]]\nowner = true\n{rule}\n"));
        let daemon = home.start();
        let asked = client(&home).await;
        let mut sink = WriteSink(Vec::new());
        let refused = [
            asked.verify(&|_| ()).await.expect_err("refused"),
            asked.migrate(&migrate(), None, &|_| ()).await.expect_err("refused"),
            asked.backup(&mut sink, &|_| ()).await.expect_err("refused"),
        ];
        for error in refused {
            assert_eq!(error.kind(), ErrorKind::AccessDenied, "{rule}: {error}");
        }
        assert!(sink.0.is_empty());
        daemon.end();
        let log = fs::read_to_string(home.path().join("audit/audit.log")).expect("a log");
        for operation in ["verify", "migrate", "backup"] {
            assert!(log.contains(&format!("\"operation\":\"{operation}\"")), "{operation}");
        }
    }
}
