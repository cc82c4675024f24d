//! The verdict lines of a bench as they come, its sum, and the table in Markdown.

use std::fmt::Write as _;
use std::time::Duration;

use crate::abilities::{Abilities, said};
use crate::checker::Counts;
use crate::harness::Backend;
use crate::lab::Outcome;
use crate::rows::{ROWS, Row};

/// What came of a row on a store.
pub enum Result {
    /// It was carried through, or broke.
    Ran(Outcome),
    /// It could not run here, with the reason, and whether that could be mended by installing something.
    NotRun(String, bool),
}

/// Which rows may not be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Strict {
    /// Those that lack only what can be installed; not those that lack a right or a device.
    Installed,
    /// None at all.
    All,
}

/// What came of all of them.
pub struct Report {
    head: String,
    lines: Vec<Line>,
}

struct Line {
    row: &'static str,
    title: &'static str,
    store: Backend,
    seconds: u64,
    result: Result,
}

impl Report {
    /// One without rows.
    pub fn new(seed: u64, whole: bool, abilities: &Abilities) -> Self {
        let cycles = if whole {
            "every cycle"
        } else {
            "a slice of the cycles"
        };
        Self {
            head: format!("Seed {seed}, {cycles}. This machine: {abilities}."),
            lines: Vec::new(),
        }
    }

    /// Prints the verdict of a row and keeps it.
    pub fn add(&mut self, row: &'static Row, store: Backend, took: Duration, result: Result) {
        match &result {
            Result::Ran(outcome) => println!("{} ({} s)", outcome.line, took.as_secs()),
            Result::NotRun(reason, _) => println!("{} {store} not run: {reason}", row.id),
        }
        self.lines.push(Line {
            row: row.id,
            title: row.title,
            store,
            seconds: took.as_secs(),
            result,
        });
    }

    fn count(&self, is: impl Fn(&Result) -> bool) -> usize {
        self.lines.iter().filter(|line| is(&line.result)).count()
    }

    fn failed(&self) -> usize {
        self.count(|result| matches!(result, Result::Ran(outcome) if !outcome.passed))
    }

    fn not_run(&self) -> usize {
        self.count(|result| matches!(result, Result::NotRun(..)))
    }

    /// Whether nothing failed, and what was not run may be left out.
    pub fn passed(&self, strict: Option<Strict>) -> bool {
        let left_out = match strict {
            None => 0,
            Some(Strict::Installed) => {
                self.count(|result| matches!(result, Result::NotRun(_, true)))
            }
            Some(Strict::All) => self.not_run(),
        };
        self.failed() == 0 && left_out == 0
    }

    fn sum(&self) -> String {
        let passed = |elsewhere: bool| {
            self.count(|result| {
                matches!(result, Result::Ran(outcome) if outcome.passed && outcome.elsewhere == elsewhere)
            })
        };
        let mut sum = format!(
            "{} passed, {} failed, {} not run",
            passed(false),
            self.failed(),
            self.not_run()
        );
        if 0 < passed(true) {
            write!(sum, ", {} proved by tests of their own", passed(true)).unwrap();
        }
        sum
    }

    /// The last line.
    pub fn print_sum(&self) {
        println!("{}", self.sum());
    }

    /// A table for people, with what it was measured on.
    pub async fn markdown(&self) -> String {
        let mut text = String::from("# Faults\n\n");
        writeln!(text, "{}: {}.\n\n{}\n", today(), self.sum(), self.head).unwrap();
        writeln!(text, "{}\n", versions().await).unwrap();
        text.push_str(
            "| Row | What breaks | Store | Verdict | Answered 200 | Rows | Arrived | Lost | Copies (allowed) | Out of order | Seconds |\n\
             |---|---|---|---|--:|--:|--:|--:|--:|--:|--:|\n",
        );
        // Of several that ran at once the fastest was there first.
        let place = |line: &&Line| ROWS.iter().position(|row| row.id == line.row);
        let mut lines: Vec<_> = self.lines.iter().collect();
        lines.sort_by_key(|line| (place(line), line.store == Backend::Postgres));
        for line in lines {
            let Line {
                row,
                title,
                store,
                seconds,
                result,
            } = line;
            let (word, counts) = match result {
                Result::Ran(outcome) => (outcome.word.clone(), outcome.counts.as_ref()),
                Result::NotRun(reason, _) => (format!("not run: {reason}"), None),
            };
            let figures = counts.map_or_else(
                || " | | | | | ".to_owned(),
                |counts| {
                    let Counts { acked, rows, seen, lost, duplicated, allowed, order_violations, .. } = counts;
                    format!("{acked} | {rows} | {seen} | {lost} | {duplicated} ({allowed}) | {order_violations}")
                },
            );
            writeln!(
                text,
                "| {row} | {title} | {store} | {word} | {figures} | {seconds} |"
            )
            .unwrap();
        }
        text
    }
}

/// The date.
pub fn today() -> String {
    said("date", &["-u", "+%Y-%m-%d"]).unwrap_or_default()
}

/// What it runs on.
pub async fn versions() -> String {
    let services = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/services.sh");
    let postgres = ". \"$1\" && \"$(postgres_bin)/postgres\" --version";
    let postgres = said("bash", &["-c", postgres, "bash", services]);
    let rabbit = said("dpkg-query", &["-W", "-f", "${Version}", "rabbitmq-server"]);
    let unknown = || "?".to_owned();
    format!(
        "Linux {}, {} processors; {}, RabbitMQ {}, SQLite {}; {}.",
        said("uname", &["-r"]).unwrap_or_else(unknown),
        std::thread::available_parallelism().map_or(0, usize::from),
        postgres.unwrap_or_else(unknown),
        rabbit.unwrap_or_else(unknown),
        sqlite_version().await.unwrap_or_else(unknown),
        said("rustc", &["--version"]).unwrap_or_else(unknown),
    )
}

async fn sqlite_version() -> Option<String> {
    use sqlx::Connection;
    let mut connection = sqlx::SqliteConnection::connect("sqlite::memory:")
        .await
        .ok()?;
    let version = sqlx::query_scalar("select sqlite_version()");
    version.fetch_one(&mut connection).await.ok()
}
