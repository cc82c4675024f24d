//! `hookwell events`: lists, shows and exports what is in the log, and the types that are known.

use std::io::{IsTerminal, Write};

use base64::prelude::{BASE64_STANDARD, Engine};
use clap::Subcommand;
use serde_json::{Value, json};

use super::progress;
use super::when::between;
use super::{ConfigArgs, Failure, Outcome, table};
use crate::app;
use crate::clock::{self, rfc3339};
use crate::event::{Position, Recorded, catalogue};
use crate::routing::key_of_event;
use crate::store::{EventFilter, EventRange, EventState, Listed, Store};

/// As little is looked at in one go as is worth asking for.
const LEAST_LOOK: i64 = 300;

/// Look into the log
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List events, newest first
    #[command(after_help = "Examples:
  hookwell events list --config hookwell.toml --type ContactCreate --limit 5
  hookwell events list --config hookwell.toml --tenant ve9EPM428h8vShlRW1KT --json
  hookwell events list --config hookwell.toml --since 2h --state pending
  hookwell events list --config hookwell.toml --text ada@example.com

There is no index for this, so a rare thing in a long log takes a while; --since bounds it.")]
    List {
        #[command(flatten)]
        config: ConfigArgs,
        /// Only this type
        #[arg(long = "type", value_name = "TYPE")]
        event_type: Option<String>,
        /// Only this location or company
        #[arg(long, value_name = "ID")]
        tenant: Option<String>,
        /// Only in this state
        #[arg(long, value_parser = ["pending", "held", "parked", "retry", "published"])]
        state: Option<String>,
        /// Only with this text in the body, as it is there byte for byte
        #[arg(long, value_name = "TEXT")]
        text: Option<String>,
        /// Only received since: a moment such as 2026-11-24T08:00:00Z, or a time before now such as 2h
        #[arg(long, value_name = "WHEN")]
        since: Option<String>,
        /// Only received until then
        #[arg(long, value_name = "WHEN")]
        until: Option<String>,
        /// Only events before this position (to page on)
        #[arg(long, value_name = "POSITION")]
        before: Option<i64>,
        /// At most so many
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(i64).range(1..=10_000))]
        limit: i64,
        /// Print an object a line
        #[arg(long)]
        json: bool,
    },
    /// Show one event with its body
    #[command(after_help = "Examples:
  hookwell events show 17 --config hookwell.toml
  hookwell events show 3f0e6f5c-8a3e-4f4e-9a6e-0c1a0d3b2f11 --config hookwell.toml
  hookwell events show 17 --config hookwell.toml --body > body.json    # the very bytes")]
    Show {
        /// Its position or its event key
        event: String,
        #[command(flatten)]
        config: ConfigArgs,
        /// Print the body alone, byte for byte
        #[arg(long, conflicts_with = "json")]
        body: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print events with their bodies, oldest first, a JSON object a line
    #[command(after_help = "Examples:
  hookwell events export --config hookwell.toml --since 7days --until 1day > events.jsonl
  hookwell events export --config hookwell.toml --tenant ve9EPM428h8vShlRW1KT --type ContactCreate

The field body is the body as text, byte for byte; where it is not UTF-8, body_base64 is there instead.")]
    Export {
        #[command(flatten)]
        config: ConfigArgs,
        /// Only this type
        #[arg(long = "type", value_name = "TYPE")]
        event_type: Option<String>,
        /// Only this location or company
        #[arg(long, value_name = "ID")]
        tenant: Option<String>,
        /// Only received since: a moment such as 2026-11-24T08:00:00Z, or a time before now such as 2h
        #[arg(long, value_name = "WHEN")]
        since: Option<String>,
        /// Only received until then
        #[arg(long, value_name = "WHEN")]
        until: Option<String>,
    },
    /// Print the table of known types with their routing keys
    #[command(after_help = "Example:\n  hookwell events types")]
    Types,
}

pub(super) async fn run(args: Args) -> Outcome {
    match args.command {
        Command::List {
            config,
            event_type,
            tenant,
            state,
            text,
            since,
            until,
            before,
            limit,
            json,
        } => {
            let config = config.load()?;
            let now = clock::system()();
            let (since, until) = between(since.as_deref(), until.as_deref(), now)?;
            let store = app::open_store_beside(&config.store).await?;
            let filter = EventFilter {
                event_type,
                tenant,
                state: state.as_deref().and_then(EventState::parse),
                text,
                before: before.map(Position),
                limit,
                ..EventFilter::default()
            };
            let filter = filter.received(store.as_ref(), since, until).await?;
            let rows: Vec<_> = all_pages(store.as_ref(), filter)
                .await?
                .iter()
                .map(row)
                .collect();
            let names = [
                "position",
                "received_at",
                "type",
                "tenant",
                "entity_id",
                "origin",
                "state",
                "event_key",
                "body_bytes",
            ];
            Ok(table::print(json, &names, &rows)?)
        }
        Command::Show {
            event,
            config,
            body,
            json,
        } => {
            let config = config.load()?;
            let store = app::open_store_beside(&config.store).await?;
            let found = find(store.as_ref(), &event).await?;
            show(&found, body, json)
        }
        Command::Export {
            config,
            event_type,
            tenant,
            since,
            until,
        } => {
            let config = config.load()?;
            let now = clock::system()();
            let (since, until) = between(since.as_deref(), until.as_deref(), now)?;
            let store = app::open_store_beside(&config.store).await?;
            let whole = EventRange {
                event_type,
                tenant,
                upto: store.ledger().await?.head,
                ..EventRange::default()
            };
            let range = whole.received(store.as_ref(), since, until).await?;
            export(store.as_ref(), range).await
        }
        Command::Types => Ok(std::io::stdout().write_all(catalogue::markdown_table().as_bytes())?),
    }
}

