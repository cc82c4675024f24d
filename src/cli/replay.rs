//! `hookwell replay`: publishes events again that were published before.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::consent::consent;
use super::progress;
use super::when::between;
use super::{ConfigArgs, Failure, Outcome, events, table};
use crate::app;
use crate::clock::{self, rfc3339};
use crate::config::Config;
use crate::event::Position;
use crate::operator::Matched;
use crate::store::{EventRange, EventState, Replay, Store};

/// How often it is looked how far the relay is.
const LOOK: Duration = Duration::from_millis(250);
/// Without progress for so long it is said what may be the matter.
const PATIENCE: Duration = Duration::from_secs(10);

/// Publish events again that were published before
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  hookwell replay 17 --config hookwell.toml
  hookwell replay --config hookwell.toml --tenant ve9EPM428h8vShlRW1KT --since 2h --dry-run
  hookwell replay --config hookwell.toml --type ContactCreate --since 2026-11-24T08:00:00Z --until 2026-11-24T12:00:00Z --rate 200 --yes

The running daemon does it, beside the traffic of now, in the order of the log. Message and message_id are the same as before, only the header hookwell-origin says `replay`: a consumer that remembers what it has seen needs to look at it. What still waits, is held or is a dead letter is not taken. Ending this command ends nothing else; `hookwell replay cancel` does."
)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List replays, newest first
    #[command(after_help = "Example:\n  hookwell replay list --config hookwell.toml")]
    List {
        #[command(flatten)]
        config: ConfigArgs,
        /// At most so many
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(i64).range(1..=10_000))]
        limit: i64,
        /// Print an object a line
        #[arg(long)]
        json: bool,
    },
    /// Show one replay and how far it is
    #[command(after_help = "Example:\n  hookwell replay show 3 --config hookwell.toml")]
    Show {
        /// Its number
        id: i64,
        #[command(flatten)]
        config: ConfigArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// End a replay that is running; what is out is out
    #[command(after_help = "Example:\n  hookwell replay cancel 3 --config hookwell.toml")]
    Cancel {
        /// Its number
        id: i64,
        #[command(flatten)]
        config: ConfigArgs,
    },
}

#[derive(Debug, clap::Args)]
struct Ask {
    /// One event: its position or its event key
    #[arg(conflicts_with_all = ["event_type", "tenant", "since", "until"])]
    event: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
    /// Only this type
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Only this location or company
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// Received since: a moment such as 2026-11-24T08:00:00Z, or a time before now such as 2h
    #[arg(long, value_name = "WHEN", required_unless_present = "event")]
    since: Option<String>,
    /// Received until then; now if not given
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// Events a second
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=10_000))]
    rate: i64,
    /// Only count them
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Do not wait for its end
    #[arg(long)]
    no_wait: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args) -> Outcome {
    match args.command {
        None => ask(args.ask).await,
        Some(Command::List {
            config,
            limit,
            json,
        }) => {
            let replays = open(&config.load()?).await?.replays(limit).await?;
            let rows: Vec<_> = replays.iter().map(row).collect();
            Ok(table::print(json, &NAMES, &rows)?)
        }
        Some(Command::Show { id, config, json }) => {
            let replay = one(open(&config.load()?).await?.as_ref(), id).await?;
            let fields = NAMES.into_iter().zip(row(&replay)).collect();
            Ok(table::one(json, fields)?)
        }
        Some(Command::Cancel { id, config }) => {
            let store = open(&config.load()?).await?;
            let replay = one(store.as_ref(), id).await?;
            if !super::operator(store).cancel_replay(id).await? {
                return Err(Failure::saying(
                    Failure::PARTLY,
                    format!("replay {id} is over already: {}", replay.state),
                ));
            }
            Ok(writeln!(
                std::io::stdout(),
                "replay {id} is cancelled; at most what the relay has in hand still goes out"
            )?)
        }
    }
}

async fn open(config: &Config) -> Result<Arc<dyn Store>, Failure> {
    Ok(app::open_store_beside(&config.store).await?)
}

async fn one(store: &dyn Store, id: i64) -> Result<Replay, Failure> {
    store.replay(id).await?.ok_or_else(|| {
        Failure::saying(
            Failure::NO_INPUT,
            format!("there is no replay {id}; see `hookwell replay list`"),
        )
    })
}

async fn ask(ask: Ask) -> Outcome {
    let config = ask.config.load()?;
    let store = open(&config).await?;
    let filter = match &ask.event {
        Some(event) => alone(store.as_ref(), event).await?,
        None => range(store.as_ref(), &ask).await?,
    };
    let operator = super::operator(Arc::clone(&store));
    let from = filter.after.0;
    let bar = progress::bar(filter.upto.0 - from, ask.json);
    let counted = operator.count_replay(&filter, usize::MAX, |at| {
        progress::move_to(&bar, at.0 - from);
    });
    let matched = counted.await?;
    bar.finish_and_clear();
    let events = matched.events();
    if ask.dry_run {
        return Ok(tell_counts(&matched, ask.json)?);
    }
    if events == 0 {
        return Err(Failure::saying(
            Failure::NO_INPUT,
            "no published event is like that; `hookwell events list` takes the same filters"
                .to_owned(),
        ));
    }
    if ask.event.is_none() {
        if !ask.yes && !ask.json {
            tell_counts(&matched, false)?;
        }
        let took = Duration::from_secs(u64::try_from(events / ask.rate).unwrap_or(0));
        consent(
            ask.yes,
            &format!(
                "Publish {events} events again, {} a second, which takes {}?",
                ask.rate,
                humantime::format_duration(took.max(Duration::from_secs(1)))
            ),
        )?;
    }
    let id = operator.replay(&filter, ask.rate, events).await?;
    if ask.no_wait {
        let mut out = std::io::stdout();
        if ask.json {
            writeln!(
                out,
                "{}",
                table::line(&json!({"id": id, "matched": events}))
            )?;
        } else {
            let hint = format!("`hookwell replay show {id}` shows how far it is");
            writeln!(out, "replay {id} is asked for; {hint}")?;
        }
        return Ok(());
    }
    follow(store.as_ref(), id, ask.json).await
}

