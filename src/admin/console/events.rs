//! Events: the list with its filters and its live tail, and one event with its way.

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Asked, Trouble, Visit, follow_ups, given, query};
use crate::admin::pretty::pretty;
use crate::clock::rfc3339;
use crate::event::Position;
use crate::event::lifecycle::moment;
use crate::operator::{self, action::RETRY_DEAD_LETTERS};
use crate::relay;
use crate::routing::key_of_event;
use crate::store::{
    Attempt, EventFilter, EventPage, EventRange, EventState, FollowUp, FollowUpFilter, Listed,
    Selection,
};

/// Rows of a page.
const ROWS: i64 = 50;
/// Places that one page looks at: with a text to find every body is read.
const LOOK: i64 = 20_000;
const LOOK_FOR_TEXT: i64 = 2_000;
/// Bytes of a body that are shown laid out.
const MOST_PRETTY: usize = 256 * 1024;
/// The newest entries of the trail, among which those of one event are looked for.
const ENTRIES: i64 = 500;

#[derive(Deserialize, Default)]
pub(super) struct Query {
    #[serde(rename = "type")]
    event_type: Option<String>,
    tenant: Option<String>,
    state: Option<String>,
    text: Option<String>,
    since: Option<String>,
    until: Option<String>,
    before: Option<String>,
    after: Option<String>,
}

fn row(listed: &Listed) -> Value {
    json!({
        "position": listed.position.0, "received_at": rfc3339(listed.received_at), "type": listed.event_type,
        "tenant": listed.tenant.id(), "entity_id": listed.entity_id, "origin": listed.origin.as_str(), "state": listed.state.as_str(),
        "event_key": listed.key.as_str(), "app_id": listed.app_id, "body_bytes": listed.body_bytes,
    })
}

fn place(text: Option<String>, name: &str) -> Result<Option<Position>, Trouble> {
    given(text)
        .map(|text| {
            text.parse().map(Position).map_err(|_| {
                Trouble::BadRequest(format!("{name} must be a position, a whole number"))
            })
        })
        .transpose()
}

/// `datetime-local` fields come without seconds and zone: they are UTC here.
pub(super) fn time(
    text: Option<String>,
    name: &str,
) -> Result<Option<crate::event::Micros>, Trouble> {
    let Some(text) = given(text) else {
        return Ok(None);
    };
    let long = match text.len() {
        16 => format!("{text}:00Z"),
        19 => format!("{text}Z"),
        _ => text.clone(),
    };
    match moment(&long) {
        Some(moment) => Ok(Some(moment)),
        None => Err(Trouble::BadRequest(format!(
            "{name} must be a time such as 2026-11-25T08:00, in UTC"
        ))),
    }
}

async fn find(visit: &Visit, query: Query) -> Result<EventPage, Trouble> {
    let state = match given(query.state) {
        None => None,
        Some(name) => match EventState::parse(&name) {
            Some(state) => Some(state),
            None => {
                return Err(Trouble::BadRequest(format!(
                    "state must be one of {}",
                    EventState::ALL.map(EventState::as_str).join(", ")
                )));
            }
        },
    };
    let text = given(query.text);
    let (since, until) = (time(query.since, "since")?, time(query.until, "until")?);
    let filter = EventFilter {
        event_type: given(query.event_type),
        tenant: given(query.tenant),
        state,
        look: if text.is_some() { LOOK_FOR_TEXT } else { LOOK },
        text,
        after: place(query.after, "after")?.unwrap_or_default(),
        before: place(query.before, "before")?,
        limit: ROWS,
    };
    visit
        .ask(move |store| async move {
            let filter = filter.received(store.as_ref(), since, until).await?;
            store.events(&filter).await
        })
        .await
}

async fn listed(visit: &Visit, asked: Asked<Query>) -> Result<Value, Trouble> {
    let query = query(asked)?;
    let shown = json!({
        "type": query.event_type, "tenant": query.tenant, "state": query.state, "text": query.text,
        "since": query.since, "until": query.until,
    });
    let first = query.before.is_none() && query.until.is_none();
    // A key is looked up, and not searched for.
    let exact = given(query.text.clone());
    let page = find(visit, query).await?;
    let by_key = match exact {
        Some(key) => {
            visit
                .ask(move |store| async move { store.positions_of(&key).await })
                .await?
        }
        None => Vec::new(),
    };
    Ok(json!({
        "asked": shown, "rows": page.rows.iter().map(row).collect::<Vec<_>>(), "next": page.next.map(|next| next.0),
        "newest": page.rows.first().map_or(0, |row| row.position.0), "first": first,
        "by_key": by_key.iter().map(|position| position.0).collect::<Vec<_>>(),
        "states": EventState::ALL.map(EventState::as_str),
    }))
}

pub(super) async fn list(visit: Visit, asked: Asked<Query>) -> Response {
    let found = listed(&visit, asked).await;
    visit.show("events.html", found)
}

