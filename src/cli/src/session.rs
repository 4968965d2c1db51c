//! Where a command does its work: on the store itself, or through the sidecar
//! that has it open.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_executor::block_on;
use strongroom::envelope::backup::{BackupInfo, BackupSink};
use strongroom::upkeep::{KeyReport, Outcome, Reencrypt, Verified};
use strongroom::wrapper::KekVersion;
use strongroom::{
    Config, Engine, Error, ErrorKind, Kind, Listing, Metadata, MetadataChange, Migrate, Migrated,
    Page, PageRequest, Progress, PutOptions, ReadSource, Scope, Secret, SecretBytes, SecretName,
    Select, Version, VersionInfo,
};

use crate::context::{Context, actor, passphrase, target_passphrase};
use crate::failure::{Failure, Result};
pub(crate) use crate::importing::{Fate, Import};
use crate::importing::{Importer, import_all};
use crate::progress::Steps;
use crate::sidecar::{Blocking, Sidecar};
use crate::transfer::{Input, Sink};

/// How many items of a long answer are asked for at a time.
const PAGE: usize = 1000;
/// How long a store that is in use is waited for before the socket is looked at
/// again: whoever has the store may have become a sidecar.
const LOOK: Duration = Duration::from_millis(200);
/// Up to so many bytes a value goes to a sidecar as one message: every store takes
/// so much.
const SHORT_BYTES: usize = 32 << 10;

/// The operations of commands. The store is opened by the first of them, so that
/// nobody waits for it while a value is typed.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    context: &'a Context,
    scope: Scope,
    max_value_bytes: usize,
    via: Via,
}

#[derive(Debug)]
enum Via {
    Closed(Box<Config>),
    Store(Engine),
    Sidecar(Box<Sidecar>),
}

