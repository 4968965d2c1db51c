//! kill -9 of the command line at random instants while it migrates, backs up,
//! restores and imports: what was cut short is done by the same command, and
//! nothing is lost, double or stale meanwhile.
//!
//! On both embedded stores; 8 kills of each, or 50 with `STRONGROOM_NIGHTLY=1`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use strongroom::transfer::Standing;
use strongroom::{
    Config, EnvelopeStore, OpenOptions, PageRequest, PutOptions, SecretBytes, SecretName,
    SecretStore, Select, Version,
};
use strongroom_kit::random::Random;
use strongroom_kit::{binary, block_on};
use strongroom_local::records::RecordStoreKind;
use tempfile::TempDir;

use crate::victim::is_nightly;

const NAMES: usize = 60;
/// Longer than the longest value, so that it goes in segments.
const FILE_BYTES: usize = 300_000;

/// An installation, and the real binary on it.
struct Home {
    dir: PathBuf,
    binary: PathBuf,
}

impl Home {
    fn new(parent: &TempDir, name: &str) -> Self {
        let home = Self { dir: parent.path().join(name), binary: binary::strongroom() };
        fs::create_dir(&home.dir).expect("a directory");
        home
    }

    fn init(self, kind: RecordStoreKind) -> Self {
        self.ok(&["init", "--store", kind.as_str()], "init");
        self
    }

    fn config_path(&self) -> PathBuf {
        self.dir.join("strongroom.toml")
    }

    fn config(&self) -> Config {
        Config::load(&self.config_path()).expect("a configuration")
    }

    fn store(&self) -> Arc<EnvelopeStore> {
        let options = OpenOptions { wait: Duration::from_mins(1), ..OpenOptions::default() };
        Arc::new(block_on(self.config().open_store(options)).expect("a store"))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.env("STRONGROOM_HOME", &self.dir).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("it runs")
    }

    fn ok(&self, arguments: &[&str], what: &str) {
        let output = self.run(arguments);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{what}: {arguments:?}: {told}");
    }

    /// Kills it at a random instant; whether it was too late, because it had
    /// succeeded.
    fn kill(&self, arguments: &[&str], random: &mut Random) -> bool {
        let mut child: Child = self.command(arguments).spawn().expect("it starts");
        // The instant is the test's input; nothing is waited for.
        let longest = [3, 30, 300, 1500][random.below(4)];
        thread::sleep(Duration::from_micros(1000 * random.below(longest) as u64 + 500));
        child.kill().expect("killed");
        child.wait_with_output().expect("dead").status.success()
    }
}

fn rounds() -> usize {
    if is_nightly() { 50 } else { 8 }
}

fn name(id: &str) -> SecretName {
    SecretName::new("default".parse().expect("valid"), id).expect("valid")
}

/// Every value that was acknowledged, by name, oldest first.
type Written = BTreeMap<SecretName, Vec<Vec<u8>>>;

fn put(store: &EnvelopeStore, written: &mut Written, name: &SecretName, value: Vec<u8>) {
    let info = block_on(store.put_file(name, &mut &value[..], &PutOptions::default()));
    let values = written.entry(name.clone()).or_default();
    values.push(value);
    let expected = values.len().to_string();
    assert_eq!(info.expect("a put").version.as_str(), expected, "a number is skipped, or double");
}

fn fill(home: &Home, random: &mut Random) -> Written {
    let (store, mut written) = (home.store(), Written::new());
    for index in 0..NAMES {
        for _ in 0..=index % 3 {
            put(&store, &mut written, &name(&format!("s{index}")), random.bytes(100));
        }
    }
    for index in 0..2 {
        put(&store, &mut written, &name(&format!("file{index}")), random.bytes(FILE_BYTES));
    }
    written
}

fn standing(store: &EnvelopeStore, name: &SecretName) -> Standing {
    block_on(store.transfer().expect("it moves").standing(name)).expect("a standing")
}

/// Every version that was acknowledged is there, with its value, and no other.
fn holds(store: &EnvelopeStore, name: &SecretName, values: &[Vec<u8>], what: &str) {
    let page = PageRequest::first(1000);
    let versions = block_on(store.versions(name, &page)).expect("versions").items;
    assert_eq!(versions.len(), values.len(), "{what}: {name} has lost or doubled versions");
    for (number, value) in (1..).zip(values) {
        let select = Select::Version(Version::new(number.to_string()).expect("valid"));
        let mut file = block_on(store.get_file(name, &select)).expect("a version");
        let (mut at, mut same) = (0, file.info().length == value.len() as u64);
        while let Some(segment) = block_on(file.next()).expect("a segment") {
            same &= value[at..].starts_with(segment.expose());
            at += segment.len();
        }
        assert!(same, "{what}: {name} version {number} has another value");
    }
}

