//! `strongroom man`

use std::io;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use serde_json::json;
use strongroom::Error;

use crate::args::Cli;
use crate::context::Context;
use crate::failure::Result;

/// Write the manual pages into a directory, or the first one to stdout
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom man | man -l -
  strongroom man /usr/local/share/man/man1")]
pub(crate) struct Args {
    /// The directory; made if there is none
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Result {
        let Some(directory) = &self.directory else {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page)?;
            let page = String::from_utf8_lossy(&page);
            return context
                .output
                .show(&json!({ "page": page }), |out| out.write_all(page.as_bytes()));
        };
        let written = write_pages(directory).map_err(|error| {
            let what = format!("{} cannot be written: {error}", directory.display());
            Error::unavailable(what).retryable(false).with_source(error)
        })?;
        context.output.show(&json!({ "directory": directory, "pages": written }), |out| {
            writeln!(out, "{} pages in {}", written.len(), directory.display())
        })
    }
}

fn write_pages(directory: &Path) -> io::Result<Vec<String>> {
    std::fs::create_dir_all(directory)?;
    clap_mangen::generate_to(Cli::command(), directory)?;
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with("strongroom") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
