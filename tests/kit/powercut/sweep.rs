//! Chooses cuts and states, has each checked, and counts.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use super::model::{Contents, Floor, Names};
use super::random::Random;
use super::recorder::scratch;
use super::trace::Trace;

/// How much to try.
#[derive(Clone, Debug)]
pub struct Options {
    /// Every choice follows from this.
    pub seed: u64,
    /// Most moments at which the power is cut. Chosen among the moments just
    /// before and just after a sync, the acknowledgements, and others.
    pub cuts: usize,
    /// States at each cut, besides the six extreme ones.
    pub random_states: usize,
    /// Stop after so many failures.
    pub failures: usize,
    /// Cut only at moments in this part of the history, in percent.
    pub percent: std::ops::Range<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Self { seed: 1, cuts: 200, random_states: 4, failures: 1, percent: 0..100 }
    }
}

/// What a workload had printed when the power was cut.
#[derive(Clone, Copy, Debug)]
pub struct Output<'a> {
    lines: &'a [(usize, String)],
}

impl<'a> Output<'a> {
    /// All lines.
    pub fn lines(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.lines.iter().map(|(_, line)| line.as_str())
    }

    /// The lines that start with `ACK `, without it.
    pub fn acknowledged(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.lines().filter_map(|line| line.strip_prefix("ACK "))
    }
}

/// One state after a power cut: enough to build it again from the same trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// The moment of the cut.
    pub cut: usize,
    /// What became of unsynced contents.
    pub contents: Contents,
    /// What became of unsynced names.
    pub names: Names,
    /// Decides what the variants leave open.
    pub seed: u64,
}

/// A state that the check refused.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The state, to be replayed.
    pub state: State,
    /// What the check said.
    pub why: String,
}

/// What a sweep did.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Moments at which the power was cut.
    pub cuts: usize,
    /// States built and checked.
    pub states: usize,
    /// Successful syncs in the trace.
    pub syncs: usize,
    /// Writes in the trace.
    pub writes: usize,
    /// Acknowledged operations in the trace.
    pub acknowledged: usize,
    /// What failed.
    pub failures: Vec<Failure>,
    /// How long it took.
    pub took: Duration,
}

impl Report {
    /// # Panics
    /// If a state failed, or if the sweep was too small to mean anything.
    pub fn assert_survived(&self) {
        assert!(self.failures.is_empty(), "{self}");
        assert!(
            self.states > 0 && self.writes > 0 && self.acknowledged > 0,
            "nothing tried: {self}"
        );
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cut, contents, names, seed } = self;
        write!(
            f,
            "State {{ cut: {cut}, contents: Contents::{contents:?}, names: Names::{names:?}, seed: {seed:#x} }}"
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} cuts, {} states in {:.1} s; trace: {} writes, {} syncs, {} acknowledged; {} failures",
            self.cuts,
            self.states,
            self.took.as_secs_f64(),
            self.writes,
            self.syncs,
            self.acknowledged,
            self.failures.len()
        )?;
        for failure in &self.failures {
            write!(f, "\n  {}: {}", failure.state, failure.why)?;
        }
        Ok(())
    }
}

