//! `strongroom put`

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use clap::ValueEnum;
use serde_json::json;
use strongroom::{Expect, Kind, PutOptions, Version};

use super::describe::About;
use super::parts::{self, Parts};
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::output::{BOLD, time, visible};
use crate::terminal;
use crate::transfer::Input;

/// Store a value as a new version of a secret
///
/// The value comes from stdin, byte for byte, or from --file, and may be of any
/// length; on a terminal you are asked for it. It is never an argument: those are
/// visible to every process and stay in the shell's history.
///
/// A login is a user and a password: with --user the value is the password. A
/// certificate is its chain and its private key, as two files or as one. With
/// --reference nothing is stored but where the value is, in an external store of
/// the configuration ([[store.references]]).
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  printf s3cret | strongroom put account.db
  strongroom put account.tls-key --file server.key
  strongroom put account.db --if-version 3
  printf s3cret | strongroom put account.app --user shop --tag env=prod
  strongroom put account.tls --cert server.pem --key server.key
  strongroom put account.deploy --kind ssh-key --file id_ed25519
  strongroom put account.shared --reference other://account.db#password")]
pub(crate) struct Args {
    /// account.NAME, org.NAME, or NAME for a project
    name: String,
    /// Read the value from this file
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// What the bytes are [default: file with --file, otherwise text]
    #[arg(long, value_enum)]
    kind: Option<KindArg>,
    #[command(flatten)]
    parts: Parts,
    #[command(flatten)]
    about: About,
    /// Only if there is no such secret
    #[arg(long, conflicts_with = "if_version")]
    if_absent: bool,
    /// Only if the latest version is still this one
    #[arg(long, value_name = "VERSION")]
    if_version: Option<String>,
    /// Catches a value that was given as an argument, which clap would repeat.
    #[arg(hide = true, num_args = 0.., allow_hyphen_values = true)]
    value: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum KindArg {
    Text,
    File,
    SshKey,
    Login,
    Certificate,
}

impl From<KindArg> for Kind {
    fn from(kind: KindArg) -> Self {
        match kind {
            KindArg::Text => Self::Text,
            KindArg::File => Self::File,
            KindArg::SshKey => Self::SshKey,
            KindArg::Login => Self::Login,
            KindArg::Certificate => Self::Certificate,
        }
    }
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Result {
        if !self.value.is_empty() {
            return Err(Failure::Usage(
                "a value is never an argument: the one given was visible to other processes, and \
                 may be in your shell's history; choose another one, and give it through stdin or \
                 --file"
                    .to_owned(),
            ));
        }
        let mut session = context.session()?;
        // Before anybody is asked for a value, and before the store is open.
        let name = session.resolve("put", &self.name)?;
        let options = self.options()?;
        let what = parts::What { name: &name, kind: options.kind, file: self.file.as_deref() };
        let info = if let Some(value) = self.parts.value(&what, context)? {
            session.put(&self.name, &value, &options)?
        } else if self.file.is_none() && io::stdin().is_terminal() {
            let value = terminal::ask_twice(&format!("Value of {name}: "))?;
            if value.is_empty() {
                return Err(Failure::Usage("nothing was typed".to_owned()));
            }
            session.put(&self.name, &value, &options)?
        } else {
            let mut input = self.input(context)?;
            let info = session.put_all(&self.name, &mut input, &options)?;
            self.remark(context, &input);
            info
        };
        drop(session);
        let document = json!({
            "name": name.to_string(),
            "scope": name.scope().to_string(),
            "version": info.version,
            "kind": info.kind,
            "created": time(info.created),
            "missing_keks": info.missing_keks,
        });
        for missing in &info.missing_keks {
            context.output.note(format_args!(
                "not under the KEK {}: {}; `strongroom rewrap` adds it",
                visible(&missing.kek),
                visible(&missing.message)
            ));
        }
        context
            .output
            .show(&document, |out| writeln!(out, "{BOLD}{name}{BOLD:#} version {}", info.version))
    }

    fn options(&self) -> Result<PutOptions> {
        let given = self.kind.map(Kind::from);
        let kind = match (self.parts.kind(), given) {
            (Some(implied), Some(given)) if implied != given => {
                return Err(Failure::Usage(format!(
                    "--kind {} has no use for what makes a {}",
                    given.as_str(),
                    implied.as_str()
                )));
            }
            (implied, given) => {
                let default = if self.file.is_some() { Kind::File } else { Kind::Text };
                implied.or(given).unwrap_or(default)
            }
        };
        let expect = match &self.if_version {
            Some(version) => Expect::Latest(Version::new(version.as_str())?),
            None if self.if_absent => Expect::Absent,
            None => Expect::Any,
        };
        let metadata = self.about.metadata()?;
        Ok(PutOptions { kind, expect, metadata, unchecked_reference: self.parts.unchecked })
    }

    fn input(&self, context: &Context) -> Result<Input> {
        match &self.file {
            Some(path) => Input::file(path, context.output),
            None => Input::stdin(context.output),
        }
    }

    fn remark(&self, context: &Context, input: &Input) {
        if self.file.is_some() {
            return;
        }
        if input.is_empty() {
            context.output.note(format_args!("stdin was empty, and so is the value"));
        } else if self.kind.is_none() && input.ends_with_newline() {
            context.output.note(format_args!(
                "the value ends with a newline, as it was given; printf leaves it out"
            ));
        }
    }
}
