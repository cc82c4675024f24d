//! The fault bench: breaks one thing at a time under load, and judges from logs alone whether
//! everything answered 200 arrived, in order, without copies that could be avoided.
//!
//!     cargo test --test faults -- list
//!     cargo test --test faults -- run first --store sqlite --results results.md
//!     cargo test --test faults -- nemesis --minutes 5 --seed 1
//!     cargo test --test faults -- soak --minutes 30 --store sqlite
//!     cargo test --test faults -- check FOLDER
//!
//! Whether it would notice: `bash tests/faults/mutants.sh`.
//!
//! `bash tests/faults/run.sh` installs what is missing, builds, and runs it; `bash tests/soak.sh` does so for the soak.
// A piece that no row uses yet is not dead.
#![allow(clippy::unwrap_used, dead_code)]

mod abilities;
mod bench;
mod checker;
mod generator;
mod lab;
mod levels;
mod mutants;
mod nemesis;
mod proved;
mod random;
mod records;
mod report;
mod rows;
mod sink;
mod soak;

/// What the integration tests stand on. Named in this way so that its own rooms are found.
#[path = "../it"]
mod it {
    pub mod harness;
}
use it::harness;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand, ValueEnum};
use futures_util::StreamExt;

use abilities::{Abilities, Ability};
use bench::Bench;
use harness::Backend;
use lab::Outcome;
use report::{Report, Result as RowResult, Strict};

/// Break things under load and judge what came out.
#[derive(Parser)]
#[command(name = "faults", disable_version_flag = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show the rows: what breaks, on which stores, what they need.
    List,
    /// Run rows: ids (F-01), groups (F), `first` (the slice of every change) or `all`.
    Run(RunArguments),
    /// Build defects into the daemon and see that they are noticed.
    Mutants(mutants::Arguments),
    /// Pairs and triples of faults at once, for so many minutes on each store.
    Nemesis(TimedArguments),
    /// Half of what the machine carries for so many minutes, with mild faults: nothing may rise.
    Soak(SoakArguments),
    /// Judge the kept folder of a run again.
    Check {
        /// The folder.
        folder: PathBuf,
    },
}

#[derive(clap::Args)]
struct RunArguments {
    /// Rows, groups, `first` or `all`.
    #[arg(required = true)]
    rows: Vec<String>,
    /// Only on this store.
    #[arg(long)]
    store: Option<Store>,
    /// What chance starts from; the same seed makes the same load and the same moments.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Every cycle of a row; otherwise, with `first` or a row's name, a slice of them.
    #[arg(long)]
    whole: bool,
    /// Write a table in Markdown here.
    #[arg(long)]
    results: Option<PathBuf>,
    /// So many rows at once. What is measured in time wants one.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Keep the folders of the runs, good ones too; so does the variable HOOKWELL_TEST_KEEP.
    #[arg(long)]
    keep: bool,
    /// A row that cannot run here is a failure; with `=installed`, only where all that it lacks can be installed.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "all")]
    strict: Option<Strict>,
    /// With this defect in every daemon, such as M8; with `none`, the build that has them without one.
    #[arg(long)]
    mutant: Option<String>,
}

#[derive(clap::Args)]
struct SoakArguments {
    #[command(flatten)]
    timed: TimedArguments,
    /// Events a second; without, half of what is found to be carried.
    #[arg(long)]
    rate: Option<f64>,
}