/// Cuts the power again and again. `check` gets the directory as it could
/// stand then, and what had been printed; it reopens the store and says what is
/// wrong. A panic of the check is a failure of the state.
pub fn sweep(
    trace: &Trace,
    options: &Options,
    mut check: impl FnMut(&Path, Output<'_>) -> Result<(), String>,
) -> io::Result<Report> {
    let started = Instant::now();
    let scratch = scratch("powercut-sweep-")?;
    let acknowledged = Output { lines: &trace.output }.acknowledged().count();
    let (syncs, writes) = (trace.syncs(), trace.writes());
    let mut report = Report { syncs, writes, acknowledged, ..Report::default() };
    let mut floor = Floor::new(trace);
    for cut in cuts(trace, options) {
        floor.advance(cut);
        report.cuts += 1;
        for state in states(floor.pending(cut), cut, options) {
            report.states += 1;
            if let Err(why) = try_state(trace, &floor, state, scratch.path(), &mut check)? {
                report.failures.push(Failure { state, why });
                if report.failures.len() >= options.failures {
                    report.took = started.elapsed();
                    return Ok(report);
                }
            }
        }
    }
    report.took = started.elapsed();
    Ok(report)
}

/// Checks one state again: `Err` says what is wrong with it.
pub fn replay(
    trace: &Trace,
    state: State,
    mut check: impl FnMut(&Path, Output<'_>) -> Result<(), String>,
) -> io::Result<Result<(), String>> {
    let scratch = scratch("powercut-replay-")?;
    let mut floor = Floor::new(trace);
    floor.advance(state.cut);
    try_state(trace, &floor, state, scratch.path(), &mut check)
}

fn try_state(
    trace: &Trace,
    floor: &Floor<'_>,
    state: State,
    scratch: &Path,
    check: &mut impl FnMut(&Path, Output<'_>) -> Result<(), String>,
) -> io::Result<Result<(), String>> {
    let root = scratch.join("disk");
    fs::create_dir(&root)?;
    floor.build(&root, state.cut, state.contents, state.names, state.seed)?;
    let printed = trace.output.partition_point(|(moment, _)| *moment <= state.cut);
    let output = Output { lines: &trace.output[..printed] };
    let result = catch_unwind(AssertUnwindSafe(|| check(&root, output))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("panic: {}", text.unwrap_or("no message")))
    });
    fs::remove_dir_all(&root)?;
    Ok(result)
}

/// Just before and just after every sync, at every acknowledgement, and at as
/// many other moments as fit; in order.
fn cuts(trace: &Trace, options: &Options) -> BTreeSet<usize> {
    let from = trace.length * options.percent.start / 100;
    let to = trace.length * options.percent.end / 100;
    let within = |moment: &usize| (from..to).contains(moment);
    let mut important: BTreeSet<usize> = BTreeSet::new();
    for (_, end) in trace.sync_moments() {
        important.extend([end - 1, end].into_iter().filter(within));
    }
    important.extend(trace.output.iter().map(|(moment, _)| *moment).filter(within));
    let mut random = Random::new(options.seed);
    let mut pool: Vec<usize> = important.into_iter().collect();
    let mut cuts = BTreeSet::new();
    while cuts.len() < options.cuts * 4 / 5 && !pool.is_empty() {
        cuts.insert(pool.swap_remove(random.below(pool.len())));
    }
    let mut others: Vec<usize> =
        trace.changes.iter().map(|change| change.start).filter(within).collect();
    while cuts.len() < options.cuts && !others.is_empty() {
        cuts.insert(others.swap_remove(random.below(others.len())));
    }
    cuts
}

fn states((contents, names): (usize, usize), cut: usize, options: &Options) -> Vec<State> {
    let state = |contents, names, seed| State { cut, contents, names, seed };
    let mut states = vec![state(Contents::Nothing, Names::Nothing, 0)];
    if contents + names == 0 {
        return states;
    }
    states.push(state(Contents::Everything, Names::Everything, 0));
    if contents > 0 && names > 0 {
        states.push(state(Contents::Nothing, Names::Everything, 0));
        states.push(state(Contents::Everything, Names::Nothing, 0));
    }
    if contents > 1 {
        states.push(state(Contents::OnlyLast, Names::Everything, 0));
        states.push(state(Contents::AllButFirst, Names::Everything, 0));
    }
    let all = [Contents::Torn, Contents::Subset, Contents::Prefix, Contents::Garbage];
    for at in 0..options.random_states {
        let seed = Random::derive(options.seed, &[cut as u64, at as u64]);
        let names = if seed & 1 == 0 { Names::Prefix } else { Names::Subset };
        states.push(state(all[(at + cut / 2) % all.len()], names, seed));
    }
    states
}
