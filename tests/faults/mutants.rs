//! The bench can fail: defects built into the daemon on purpose, each with the row that runs into it and
//! the invariant, or the row's own expectation, that has to notice. A defect that is not noticed says that the bench is blind there.
//!
//! The defects are those of `src/failpoints.rs`. Every row is carried through once without any, on the
//! same build: a row that fails for whatever reason catches nothing.

use std::fmt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::abilities::{Abilities, Ability};
use crate::bench::Bench;
use crate::checker::Invariant;
use crate::checker::Invariant::{
    DurableBeforeAnswer, EachCallMade, LogOrder, NoLoss, NoSecretLeaves, NothingInvented,
    OnePublisher, OnlyInevitableCopies, RealTimeOrder, SingleUse,
};
use crate::harness::Backend;
use crate::harness::Backend::{Postgres, Sqlite};
use crate::lab::Outcome;
use crate::lab::replicas::SOON_TAKEN_OVER;
use crate::levels;
use crate::report;
use crate::rows::{self, ROWS, Row};

/// A defect, and who has to notice it.
struct Mutant {
    name: &'static str,
    breaks: &'static str,
    hunt: Hunt,
}

/// Where a defect has to be noticed.
enum Hunt {
    /// By one of these in this row.
    Row(&'static str, Backend, &'static [Sign]),
    /// By the tests whose names contain this.
    Tests(&'static str),
}

/// What a defect shows itself by.
enum Sign {
    /// This invariant does not hold.
    Broken(Invariant),
    /// The row expected this and did not find it.
    Unmet(&'static str),
}

impl Sign {
    fn shows(&self, outcome: &Outcome) -> bool {
        match self {
            Broken(invariant) => outcome.violated().contains(invariant),
            Unmet(what) => outcome.unmet().iter().any(|unmet| unmet == what),
        }
    }
}

impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken(invariant) => write!(f, "{invariant}"),
            Unmet(what) => write!(f, "\"{what}\""),
        }
    }
}

use Hunt::{Row as InRow, Tests};
use Sign::{Broken, Unmet};

const fn mutant(name: &'static str, breaks: &'static str, hunt: Hunt) -> Mutant {
    Mutant { name, breaks, hunt }
}

const MUTANTS: &[Mutant] = &[
    mutant(
        "M1",
        "200 before the commit",
        InRow("D-01", Sqlite, &[Broken(DurableBeforeAnswer)]),
    ),
    mutant(
        "M1",
        "200 before the commit",
        InRow("D-01", Postgres, &[Broken(DurableBeforeAnswer)]),
    ),
    mutant(
        "M2",
        "a commit does not wait for the disk",
        InRow("L-02", Sqlite, &[Broken(DurableBeforeAnswer)]),
    ),
    mutant(
        "M2",
        "a commit does not wait for the disk",
        InRow("P-03", Postgres, &[Broken(DurableBeforeAnswer)]),
    ),
    mutant(
        "M3",
        "a returned message counts as delivered",
        InRow("F-06", Sqlite, &[Broken(NoLoss)]),
    ),
    mutant(
        "M4",
        "no publisher confirms",
        InRow("F-07", Sqlite, &[Broken(NoLoss)]),
    ),
    mutant(
        "M5",
        "a request owns its database future",
        InRow(
            "H-01",
            Postgres,
            &[
                Broken(DurableBeforeAnswer),
                Broken(NoLoss),
                Unmet(rows::NO_SESSION_LEFT_OPEN),
            ],
        ),
    ),
    mutant(
        "M6",
        "four workers publish a window between them",
        InRow("F-06", Sqlite, &[Broken(RealTimeOrder), Broken(LogOrder)]),
    ),
    mutant(
        "M7",
        "a cursor over a sequence",
        InRow("D-04", Postgres, &[Broken(NoLoss)]),
    ),
    mutant(
        "M8",
        "the cursor moves before the confirm",
        InRow("F-04", Sqlite, &[Broken(NoLoss)]),
    ),
    mutant(
        "M8",
        "the cursor moves before the confirm",
        InRow("F-04", Postgres, &[Broken(NoLoss)]),
    ),
    mutant(
        "M10",
        "a body is parsed and printed again",
        InRow("F-07", Sqlite, &[Broken(NothingInvented)]),
    ),
    mutant(
        "M11",
        "published again while the broker blocks",
        InRow("F-08", Sqlite, &[Broken(OnlyInevitableCopies)]),
    ),
    mutant(
        "M12",
        "the lock of a reader is not looked at",
        InRow("D-04", Postgres, &[Broken(OnePublisher)]),
    ),
    mutant(
        "M14",
        "a token is refreshed without a lock",
        InRow("O-01", Sqlite, &[Broken(SingleUse)]),
    ),
    mutant(
        "M14",
        "a token is refreshed without a lock",
        InRow("O-01", Postgres, &[Broken(SingleUse)]),
    ),
    mutant(
        "M15",
        "a call is done before its answer is in the log",
        InRow("O-02-call.ended", Sqlite, &[Broken(EachCallMade)]),
    ),
    mutant(
        "M16",
        "a call that may not be made twice is made again after a crash",
        InRow("O-08-killed", Sqlite, &[Broken(EachCallMade)]),
    ),
    mutant(
        "M17",
        "a token is in the log",
        InRow("O-01", Sqlite, &[Broken(NoSecretLeaves)]),
    ),
    mutant(
        "M18",
        "a tenant's budget is not looked at",
        InRow("O-load", Sqlite, &[Unmet(rows::NOBODY_OVER_BUDGET)]),
    ),
    mutant(
        "M18",
        "a tenant's budget is not looked at",
        InRow(
            "O-load-replicas",
            Postgres,
            &[Unmet(rows::NOBODY_OVER_BUDGET)],
        ),
    ),
    mutant(
        "M19",
        "a reader that fell silent keeps its lock",
        InRow("D-05", Postgres, &[Unmet(SOON_TAKEN_OVER)]),
    ),
    mutant(
        "M20",
        "each event leaves a kibibyte behind",
        InRow("S-01", Sqlite, &[Unmet(levels::MEMORY)]),
    ),
    mutant(
        "M21",
        "each event leaves a task behind",
        InRow("S-01", Sqlite, &[Unmet(levels::TASKS)]),
    ),
    mutant(
        "M13",
        "signatures that the strict check refuses",
        Tests("signature"),
    ),
];