/// Of what goes on for a time, not for cycles.
#[derive(clap::Args)]
struct TimedArguments {
    /// How long it goes on.
    #[arg(long)]
    minutes: f64,
    /// What chance starts from; the same seed makes the same load and the same faults.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only on this store.
    #[arg(long)]
    store: Option<Store>,
    /// Keep the folders of good runs too.
    #[arg(long)]
    keep: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Store {
    Sqlite,
    Postgres,
}

impl Store {
    fn is(self, backend: Backend) -> bool {
        match self {
            Self::Sqlite => backend == Backend::Sqlite,
            Self::Postgres => backend == Backend::Postgres,
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::List => list(),
        Command::Check { folder } => lab::check(&folder).map(|outcome| {
            println!("{}", outcome.line);
            outcome.passed
        }),
        Command::Run(arguments) => run(arguments).await,
        Command::Mutants(arguments) => tokio::select! {
            noticed = mutants::hunt(&arguments) => noticed,
            // Everything that was started ends with what is dropped here.
            () = interrupted() => Err("interrupted".to_owned()),
        },
        Command::Nemesis(arguments) => {
            let minutes = arguments.minutes;
            timed(arguments, async |bench, store| {
                bench.nemesis(store, minutes).await
            })
            .await
        }
        Command::Soak(SoakArguments {
            timed: arguments,
            rate,
        }) => {
            let minutes = arguments.minutes;
            timed(arguments, async |bench, store| {
                bench.soak(store, minutes, rate).await
            })
            .await
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(said) => {
            eprintln!("error: {said}");
            ExitCode::from(64)
        }
    }
}

fn list() -> Result<bool, String> {
    println!(
        "{:<20} {:<16} {:<16} {:<68} needs",
        "row", "stores", "first", "what breaks"
    );
    for row in rows::ROWS {
        let names = |stores: &[Backend]| {
            let names: Vec<_> = stores.iter().map(ToString::to_string).collect();
            names.join(" ")
        };
        let needs: Vec<_> = row.needs.iter().map(ToString::to_string).collect();
        println!(
            "{:<20} {:<16} {:<16} {:<68} {}",
            row.id,
            names(row.stores),
            names(row.first),
            row.title,
            needs.join(", ")
        );
    }
    Ok(true)
}

async fn run(arguments: RunArguments) -> Result<bool, String> {
    let rows =
        rows::chosen(&arguments.rows).map_err(|name| format!("no row is called '{name}'"))?;
    let whole = arguments.whole || arguments.rows.iter().any(|name| name == "all");
    let points = arguments
        .mutant
        .as_deref()
        .map(mutants::points)
        .transpose()?;
    let defect = arguments.mutant.as_deref().zip(points.as_deref());
    let abilities = Abilities::probe();
    println!("this machine: {abilities}");
    let bench = Bench::new(arguments.seed, whole)?;
    let mut report = Report::new(arguments.seed, whole, &abilities);
    let only = |store: &Backend| arguments.store.is_none_or(|wanted| wanted.is(*store));
    let keep = arguments.keep || std::env::var_os("HOOKWELL_TEST_KEEP").is_some();
    let (mut kept, mut was_interrupted) = (keep, false);
    let rows = rows.into_iter().filter(|(_, store)| only(store));
    let carry = async |(row, store)| {
        let needs = match defect {
            Some(_) => mutants::needs(row),
            None => row.needs.to_vec(),
        };
        let missing = abilities.missing(&needs);
        let began = Instant::now();
        let result = match missing.is_empty() {
            true => RowResult::Ran(bench.carry(row, store, defect).await),
            false => RowResult::NotRun(
                abilities.says_missing(&needs),
                missing.into_iter().all(Ability::can_be_installed),
            ),
        };
        (row, store, began.elapsed(), result)
    };
    let mut results = futures_util::stream::iter(rows)
        .map(carry)
        .buffer_unordered(arguments.jobs.max(1));
    // One for all of it: a signal that came together with a row's end would be lost with its future.
    let mut interrupted = std::pin::pin!(interrupted());
    loop {
        let next = tokio::select! {
            next = results.next() => next,
            // Everything that was started ends with what is dropped here.
            () = &mut interrupted => {
                was_interrupted = true;
                None
            }
        };
        let Some((row, store, took, result)) = next else {
            break;
        };
        match &result {
            RowResult::Ran(outcome) if !outcome.passed => kept = true,
            RowResult::Ran(_) if !keep => bench.forget(row, store),
            _ => (),
        }
        report.add(row, store, took, result);
    }
    drop(results);
    report.print_sum();
    if let Some(path) = &arguments.results {
        write(path, &report.markdown().await)?;
    }
    bench.end(kept);
    if was_interrupted {
        return Err("interrupted".to_owned());
    }
    Ok(report.passed(arguments.strict))
}

/// Runs what goes on for a time on each store.
async fn timed(
    arguments: TimedArguments,
    run: impl AsyncFn(&Bench, Backend) -> Outcome,
) -> Result<bool, String> {
    let bench = Bench::new(arguments.seed, false)?;
    let (mut passed, mut kept) = (true, arguments.keep);
    let only = |store: &Backend| arguments.store.is_none_or(|wanted| wanted.is(*store));
    let mut interrupted = std::pin::pin!(interrupted());
    for store in Backend::ALL.into_iter().filter(only) {
        let outcome = tokio::select! {
            outcome = run(&bench, store) => outcome,
            () = &mut interrupted => return Err("interrupted".to_owned()),
        };
        println!("{}", outcome.line);
        passed &= outcome.passed;
        kept |= !outcome.passed;
    }
    bench.end(kept);
    Ok(passed)
}

async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    tokio::select! {
        _ = tokio::signal::ctrl_c() => (),
        _ = terminate.recv() => (),
    }
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}
