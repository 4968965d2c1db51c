//! `strongroom run`

mod child;
mod directory;
mod environment;
mod signals;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use strongroom::mask::{LONGEST_VALUE_BYTES, Masker, SHORTEST_VALUE_BYTES};
use strongroom::{Secret, kinds};

pub(super) use self::directory::Vanish;

use self::directory::PrivateDirectory;
use self::environment::{Binding, Plan};
use self::signals::Signals;
use crate::context::Context;
use crate::failure::Result;

/// Run a command that gets secrets, and mask them in what it writes
///
/// The command gets secrets as environment variables (--env) or as files in a private
/// directory in memory, which is gone when the command has ended (--file: the variable
/// holds the file's path). In variables of your own, and in those of --env-file,
/// `<+secrets.getValue("NAME")>` is expanded.
///
/// What the command writes goes through a pipe, where every value is replaced by
/// [masked]: as it is, in base64, hexadecimal, percent-encoded, escaped for JSON,
/// quoted for a shell, and line by line. Values of 3 bytes and less are left alone.
/// This stops accidents; it does not stop a command that wants to tell.
///
/// Signals are passed on. The exit code is the command's; 128 and the signal's number
/// if a signal ended it; 127 if it is not found, and 126 if it cannot be run.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom run --env PGPASSWORD=account.db -- psql -h db
  strongroom run --file TLS_KEY=account.tls-key -- sh -c 'server --key \"$TLS_KEY\"'
  DATABASE_URL='postgres://web:<+secrets.getValue(\"account.db\")>@db' strongroom run -- web
  strongroom run --env-file web.env --no-masking -- vim")]
pub(crate) struct Args {
    /// Set the variable VAR to the value of the secret NAME; may be given several
    /// times
    #[arg(long, value_name = "VAR=NAME")]
    env: Vec<Binding>,
    /// Put the value of the secret NAME into a file, and its path into the variable
    /// VAR; may be given several times
    #[arg(long, value_name = "VAR=NAME")]
    file: Vec<Binding>,
    /// Set the variables that stand in this file, a line VAR=VALUE each, where a value
    /// may have expressions; may be given several times
    #[arg(long, value_name = "PATH")]
    env_file: Vec<PathBuf>,
    /// Leave the command's output to it, unmasked: for programs that need a terminal
    #[arg(long)]
    no_masking: bool,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    #[arg(value_name = "CMD")]
    command: Vec<OsString>,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Result {
        let plan = Plan::new(&self.env, &self.file, &self.env_file)?;
        let (secrets, passphrase) = if plan.names().is_empty() {
            context.output.note(format_args!("no secret is asked for: see strongroom run --help"));
            (Vec::new(), None)
        } else {
            // Dropped here: the command may run for long, and others wait for the store.
            let secrets = context.session()?.get_all(plan.names())?;
            (secrets, context.passphrase_variable()?)
        };
        let variables = plan.variables(&secrets)?;
        let masker = (!self.no_masking).then(|| masker_of(plan.names(), &secrets)).transpose()?;
        if let Some(masker) = &masker {
            tell_limits(context, masker);
        }
        // From here on a signal is the command's, and never leaves files behind.
        let signals = Signals::catch()?;
        let directory = (!self.file.is_empty()).then(PrivateDirectory::create).transpose()?;
        let (program, arguments) = self.command.split_first().map_or_else(
            || (OsStr::new(""), &[][..]),
            |(program, arguments)| (program.as_os_str(), arguments),
        );
        let mut command = Command::new(program);
        command.args(arguments);
        // It opens every secret, and the command is given these.
        if let Some(variable) = passphrase {
            command.env_remove(variable);
        }
        for (variable, value) in &variables {
            command.env(variable, environment::os_str(value));
        }
        if let Some(directory) = &directory {
            for (variable, secret) in plan.files() {
                let path = directory.put(variable, secrets[secret].value.expose())?;
                command.env(variable, path);
            }
        }
        // What is not needed any more is wiped before the command runs.
        drop((variables, secrets));
        child::run(command, masker.map(Arc::new), signals, directory)
    }
}

/// Masks every value, and what is a secret by itself within one: a program that gets
/// a login writes the password alone.
fn masker_of(names: &[String], secrets: &[Secret]) -> Result<Masker> {
    let mut fields = Vec::new();
    for (name, secret) in names.iter().zip(secrets) {
        if let Some(field) = kinds::secret_field(secret.kind) {
            fields.push((format!("{name}#{field}"), secret.field(field)?));
        }
    }
    let values = names.iter().zip(secrets.iter().map(|secret| &secret.value));
    let all = values.chain(fields.iter().map(|(name, value)| (name, value)));
    Ok(Masker::new(all.map(|(name, value)| (name.as_str(), value.expose())))?)
}

fn tell_limits(context: &Context, masker: &Masker) {
    for name in masker.too_short() {
        let bytes = SHORTEST_VALUE_BYTES - 1;
        context
            .output
            .note(format_args!("the value of {name} is not masked: it has {bytes} bytes or less"));
    }
    for name in masker.too_long() {
        context.output.note(format_args!(
            "only the first {LONGEST_VALUE_BYTES} bytes of the value of {name} are masked"
        ));
    }
}
