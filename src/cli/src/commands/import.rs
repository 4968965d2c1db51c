//! `strongroom import`

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::ValueEnum;
use serde_json::json;
use strongroom::import::{Format, name_of, parse};
use strongroom::{Error, ErrorKind, SecretName};

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::output::{BAD, BOLD, DIM, GOOD, visible};
use crate::session::{Fate, Import};
use crate::value;

/// The longest file that is imported, in bytes.
const MAX_FILE_BYTES: usize = 64 << 20;

/// Store the values of another tool's plain export as secrets
///
/// Names stay as the file has them; what may not stand in a name becomes `_`. What
/// is there with the same value is left alone, so that an import that was
/// interrupted is finished by the same command. Values are never shown.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom import .env --dry-run
  strongroom --scope default/ops/web import .env --prefix app-
  vault kv get -format=json secret/db > db.json
  strongroom --scope account import db.json --format vault && shred -u db.json")]
pub(crate) struct Args {
    /// The file
    file: PathBuf,
    /// What it is [default: json for a name that ends so, otherwise env]
    #[arg(long, value_enum)]
    format: Option<FormatArg>,
    /// What every name is to begin with
    #[arg(long, default_value = "")]
    prefix: String,
    /// What to do where there is another value under a name: leave it, write a new
    /// version, or write nothing at all and say so
    #[arg(long, value_enum, default_value_t = ExistingArg::Fail)]
    existing: ExistingArg,
    /// Write nothing, and tell what would happen
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FormatArg {
    Env,
    Json,
    Vault,
    #[value(name = "1password")]
    OnePassword,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ExistingArg {
    Skip,
    Overwrite,
    Fail,
}

/// A key of the file, and what became of it.
struct Line {
    key: String,
    name: Option<SecretName>,
    fate: strongroom::Result<Fate>,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Result {
        let mut session = context.session()?;
        let format = self.format();
        let items = {
            let file = value::from_file(&self.file, MAX_FILE_BYTES)?;
            parse(format, &file)?
        };
        let (mut lines, mut wanted) = (Vec::new(), Vec::new());
        let mut seen: BTreeMap<SecretName, String> = BTreeMap::new();
        for item in items {
            let name =
                name_of(session.scope(), &self.prefix, &item.key).and_then(|name| {
                    match seen.insert(name.clone(), item.key.clone()) {
                        Some(other) => Err(Error::invalid_name(format!(
                            "it would have the name of {other}: give one of them another"
                        ))),
                        None => Ok(name),
                    }
                });
            let key = item.key;
            match name {
                Ok(name) => {
                    wanted.push((name.clone(), item.value));
                    lines.push(Line { key, name: Some(name), fate: Ok(Fate::Left) });
                }
                Err(error) => lines.push(Line { key, name: None, fate: Err(error) }),
            }
        }
        let fails = self.existing == ExistingArg::Fail;
        let mode = |dry_run| Import { overwrite: !fails && self.overwrites(), dry_run };
        // Looks first where one that is there keeps all from being written.
        let is_bad = lines.iter().any(|line| line.fate.is_err());
        let mut fates = session.import(&wanted, mode(self.dry_run || fails || is_bad))?;
        let clashes = fates.iter().any(|fate| matches!(fate, Ok(Fate::Left)));
        if fails && !self.dry_run && !is_bad && !clashes {
            fates = session.import(&wanted, mode(false))?;
        }
        drop((session, wanted));
        let mut fates = fates.into_iter();
        for line in &mut lines {
            if line.fate.is_ok() {
                line.fate = fates.next().unwrap_or(Ok(Fate::Left));
            }
        }
        let nothing = self.dry_run || is_bad || (fails && clashes);
        self.show(context, format, &lines, nothing)
    }

    fn format(&self) -> Format {
        let by_name = self.file.extension().is_some_and(|end| end.eq_ignore_ascii_case("json"));
        match self.format {
            Some(FormatArg::Vault) => Format::Vault,
            Some(FormatArg::OnePassword) => Format::OnePassword,
            Some(FormatArg::Json) => Format::Json,
            None if by_name => Format::Json,
            Some(FormatArg::Env) | None => Format::Env,
        }
    }

    fn overwrites(&self) -> bool {
        self.existing == ExistingArg::Overwrite
    }

    fn show(&self, context: &Context, format: Format, lines: &[Line], nothing: bool) -> Result {
        let count = |wanted: Fate| {
            lines.iter().filter(|line| line.fate.as_ref().is_ok_and(|fate| *fate == wanted)).count()
        };
        let failed = lines.iter().filter(|line| line.fate.is_err()).count();
        let entry = |line: &Line| {
            json!({
                "key": line.key,
                "scope": line.name.as_ref().map(|name| name.scope().to_string()),
                "name": line.name.as_ref().map(ToString::to_string),
                "result": line.fate.as_ref().map_or("failed", |fate| fate.as_str()),
                "error": line.fate.as_ref().err().map(|error| json!({
                    "kind": error.kind().as_str(),
                    "message": error.message(),
                })),
            })
        };
        let document = json!({
            "format": format.as_str(),
            "dry_run": self.dry_run,
            "written": !nothing,
            "new": count(Fate::New),
            "changed": count(Fate::Changed),
            "same": count(Fate::Same),
            "left": count(Fate::Left),
            "failed": failed,
            "items": lines.iter().map(entry).collect::<Vec<_>>(),
        });
        context.output.show(&document, |out| {
            lines.iter().try_for_each(|line| describe(out, line))?;
            let (new, changed, same) = (count(Fate::New), count(Fate::Changed), count(Fate::Same));
            let would = if nothing { "would be " } else { "" };
            writeln!(
                out,
                "{BOLD}{new}{BOLD:#} {would}new, {BOLD}{changed}{BOLD:#} {would}changed, {same} the \
                 same, {} left, {failed} failed",
                count(Fate::Left)
            )
        })?;
        if let Some(Err(first)) = lines.iter().map(|line| &line.fate).find(|fate| fate.is_err()) {
            let what = format!("{failed} values could not be imported");
            return Err(Error::new(first.kind(), what).during("import").into());
        }
        if nothing && !self.dry_run {
            return Err(Failure::Engine(
                Error::new(
                    ErrorKind::AlreadyExists,
                    format!(
                        "{} names have another value already: nothing was written; say --existing \
                         skip or overwrite",
                        count(Fate::Left)
                    ),
                )
                .during("import"),
            ));
        }
        if !nothing {
            context.output.note(format_args!(
                "{} still holds the values in plain text: remove it (shred -u), and from where it \
                 was copied",
                visible(&self.file.display().to_string())
            ));
        }
        Ok(())
    }
}

fn describe(out: &mut dyn Write, line: &Line) -> io::Result<()> {
    let key = visible(&line.key);
    match (&line.name, &line.fate) {
        (Some(name), Ok(fate)) => {
            let style = if *fate == Fate::Left { DIM } else { GOOD };
            let mapped = if name.id() == line.key { String::new() } else { format!(" ({key})") };
            writeln!(out, "{BOLD}{name}{BOLD:#}{mapped}  {style}{}{style:#}", fate.as_str())
        }
        (_, Err(error)) => writeln!(out, "{BAD}{key}{BAD:#}  {}", visible(error.message())),
        (None, Ok(_)) => Ok(()),
    }
}
