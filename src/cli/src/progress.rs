//! How far a long operation is: a bar for people, where stderr is a terminal, and
//! with `--json` a line of JSON now and then, on stderr.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use strongroom::Progress;

use crate::output::Output;

/// Events in JSON come no faster than this.
const PACE: Duration = Duration::from_millis(200);
/// What takes less is over before anybody looks.
const SHOWN_AFTER: Duration = Duration::from_millis(300);

/// Shows the progress of one operation until it is dropped.
pub(crate) struct Steps {
    operation: &'static str,
    json: bool,
    began: Instant,
    shown: Mutex<Shown>,
}

#[derive(Default)]
struct Shown {
    bar: Option<ProgressBar>,
    last: Option<Instant>,
}

impl Steps {
    pub(crate) fn new(output: Output, operation: &'static str) -> Self {
        Self { operation, json: output.json, began: Instant::now(), shown: Mutex::default() }
    }

    pub(crate) fn observe(&self, progress: &Progress) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if self.json {
            if shown.last.is_none_or(|last| now - last >= PACE) {
                shown.last = Some(now);
                self.event(progress);
            }
        } else if io::stderr().is_terminal() && now - self.began >= SHOWN_AFTER {
            let bar = shown.bar.get_or_insert_with(|| bar(self.operation, progress.total));
            if let Some(total) = progress.total {
                bar.set_length(total);
            }
            bar.set_position(progress.done);
        }
    }

    /// That nobody reads it is no reason to stop.
    fn event(&self, progress: &Progress) {
        let event = json!({ "progress": {
            "operation": self.operation,
            "done": progress.done,
            "total": progress.total,
            "left": progress.left(),
            "changed": progress.changed,
            "failed": progress.failed,
        }});
        let _ = writeln!(io::stderr(), "{event}");
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        let shown = self.shown.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = &shown.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(operation: &'static str, total: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(4));
    let template = match total {
        Some(_) => "{prefix}  {pos} of {len}  {wide_bar}  {per_sec}, {eta} left",
        None => "{prefix}  {pos}  {per_sec}",
    };
    let style = ProgressStyle::with_template(template);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.with_prefix(operation)
}
