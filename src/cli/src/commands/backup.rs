//! `strongroom backup`

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use futures_executor::block_on;
use serde_json::json;
use strongroom::envelope::backup::{BackupInfo, WriteSink};
use strongroom::{Error, ReadSource};

use crate::context::{Context, passphrase};
use crate::failure::{Failure, Result};
use crate::output::{BOLD, DIM, GOOD, time};
use crate::progress::Steps;
use crate::whole_file::to_file;

/// Write the store to one file, make a store of one, or look whether one is whole
///
/// The records in it stay sealed: whoever has the file and not the key has
/// nothing. Keep the key file apart from it; without the key it cannot be restored.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom backup create --output strongroom.backup
  strongroom backup verify strongroom.backup
  strongroom --config new/strongroom.toml backup restore strongroom.backup")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Create(Create),
    Restore(Restore),
    Verify(Verify),
}

/// Write a backup, while readers and writers go on
///
/// The file is readable by you only, and is there wholly or not at all.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom backup create --output strongroom.backup")]
struct Create {
    /// The file
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
}

/// Make a store of a backup, where the configuration says and there is none
///
/// Configuration and key file have to be there, the store not: this takes the
/// place of `strongroom init`. It may be interrupted at any moment: the same command
/// begins anew. The audit log goes on from where it was; what was written after the
/// backup was made is missing in the store, and `strongroom audit verify` tells.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom backup restore strongroom.backup --config new/strongroom.toml
  strongroom verify --config new/strongroom.toml")]
struct Restore {
    /// The backup
    file: PathBuf,
}

/// Tell whether a backup is whole and as it was written
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom backup verify strongroom.backup")]
struct Verify {
    /// The backup
    file: PathBuf,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Result {
        match self.command {
            Command::Create(args) => args.run(context),
            Command::Restore(args) => args.run(context),
            Command::Verify(args) => args.run(context),
        }
    }
}

impl Create {
    fn run(self, context: &Context) -> Result {
        let mut session = context.session()?;
        let info = to_file(&self.output, |file| {
            let mut sink = WriteSink(BufWriter::new(file));
            let info = session.backup(&mut sink)?;
            sink.0.flush().map_err(|error| {
                let what = format!("{} cannot be written: {error}", self.output.display());
                Failure::Engine(Error::unavailable(what).retryable(false).with_source(error))
            })?;
            Ok(info)
        })?;
        show(context, "written", &self.output, &info)
    }
}

impl Restore {
    fn run(self, context: &Context) -> Result {
        let config = context.config()?;
        let mut source = open(&self.file)?;
        let options = context.options_with(passphrase(&config)?);
        let steps = Steps::new(context.output, "restore");
        let observer = |progress: &_| steps.observe(progress);
        let info = block_on(config.restore_backup(options, &mut source, &observer));
        drop(steps);
        show(context, "restored", &self.file, &info?)
    }
}

impl Verify {
    fn run(self, context: &Context) -> Result {
        let config = context.config()?;
        let mut source = open(&self.file)?;
        let info = block_on(config.verify_backup(passphrase(&config)?, &mut source))?;
        show(context, "whole", &self.file, &info)
    }
}

fn open(path: &Path) -> Result<ReadSource<BufReader<File>>> {
    let file = File::open(path).map_err(|error| {
        let what = format!("{} cannot be read: {error}", path.display());
        Failure::Engine(Error::unavailable(what).retryable(false).with_source(error))
    })?;
    Ok(ReadSource::new(BufReader::new(file), None))
}

fn show(context: &Context, what: &str, path: &Path, info: &BackupInfo) -> Result {
    let document = json!({
        "file": path,
        what: true,
        "created": time(info.created),
        "names": info.names,
        "entries": info.entries,
        "bytes": info.bytes,
        "one_moment": info.one_moment,
    });
    context.output.show(&document, |out| {
        let (names, bytes, created) = (info.names, info.bytes, time(info.created));
        let path = path.display();
        write!(out, "{BOLD}{path}{BOLD:#} {GOOD}{what}{GOOD:#}: {names} names, {bytes} bytes")?;
        let moment = if info.one_moment { "of" } else { "each secret of a moment from" };
        writeln!(out, "{DIM}, {moment} {created}{DIM:#}")
    })
}