/// The failpoints of a defect; of none, with the name `none`.
pub fn points(name: &str) -> Result<String, String> {
    if name.eq_ignore_ascii_case("none") {
        return Ok(String::new());
    }
    let known = MUTANTS
        .iter()
        .find(|mutant| mutant.name.eq_ignore_ascii_case(name));
    known
        .map(|mutant| on(mutant.name))
        .ok_or_else(|| format!("no defect is called '{name}'"))
}

fn on(name: &str) -> String {
    format!("mutant.{name}=return")
}

/// What to hunt.
#[derive(clap::Args)]
pub struct Arguments {
    /// Defects, such as M8; all without.
    mutants: Vec<String>,
    /// What chance starts from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write a table in Markdown here.
    #[arg(long)]
    results: Option<PathBuf>,
    /// Keep the folders of the runs.
    #[arg(long)]
    keep: bool,
    /// A defect that cannot be hunted here counts as one that was not noticed.
    #[arg(long)]
    strict: bool,
}

/// What came of a run.
enum Found {
    /// The figures, and what did not hold.
    Ran(Outcome),
    /// Whether tests passed.
    Tested(bool),
    /// Why it could not run here.
    NotRun(String),
}

/// A line of the table.
struct Line {
    /// None for a run without a defect.
    mutant: Option<&'static Mutant>,
    place: String,
    found: Found,
    took: Duration,
}

impl Line {
    /// Whether it came out as it has to; none where it could not run.
    fn good(&self) -> Option<bool> {
        let good = match (&self.found, self.mutant) {
            (Found::NotRun(_), _) => return None,
            (Found::Ran(outcome), None) => outcome.passed,
            (Found::Ran(outcome), Some(mutant)) => match mutant.hunt {
                InRow(_, _, signs) => signs.iter().any(|sign| sign.shows(outcome)),
                Tests(_) => false,
            },
            (Found::Tested(passed), mutant) => *passed == mutant.is_none(),
        };
        Some(good)
    }

    fn verdict(&self) -> String {
        match (&self.found, self.mutant.is_some(), self.good()) {
            (Found::NotRun(reason), ..) => format!("not run: {reason}"),
            (_, true, Some(true)) => "caught".to_owned(),
            (_, true, _) => "SURVIVED".to_owned(),
            (_, false, Some(true)) => "ok".to_owned(),
            (_, false, _) => "FAILED".to_owned(),
        }
    }

    /// What did not hold.
    fn noticed(&self) -> String {
        match &self.found {
            Found::Ran(outcome) if outcome.noticed().is_empty() => "-".to_owned(),
            Found::Ran(outcome) => outcome.noticed(),
            Found::Tested(false) => "a test".to_owned(),
            Found::Tested(true) | Found::NotRun(_) => "-".to_owned(),
        }
    }

    fn markdown(&self) -> String {
        let (name, breaks, expected) = match self.mutant {
            None => ("none", "", "nothing".to_owned()),
            Some(mutant) => {
                let expected = match mutant.hunt {
                    InRow(_, _, signs) => {
                        let names = signs.iter().map(ToString::to_string);
                        names.collect::<Vec<_>>().join(" or ")
                    }
                    Tests(_) => "a test".to_owned(),
                };
                (mutant.name, mutant.breaks, expected)
            }
        };
        format!(
            "| {name} | {breaks} | {} | {expected} | {} | {} | {} |",
            self.place,
            self.noticed(),
            self.verdict(),
            self.took.as_secs()
        )
    }
}

