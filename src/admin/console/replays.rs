//! Events that people have published again: the list, asking for one, and ending it.

use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::events::time;
use super::{Asked, Sent, Trouble, Visit, counted, facts, form, given, query};
use crate::clock::rfc3339;
use crate::event::Position;
use crate::store::{EventFilter, EventRange, EventState, Replay};

const ROWS: i64 = 100;
/// Events a second, as with `hookwell replay`.
const RATE: i64 = 50;
/// Looks of 10,000 places in which a page counts; who wants more has the command line.
const LOOKS: usize = 1;

/// Which events: one, or a range with a filter.
#[derive(Deserialize)]
pub(super) struct Which {
    position: Option<i64>,
    #[serde(rename = "type")]
    event_type: Option<String>,
    tenant: Option<String>,
    since: Option<String>,
    until: Option<String>,
    after: Option<i64>,
    upto: Option<i64>,
}

#[derive(Deserialize)]
pub(super) struct One {
    id: i64,
}

pub(super) async fn list(visit: Visit) -> Response {
    let found = listed(&visit).await;
    visit.show("replays.html", found)
}

async fn listed(visit: &Visit) -> Result<Value, Trouble> {
    let replays = visit
        .ask(|store| async move { store.replays(ROWS).await })
        .await?;
    let running = replays.iter().any(Replay::is_running);
    Ok(json!({ "replays": replays.iter().map(row).collect::<Vec<_>>(), "running": running }))
}

fn row(replay: &Replay) -> Value {
    json!({
        "id": replay.id, "state": replay.state, "who": replay.who, "asked_at": rfc3339(replay.asked_at),
        "type": replay.filter.event_type, "tenant": replay.filter.tenant, "after": replay.filter.after.0, "upto": replay.filter.upto.0,
        "rate": replay.rate, "matched": replay.matched, "published": replay.published, "failed": replay.failed, "left": replay.left(),
        "detail": replay.detail, "ended_at": replay.ended_at.map(rfc3339), "running": replay.is_running(),
    })
}

/// What is asked for, and how many that are.
async fn matched(visit: &Visit, which: Which) -> Result<(EventRange, i64), Trouble> {
    let (since, until) = (time(which.since, "since")?, time(which.until, "until")?);
    let mut filter = EventRange {
        event_type: given(which.event_type),
        tenant: given(which.tenant),
        after: Position(which.after.unwrap_or(0)),
        upto: Position(which.upto.unwrap_or(i64::MAX)),
    };
    let operator = visit.operator();
    let (filter, matched) = visit
        .ask(move |store| async move {
            if let Some(position) = which.position.map(Position) {
                filter.upto = position;
                filter.after = Position(position.0.saturating_sub(1));
                let page = store.events(&EventFilter::alone(position)).await?;
                let is_out = |row| matches!(row, EventState::Published);
                if !page.rows.first().is_some_and(|row| is_out(row.state)) {
                    filter.after = filter.upto;
                }
            }
            filter.upto = filter.upto.min(store.replayable_upto().await?);
            let filter = filter.received(store.as_ref(), since, until).await?;
            let matched = operator.count_replay(&filter, LOOKS, |_| ()).await?;
            Ok((filter, matched))
        })
        .await?;
    match (matched.next, matched.events()) {
        (Some(_), _) => Err(Trouble::BadRequest(
            "That is more of the log than this page counts. Give a shorter time, or use the command line: hookwell replay."
                .to_owned(),
        )),
        (None, 0) => Err(Trouble::NotFound(
            "No published event is like that. What waits or is held goes out by itself, and a dead letter has a button of its own."
                .to_owned(),
        )),
        (None, events) => Ok((filter, events)),
    }
}

pub(super) async fn confirm(visit: Visit, asked: Asked<Which>) -> Response {
    let found = question(&visit, asked).await;
    visit.show("confirm.html", found)
}

async fn question(visit: &Visit, asked: Asked<Which>) -> Result<Value, Trouble> {
    let which = query(asked)?;
    let one = which.position;
    let (filter, events) = matched(visit, which).await?;
    let facts = match one.map(Position) {
        Some(position) => visit
            .ask(move |store| async move { store.events(&EventFilter::alone(position)).await })
            .await?
            .rows
            .first()
            .map(facts::event),
        None => None,
    };
    let count = counted(u64::try_from(events).unwrap_or(0), "event", "events");
    let back = one.map_or("/events".to_owned(), |one| format!("/events/{one}"));
    Ok(json!({
        "title": format!("Publish {count} again?"), "button": format!("Publish {count} again"), "affected": events, "facts": facts,
        "lines": [
            "Every queue that is bound for them gets them, with the same message_id as before; the header hookwell-origin says replay.",
            format!("They go out in the order of the log, {RATE} a second, beside the traffic of now."),
        ],
        "action": "/replays", "back": back,
        "fields": [
            { "name": "type", "value": filter.event_type }, { "name": "tenant", "value": filter.tenant },
            { "name": "after", "value": filter.after.0.to_string() }, { "name": "upto", "value": filter.upto.0.to_string() },
        ],
    }))
}

pub(super) async fn start(visit: Visit, sent: Sent<Which>) -> Response {
    let done = match form(sent) {
        Err(trouble) => Err(trouble),
        Ok(which) => begin(&visit, which).await,
    };
    visit.done("/replays", done)
}

async fn begin(visit: &Visit, which: Which) -> Result<(u64, String), Trouble> {
    let (filter, events) = matched(visit, which).await?;
    let operator = visit.operator();
    let id = visit
        .ask(move |_| async move { operator.replay(&filter, RATE, events).await })
        .await?;
    let count = u64::try_from(events).unwrap_or(0);
    let events = counted(count, "event", "events");
    let sentence = format!("Replay {id} publishes {events} again.");
    Ok((count, sentence))
}

pub(super) async fn confirm_cancel(visit: Visit, asked: Asked<One>) -> Response {
    let found = question_cancel(&visit, asked).await;
    visit.show("confirm.html", found)
}

async fn question_cancel(visit: &Visit, asked: Asked<One>) -> Result<Value, Trouble> {
    let id = query(asked)?.id;
    let replay = visit
        .ask(move |store| async move { store.replay(id).await })
        .await?;
    let Some(replay) = replay.filter(Replay::is_running) else {
        return Err(Trouble::NotFound(format!("Replay {id} is not running.")));
    };
    let left = u64::try_from(replay.left()).unwrap_or(0);
    Ok(json!({
        "title": format!("End replay {id}?"), "button": format!("End replay {id}"), "affected": left, "facts": facts::replay(&replay),
        "lines": [format!("{} will not go out. What is out stays out.", counted(left, "event", "events"))],
        "action": "/replays/cancel", "back": "/replays",
        "fields": [{ "name": "id", "value": id.to_string() }],
    }))
}

pub(super) async fn cancel(visit: Visit, sent: Sent<One>) -> Response {
    let done = match form(sent) {
        Err(trouble) => Err(trouble),
        Ok(One { id }) => {
            let operator = visit.operator();
            let ended = visit
                .ask(move |_| async move { operator.cancel_replay(id).await })
                .await;
            ended.map(|is_ended| match is_ended {
                true => (1, format!("Replay {id} is ended.")),
                false => (0, format!("Replay {id} was over already.")),
            })
        }
    };
    visit.done("/replays", done)
}
