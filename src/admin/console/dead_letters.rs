//! Events that could not be published: the list, and publishing them again.

use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Asked, Sent, Trouble, Visit, counted, facts, form, query};
use crate::clock::rfc3339;
use crate::event::Position;
use crate::store::{DeadLetter, EventFilter, Selection};

const ROWS: i64 = 200;

/// Which; every one if there is no position.
#[derive(Deserialize)]
pub(super) struct Which {
    position: Option<i64>,
}

impl Which {
    fn selection(&self) -> Selection {
        Selection::of(self.position)
    }
}

pub(super) async fn list(visit: Visit) -> Response {
    let found = listed(&visit).await;
    visit.show("dead_letters.html", found)
}

async fn listed(visit: &Visit) -> Result<Value, Trouble> {
    let (letters, ledger) = visit
        .ask(|store| async move { Ok((store.dead_letters(ROWS).await?, store.ledger().await?)) })
        .await?;
    Ok(json!({
        "parked": ledger.parked, "retry": ledger.retry, "held": ledger.held,
        "letters": letters.iter().map(|letter| json!({
            "position": letter.position.0, "state": letter.state, "reason": letter.reason, "type": letter.event_type,
            "event_key": letter.event_key, "parked_at": rfc3339(letter.parked_at), "retries": letter.retries, "detail": letter.detail,
        })).collect::<Vec<_>>(),
    }))
}

pub(super) async fn confirm(visit: Visit, asked: Asked<Which>) -> Response {
    let found = question(&visit, asked).await;
    visit.show("confirm.html", found)
}

async fn question(visit: &Visit, asked: Asked<Which>) -> Result<Value, Trouble> {
    let position = query(asked)?.position;
    let (count, facts) = match position {
        Some(position) => (1, concerned(visit, Position(position)).await?),
        None => {
            let ledger = visit
                .ask(|store| async move { store.ledger().await })
                .await?;
            (ledger.parked - ledger.retry, Vec::new())
        }
    };
    let count = u64::try_from(count).unwrap_or(0);
    if count == 0 {
        return Err(Trouble::NotFound("No event is parked.".to_owned()));
    }
    let events = counted(count, "event", "events");
    let back = position.map_or("/dead-letters".to_owned(), |position| {
        format!("/events/{position}")
    });
    Ok(json!({
        "title": format!("Publish {events} again?"), "button": format!("Publish {events} again"), "affected": count,
        "facts": facts,
        "lines": [
            "They go out with the same message_id, after events that came later: consumers that keep the newest state must look at the position.",
            "What RabbitMQ refuses again is parked again.",
        ],
        "action": "/dead-letters/retry", "back": back,
        "fields": [{ "name": "position", "value": position.map(|position| position.to_string()) }],
    }))
}

/// A parked event with the reason.
async fn concerned(visit: &Visit, position: Position) -> Result<Vec<Value>, Trouble> {
    let (listed, letter) = visit
        .ask(move |store| async move {
            let page = store.events(&EventFilter::alone(position)).await?;
            Ok((
                page.rows.into_iter().next(),
                store.dead_letter(position).await?,
            ))
        })
        .await?;
    let letter = letter.filter(DeadLetter::is_parked);
    let (Some(listed), Some(letter)) = (listed, letter) else {
        return Err(Trouble::NotFound(format!(
            "The event at position {position} is not parked: it is out, is being published again, or was discarded."
        )));
    };
    let mut known = facts::event(&listed);
    known.push(facts::moment("parked", letter.parked_at));
    known.push(facts::fact(
        "reason",
        &format!("{} {}", letter.reason, letter.detail),
    ));
    known.push(facts::fact("retries", &letter.retries.to_string()));
    Ok(known)
}

pub(super) async fn retry(visit: Visit, sent: Sent<Which>) -> Response {
    match form(sent) {
        Err(trouble) => visit.done("", Err(trouble)),
        Ok(which) => {
            // The page of one shows by itself when it is out.
            let to = which
                .position
                .map_or("/dead-letters".to_owned(), |one| format!("/events/{one}"));
            let done = hand_over(&visit, &which).await;
            visit.done(&to, done)
        }
    }
}

async fn hand_over(visit: &Visit, which: &Which) -> Result<(u64, String), Trouble> {
    let (operator, selection) = (visit.operator(), which.selection());
    let count = visit
        .ask(move |_| async move { operator.retry_dead_letters(selection).await })
        .await?;
    let said = match count {
        0 => "Nothing was done: nothing of that is parked any more.".to_owned(),
        1 => "1 event is being published again.".to_owned(),
        count => format!("{count} events are being published again."),
    };
    Ok((count, said))
}