const HEAD: &str = "| Defect | What it breaks | Where | To be noticed by | Violated | Verdict | Seconds |\n\
                    |---|---|---|---|---|---|--:|";

/// Hunts the defects; whether all of them were noticed, and nothing was without one.
pub async fn hunt(arguments: &Arguments) -> Result<bool, String> {
    let chosen = chosen(&arguments.mutants)?;
    let abilities = Abilities::probe();
    println!("this machine: {abilities}");
    let bench = Bench::new(arguments.seed, false)?;
    let mut lines: Vec<Line> = Vec::new();
    for mutant in chosen {
        let place = place(&mutant.hunt);
        // Without a defect first, once.
        let without = !lines.iter().any(|line| line.place == place);
        for defect in without.then_some(None).into_iter().chain([Some(mutant)]) {
            let began = Instant::now();
            let found = look(&bench, &abilities, &mutant.hunt, defect).await;
            let line = Line {
                mutant: defect,
                place: place.clone(),
                found,
                took: began.elapsed(),
            };
            if let Found::Ran(outcome) = &line.found {
                println!("{}", outcome.line);
            }
            println!("{}", line.markdown());
            lines.push(line);
        }
    }
    // Runs without a defect at the end.
    lines.sort_by_key(|line| line.mutant.is_none());
    let count = |wanted: Option<bool>, defects: bool| {
        let is = |line: &&Line| line.good() == wanted && line.mutant.is_some() == defects;
        lines.iter().filter(is).count()
    };
    let (caught, survived) = (count(Some(true), true), count(Some(false), true));
    let (not_run, failed) = (count(None, true), count(Some(false), false));
    let sum = format!(
        "{caught} caught, {survived} survived, {not_run} not run; {failed} failed without a defect"
    );
    let table: Vec<_> = lines.iter().map(Line::markdown).collect();
    let table = format!("{HEAD}\n{}", table.join("\n"));
    println!("\n{table}\n\n{sum}");
    if let Some(path) = &arguments.results {
        let said = said(arguments.seed, &abilities, &sum).await;
        std::fs::write(path, format!("{said}\n{table}\n"))
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    bench.end(arguments.keep || 0 < survived + failed);
    // Nothing that was hunted is nothing that was shown.
    Ok(0 < caught && survived + failed == 0 && !(arguments.strict && 0 < not_run))
}

async fn said(seed: u64, abilities: &Abilities, sum: &str) -> String {
    format!(
        "# Defects that the bench must catch\n\n\
         Written by `bash tests/faults/mutants.sh --results FILE`. Each defect stands in the daemon's code \
         (`src/failpoints.rs`) and is on in every daemon of its row. \"none\" is the same row on the same \
         build without one.\n\n{}: {sum}. Seed {seed}. This machine: {abilities}.\n\n{}\n",
        report::today(),
        report::versions().await
    )
}

fn chosen(names: &[String]) -> Result<Vec<&'static Mutant>, String> {
    for name in names {
        points(name)?;
    }
    let is_chosen = |mutant: &&Mutant| {
        let named = |name: &String| name.eq_ignore_ascii_case(mutant.name);
        names.is_empty() || names.iter().any(named)
    };
    Ok(MUTANTS.iter().filter(is_chosen).collect())
}

fn place(hunt: &Hunt) -> String {
    match hunt {
        InRow(row, store, _) => format!("{row} {store}"),
        Tests(filter) => format!("`cargo test --lib {filter}`"),
    }
}

async fn look(
    bench: &Bench,
    abilities: &Abilities,
    hunt: &Hunt,
    defect: Option<&'static Mutant>,
) -> Found {
    let points = defect.map_or_else(String::new, |mutant| on(mutant.name));
    let (row, store) = match hunt {
        InRow(row, store, _) => (row, *store),
        Tests(filter) => return Found::Tested(tests_pass(filter, &points)),
    };
    let Some(row) = ROWS.iter().find(|known| known.id == *row) else {
        return Found::NotRun(format!("there is no row {row}"));
    };
    let missing = abilities.says_missing(&needs(row));
    if !missing.is_empty() {
        return Found::NotRun(missing);
    }
    let name = defect.map_or("none", |mutant| mutant.name);
    Found::Ran(bench.carry(row, store, Some((name, &points))).await)
}

/// What a row with a defect needs.
pub fn needs(row: &Row) -> Vec<Ability> {
    let mut needs = row.needs.to_vec();
    if !needs.contains(&Ability::Failpoints) {
        needs.push(Ability::Failpoints);
    }
    needs
}

fn tests_pass(filter: &str, points: &str) -> bool {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args([
            "test",
            "--quiet",
            "--locked",
            "--features",
            "failpoints",
            "--lib",
            filter,
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("FAILPOINTS", points)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}
