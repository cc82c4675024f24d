//! `hookwell restored`: what has to be done once after a restore from an older copy.

use std::io::Write;

use serde_json::json;

use super::consent::consent;
use super::{ConfigArgs, Failure, Outcome, table};
use crate::app;
use crate::clock::{self, rfc3339};
use crate::event::Position;
use crate::operator::action;
use crate::store::Restored;

/// More events than came since a copy, unless somebody knows better.
const MORE: i64 = 1_000_000;

/// Say that the store was restored from an older copy
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hookwell restored --config hookwell.toml
  hookwell restored --config hookwell.toml --head 2500000 --yes

Positions after the copy's end were given to events that are lost now, and would be given to others: consumers that compare hookwell-position, or remember the keys of answers, would take those for old. With this the log goes on behind a place that was never given out, and what changed since the copy is read from the API however short the time was, since GHL was told 200 and does not come again.

A store that never had an event is refused unless --head is given: it is hardly the copy that was meant.

First let one daemon publish what the copy still has (`hookwell status`: pending 0), and stop it: no daemon may run. deploy/OPERATIONS.md, \"Restore\", has the whole way.")]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// A position that no consumer has seen yet, nor one behind it; a million behind the copy's newest if not given
    #[arg(long, value_name = "POSITION", value_parser = clap::value_parser!(i64).range(1..))]
    head: Option<i64>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args) -> Outcome {
    let config = args.config.load()?;
    // On SQLite this keeps daemons out. On Postgres it notices one that relays; one without RabbitMQ still takes webhooks.
    let store = app::open_store(&config.store).await?.0;
    let Some(reader) = store.relay_reader().await? else {
        return Err(Failure::saying(
            Failure::UNAVAILABLE,
            "a daemon runs with this store; stop every one of them first",
        ));
    };
    let from = store.ledger().await?.head;
    if from == Position(0) && args.head.is_none() {
        return Err(Failure::saying(
            Failure::NO_INPUT,
            "this store never had an event, as no copy of a log that was in use: check that store.url is the restored one, \
             or give --head where the copy was made before the first event",
        ));
    }
    let head = args.head.map_or(Position(from.0 + MORE), Position);
    consent(
        args.yes,
        &format!("The newest event of this store is at {from}. Go on at {head}?"),
    )?;
    let now = clock::system()();
    let (from, since) = match store.restored(head, now).await? {
        Restored::Raised { from, since } => (from, since),
        Restored::Waits(events) => {
            return Err(Failure::saying(
                Failure::PARTLY,
                format!(
                    "{events} events of the copy are still to be published or planned; let a daemon do that first, without webhooks"
                ),
            ));
        }
        Restored::Beyond(head) => {
            return Err(Failure::saying(
                Failure::USAGE,
                format!("the newest event is at {head} already; --head must not be before that"),
            ));
        }
    };
    drop(reader);
    let subject = format!("{from} to {head}");
    super::operator(store)
        .note(action::RESTORED, &subject, 1)
        .await;
    let since = since.map(rfc3339);
    let mut out = std::io::stdout().lock();
    if args.json {
        let done = json!({"from": from.0, "head": head.0, "lacks_since": since});
        return Ok(writeln!(out, "{}", table::line(&done))?);
    }
    writeln!(out, "The next event is at {}.", head.0 + 1)?;
    if let Some(since) = since {
        let way = match (config.calls.is_some(), config.repair.automatic) {
            (true, true) => "what changed since is asked for once a daemon runs",
            _ => "nothing reads what changed since by itself, see `hookwell status`",
        };
        writeln!(out, "The copy ends about {since}; {way}.")?;
    }
    Ok(())
}
