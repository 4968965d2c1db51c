//! `strongroom init`

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use clap::ValueEnum;
use futures_executor::block_on;
use serde_json::json;
use strongroom::config::{NewConfig, ProtectionType, SecretRef, StoreType};
use strongroom::{Config, Error, Home};

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::output::{BOLD, GOOD};
use crate::terminal;

/// Make a configuration, a key and an empty store
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom init
  strongroom init --store redb --protection passphrase
  strongroom init --existing     with a configuration that names a KEK of AWS KMS")]
pub(crate) struct Args {
    /// Make what the configuration describes that is there already: its key files and
    /// its store, or nothing in a cloud but a try whether it can be used
    #[arg(long, exclusive = true)]
    existing: bool,
    /// The embedded record store
    #[arg(long, value_enum)]
    store: Option<StoreArg>,
    /// How the key file is protected: by its permissions alone, by a passphrase,
    /// or by a systemd credential
    #[arg(long, value_enum, default_value_t = ProtectionArg::None)]
    protection: ProtectionArg,
    /// Where the passphrase is: `env:NAME` or `file:PATH`; without it you are asked
    #[arg(long, value_name = "REFERENCE", value_parser = reference)]
    passphrase: Option<SecretRef>,
    /// The name of the systemd credential
    #[arg(long, value_name = "NAME", required_if_eq("protection", "credential"))]
    credential: Option<String>,
    /// The account that the store is for
    #[arg(long, default_value = "default")]
    account: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum StoreArg {
    Sled,
    Redb,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ProtectionArg {
    None,
    Passphrase,
    Credential,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Result {
        let home = context.home()?;
        let config = if self.existing {
            make(context, &home.config)?
        } else {
            create(context, &home, &self.into())?
        };
        let (key, store, audit) = (config.key_path(), config.store_path(), config.audit_path());
        let (is_embedded, has_key) = (config.store.kind.is_embedded(), config.has_key_file());
        let document = json!({
            "config": home.config,
            "key_file": has_key.then_some(&key),
            "protection": config.kek.protection.as_str(),
            "store": {
                "type": config.store.kind.as_str(),
                "path": is_embedded.then_some(&store),
            },
            "audit": audit,
            "account": config.scope.account,
        });
        context.output.show(&document, |out| {
            writeln!(out, "{GOOD}initialized{GOOD:#}")?;
            writeln!(out, "  configuration  {}", home.config.display())?;
            if has_key {
                writeln!(out, "  key file       {}", key.display())?;
            }
            let kind = config.store.kind.as_str();
            if is_embedded {
                writeln!(out, "  {kind:4} store     {}", store.display())?;
            } else {
                writeln!(out, "  store          {kind}")?;
            }
            if let Some(audit) = &audit {
                writeln!(out, "  audit log      {}", audit.display())?;
            }
            if has_key {
                writeln!(
                    out,
                    "Back the key file up, apart from the store: without it nothing can be read."
                )?;
            }
            writeln!(out, "Next: {BOLD}printf s3cret | strongroom put account.db{BOLD:#}")
        })
    }
}

/// Makes an installation at `home`. The configuration is written last, so that
/// an interrupted call is completed by the next.
pub(crate) fn create(context: &Context, home: &Home, new: &NewConfig) -> Result<Config> {
    let exists = || {
        let path = home.config.display();
        let what = format!("{path} exists already: nothing was changed");
        Failure::Engine(Error::already_exists(what).during("init"))
    };
    if home.config.symlink_metadata().is_ok() {
        return Err(exists());
    }
    let folder = home.config.parent().unwrap_or(Path::new("/"));
    let failed = |error: io::Error| {
        let path = home.config.display();
        Error::configuration(format!("{path} cannot be written: {error}")).with_source(error)
    };
    let text = new.to_text(home)?;
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    let unfinished = home.config.with_extension(format!("toml.{}", std::process::id()));
    let made = write_private(&unfinished, &text)
        .map_err(|error| failed(error).into())
        .and_then(|()| make(context, &unfinished));
    // Of two at the same time only one has made the store, and comes here.
    let named = made.and_then(|config| match fs::rename(&unfinished, &home.config) {
        Ok(()) => Ok(config),
        Err(error) => Err(failed(error).into()),
    });
    if named.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    named
}

/// What the configuration at `path` describes.
fn make(context: &Context, path: &Path) -> Result<Config> {
    let config = Config::load(path)?;
    config.configure_memory()?;
    let passphrase = match config.asks_for_passphrase() {
        true if config.key_path().exists() => {
            Some(terminal::ask_once("Passphrase of the key file: ")?)
        }
        true => Some(terminal::ask_twice("New passphrase for the key file: ")?),
        false => None,
    };
    let engine = block_on(config.create(context.options_with(passphrase)));
    drop(engine.map_err(|error| error.during("init"))?);
    Ok(config)
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn reference(text: &str) -> std::result::Result<SecretRef, String> {
    SecretRef::parse(text).ok_or_else(|| "write env:NAME or file:PATH".to_owned())
}

impl From<Args> for NewConfig {
    fn from(args: Args) -> Self {
        let mut new = Self::default();
        new.account = args.account;
        if let Some(store) = args.store {
            new.store = match store {
                StoreArg::Sled => StoreType::Sled,
                StoreArg::Redb => StoreType::Redb,
            };
        }
        new.protection = match args.protection {
            ProtectionArg::None => ProtectionType::None,
            ProtectionArg::Passphrase => ProtectionType::Passphrase,
            ProtectionArg::Credential => ProtectionType::Credential,
        };
        new.passphrase = args.passphrase;
        new.credential = args.credential;
        new
    }
}
