//! The values of `put` that are made of parts: logins, certificates, SSH keys and
//! references. Each is put together in guarded memory.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use strongroom::kinds::{self, Certificate, Login};
use strongroom::{Kind, SecretBytes, SecretName};

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::{terminal, value};

#[derive(Debug, clap::Args)]
pub(crate) struct Parts {
    /// The user of a login; the value is the password
    #[arg(long, value_name = "NAME", group = "made_of")]
    user: Option<String>,
    /// The certificate and its chain, in PEM
    #[arg(long, value_name = "PATH", group = "made_of", requires = "key")]
    cert: Option<PathBuf>,
    /// The private key of --cert, in PEM
    #[arg(long, value_name = "PATH", requires = "cert", conflicts_with = "file")]
    key: Option<PathBuf>,
    /// Where the value is: `STORE://PATH`, or `STORE://PATH#KEY` for a part of it
    #[arg(long, value_name = "REFERENCE", group = "made_of", conflicts_with = "file")]
    reference: Option<String>,
    /// Store the reference without looking whether there is something
    #[arg(long, requires = "reference")]
    pub(crate) unchecked: bool,
}

/// What is to be put.
pub(crate) struct What<'a> {
    pub(crate) name: &'a SecretName,
    pub(crate) kind: Kind,
    pub(crate) file: Option<&'a Path>,
}

impl Parts {
    /// The kind that the parts make.
    pub(crate) fn kind(&self) -> Option<Kind> {
        if self.user.is_some() {
            return Some(Kind::Login);
        }
        if self.cert.is_some() {
            return Some(Kind::Certificate);
        }
        self.reference.as_ref().map(|_| Kind::Reference)
    }

    /// The value, if it has parts; `None` for any bytes.
    pub(crate) fn value(&self, what: &What<'_>, context: &Context) -> Result<Option<SecretBytes>> {
        let value = match what.kind {
            Kind::Login => self.login(what, context)?,
            Kind::Reference => {
                let reference = self.reference.as_deref().unwrap_or_default();
                SecretBytes::copy_from(reference.as_bytes())?
            }
            Kind::Certificate => match (&self.cert, &self.key) {
                (Some(chain), Some(key)) => {
                    let chain = value::from_file(chain, kinds::MAX_BYTES)?;
                    Certificate::encode(&chain, &value::from_file(key, kinds::MAX_BYTES)?)?
                }
                _ => piped(what, "--cert and --key, or with --file")?,
            },
            Kind::SshKey => piped(what, "--file")?,
            _ => return Ok(None),
        };
        Ok(Some(value))
    }

    fn login(&self, what: &What<'_>, context: &Context) -> Result<SecretBytes> {
        let asks = what.file.is_none() && io::stdin().is_terminal();
        let user = match &self.user {
            Some(user) => user.clone(),
            None if asks => terminal::ask_in_clear(&format!("User of {}: ", what.name))?,
            // Both, as they are stored.
            None => return piped(what, "--user"),
        };
        let password = if asks {
            terminal::ask_twice(&format!("Password of {}: ", what.name))?
        } else {
            piped(what, "--file")?
        };
        if password.expose().ends_with(b"\n") {
            context.output.note(format_args!(
                "the password ends with a newline, as it was given; printf leaves it out"
            ));
        }
        Ok(Login::new(SecretBytes::copy_from(user.as_bytes())?, password)?.encode()?)
    }
}

/// The whole value from the file or from stdin, which nobody types.
fn piped(what: &What<'_>, instead: &str) -> Result<SecretBytes> {
    match what.file {
        Some(path) => value::from_file(path, kinds::MAX_BYTES),
        None if io::stdin().is_terminal() => Err(Failure::Usage(format!(
            "a {} is not typed: give it with {instead}, or through a pipe",
            what.kind.as_str()
        ))),
        None => value::from_stdin(kinds::MAX_BYTES),
    }
}
