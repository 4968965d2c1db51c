//! `strongroom get`

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::json;
use strongroom::{Kind, Secret, SecretBytes, SecretName, Select, Version};

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::output::{BOLD, time};
use crate::session::Session;
use crate::value;

/// Write a secret's value to stdout, byte for byte
///
/// With --json the value stands in the document: as `value` if it is UTF-8,
/// otherwise as `value_base64`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom get account.db
  strongroom get account.db --version 2
  strongroom get account.tls-key --output server.key")]
pub(crate) struct Args {
    /// account.NAME, org.NAME, or NAME for a project
    name: String,
    /// This version [default: the latest]
    #[arg(long)]
    version: Option<String>,
    /// Write to this file instead, readable by you only
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Result {
        let select = match &self.version {
            Some(version) => Select::Version(Version::new(version.as_str())?),
            None => Select::Latest,
        };
        let mut session = context.session()?;
        let name = session.resolve("get", &self.name)?;
        if let Some(path) = &self.output {
            let Written { version, kind, bytes } = self.write(&mut session, &select, path)?;
            drop(session);
            let document = json!({
                "name": name.to_string(),
                "version": version,
                "kind": kind,
                "bytes": bytes,
                "output": path,
            });
            return context.output.show(&document, |out| {
                let path = path.display();
                writeln!(out, "{BOLD}{name}{BOLD:#} version {version}: {bytes} bytes to {path}")
            });
        }
        let secret = session.get(&self.name, &select)?;
        // Whoever reads our output may be slow, and others wait for the store.
        drop(session);
        let bytes = secret.value.expose();
        if context.output.json {
            return value::to_stdout(document(&name, &secret)?.expose());
        }
        if io::stdout().is_terminal() && !value::is_presentable(bytes) {
            return Err(Failure::Usage(format!(
                "{name} is not plain text, and a terminal would interpret it: write it to a file \
                 with --output FILE"
            )));
        }
        value::to_stdout(bytes)
    }

    fn write(&self, session: &mut Session<'_>, select: &Select, path: &Path) -> Result<Written> {
        if session.streams() {
            let got = value::to_file(path, |file| session.download(&self.name, select, file))?;
            return Ok(Written { version: got.version, kind: got.kind, bytes: got.length });
        }
        let secret = session.get(&self.name, select)?;
        value::to_file(path, |file| value::all_to(file, path, secret.value.expose()))?;
        let bytes = secret.value.len() as u64;
        Ok(Written { version: secret.version, kind: secret.kind, bytes })
    }
}

/// What a file was written from.
struct Written {
    version: Version,
    kind: Kind,
    bytes: u64,
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
}

/// The answer as JSON.
fn document(name: &SecretName, secret: &Secret) -> Result<SecretBytes> {
    let text = std::str::from_utf8(secret.value.expose()).ok();
    let encoded = match text {
        Some(_) => None,
        None => Some(value::base64(secret.value.expose())?),
    };
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
    };
    value::json(&document)
}