/// What a session works on, once it is open.
enum Open<'a> {
    Store(&'a Engine),
    Sidecar(&'a Sidecar),
}

impl<'a> Session<'a> {
    /// By `config`: through its sidecar, if that is alive.
    pub(crate) fn configured(context: &'a Context, config: Config) -> Result<Self> {
        let scope = context.scope_in(config.scope()?)?;
        let max_value_bytes = config.store.max_value_bytes;
        let via = match Sidecar::find(context, &config.socket_path())? {
            Some(sidecar) => Via::Sidecar(Box::new(sidecar.at(&scope))),
            None => Via::Closed(Box::new(config)),
        };
        Ok(Self { context, scope, max_value_bytes, via })
    }

    /// Through the sidecar at `socket`, which also says what the configuration
    /// would.
    pub(crate) fn through(context: &'a Context, socket: &Path) -> Result<Self> {
        let sidecar = Sidecar::connect(context, socket)?;
        let status = sidecar.status(&[])?;
        let scope = context.scope_in(status.scope)?;
        let max_value_bytes = status.capabilities.max_value_bytes;
        Ok(Self {
            context,
            max_value_bytes,
            via: Via::Sidecar(Box::new(sidecar.at(&scope))),
            scope,
        })
    }

    /// Where names are read.
    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// What `written` names.
    pub(crate) fn resolve(&self, operation: &'static str, written: &str) -> Result<SecretName> {
        Ok(self.scope.resolve(written).map_err(|error| error.during(operation))?)
    }

    /// The longest value, in bytes.
    pub(crate) fn max_value_bytes(&self) -> usize {
        self.max_value_bytes
    }

    pub(crate) fn get(&mut self, name: &str, select: &Select) -> Result<Secret> {
        Ok(match self.open()? {
            Open::Store(engine) => block_on(engine.get(name, select))?,
            Open::Sidecar(at) => at.wait(at.client.get(name, select))?,
        })
    }

    /// Reads what is stored itself: of a reference, the reference.
    pub(crate) fn get_stored(&mut self, name: &str, select: &Select) -> Result<Secret> {
        Ok(match self.open()? {
            Open::Store(engine) => block_on(engine.get_stored(name, select))?,
            Open::Sidecar(at) => at.wait(at.client.get_stored(name, select))?,
        })
    }

    /// Changes description and tags, and gives what they are now.
    pub(crate) fn describe(&mut self, name: &str, change: &MetadataChange) -> Result<Metadata> {
        Ok(match self.open()? {
            Open::Store(engine) => block_on(engine.describe(name, change))?,
            Open::Sidecar(at) => at.wait(at.client.describe(name, change))?,
        })
    }

    /// Reads many, in their latest versions; one that cannot be read fails all.
    pub(crate) fn get_all(&mut self, names: &[String]) -> Result<Vec<Secret>> {
        let wanted: Vec<_> = names.iter().map(|name| (name.as_str(), Select::Latest)).collect();
        let answers = match self.open()? {
            Open::Store(engine) => block_on(engine.get_all(&wanted))?,
            Open::Sidecar(at) => at.wait(at.client.get_all(&wanted))?,
        };
        Ok(answers.into_iter().collect::<strongroom::Result<_>>()?)
    }

    /// Expands the expressions of a template.
    pub(crate) fn render(&mut self, template: &SecretBytes) -> Result<SecretBytes> {
        Ok(match self.open()? {
            Open::Store(engine) => block_on(engine.render(template.expose()))?,
            Open::Sidecar(at) => at.wait(at.client.render(template))?,
        })
    }

    pub(crate) fn put(
        &mut self,
        name: &str,
        value: &SecretBytes,
        options: &PutOptions,
    ) -> Result<VersionInfo> {
        Ok(match self.open()? {
            Open::Store(engine) => block_on(engine.put(name, value, options))?,
            Open::Sidecar(at) => at.wait(at.client.put(name, value, options))?,
        })
    }

    /// Every secret of the scope.
    pub(crate) fn list(&mut self, include_deleted: bool) -> Result<Vec<Listing>> {
        let scope = self.scope.clone();
        let open = self.open()?;
        all_pages(|page| match &open {
            Open::Store(engine) => block_on(engine.list(&scope, include_deleted, page)),
            Open::Sidecar(at) => at.wait(at.client.list(&scope, include_deleted, page)),
        })
    }

    /// Every version, oldest first.
    pub(crate) fn versions(&mut self, name: &str) -> Result<Vec<VersionInfo>> {
        let open = self.open()?;
        all_pages(|page| match &open {
            Open::Store(engine) => block_on(engine.versions(name, page)),
            Open::Sidecar(at) => at.wait(at.client.versions(name, page)),
        })
    }

    pub(crate) fn delete(&mut self, name: &str) -> Result {
        match self.open()? {
            Open::Store(engine) => block_on(engine.delete(name))?,
            Open::Sidecar(at) => at.wait(at.client.delete(name))?,
        }
        Ok(())
    }

    pub(crate) fn restore(&mut self, name: &str) -> Result {
        match self.open()? {
            Open::Store(engine) => block_on(engine.restore(name))?,
            Open::Sidecar(at) => at.wait(at.client.restore(name))?,
        }
        Ok(())
    }

    pub(crate) fn purge(&mut self, name: &str) -> Result {
        match self.open()? {
            Open::Store(engine) => block_on(engine.purge(name))?,
            Open::Sidecar(at) => at.wait(at.client.purge(name))?,
        }
        Ok(())
    }

    pub(crate) fn seal(
        &mut self,
        name: &str,
        context: BTreeMap<String, String>,
        value: &SecretBytes,
    ) -> Result<Vec<u8>> {
        Ok(match self.open()? {
            Open::Store(engine) => block_on(engine.seal(name, context, value))?,
            Open::Sidecar(at) => at.wait(at.client.seal(name, context, value))?,
        })
    }

    pub(crate) fn unseal(
        &mut self,
        name: &str,
        context: BTreeMap<String, String>,
        sealed: &[u8],
    ) -> Result<SecretBytes> {
        Ok(match self.open()? {
            Open::Store(engine) => block_on(engine.open(name, context, sealed))?,
            Open::Sidecar(at) => at.wait(at.client.open(name, context, sealed))?,
        })
    }

    pub(crate) fn rotate(&mut self, kek: Option<&str>) -> Result<KekVersion> {
        Ok(match self.open()? {
            Open::Store(engine) => block_on(engine.rotate(kek))?,
            Open::Sidecar(at) => at.wait(at.client.rotate(kek))?,
        })
    }

    /// Stores many values, each if it is not there already. The answers are in the
    /// order of `items`.
    pub(crate) fn import(
        &mut self,
        items: &[(SecretName, SecretBytes)],
        how: Import,
    ) -> Result<Vec<strongroom::Result<Fate>>> {
        let steps = Steps::new(self.context.output, "import");
        let observer = |progress: &Progress| steps.observe(progress);
        Ok(match self.open()? {
            Open::Store(engine) => {
                block_on(import_all(&Importer::Store(engine), items, how, &observer))?
            }
            Open::Sidecar(at) => {
                let importer = Importer::Sidecar(&at.client);
                at.wait(import_all(&importer, items, how, &observer))?
            }
        })
    }

    /// Reads the whole store.
    pub(crate) fn verify(&mut self) -> Result<Verified> {
        let steps = Steps::new(self.context.output, "verify");
        let observer = |progress: &Progress| steps.observe(progress);
        Ok(match self.open()? {
            Open::Store(engine) => block_on(engine.verify(&observer))?,
            Open::Sidecar(at) => at.wait(at.client.verify(&observer))?,
        })
    }

    /// Writes a backup to `sink`.
    pub(crate) fn backup(&mut self, sink: &mut dyn BackupSink) -> Result<BackupInfo> {
        let steps = Steps::new(self.context.output, "backup");
        let observer = |progress: &Progress| steps.observe(progress);
        Ok(match self.open()? {
            Open::Store(engine) => block_on(engine.backup(sink, &observer))?,
            Open::Sidecar(at) => at.wait(at.client.backup(sink, &observer))?,
        })
    }

    /// Moves secrets to the store that the configuration names, which is that of the
    /// configuration at `target`.
    pub(crate) fn migrate(&mut self, what: &Migrate, target: Option<&Path>) -> Result<Migrated> {
        let steps = Steps::new(self.context.output, "migrate");
        let observer = |progress: &Progress| steps.observe(progress);
        Ok(match self.open()? {
            Open::Store(engine) => block_on(engine.migrate(what, &observer))?,
            Open::Sidecar(at) => at.wait(at.client.migrate(what, target, &observer))?,
        })
    }

    pub(crate) fn rewrap(&mut self) -> Result<Outcome> {
        let steps = Steps::new(self.context.output, "rewrap");
        let observer = |progress: &Progress| steps.observe(progress);
        Ok(match self.open()? {
            Open::Store(engine) => block_on(engine.rewrap(&observer))?,
            Open::Sidecar(at) => at.wait(at.client.rewrap(&observer))?,
        })
    }

    pub(crate) fn reencrypt(&mut self, what: &Reencrypt) -> Result<Outcome> {
        let steps = Steps::new(self.context.output, "reencrypt");
        let observer = |progress: &Progress| steps.observe(progress);
        Ok(match self.open()? {
            Open::Store(engine) => block_on(engine.reencrypt(what, &observer))?,
            Open::Sidecar(at) => at.wait(at.client.reencrypt(what, &observer))?,
        })
    }

    pub(crate) fn key_report(&mut self) -> Result<KeyReport> {
        let steps = Steps::new(self.context.output, "keys");
        let observer = |progress: &Progress| steps.observe(progress);
        Ok(match self.open()? {
            Open::Store(engine) => block_on(engine.key_report(&observer))?,
            Open::Sidecar(at) => at.wait(at.client.key_report(&observer))?,
        })
    }

    pub(crate) fn destroy_key_version(&mut self, kek: Option<&str>, version: &str) -> Result {
        let steps = Steps::new(self.context.output, "keys");
        let observer = |progress: &Progress| steps.observe(progress);
        match self.open()? {
            Open::Store(engine) => block_on(engine.destroy_key_version(kek, version, &observer))?,
            Open::Sidecar(at) => {
                at.wait(at.client.destroy_key_version(kek, version, &observer))?;
            }
        }
        Ok(())
    }

    /// What was looked at and found right, a line each.
    pub(crate) fn check(&mut self) -> Result<Vec<String>> {
        // Opening has compared account and KEK, and read the log's last line.
        Ok(match self.open()? {
            Open::Store(engine) => {
                let mut checked = block_on(engine.check())?;
                if let Some(log) = engine.audit() {
                    let (path, seq) = (log.path().display(), log.head().seq);
                    checked.push(format!("audit log {path}: {seq} entries, the last one is right"));
                }
                checked
            }
            Open::Sidecar(at) => {
                let mut checked = at.wait(at.client.check())?;
                checked.insert(0, format!("sidecar {}: it answers", at.client.path().display()));
                checked
            }
        })
    }

    /// Stores all that `input` has, in pieces where it is long.
    pub(crate) fn put_all(
        &mut self,
        name: &str,
        input: &mut Input,
        options: &PutOptions,
    ) -> Result<VersionInfo> {
        let short = self.max_value_bytes.min(SHORT_BYTES);
        let length = input.length();
        Ok(match self.open()? {
            Open::Store(engine) => {
                block_on(engine.put_file(name, &mut ReadSource::new(input, length), options))?
            }
            Open::Sidecar(at) => match input.whole().filter(|value| value.len() <= short) {
                Some(value) => at.wait(at.client.put(name, value, options))?,
                None => at.wait(at.client.upload(name, &mut Blocking(input), options))?,
            },
        })
    }

    /// Writes a value to `sink` in pieces, each only when it has been verified.
    pub(crate) fn fetch(
        &mut self,
        name: &str,
        select: &Select,
        sink: &mut Sink<'_>,
    ) -> Result<Fetched> {
        match self.open()? {
            Open::Store(engine) => {
                let mut file = block_on(engine.get_file(name, select))?;
                sink.expect(file.info().length);
                while let Some(segment) = block_on(file.next())? {
                    sink.write_all(segment.expose()).map_err(unwritten)?;
                }
                let info = file.info();
                let (version, kind) = (info.version.clone(), info.kind);
                Ok(Fetched { version, kind, bytes: info.length })
            }
            Open::Sidecar(at) => {
                let got = at.wait(at.client.download(name, select, &mut Blocking(sink)))?;
                Ok(Fetched { version: got.version, kind: got.kind, bytes: got.length })
            }
        }
    }

    /// The sidecar, where nothing else will do.
    pub(crate) fn sidecar(&self) -> Result<&Sidecar> {
        match &self.via {
            Via::Sidecar(sidecar) => Ok(sidecar),
            Via::Store(_) => Err(no_sidecar("this process has the store open itself")),
            Via::Closed(config) => {
                let path = config.socket_path();
                Err(no_sidecar(&format!("nobody serves the socket {}", path.display())))
            }
        }
    }

    fn open(&mut self) -> Result<Open<'_>> {
        if let Via::Closed(config) = &self.via {
            self.via = self.opened(config)?;
        }
        match &self.via {
            Via::Store(engine) => Ok(Open::Store(engine)),
            Via::Sidecar(sidecar) => Ok(Open::Sidecar(sidecar)),
            Via::Closed(_) => Err(Error::internal("the store was not opened").into()),
        }
    }

    /// The store; or the sidecar, if one has got hold of the store meanwhile.
    fn opened(&self, config: &Config) -> Result<Via> {
        let asked = passphrase(config)?;
        let target = target_passphrase(config)?;
        let actor = Arc::new(actor());
        let (began, wait) = (Instant::now(), self.context.wait());
        loop {
            let left = wait.saturating_sub(began.elapsed());
            let again = |asked: &Option<SecretBytes>| {
                asked.as_ref().map(SecretBytes::try_clone).transpose()
            };
            let options = strongroom::OpenOptions {
                passphrase: again(&asked)?,
                target_passphrase: again(&target)?,
                wait: left.min(LOOK),
                actor: Arc::clone(&actor),
            };
            let error = match block_on(config.open(options)) {
                Ok(engine) => {
                    let engine = engine.at(self.scope.clone())?;
                    return Ok(Via::Store(engine.acting_for(actor)));
                }
                Err(error) if error.kind() == ErrorKind::Unavailable => error,
                Err(error) => return Err(error.into()),
            };
            if let Some(sidecar) = Sidecar::find(self.context, &config.socket_path())? {
                return Ok(Via::Sidecar(Box::new(sidecar.at(&self.scope))));
            }
            if left <= LOOK || !error.is_retryable() {
                return Err(error.into());
            }
        }
    }
}

/// What was written somewhere.
pub(crate) struct Fetched {
    pub(crate) version: Version,
    pub(crate) kind: Kind,
    pub(crate) bytes: u64,
}

fn unwritten(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::BrokenPipe;
    }
    let message = format!("the value cannot be written: {error}");
    Error::unavailable(message).retryable(false).with_source(error).into()
}

fn no_sidecar(why: &str) -> Failure {
    Error::unavailable(format!("there is no sidecar: {why}")).into()
}

/// Every item of an answer that comes in pages.
fn all_pages<T>(
    mut ask: impl FnMut(&PageRequest) -> strongroom::Result<Page<T>>,
) -> Result<Vec<T>> {
    let mut request = PageRequest::first(PAGE);
    let mut items = Vec::new();
    loop {
        let page = ask(&request)?;
        items.extend(page.items);
        match page.next {
            Some(next) => request.after = Some(next),
            None => return Ok(items),
        }
    }
}