#[test]
fn a_migration_on_redb_that_is_killed_leaves_every_secret_with_one_owner() {
    kill_migrations(RecordStoreKind::Redb);
}

#[test]
fn a_migration_on_sled_that_is_killed_leaves_every_secret_with_one_owner() {
    kill_migrations(RecordStoreKind::Sled);
}

fn kill_migrations(kind: RecordStoreKind) {
    let (mut random, seed) = Random::fresh();
    let parent = tempfile::tempdir().expect("a directory");
    let homes = ["a", "b"].map(|name| Home::new(&parent, name).init(kind));
    let mut written = fill(&homes[0], &mut random);
    let (mut from, mut kills, mut came_through) = (0, 0, 0);
    while kills < rounds() {
        let (source, target) = (&homes[from], &homes[1 - from]);
        let to = target.config_path();
        let mut arguments = vec!["migrate", "--to", to.to_str().expect("UTF-8")];
        if came_through % 2 == 1 {
            arguments.push("--remove-source");
        }
        let what = format!("{kind}, seed {seed}, after {kills} kills, {came_through} migrations");
        let mut has_ended = source.kill(&arguments, &mut random);
        if !has_ended {
            kills += 1;
            one_owner_each(source, target, &mut written, &mut random, &what);
            if random.below(4) == 0 {
                source.ok(&arguments, &what);
                has_ended = true;
            }
        }
        if has_ended {
            came_through += 1;
            all_at(target, source, &written, &what);
            from = 1 - from;
        }
    }
    let (source, target) = (&homes[from], &homes[1 - from]);
    let to = target.config_path();
    source.ok(&["migrate", "--to", to.to_str().expect("UTF-8")], "the last one");
    all_at(target, source, &written, &format!("{kind}, seed {seed}, at the end"));
}

/// While nothing runs: whoever owns a secret has all of it, and takes a new
/// version; where nobody does, its move is under way and has all of it.
fn one_owner_each(
    source: &Home,
    target: &Home,
    written: &mut Written,
    random: &mut Random,
    what: &str,
) {
    let stores = [source.store(), target.store()];
    for index in 0..written.len() {
        let name = written.keys().nth(index).expect("a name").clone();
        let at = [standing(&stores[0], &name), standing(&stores[1], &name)];
        let owned = at.each_ref().map(|one| matches!(one, Standing::Owned { .. }));
        match owned {
            [true, true] => panic!("{what}: {name} has two owners"),
            [false, false] => {
                let is_under_way = matches!(
                    at,
                    [Standing::Moved { has_versions: true, .. }, Standing::Incoming { .. }]
                );
                assert!(is_under_way, "{what}: {name} is lost: {at:?}");
                let read = block_on(stores[1].get_file(&name, &Select::Latest));
                assert!(read.expect_err("not here yet").is_retryable(), "{what}");
            }
            [at_source, _] => {
                let (has, lacks) = if at_source { (0, 1) } else { (1, 0) };
                holds(&stores[has], &name, &written[&name], what);
                let value = SecretBytes::copy_from(b"never").expect("memory");
                let stale = block_on(stores[lacks].get(&name, &Select::Latest));
                assert!(stale.is_err(), "{what}: {name} is answered twice");
                if !at_source {
                    let put = block_on(stores[0].put(&name, &value, &PutOptions::default()));
                    assert!(put.is_err(), "{what}: {name} is written where it was");
                }
                if random.below(20) == 0 && written[&name].len() < 8 {
                    put(&stores[has], written, &name, random.bytes(50));
                }
            }
        }
    }
}

/// Everything is at one home, and both say so in every way that they can.
fn all_at(owner: &Home, other: &Home, written: &Written, what: &str) {
    {
        let (owner, other) = (owner.store(), other.store());
        for (name, values) in written {
            holds(&owner, name, values, what);
            assert!(matches!(standing(&other, name), Standing::Moved { .. }), "{what}: {name}");
        }
    }
    owner.ok(&["verify"], what);
    other.ok(&["verify"], what);
}

