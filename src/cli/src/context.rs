//! What every command begins with: the configuration, and the engine it leads
//! to.

use std::path::{Path, PathBuf};

use futures_executor::block_on;
use strongroom::audit::Actor;
use strongroom::{Config, Engine, EnvelopeStore, Error, Home, OpenOptions, Scope, SecretBytes};

use crate::args::{Globals, ScopeArg};
use crate::failure::Result;
use crate::output::Output;
use crate::terminal;

#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) output: Output,
    globals: Globals,
}

impl Context {
    pub(crate) fn new(globals: Globals) -> Self {
        Self { output: Output { json: globals.json }, globals }
    }

    /// The same, for an installation in `folder`.
    pub(crate) fn within(&self, folder: &Path) -> Self {
        let config = Some(Home::at(folder).config);
        Self {
            output: self.output,
            globals: Globals { config, scope: None, ..self.globals.clone() },
        }
    }

    /// Where the installation is: around `--config`, or where [`Home`] finds it.
    pub(crate) fn home(&self) -> Result<Home> {
        let Some(config) = &self.globals.config else { return Ok(Home::discover()?) };
        let config = absolute(config)?;
        let home = Home::at(config.parent().unwrap_or(Path::new("/")));
        Ok(Home { config, ..home })
    }

    /// Reads the configuration and sets the limits of guarded memory by it.
    pub(crate) fn config(&self) -> Result<Config> {
        let config = Config::load(&self.home()?.config)?;
        config.configure_memory()?;
        Ok(config)
    }

    /// The scope that names are read in.
    pub(crate) fn scope(&self, config: &Config) -> Result<Scope> {
        let scope = config.scope()?;
        let lacks = |level: &str| {
            Error::invalid_name(format!("the configured scope {scope} has no {level}"))
        };
        Ok(match &self.globals.scope {
            None => scope,
            Some(ScopeArg::Full(full)) => full.clone(),
            Some(ScopeArg::Account) => Scope::account(scope.account_id())?,
            Some(ScopeArg::Org) => {
                let org = scope.org_id().ok_or_else(|| lacks("org"))?;
                Scope::account(scope.account_id())?.org(org)?
            }
            Some(ScopeArg::Project) => {
                scope.project_id().ok_or_else(|| lacks("project"))?;
                scope
            }
        })
    }

    /// Opens the engine, acting for the user who runs this.
    pub(crate) fn engine(&self, config: &Config) -> Result<Engine> {
        let scope = self.scope(config)?;
        let engine = block_on(config.open(self.options(config)?))?;
        Ok(engine.at(scope)?.acting_for(actor()))
    }

    /// Opens the store without the audit log.
    pub(crate) fn store(&self, config: &Config) -> Result<EnvelopeStore> {
        Ok(block_on(config.open_store(self.options(config)?))?)
    }

    /// The options for a store that exists.
    fn options(&self, config: &Config) -> Result<OpenOptions> {
        let passphrase = if config.asks_for_passphrase() {
            Some(terminal::ask_once("Passphrase of the key file: ")?)
        } else {
            None
        };
        Ok(self.options_with(passphrase))
    }

    /// The options with this passphrase.
    pub(crate) fn options_with(&self, passphrase: Option<SecretBytes>) -> OpenOptions {
        OpenOptions { passphrase, wait: self.globals.wait }
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    Ok(std::path::absolute(path).map_err(|e| {
        Error::configuration(format!("{} is not a usable path", path.display())).with_source(e)
    })?)
}

fn actor() -> Actor {
    let uid = Some(rustix::process::getuid().as_raw());
    Actor { uid, pid: Some(std::process::id()), user: None }
}
