//! `hookwell quarantine`: lists and shows requests that were refused, and admits those that are right after all.

use std::io::Write;

use clap::Subcommand;
use serde_json::{Value, json};

use super::{ConfigArgs, Failure, Outcome, table};
use crate::app;
use crate::clock::rfc3339;
use crate::operator::Admission;
use crate::store::{Appended, Quarantined, Store};

/// Requests that were refused
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List refused requests, newest first
    #[command(after_help = "Example:\n  hookwell quarantine list --config hookwell.toml")]
    List {
        #[command(flatten)]
        config: ConfigArgs,
        /// At most so many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=10_000))]
        limit: i64,
        /// Print an object a line
        #[arg(long)]
        json: bool,
    },
    /// Show one refused request with its body
    #[command(after_help = "Example:\n  hookwell quarantine show 3 --config hookwell.toml")]
    Show {
        /// Its number
        id: i64,
        #[command(flatten)]
        config: ConfigArgs,
        /// Print the body alone, byte for byte
        #[arg(long)]
        body: bool,
    },
    /// Judge refused requests again by the configuration of now, and append what is good to the log
    #[command(after_help = "Examples:
  hookwell quarantine admit 3 --config hookwell.toml
  hookwell quarantine admit --all --config hookwell.toml

After mending a wrong key or adding an app. What still does not verify stays where it is: nothing unverified ever enters the log.")]
    Admit {
        /// Its number
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        id: Option<i64>,
        /// Every one
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        config: ConfigArgs,
    },
}

pub(super) async fn run(args: Args) -> Outcome {
    match args.command {
        Command::List {
            config,
            limit,
            json,
        } => {
            let config = config.load()?;
            let entries = app::open_store_beside(&config.store)
                .await?
                .quarantined(limit)
                .await?;
            let rows: Vec<_> = entries.iter().map(row).collect();
            let names = [
                "id",
                "reason",
                "path",
                "first_seen_at",
                "last_seen_at",
                "attempts",
            ];
            Ok(table::print(json, &names, &rows)?)
        }
        Command::Show { id, config, body } => {
            let config = config.load()?;
            let entry = one(app::open_store_beside(&config.store).await?.as_ref(), id).await?;
            let mut out = std::io::stdout().lock();
            if body {
                out.write_all(&entry.body)?;
                return Ok(());
            }
            let fields = [
                ("reason", json!(entry.reason)),
                ("path", json!(entry.path)),
                ("signature", json!(entry.signature)),
                ("first_seen_at", json!(rfc3339(entry.first_seen_at))),
                ("last_seen_at", json!(rfc3339(entry.last_seen_at))),
                ("attempts", json!(entry.attempts)),
                ("body_bytes", json!(entry.body.len())),
            ];
            table::fields(&mut out, &fields)?;
            let text = String::from_utf8_lossy(&entry.body);
            let lines: Vec<_> = text.lines().map(table::printable).collect();
            writeln!(out, "\n{}", lines.join("\n"))?;
            Ok(())
        }
        Command::Admit { id, config, .. } => {
            let config = config.load()?;
            let store = app::open_store_beside(&config.store).await?;
            let operator = super::operator(store);
            let (mut stay, mut missing) = (0, false);
            let told = |id, admission| {
                let said = match admission {
                    Some(Admission::Admitted(Appended::Duplicate)) => {
                        "was in the log already".to_owned()
                    }
                    Some(Admission::Admitted(
                        Appended::New(position) | Appended::Altered(position, _),
                    )) => format!("is in the log at position {position}"),
                    Some(Admission::Stays(why)) => {
                        stay += 1;
                        format!("stays in quarantine: {why}")
                    }
                    None => {
                        missing = true;
                        return;
                    }
                };
                // Nobody may be reading any more; the rest is admitted all the same.
                let _ = writeln!(std::io::stdout(), "{id}  {said}");
            };
            operator
                .admit_each(&config.verifier, &config.apps, id, u64::MAX, told)
                .await?;
            if let (Some(id), true) = (id, missing) {
                return Err(no_entry(id));
            }
            match stay {
                0 => Ok(()),
                n => Err(Failure::saying(
                    Failure::PARTLY,
                    format!("{n} not admitted"),
                )),
            }
        }
    }
}

fn row(entry: &Quarantined) -> Vec<Value> {
    vec![
        json!(entry.id),
        json!(entry.reason),
        json!(entry.path),
        json!(rfc3339(entry.first_seen_at)),
        json!(rfc3339(entry.last_seen_at)),
        json!(entry.attempts),
    ]
}

async fn one(store: &dyn Store, id: i64) -> Result<Quarantined, Failure> {
    store.quarantined_one(id).await?.ok_or_else(|| no_entry(id))
}

fn no_entry(id: i64) -> Failure {
    Failure::saying(
        Failure::NO_INPUT,
        format!("there is no entry {id} in quarantine; see `hookwell quarantine list`"),
    )
}
