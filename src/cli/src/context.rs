//! What every command begins with: the configuration, and what it leads to.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_executor::block_on;
use nix::unistd::User;
use strongroom::audit::Actor;
use strongroom::config::SecretRef;
use strongroom::{Config, EnvelopeStore, Error, Home, OpenOptions, Scope, SecretBytes};

use crate::args::{Globals, ScopeArg};
use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::session::Session;
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
            globals: Globals { config, scope: None, socket: None, ..self.globals.clone() },
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

    /// What a command works on: the sidecar that is named, or what the
    /// configuration leads to.
    pub(crate) fn session(&self) -> Result<Session<'_>> {
        match self.socket()? {
            Some(socket) => Session::through(self, &socket),
            None => Session::configured(self, self.config()?),
        }
    }

    /// The same, while secrets move to the store of the configuration at `target`.
    pub(crate) fn session_moving_to(&self, target: Option<&Path>) -> Result<Session<'_>> {
        match (self.socket()?, target) {
            (Some(socket), _) => Session::through(self, &socket),
            (None, None) => Session::configured(self, self.config()?),
            (None, Some(target)) => {
                let config = self.config()?.with_moving_to(target.to_owned())?;
                Session::configured(self, config)
            }
        }
    }

    /// The scope that names are read in.
    pub(crate) fn scope(&self, config: &Config) -> Result<Scope> {
        self.scope_in(config.scope()?)
    }

    /// The same, where `scope` is the configured one.
    pub(crate) fn scope_in(&self, scope: Scope) -> Result<Scope> {
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

    /// The socket that is named.
    pub(crate) fn socket(&self) -> Result<Option<PathBuf>> {
        self.globals.socket.as_deref().map(absolute).transpose()
    }

    /// The configuration that a session reads, if it does.
    pub(crate) fn config_used(&self) -> Result<Option<PathBuf>> {
        match self.globals.socket {
            Some(_) => Ok(None),
            None => Ok(Some(self.home()?.config)),
        }
    }

    /// The variable that holds the key file's passphrase, if one does: nobody
    /// else's business.
    pub(crate) fn passphrase_variable(&self) -> Result<Option<String>> {
        if self.config_used()?.is_none() {
            return Ok(None);
        }
        Ok(match self.config()?.kek.passphrase {
            Some(SecretRef::Env(name)) => Some(name),
            _ => None,
        })
    }

    /// Users besides ourselves and root whose sidecar is believed.
    pub(crate) fn socket_users(&self) -> Result<Vec<u32>> {
        let Some(user) = &self.globals.socket_user else { return Ok(Vec::new()) };
        if let Ok(uid) = user.parse() {
            return Ok(vec![uid]);
        }
        let found = User::from_name(user).map_err(|error| {
            let what = format!("the user {user} cannot be looked up: {error}");
            Error::unavailable(what).with_source(error)
        })?;
        let none = || Failure::Usage(format!("--socket-user: there is no user {user}"));
        Ok(vec![found.ok_or_else(none)?.uid.as_raw()])
    }

    /// How long to wait while another process has the store open.
    pub(crate) fn wait(&self) -> Duration {
        self.globals.wait
    }

    /// Opens the store without the audit log.
    pub(crate) fn store(&self, config: &Config) -> Result<EnvelopeStore> {
        let options = self.options_with(passphrase(config)?);
        Ok(block_on(config.open_store(options))?)
    }

    /// The options with this passphrase.
    pub(crate) fn options_with(&self, passphrase: Option<SecretBytes>) -> OpenOptions {
        OpenOptions { passphrase, wait: self.globals.wait, ..OpenOptions::default() }
    }
}

/// The passphrase of a key file that exists, where we are to ask for it.
pub(crate) fn passphrase(config: &Config) -> Result<Option<SecretBytes>> {
    let asks = config.asks_for_passphrase();
    asks.then(|| terminal::ask_once("Passphrase of the key file: ")).transpose()
}

/// The same for the store that secrets are moving to, if they are.
pub(crate) fn target_passphrase(config: &Config) -> Result<Option<SecretBytes>> {
    let Some(target) = config.target()? else { return Ok(None) };
    let asks = target.asks_for_passphrase();
    asks.then(|| terminal::ask_once("Passphrase of the target's key file: ")).transpose()
}

/// The user who runs this.
pub(crate) fn actor() -> Actor {
    let uid = Some(rustix::process::getuid().as_raw());
    Actor { uid, pid: Some(std::process::id()), ..Actor::default() }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    Ok(std::path::absolute(path).map_err(|e| {
        Error::configuration(format!("{} is not a usable path", path.display())).with_source(e)
    })?)
}
