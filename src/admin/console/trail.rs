//! What people did.

use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Asked, Trouble, Visit, query};
use crate::clock::rfc3339;

const ROWS: i64 = 100;

#[derive(Deserialize)]
pub(super) struct Query {
    before: Option<i64>,
}

pub(super) async fn page(visit: Visit, asked: Asked<Query>) -> Response {
    let found = look(&visit, asked).await;
    visit.show("audit.html", found)
}

async fn look(visit: &Visit, asked: Asked<Query>) -> Result<Value, Trouble> {
    let query = query(asked)?;
    let entries = visit
        .ask(move |store| async move { store.audit_trail(query.before, ROWS).await })
        .await?;
    let full = entries.len() as i64 == ROWS;
    Ok(json!({
        "entries": entries.iter().map(|entry| json!({
            "id": entry.id, "at": rfc3339(entry.at), "who": entry.who, "action": entry.action, "subject": entry.subject, "affected": entry.count,
        })).collect::<Vec<_>>(),
        "next": entries.last().filter(|_| full).map(|last| last.id),
    }))
}
