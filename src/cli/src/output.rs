//! What is shown: text for people, one JSON document for programs, errors on
//! stderr in both. Secret values never pass here; `value` writes them.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use jiff::Timestamp as Civil;
use serde::Serialize;
use serde_json::json;
use strongroom::Timestamp;

use crate::exit;
use crate::failure::{Failure, Result};
use crate::hint::hint;

/// For the one thing in a line that matters.
pub(crate) const BOLD: Style = Style::new().bold();
/// For what explains.
pub(crate) const DIM: Style = Style::new().dimmed();
/// For what is as it should be.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// For what is not.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();

#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) json: bool,
}

impl Output {
    /// Shows `document` as JSON, or what `text` writes. Colours that `text`
    /// writes reach only a terminal, and not with `NO_COLOR`.
    pub(crate) fn show(
        self,
        document: &impl Serialize,
        text: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result {
        let mut out = anstream::stdout().lock();
        if self.json {
            serde_json::to_writer(&mut out, document).map_err(io::Error::from)?;
            writeln!(out)?;
        } else {
            text(&mut out)?;
        }
        Ok(out.flush()?)
    }

    /// A remark for people, on stderr.
    pub(crate) fn note(self, text: fmt::Arguments<'_>) {
        if !self.json {
            let _ = writeln!(anstream::stderr(), "{DIM}note: {text}{DIM:#}");
        }
    }

    /// Tells of a failure on stderr. When even that fails, the exit code says it.
    pub(crate) fn failure(self, failure: &Failure) {
        let mut err = anstream::stderr().lock();
        let _ = match failure {
            Failure::BrokenPipe | Failure::Signalled(_) | Failure::Ended(_) => Ok(()),
            Failure::Usage(message) | Failure::NotRun { message, .. } if self.json => {
                usage_json(&mut err, message)
            }
            Failure::Usage(message) | Failure::NotRun { message, .. } => {
                let message = visible(message);
                writeln!(err, "{BAD}error:{BAD:#} {message}")
            }
            Failure::Engine(error) if self.json => {
                let document = json!({ "error": {
                    "kind": error.kind().as_str(),
                    "message": error.message(),
                    "retryable": error.is_retryable(),
                    "operation": error.operation(),
                    "secret": error.secret(),
                    "store": error.store(),
                    "hint": hint(error),
                }});
                writeln!(err, "{document}")
            }
            Failure::Engine(error) => {
                let said = writeln!(err, "{BAD}error:{BAD:#} {}", visible(&error.to_string()));
                let hint = hint(error);
                said.and_then(|()| {
                    hint.map_or(Ok(()), |hint| writeln!(err, "{BOLD}hint:{BOLD:#} {hint}"))
                })
            }
        };
    }
}

/// Shows what clap says, help included, and gives the exit code.
pub(crate) fn parse_error(error: &clap::Error) -> ExitCode {
    let wants_json = std::env::args_os().any(|argument| argument == "--json");
    if error.use_stderr() && wants_json {
        let message = error.to_string();
        let message = message.strip_prefix("error: ").unwrap_or(&message).trim_end();
        let _ = usage_json(&mut anstream::stderr(), message);
    } else {
        let _ = error.print();
    }
    if error.use_stderr() { exit::USAGE.into() } else { ExitCode::SUCCESS }
}

fn usage_json(err: &mut dyn Write, message: &str) -> io::Result<()> {
    let document = json!({ "error": {
        "kind": "usage",
        "message": message,
        "retryable": false,
        "operation": null,
        "secret": null,
        "store": null,
        "hint": null,
    }});
    writeln!(err, "{document}")
}

/// The text with control characters written out: a path or a line of a damaged
/// file must not drive the terminal.
pub(crate) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// RFC 3339 in UTC, to the second; the same everywhere.
pub(crate) fn time(time: Timestamp) -> String {
    let millis = i64::try_from(time.0).unwrap_or(i64::MAX);
    let civil = Civil::from_millisecond(millis).unwrap_or(Civil::MAX);
    format!("{civil:.0}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_written_out() {
        assert_eq!(visible("a\u{1b}[2Jb\nc\u{9b}"), "a\\u{1b}[2Jb\nc\\u{9b}");
    }

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(time(Timestamp(1_700_000_000_007)), "2023-11-14T22:13:20Z");
    }
}
