//! What people did.

use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Asked, Trouble, Visit, query};
use crate::clock::rfc3339;
use crate::escape;
use crate::operator::action;
use crate::store::AuditEntry;

const ROWS: i64 = 100;

#[derive(Deserialize)]
pub(super) struct Query {
    before: Option<i64>,
}

pub(super) async fn page(visit: Visit, asked: Asked<Query>) -> Response {
    let found = look(&visit, asked).await;
    visit.show("audit.html", found)
}

/// The page of what an action was done to, if it has one and was not removed by it.
fn page_of(entry: &AuditEntry) -> Option<String> {
    let number = |text: &str| text.parse::<i64>().ok();
    let (kind, name) = entry.subject.split_once(' ')?;
    match (kind, entry.action.as_str()) {
        (_, action::DISCARD_DEAD_LETTERS | action::ERASE) => None,
        ("position", _) => Some(format!("/events/{}", number(name)?)),
        ("quarantine", _) => {
            let (_, position) = name.split_once(", position ")?;
            Some(format!("/events/{}", number(position)?))
        }
        ("replay", _) => Some(format!("/replays#replay-{}", number(name)?)),
        // A list that begins with it.
        ("follow-up", _) => Some(format!(
            "/follow-ups?before={}",
            number(name)?.checked_add(1)?
        )),
        ("rule", _) => Some(format!("/follow-ups?rule={}", escape::value(name))),
        ("tenant", action::BACKFILL) | ("company", action::RECONCILE) => Some("/gaps".to_owned()),
        _ => None,
    }
}

async fn look(visit: &Visit, asked: Asked<Query>) -> Result<Value, Trouble> {
    let query = query(asked)?;
    let entries = visit
        .ask(move |store| async move { store.audit_trail(query.before, ROWS).await })
        .await?;
    let full = entries.len() as i64 == ROWS;
    Ok(json!({
        "entries": entries.iter().map(|entry| json!({
            "id": entry.id, "at": rfc3339(entry.at), "who": entry.who, "action": entry.action, "subject": entry.subject, "page": page_of(entry),
            "affected": entry.count,
        })).collect::<Vec<_>>(),
        "next": entries.last().filter(|_| full).map(|last| last.id),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deed_leads_to_what_it_was_done_to() {
        let rows = [
            (
                action::RETRY_DEAD_LETTERS,
                "position 17",
                Some("/events/17"),
            ),
            (action::RETRY_DEAD_LETTERS, "all", None),
            (action::DISCARD_DEAD_LETTERS, "position 17", None),
            (
                action::ADMIT,
                "quarantine 5, position 17",
                Some("/events/17"),
            ),
            (action::ADMIT, "quarantine 5", None),
            (action::REPLAY, "replay 3", Some("/replays#replay-3")),
            (
                action::RETRY_FOLLOW_UPS,
                "follow-up 8",
                Some("/follow-ups?before=9"),
            ),
            (
                action::CANCEL_FOLLOW_UPS,
                "rule a&b",
                Some("/follow-ups?rule=a%26b"),
            ),
            (action::BACKFILL, "tenant t1", Some("/gaps")),
            (action::RECONCILE, "company c1", Some("/gaps")),
            (action::ERASE, "tenant t1", None),
            (action::RESTORED, "5 to 1000", None),
        ];
        for (action, subject, page) in rows {
            let entry = AuditEntry {
                id: 1,
                at: crate::event::Micros(0),
                who: "ada".to_owned(),
                action: action.to_owned(),
                subject: subject.to_owned(),
                count: 1,
            };
            assert_eq!(page_of(&entry).as_deref(), page, "{action} {subject}");
        }
    }
}
