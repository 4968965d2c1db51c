//! `strongroom get`

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::json;
use strongroom::{ErrorKind, Kind, Secret, SecretBytes, SecretName, Select, Version, kinds};

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::output::{BOLD, time};
use crate::session::{Fetched, Session};
use crate::transfer::Sink;
use crate::{value, whole_file};

/// Write a secret's value to stdout, byte for byte
///
/// With --json the value stands in the document: as `value` if it is UTF-8,
/// otherwise as `value_base64`; and the parts of a login, a certificate or an SSH
/// key as `fields`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom get account.db
  strongroom get account.db --version 2
  strongroom get account.tls-key --output server.key
  strongroom get account.app --field password")]
pub(crate) struct Args {
    /// account.NAME, org.NAME, or NAME for a project
    name: String,
    /// This version [default: the latest]
    #[arg(long)]
    version: Option<String>,
    /// Write to this file instead, readable by you only
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// A part alone: user or password of a login, certificate or key of a
    /// certificate, private-key or public-key of an SSH key
    #[arg(long, value_name = "NAME")]
    field: Option<String>,
    /// Of a reference, itself and not what it leads to
    #[arg(long)]
    raw: bool,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Result {
        let select = match &self.version {
            Some(version) => Select::Version(Version::new(version.as_str())?),
            None => Select::Latest,
        };
        let mut session = context.session()?;
        let name = session.resolve("get", &self.name)?;
        if self.field.is_some() || self.raw {
            return self.part(session, &name, &select, context);
        }
        if let Some(path) = &self.output {
            let fetched = whole_file::to_file(path, |file| {
                session.fetch(&self.name, &select, &mut Sink::new(file, context.output))
            });
            let fetched = fetched?;
            drop(session);
            return written(&name, &fetched, path, context);
        }
        let secret = match session.get(&self.name, &select) {
            // What is too long for a value goes out as it comes in.
            Err(Failure::Engine(error))
                if error.kind() == ErrorKind::LimitExceeded
                    && !context.output.json
                    && !io::stdout().is_terminal() =>
            {
                return self.stream(&mut session, &select, context);
            }
            secret => secret?,
        };
        // Whoever reads our output may be slow, and others wait for the store.
        drop(session);
        show(&name, &secret, context)
    }

    /// A part of the value, or the reference itself.
    fn part(
        &self,
        mut session: Session<'_>,
        name: &SecretName,
        select: &Select,
        context: &Context,
    ) -> Result {
        let mut secret = if self.raw {
            session.get_stored(&self.name, select)?
        } else {
            session.get(&self.name, select)?
        };
        drop(session);
        if let Some(field) = &self.field {
            let value = secret.field(field);
            secret.value = value.map_err(|error| error.during("get").about(name))?;
            secret.kind = Kind::Text;
        }
        let Some(path) = &self.output else { return show(name, &secret, context) };
        whole_file::bytes_to_file(path, secret.value.expose())?;
        let Secret { version, kind, value, .. } = secret;
        written(name, &Fetched { version, kind, bytes: value.len() as u64 }, path, context)
    }

    fn stream(&self, session: &mut Session<'_>, select: &Select, context: &Context) -> Result {
        let mut stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        session.fetch(&self.name, select, &mut Sink::new(&mut stdout, context.output)).map(drop)
    }
}

fn show(name: &SecretName, secret: &Secret, context: &Context) -> Result {
    let bytes = secret.value.expose();
    if context.output.json {
        return value::to_stdout(document(name, secret)?.expose());
    }
    if io::stdout().is_terminal() && !value::is_presentable(bytes) {
        return Err(Failure::Usage(format!(
            "{name} is not plain text, and a terminal would interpret it: write it to a file \
             with --output FILE"
        )));
    }
    value::to_stdout(bytes)
}

/// Tells what is in the file now.
fn written(name: &SecretName, fetched: &Fetched, path: &Path, context: &Context) -> Result {
    let Fetched { version, kind, bytes } = fetched;
    let document = json!({
        "name": name.to_string(),
        "version": version,
        "kind": kind,
        "bytes": bytes,
        "output": path,
    });
    context.output.show(&document, |out| {
        let path = path.display();
        writeln!(out, "{BOLD}{name}{BOLD:#} version {version}: {bytes} bytes to {path}")
    })
}

#[derive(Serialize)]
struct Document<'a> {
    name: String,
    scope: String,
    version: &'a Version,
    kind: Kind,
    created: String,
    age_ms: u64,
    stale: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    fields: BTreeMap<&'static str, &'a str>,
}

/// The answer as JSON.
fn document(name: &SecretName, secret: &Secret) -> Result<SecretBytes> {
    let text = std::str::from_utf8(secret.value.expose()).ok();
    let encoded = match text {
        Some(_) => None,
        None => Some(value::base64(secret.value.expose())?),
    };
    let mut parts = Vec::new();
    for field in kinds::fields(secret.kind) {
        match secret.field(field) {
            Ok(value) => parts.push((*field, value)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    let fields = parts.iter();
    let fields =
        fields.filter_map(|(name, value)| Some((*name, std::str::from_utf8(value.expose()).ok()?)));
    let document = Document {
        name: name.to_string(),
        scope: name.scope().to_string(),
        version: &secret.version,
        kind: secret.kind,
        created: time(secret.created),
        age_ms: u64::try_from(secret.age.as_millis()).unwrap_or(u64::MAX),
        stale: secret.stale,
        value: text,
        value_base64: encoded.as_ref().and_then(|e| std::str::from_utf8(e.expose()).ok()),
        fields: fields.collect(),
    };
    value::json(&document)
}