#[test]
fn a_backup_and_a_restore_on_redb_that_are_killed_are_whole_or_nothing() {
    kill_backups(RecordStoreKind::Redb);
}

#[test]
fn a_backup_and_a_restore_on_sled_that_are_killed_are_whole_or_nothing() {
    kill_backups(RecordStoreKind::Sled);
}

fn kill_backups(kind: RecordStoreKind) {
    let (mut random, seed) = Random::fresh();
    let parent = tempfile::tempdir().expect("a directory");
    let home = Home::new(&parent, "a").init(kind);
    let mut written = fill(&home, &mut random);
    let file = parent.path().join("backup");
    let path = file.to_str().expect("UTF-8");
    for round in 0..rounds() {
        let what = format!("{kind}, seed {seed}, round {round}");
        home.kill(&["backup", "create", "--output", path], &mut random);
        if file.exists() {
            home.ok(&["backup", "verify", path], &what);
        }
        put(&home.store(), &mut written, &name("s0"), random.bytes(20));
    }
    let beside = fs::read_dir(parent.path()).expect("a directory").count();
    assert!(beside <= 2, "{kind}, seed {seed}: something is left over");
    home.ok(&["backup", "create", "--output", path], "create");

    for round in 0..rounds() {
        let what = format!("{kind}, seed {seed}, restore {round}");
        let other = Home::new(&parent, &format!("r{round}"));
        copy_keys(&home.dir, &other.dir);
        let kills = 1 + random.below(3);
        let mut is_there = false;
        for _ in 0..kills {
            is_there = other.kill(&["backup", "restore", path], &mut random);
            // Either a whole store or none.
            let opened = block_on(other.config().open_store(OpenOptions::default()));
            match opened {
                Ok(store) => {
                    is_there = true;
                    drop(store);
                    break;
                }
                Err(error) => assert_eq!(
                    error.kind(),
                    strongroom::ErrorKind::Configuration,
                    "{what}: {error}"
                ),
            }
            assert!(!is_there, "{what}: it said that it was done");
        }
        if !is_there {
            other.ok(&["backup", "restore", path], &what);
        }
        let store = other.store();
        for (name, values) in &written {
            holds(&store, name, values, &what);
        }
        drop(store);
        other.ok(&["verify"], &what);
        fs::remove_dir_all(&other.dir).expect("removed");
    }
}

/// Configuration and key, without the store.
fn copy_keys(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a directory") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        let is_kept = path.ends_with("strongroom.toml") || path.ends_with("keys");
        if path.is_dir() && is_kept {
            fs::create_dir(&target).expect("a directory");
            let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
            fs::set_permissions(&target, private).expect("chmod");
            copy_all(&path, &target);
        } else if is_kept {
            fs::copy(&path, &target).expect("copied");
        }
    }
}

fn copy_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a directory") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("copied");
    }
}

#[test]
fn an_import_on_redb_that_is_killed_is_finished_without_a_double() {
    kill_imports(RecordStoreKind::Redb);
}

#[test]
fn an_import_on_sled_that_is_killed_is_finished_without_a_double() {
    kill_imports(RecordStoreKind::Sled);
}

fn kill_imports(kind: RecordStoreKind) {
    let (mut random, seed) = Random::fresh();
    let parent = tempfile::tempdir().expect("a directory");
    let file = parent.path().join("export.env");
    for round in 0..rounds() {
        let what = format!("{kind}, seed {seed}, round {round}");
        let home = Home::new(&parent, &format!("h{round}")).init(kind);
        let values: Vec<_> = (0..200).map(|_| format!("{:x}", random.next_u64())).collect();
        let lines = values.iter().enumerate().map(|(index, value)| format!("KEY_{index}={value}"));
        let lines = lines.collect::<Vec<_>>().join("\n");
        fs::write(&file, &lines).expect("written");
        let import = ["--scope", "account", "import", file.to_str().expect("UTF-8")];
        home.kill(&import, &mut random);
        home.kill(&import, &mut random);
        home.ok(&import, &what);
        let store = home.store();
        for line in lines.lines() {
            let (key, value) = line.split_once('=').expect("a line");
            holds(&store, &name(key), &[value.as_bytes().to_vec()], &what);
        }
        drop(store);
        fs::remove_dir_all(&home.dir).expect("removed");
    }
}