/// Pages until there are as many as asked for, or the log ends. A store that is busy, or reads what it had not read for
/// days, is asked for less at a time.
async fn all_pages(store: &dyn Store, mut filter: EventFilter) -> Result<Vec<Listed>, Failure> {
    let mut rows = Vec::new();
    loop {
        let page = match store.events(&filter).await {
            Err(error) if error.is_deadline() && LEAST_LOOK < filter.look => {
                filter.look = LEAST_LOOK.max(filter.look / 4);
                continue;
            }
            page => page?,
        };
        filter.limit -= i64::try_from(page.rows.len()).unwrap_or(i64::MAX);
        rows.extend(page.rows);
        match page.next {
            Some(next) if 0 < filter.limit => filter.before = Some(next),
            _ => return Ok(rows),
        }
    }
}

fn row(event: &Listed) -> Vec<Value> {
    vec![
        json!(event.position.0),
        json!(rfc3339(event.received_at)),
        json!(event.event_type),
        json!(event.tenant.id()),
        json!(event.entity_id),
        json!(event.origin.as_str()),
        json!(event.state.as_str()),
        json!(event.key.as_str()),
        json!(event.body_bytes),
    ]
}

/// Prints a range; in memory is one part of it at a time.
async fn export(store: &dyn Store, mut range: EventRange) -> Outcome {
    const AT_ONCE: (i64, i64) = (500, 8 << 20);
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let bar = progress::bar(
        range.upto.0 - range.after.0,
        std::io::stdout().is_terminal(),
    );
    while range.after < range.upto {
        let (events, upto) = store.read_range(&range, AT_ONCE.0, AT_ONCE.1).await?;
        for recorded in &events {
            writeln!(out, "{}", table::line(&exported(recorded)))?;
        }
        bar.inc(u64::try_from(upto.0 - range.after.0).unwrap_or(0));
        range.after = upto;
    }
    bar.finish_and_clear();
    Ok(out.flush()?)
}

fn exported(recorded: &Recorded) -> Value {
    let event = &recorded.event;
    let mut object = json!({
        "position": recorded.position.0, "event_key": event.key.as_str(), "type": event.event_type, "app_id": event.app_id,
        "company_id": event.tenant.company_id, "location_id": event.tenant.location_id, "entity_id": event.entity_id,
        "origin": event.origin.as_str(), "received_at": rfc3339(event.received_at), "signature": event.signature,
    });
    match std::str::from_utf8(&event.body) {
        Ok(body) => object["body"] = json!(body),
        Err(_) => object["body_base64"] = json!(BASE64_STANDARD.encode(&event.body)),
    }
    object
}

/// One event by its position or its key.
pub(super) async fn find(store: &dyn Store, event: &str) -> Result<Recorded, Failure> {
    let positions = match event.parse() {
        Ok(position) => vec![Position(position)],
        Err(_) => store.positions_of(event).await?,
    };
    match positions.as_slice() {
        [] => Err(Failure::saying(
            Failure::NO_INPUT,
            format!("no event {event} is known; `hookwell events list` shows the newest"),
        )),
        [position] => store.event_at(*position).await?.ok_or_else(|| {
            Failure::saying(
                Failure::NO_INPUT,
                format!("there is no event at position {position}: it never was, or retention has removed it"),
            )
        }),
        several => {
            let list: Vec<_> = several.iter().map(ToString::to_string).collect();
            Err(Failure::saying(
                Failure::NO_INPUT,
                format!("{event} is the key of several apps' events; show one by position: {}", list.join(", ")),
            ))
        }
    }
}

/// Where an event stands; none where it is not there.
pub(super) async fn state_at(
    store: &dyn Store,
    position: Position,
) -> Result<Option<EventState>, Failure> {
    let page = store.events(&EventFilter::alone(position)).await?;
    Ok(page.rows.first().map(|row| row.state))
}

fn show(recorded: &Recorded, body_alone: bool, as_json: bool) -> Outcome {
    let event = &recorded.event;
    let mut out = std::io::stdout().lock();
    if body_alone {
        out.write_all(&event.body)?;
        return Ok(());
    }
    let body = String::from_utf8_lossy(&event.body);
    let fields = [
        ("position", json!(recorded.position.0)),
        ("event_key", json!(event.key.as_str())),
        ("type", json!(event.event_type)),
        ("routing_key", json!(key_of_event(event))),
        ("app_id", json!(event.app_id)),
        ("company_id", json!(event.tenant.company_id)),
        ("location_id", json!(event.tenant.location_id)),
        ("entity_id", json!(event.entity_id)),
        ("origin", json!(event.origin.as_str())),
        ("received_at", json!(rfc3339(event.received_at))),
        ("body_sha256", json!(event.body_hash.to_string())),
        ("body_bytes", json!(event.body.len())),
    ];
    if as_json {
        let mut object: serde_json::Map<_, _> = fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        object.insert("body".to_owned(), json!(body));
        writeln!(out, "{}", table::line(&Value::Object(object)))?;
        return Ok(());
    }
    table::fields(&mut out, &fields)?;
    // Pretty where it is JSON; in any case nothing that drives the terminal.
    let pretty = serde_json::from_slice::<Value>(&event.body)
        .and_then(|value| serde_json::to_string_pretty(&value))
        .unwrap_or_else(|_| body.into_owned());
    let lines: Vec<_> = pretty.lines().map(table::printable).collect();
    writeln!(out, "\n{}", lines.join("\n"))?;
    Ok(())
}
