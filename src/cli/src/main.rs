//! The `strongroom` command line: one subcommand a file, below `commands`.

mod args;
mod commands;
mod context;
mod exit;
mod failure;
mod hint;
mod output;
mod terminal;
mod value;

use std::process::ExitCode;

use clap::Parser;

use self::args::Cli;
use self::context::Context;
use self::failure::Failure;

fn main() -> ExitCode {
    // Before anything is read: this process holds secrets from here on.
    let hardened = strongroom::guard::harden_process().map_err(strongroom::Error::from);
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return output::parse_error(&error),
    };
    let context = Context::new(cli.globals);
    let result = hardened.map_err(Failure::from).and_then(|()| cli.command.run(&context));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            context.output.failure(&failure);
            exit::code_of(&failure).into()
        }
    }
}
