//! `strongroom completions`

use clap::CommandFactory;
use clap_complete::Shell;
use serde_json::json;

use crate::args::Cli;
use crate::context::Context;
use crate::failure::Result;

/// Write a shell's completion script to stdout
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom completions bash > ~/.local/share/bash-completion/completions/strongroom")]
pub(crate) struct Args {
    shell: Shell,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Result {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "strongroom", &mut script);
        let script = String::from_utf8_lossy(&script);
        let document = json!({ "shell": self.shell.to_string(), "script": script });
        context.output.show(&document, |out| out.write_all(script.as_bytes()))
    }
}
