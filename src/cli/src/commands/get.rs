//! `strongroom get`

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use futures_executor::block_on;
use serde::Serialize;
use serde_json::json;
use strongroom::guard::SecretBuffer;
use strongroom::{Error, Kind, Secret, SecretBytes, SecretName, Select, Version};

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::output::{BOLD, time};
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
        let config = context.config()?;
        let engine = context.engine(&config)?;
        let name = engine.scope().resolve(&self.name).map_err(|e| e.during("get"))?;
        let secret = block_on(engine.get(&self.name, &select))?;
        // Whoever reads our output may be slow, and others wait for the store.
        drop(engine);
        let bytes = secret.value.expose();
        if let Some(path) = &self.output {
            value::to_file(path, bytes)?;
            let document = json!({
                "name": name.to_string(),
                "version": secret.version,
                "kind": secret.kind,
                "bytes": bytes.len(),
                "output": path,
            });
            return context.output.show(&document, |out| {
                let (version, bytes) = (&secret.version, bytes.len());
                let path = path.display();
                writeln!(out, "{BOLD}{name}{BOLD:#} version {version}: {bytes} bytes to {path}")
            });
        }
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

/// The answer as JSON, in guarded memory: the serializer writes each piece of
/// the borrowed value straight to its writer.
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
    let mut buffer = SecretBuffer::new();
    serde_json::to_writer(&mut buffer, &document)
        .and_then(|()| io::Write::write_all(&mut buffer, b"\n").map_err(serde_json::Error::io))
        .map_err(|e| Error::limit_exceeded("there is no locked memory for it").with_source(e))?;
    Ok(buffer.into_secret()?)
}
