//! The lab: what a row is given, and what it comes back with.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::checker::{self, Counts, Invariant, Verdict};
use crate::harness::Backend;
use crate::proved;
use crate::random::Random;

mod answered;
pub mod api;
pub mod cluster;
mod crafted;
mod dump;
mod evidence;
mod finish;
pub mod follow_ups;
mod keeper;
pub mod limits;
mod looks;
pub mod packets;
pub mod power;
pub mod replicas;
mod rest;
mod run;
mod samples;
mod scrapes;
pub mod servers;
mod setup;
pub mod wall_clock;

pub use answered::Answered;
pub use crafted::Crafted;
pub use run::{Run, WITHIN};
pub use setup::{RATE, Setup};

use servers::Servers;

/// What a row is given.
pub struct Lab {
    /// The row's name.
    pub row: &'static str,
    /// The store it runs on.
    pub store: Backend,
    /// What chance starts from.
    pub seed: u64,
    /// Every cycle, or a slice.
    pub whole: bool,
    /// A place for its run, not there yet.
    pub folder: PathBuf,
    /// The shared servers.
    pub servers: Arc<Servers>,
    /// Failpoints that every daemon of the run has on; with none of them on (an empty text), its daemons
    /// are that build all the same.
    pub points: Option<String>,
}

impl Lab {
    /// What a run needs, to be completed and started.
    pub fn setup(&self) -> Setup<'_> {
        Setup::new(self)
    }

    /// So many cycles in a slice, so many in the whole row.
    pub fn times(&self, slice: usize, whole: usize) -> usize {
        if self.whole { whole } else { slice }
    }

    /// The row's own chance.
    pub fn random(&self) -> Random {
        Random::new(self.seed)
    }
}

/// What came of a row.
#[derive(Debug)]
pub struct Outcome {
    /// The verdict line.
    pub line: String,
    /// The same in a word or two.
    pub word: String,
    /// Whether it is as it should be.
    pub passed: bool,
    /// The figures, of a row that was carried through.
    pub counts: Option<Counts>,
    /// The invariants that do not hold.
    violated: Vec<Invariant>,
    /// What the row itself expected and did not find.
    unmet: Vec<String>,
    /// Whether it only says which tests of their own prove the row; those are not run here.
    pub elsewhere: bool,
}

impl Outcome {
    /// A row that could not be carried through.
    pub fn broken(line: String) -> Self {
        Self {
            line,
            word: "could not be carried through".to_owned(),
            passed: false,
            counts: None,
            violated: Vec::new(),
            unmet: Vec::new(),
            elsewhere: false,
        }
    }

    fn judged(verdict: &Verdict) -> Self {
        let violated = verdict.violated();
        Self {
            line: verdict.line(),
            word: match verdict.holds() {
                true => "ok".to_owned(),
                false => format!("FAILED {}", names(&violated)),
            },
            passed: verdict.holds(),
            counts: Some(verdict.counts.clone()),
            violated,
            unmet: Vec::new(),
            elsewhere: false,
        }
    }

    /// The same with what a row expected and did not find.
    fn with_unmet(mut self, mut unmet: Vec<String>) -> Self {
        // Once for each cycle in which it was so.
        unmet.dedup();
        if !unmet.is_empty() {
            let line = self.line.trim_end_matches(" ok");
            self.line = format!("{line} FAILED expected: {};", unmet.join(", "));
            self.word = format!("FAILED {}", unmet.join(", "));
            self.passed = false;
        }
        self.unmet = unmet;
        self
    }

    /// The invariants that do not hold.
    pub fn violated(&self) -> &[Invariant] {
        &self.violated
    }

    /// What the row itself expected and did not find.
    pub fn unmet(&self) -> &[String] {
        &self.unmet
    }

    /// The invariants that do not hold and the row's own expectations that were not met, in words.
    pub fn noticed(&self) -> String {
        let unmet = self.unmet.iter().map(|what| format!("\"{what}\""));
        let names = self.violated.iter().map(ToString::to_string);
        names.chain(unmet).collect::<Vec<_>>().join(" ")
    }

    /// The same, with what noticed the defect that its daemons had.
    pub fn with_defect(mut self, name: &str) -> Self {
        let noticed = match (self.noticed(), self.passed) {
            (noticed, _) if !noticed.is_empty() => noticed,
            (_, false) => "the row itself".to_owned(),
            (_, true) => "nothing".to_owned(),
        };
        self.line = format!("{} [with {name}: noticed by {noticed}]", self.line);
        self
    }

    /// The same with what the row measured.
    fn with_figures(mut self, figures: &[String]) -> Self {
        if !figures.is_empty() {
            self.line = format!("{} [{}]", self.line, figures.join(", "));
        }
        self
    }

    /// A row that tests of their own prove: it only says where, and fails if they are not there. They run with the
    /// other tests, not here.
    pub fn proved(lab: &Lab, tests: &[&str]) -> Self {
        let missing = proved::missing(tests);
        let head = format!("{} {} proved by", lab.row, lab.store);
        let names = tests.join(" ");
        let (line, word) = match missing.is_empty() {
            true => (
                format!("{head} tests of its own, not run here: {names}"),
                format!("proved by `{}`, not run here", tests.join("`, `")),
            ),
            false => (
                format!("{head} {names} FAILED no such test: {}", missing.join(", ")),
                "FAILED: no such test".to_owned(),
            ),
        };
        Self {
            line,
            word,
            passed: missing.is_empty(),
            counts: None,
            violated: Vec::new(),
            unmet: Vec::new(),
            elsewhere: true,
        }
    }

    /// A control: it passes if this invariant was violated, and fails if nothing was noticed.
    pub fn must_violate(mut self, invariant: Invariant) -> Self {
        self.passed = self.violated.contains(&invariant);
        let verdict = if self.passed { "ok" } else { "FAILED" };
        // The examples of what is meant to be so are of no interest.
        let figures = self.line.split(" FAILED").next().unwrap_or_default();
        let broken = names(&self.violated);
        self.line = format!("{figures} violated: {broken} (must: {invariant}) {verdict}");
        self.word = match self.passed {
            true => format!("{invariant} violated, as it must be"),
            false => format!("FAILED: {invariant} not violated"),
        };
        self
    }
}

fn names(invariants: &[Invariant]) -> String {
    let names: Vec<_> = invariants.iter().map(ToString::to_string).collect();
    names.join(" ")
}

/// Judges the folder of a run.
///
/// # Errors
/// When it cannot be read.
pub fn check(folder: &Path) -> Result<Outcome, String> {
    let verdict = checker::judge(folder).map_err(|error| error.to_string())?;
    Ok(Outcome::judged(&verdict))
}
