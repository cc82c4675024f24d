//! `hookwell dead-letters`: lists, shows, retries and gives up on events that could not be published.

use std::io::Write;
use std::sync::Arc;

use clap::Subcommand;
use serde_json::{Value, json};

use super::consent::consent;
use super::{ConfigArgs, Failure, Outcome, table};
use crate::app;
use crate::clock::rfc3339;
use crate::event::Position;
use crate::store::{DeadLetter, Selection, Store};

/// Events that could not be published
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List dead letters, oldest first
    #[command(after_help = "Example:\n  hookwell dead-letters list --config hookwell.toml")]
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
    /// Show one dead letter with the reason in full
    #[command(after_help = "Example:
  hookwell dead-letters show 17 --config hookwell.toml

`hookwell events show 17` shows the event itself with its body.")]
    Show {
        /// Its position
        position: i64,
        #[command(flatten)]
        config: ConfigArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Ask the relay to publish dead letters again
    #[command(after_help = "Examples:
  hookwell dead-letters retry 17 --config hookwell.toml
  hookwell dead-letters retry --all --config hookwell.toml

The running daemon takes them within seconds, with the same message_id, after events that came later.")]
    Retry {
        /// Its position
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        position: Option<i64>,
        /// Every parked one
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Give up on dead letters: they go, with their events
    #[command(after_help = "Examples:
  hookwell dead-letters discard 17 --config hookwell.toml
  hookwell dead-letters discard --all --yes --config hookwell.toml

For what nobody wants any more. The ledger counts them as discarded. `hookwell events show 17 --body` keeps a copy first.")]
    Discard {
        /// Its position
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        position: Option<i64>,
        /// Every parked one
        #[arg(long)]
        all: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
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
            let letters = app::open_store_beside(&config.store)
                .await?
                .dead_letters(limit)
                .await?;
            let rows: Vec<_> = letters.iter().map(row).collect();
            Ok(table::print(json, &NAMES, &rows)?)
        }
        Command::Show {
            position,
            config,
            json,
        } => {
            let config = config.load()?;
            let store = app::open_store_beside(&config.store).await?;
            let Some(letter) = store.dead_letter(Position(position)).await? else {
                return Err(absent(position));
            };
            let fields = NAMES.into_iter().zip(row(&letter)).collect();
            Ok(table::one(json, fields)?)
        }
        Command::Retry {
            position,
            all: _,
            config,
        } => {
            let config = config.load()?;
            let store = app::open_store_beside(&config.store).await?;
            let selection = Selection::of(position);
            let count = super::operator(store).retry_dead_letters(selection).await?;
            match (count, position) {
                (0, Some(position)) => Err(absent(position)),
                (0, None) => Ok(writeln!(
                    std::io::stdout(),
                    "There is no parked dead letter."
                )?),
                (count, _) => Ok(writeln!(
                    std::io::stdout(),
                    "{count} handed to the relay; `hookwell status` shows when they are out."
                )?),
            }
        }
        Command::Discard {
            position,
            all: _,
            yes,
            config,
        } => {
            let config = config.load()?;
            let store = app::open_store_beside(&config.store).await?;
            discard(store, position, yes).await
        }
    }
}

async fn discard(store: Arc<dyn Store>, position: Option<i64>, yes: bool) -> Outcome {
    let mut out = std::io::stdout();
    let question = match position {
        Some(position) => {
            let letter = store.dead_letter(Position(position)).await?;
            let letter = letter.filter(DeadLetter::is_parked);
            let letter = letter.ok_or_else(|| absent(position))?;
            let named = [
                letter.event_type.as_str(),
                letter.event_key.as_str(),
                letter.reason.as_str(),
            ];
            let [event_type, key, reason] = named.map(table::printable);
            format!(
                "Remove the {event_type} {key} at position {position}, parked as {reason}, for ever?"
            )
        }
        None => {
            let ledger = store.ledger().await?;
            match ledger.parked - ledger.retry {
                0 => return Ok(writeln!(out, "There is no parked dead letter.")?),
                count => format!("Remove {count} dead letters with their events for ever?"),
            }
        }
    };
    consent(yes, &question)?;
    let erased = super::operator(store)
        .discard_dead_letters(Selection::of(position))
        .await?;
    writeln!(out, "{} discarded", erased.events)?;
    match erased.left {
        0 => Ok(()),
        left => Err(Failure::saying(
            Failure::PARTLY,
            format!(
                "{left} stay: an API call for them is being made, or the planner has not read so far; run this again"
            ),
        )),
    }
}

const NAMES: [&str; 8] = [
    "position",
    "state",
    "reason",
    "type",
    "event_key",
    "parked_at",
    "retries",
    "detail",
];

fn row(letter: &DeadLetter) -> Vec<Value> {
    vec![
        json!(letter.position.0),
        json!(letter.state),
        json!(letter.reason),
        json!(letter.event_type),
        json!(letter.event_key),
        json!(rfc3339(letter.parked_at)),
        json!(letter.retries),
        json!(letter.detail),
    ]
}

fn absent(position: i64) -> Failure {
    Failure::saying(
        Failure::NO_INPUT,
        format!(
            "there is no parked dead letter at position {position}; see `hookwell dead-letters list`"
        ),
    )
}
