//! Events that could not be published: the list, and publishing them again.

use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Asked, Sent, Trouble, Visit, counted, form, query};
use crate::clock::rfc3339;
use crate::store::Selection;

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
        "parked": ledger.parked, "held": ledger.held,
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
    let which = query(asked)?;
    let selection = which.selection();
    let count = visit
        .ask(move |store| async move {
            Ok(match selection {
                Selection::One(position) => i64::from(store.dead_letter(position).await?.is_some()),
                Selection::All => store.ledger().await?.parked,
            })
        })
        .await?;
    let count = u64::try_from(count).unwrap_or(0);
    if count == 0 {
        return Err(Trouble::NotFound(
            "There is no such dead letter.".to_owned(),
        ));
    }
    let events = counted(count, "event", "events");
    Ok(json!({
        "title": format!("Publish {events} again?"), "button": format!("Publish {events} again"), "affected": count,
        "lines": [
            "They go out with the same message_id, after events that came later: consumers that keep the newest state must look at the position.",
            "What RabbitMQ refuses again is parked again.",
        ],
        "action": "/dead-letters/retry", "back": "/dead-letters",
        "fields": [{ "name": "position", "value": which.position.map(|position| position.to_string()) }],
    }))
}

pub(super) async fn retry(visit: Visit, sent: Sent<Which>) -> Response {
    let done = match form(sent) {
        Err(trouble) => Err(trouble),
        Ok(which) => {
            let (operator, selection) = (visit.operator(), which.selection());
            let count = visit
                .ask(move |_| async move { operator.retry_dead_letters(selection).await })
                .await;
            count.map(|count| {
                (
                    count,
                    format!("{} handed to the relay.", counted(count, "event", "events")),
                )
            })
        }
    };
    visit.done("/dead-letters", done)
}