/// The range of one event, which must have been published.
async fn alone(store: &dyn Store, event: &str) -> Result<EventRange, Failure> {
    let recorded = events::find(store, event).await?;
    let position = recorded.position;
    let state = events::state_at(store, position).await?;
    if state != Some(EventState::Published) {
        let (state, way) = match state {
            Some(EventState::Parked) => (
                "a dead letter",
                format!("`hookwell dead-letters retry {position}` publishes it"),
            ),
            Some(EventState::Retry) => (
                "a dead letter that is being published again",
                "`hookwell status` shows when it is out".to_owned(),
            ),
            Some(EventState::Held) => ("held", "`hookwell held` says why".to_owned()),
            _ => ("still to be published", "it goes out by itself".to_owned()),
        };
        return Err(Failure::saying(
            Failure::NO_INPUT,
            format!("the event at position {position} is {state}; {way}"),
        ));
    }
    Ok(EventRange {
        after: Position(position.0 - 1),
        upto: position,
        ..EventRange::default()
    })
}

/// What was received in a time, of what is published.
async fn range(store: &dyn Store, ask: &Ask) -> Result<EventRange, Failure> {
    let now = clock::system()();
    let (since, until) = between(ask.since.as_deref(), ask.until.as_deref(), now)?;
    if let (Some(since), Some(until)) = (since, until)
        && until <= since
    {
        return Err(Failure::saying(
            Failure::USAGE,
            "--until is not after --since".to_owned(),
        ));
    }
    let whole = EventRange {
        event_type: ask.event_type.clone(),
        tenant: ask.tenant.clone(),
        upto: store.replayable_upto().await?,
        ..EventRange::default()
    };
    Ok(whole.received(store, since, until).await?)
}

fn tell_counts(matched: &Matched, as_json: bool) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if as_json {
        let counted = json!({"matched": matched.events(), "types": matched.types});
        return writeln!(out, "{}", table::line(&counted));
    }
    for (event_type, events) in &matched.types {
        writeln!(out, "{events:>10}  {}", table::printable(event_type))?;
    }
    writeln!(out, "{:>10}  in all", matched.events())
}

/// Shows how far the relay is until the replay is over.
async fn follow(store: &dyn Store, id: i64, as_json: bool) -> Outcome {
    let bar = progress::bar(0_u64, as_json);
    let (mut moved_at, mut last, mut told) = (Instant::now(), None, false);
    let replay = loop {
        let replay = one(store, id).await?;
        let done = (replay.published, replay.failed, replay.position);
        bar.set_length(u64::try_from(replay.matched).unwrap_or(0));
        bar.set_position(u64::try_from(replay.published + replay.failed).unwrap_or(0));
        bar.set_message(replay.detail.clone().unwrap_or_default());
        if !replay.is_running() {
            break replay;
        }
        if last.replace(done) != Some(done) {
            moved_at = Instant::now();
        } else if !told && PATIENCE <= moved_at.elapsed() {
            told = true;
            let why = replay.detail.as_deref();
            let why = why.unwrap_or("is a daemon running with this store, and RabbitMQ there?");
            bar.suspend(|| eprintln!("nothing for {} s; {why}", PATIENCE.as_secs()));
        }
        sleep(LOOK).await;
    };
    bar.finish_and_clear();
    let mut out = std::io::stdout().lock();
    if as_json {
        drop(out);
        let fields = NAMES.into_iter().zip(row(&replay)).collect();
        table::one(true, fields)?;
    } else {
        writeln!(
            out,
            "replay {id} is {}: {} of {} published again",
            replay.state, replay.published, replay.matched
        )?;
    }
    if 0 < replay.failed {
        return Err(Failure::saying(
            Failure::PARTLY,
            format!(
                "RabbitMQ did not take {} of them: {}",
                replay.failed,
                replay.detail.unwrap_or_default()
            ),
        ));
    }
    match (replay.state.as_str(), replay.left()) {
        ("done", 0) => Ok(()),
        ("done", left) => Err(Failure::saying(
            Failure::PARTLY,
            format!("{left} of them were removed by retention meanwhile"),
        )),
        (state, _) => Err(Failure::saying(
            Failure::PARTLY,
            format!("it was {state} before its end"),
        )),
    }
}

const NAMES: [&str; 13] = [
    "id",
    "state",
    "type",
    "tenant",
    "after",
    "upto",
    "rate",
    "matched",
    "published",
    "failed",
    "who",
    "asked_at",
    "detail",
];

fn row(replay: &Replay) -> Vec<Value> {
    vec![
        json!(replay.id),
        json!(replay.state),
        json!(replay.filter.event_type),
        json!(replay.filter.tenant),
        json!(replay.filter.after.0),
        json!(replay.filter.upto.0),
        json!(replay.rate),
        json!(replay.matched),
        json!(replay.published),
        json!(replay.failed),
        json!(replay.who),
        json!(rfc3339(replay.asked_at)),
        json!(replay.detail),
    ]
}
