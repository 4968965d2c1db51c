//! The command line as it is parsed.

use std::path::PathBuf;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{Args, CommandFactory, FromArgMatches, Parser};
use strongroom::Scope;

use crate::commands::Command;
use crate::exit;

/// Keeps secrets encrypted, each version under a key of its own.
#[derive(Debug, Parser)]
#[command(name = "strongroom", version, after_long_help = long_after(), after_help = SHORT_AFTER)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// Reads the command line. What stands on it goes before the environment:
    /// `--config` also before `STRONGROOM_SOCKET`.
    pub(crate) fn read() -> Result<Self, clap::Error> {
        let mut command = Self::command();
        let matches = command.try_get_matches_from_mut(std::env::args_os())?;
        let mut cli = Self::from_arg_matches(&matches).map_err(|e| e.format(&mut command))?;
        let given = |name| matches.value_source(name) == Some(ValueSource::CommandLine);
        if given("config") && !given("socket") {
            cli.globals.socket = None;
        }
        Ok(cli)
    }
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Globals {
    /// The configuration file [default: strongroom.toml in `STRONGROOM_HOME`, or by
    /// the XDG rules]
    #[arg(long, global = true, env = "STRONGROOM_CONFIG", value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,
    /// Go through the sidecar at this socket; no configuration is needed then
    /// [default: the configured one, if a sidecar serves it]
    #[arg(long, global = true, env = "STRONGROOM_SOCKET", value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Believe a sidecar that this user runs, besides your own and root's
    #[arg(long, global = true, env = "STRONGROOM_SOCKET_USER", value_name = "USER")]
    pub(crate) socket_user: Option<String>,
    /// Read names from this scope: a/b/c, or account, org or project of the
    /// configured one
    #[arg(long, global = true, value_name = "SCOPE")]
    pub(crate) scope: Option<ScopeArg>,
    /// Answer with one JSON document; errors are JSON on stderr
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// How long to wait while another process has the store open
    #[arg(long, global = true, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub(crate) wait: Duration,
}

/// A scope in full, or a level of the configured one.
#[derive(Clone, Debug)]
pub(crate) enum ScopeArg {
    Account,
    Org,
    Project,
    Full(Scope),
}

impl std::str::FromStr for ScopeArg {
    type Err = strongroom::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "account" => Self::Account,
            "org" => Self::Org,
            "project" => Self::Project,
            text => Self::Full(text.parse()?),
        })
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    strongroom::config::parse_duration(text)
        .ok_or_else(|| "write a number and ms, s, m, h or d, as in 30s".to_owned())
}

const SHORT_AFTER: &str = "\
Example:
  strongroom init
  printf s3cret | strongroom put account.db
  strongroom get account.db

`strongroom --help` also lists environment variables and exit codes.";

fn long_after() -> String {
    format!(
        "\
Example:
  strongroom init
  printf s3cret | strongroom put account.db
  strongroom get account.db

Environment:
  STRONGROOM_HOME    one folder for configuration, key, records and audit log
  STRONGROOM_CONFIG  the configuration file, as --config
  STRONGROOM_SOCKET  the sidecar's socket, as --socket
  STRONGROOM_SOCKET_USER
                     who may run that sidecar, as --socket-user
  NO_COLOR           no colours, also on a terminal
  Without STRONGROOM_HOME, configuration and key are in
  $XDG_CONFIG_HOME/strongroom, records in $XDG_DATA_HOME/strongroom, the audit
  log in $XDG_STATE_HOME/strongroom, and the sidecar's socket in
  $XDG_RUNTIME_DIR/strongroom.

{}",
        exit::HELP
    )
}