/// The rows alone, for the live tail: those behind `after`, the newest of them where there are too many.
pub(super) async fn rows(visit: Visit, asked: Asked<Query>) -> Response {
    let mut found = listed(&visit, asked).await;
    if let Ok(found) = &mut found {
        found["tail"] = true.into();
    }
    visit.show("event_rows.html", found)
}

pub(super) async fn one(visit: Visit, Path(position): Path<String>) -> Response {
    let found = look(&visit, &position).await;
    visit.show("event.html", found)
}

fn absent(position: &str) -> Trouble {
    Trouble::NotFound(format!(
        "There is no event at position {position}, or its body is kept no longer."
    ))
}

async fn look(visit: &Visit, text: &str) -> Result<Value, Trouble> {
    let position = text.parse().map(Position).map_err(|_| absent(text))?;
    let found = visit
        .ask(move |store| async move {
            let calls = FollowUpFilter {
                position: Some(position),
                limit: 100,
                ..FollowUpFilter::default()
            };
            let listed = store
                .events(&EventFilter::alone(position))
                .await?
                .rows
                .pop();
            let recorded = store.event_at(position).await?;
            let before = EventFilter {
                before: Some(position),
                limit: 1,
                ..EventFilter::default()
            };
            let before = store.events(&before).await?.rows.pop();
            let behind = EventRange {
                after: position,
                upto: Position(i64::MAX),
                ..EventRange::default()
            };
            let behind = store.read_range(&behind, 1, 1).await?.0.pop();
            let neighbours = (
                before.map(|one| one.position.0),
                behind.map(|one| one.position.0),
            );
            let letter = store.dead_letter(position).await?;
            let entries = store.audit_trail(None, ENTRIES).await?;
            let mut shown = Vec::new();
            for call in store.follow_ups(&calls).await? {
                let attempts = store.attempts(call.id).await?;
                shown.push((call, attempts));
            }
            Ok((listed, recorded, neighbours, letter, entries, shown))
        })
        .await?;
    let (Some(listed), Some(recorded), (before, behind), letter, entries, calls) = found else {
        return Err(absent(text));
    };
    let event = &recorded.event;
    let body = std::str::from_utf8(&event.body).ok();
    let mut value = row(&listed);
    value["before"] = json!(before);
    value["behind"] = json!(behind);
    value["company_id"] = json!(event.tenant.company_id);
    value["location_id"] = json!(event.tenant.location_id);
    value["routing_key"] = json!(key_of_event(event));
    value["signature"] = json!(event.signature);
    value["body_sha256"] = json!(event.body_hash.to_string());
    value["body"] = json!(String::from_utf8_lossy(&event.body));
    value["is_text"] = json!(body.is_some());
    value["pretty"] = json!(
        body.filter(|body| body.len() <= MOST_PRETTY)
            .and_then(pretty)
    );
    value["headers"] = relay::message(&recorded, visit.console.traced_percent)
        .headers
        .into_iter()
        .map(|(name, header)| json!({ "name": name, "value": header.to_string() }))
        .collect();
    value["dead_letter"] = json!(letter.map(|letter| json!({
        "reason": letter.reason, "detail": letter.detail, "parked_at": rfc3339(letter.parked_at), "retries": letter.retries,
        "state": letter.state,
    })));
    // When it was published is not kept; when a person asked for it again is.
    let subject = operator::subject_of(Selection::One(position));
    value["asked_again"] = entries
        .iter()
        .rev()
        .filter(|entry| entry.action == RETRY_DEAD_LETTERS && entry.subject == subject)
        .map(|entry| json!({ "at": rfc3339(entry.at), "who": entry.who }))
        .collect();
    value["calls"] = calls.iter().map(with_attempts).collect();
    Ok(value)
}

/// A call with what came of it before.
fn with_attempts((call, attempts): &(FollowUp, Vec<Attempt>)) -> Value {
    let mut value = follow_ups::row(call);
    value["attempts"] = attempts
        .iter()
        .map(|one| {
            json!({"at": rfc3339(one.at), "status": one.status, "reason": one.reason, "detail": one.detail})
        })
        .collect();
    value
}

/// The very bytes, as a file: a body is never shown as what it says it is.
pub(super) async fn body(visit: Visit, Path(text): Path<String>) -> Response {
    let Ok(position) = text.parse().map(Position) else {
        return visit.show("", Err(absent(&text)));
    };
    match visit
        .ask(move |store| async move { store.event_at(position).await })
        .await
    {
        Ok(Some(recorded)) => {
            let headers = [
                (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
                (
                    header::CONTENT_DISPOSITION,
                    format!("attachment; filename=\"event-{position}.json\""),
                ),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
                (header::CACHE_CONTROL, "no-store".to_owned()),
            ];
            (StatusCode::OK, headers, recorded.event.body).into_response()
        }
        Ok(None) => visit.show("", Err(absent(&text))),
        Err(trouble) => visit.show("", Err(trouble)),
    }
}
