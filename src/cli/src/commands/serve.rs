//! `strongroom serve`

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use serde_json::json;
use strongroom_sidecar::{Ready, RunOptions};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

use crate::context::{Context, passphrase, target_passphrase};
use crate::failure::Result;
use crate::output::{GOOD, Output, visible};

/// Run the sidecar: serve the store to other programs over a Unix socket
///
/// It runs in the foreground until SIGTERM or Ctrl-C, and reads its configuration
/// again at SIGHUP. Who may do what stands there, under [[sidecar.allow]]. With
/// --json one document on stdout says when it is ready.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom serve
  strongroom serve --log-format json --log-level debug
  strongroom serve --socket /run/strongroom/sidecar.sock")]
pub(crate) struct Args {
    /// How log lines on stderr are written
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// Which of them
    #[arg(long, value_enum, default_value_t = LogLevel::Info)]
    log_level: LogLevel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// For people; with colours on a terminal
    Text,
    /// One JSON document a line
    Json,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Result {
        let config = context.config()?;
        let options = RunOptions {
            config: context.home()?.config,
            passphrase: passphrase(&config)?,
            target_passphrase: target_passphrase(&config)?,
            wait: context.wait(),
            socket: context.socket()?,
            ready: self.ready(context.output),
        };
        log_to_stderr(self.log_format, self.log_level);
        Ok(strongroom_sidecar::run(options)?)
    }

    /// Tells that requests are answered. Nobody may be listening, which is no
    /// reason to stop.
    fn ready(&self, output: Output) -> Box<dyn FnOnce(&Ready) + Send> {
        let for_people = self.log_format == LogFormat::Text;
        Box::new(move |ready| {
            if output.json {
                let document = json!({ "socket": ready.socket, "pid": ready.pid });
                let mut out = io::stdout().lock();
                let _ = writeln!(out, "{document}").and_then(|()| out.flush());
            } else if for_people {
                let socket = visible(&ready.socket.display().to_string());
                let _ = writeln!(
                    anstream::stderr(),
                    "{GOOD}ready{GOOD:#}: {socket} is served by process {}; Ctrl-C ends it",
                    ready.pid
                );
            }
        })
    }
}

/// Our own events from `level` on, and of libraries' only warnings: theirs are
/// about frames and bytes.
fn log_to_stderr(format: LogFormat, level: LogLevel) {
    let ours = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let others = LevelFilter::WARN.min(ours);
    // A target is the path of a module, and ours all begin so.
    let targets = Targets::new().with_default(others).with_target("strongroom", ours);
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Json => Box::new(fmt::layer().json().with_writer(io::stderr)),
        LogFormat::Text => {
            let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            let colours = io::stderr().is_terminal() && !no_color;
            Box::new(fmt::layer().with_ansi(colours).with_writer(io::stderr))
        }
    };
    tracing_subscriber::registry().with(layer.with_filter(targets)).init();
}
