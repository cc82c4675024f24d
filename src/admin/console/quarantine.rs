//! Refused requests: why, what they would be judged now, and letting in what is good.

use axum::extract::Path;
use axum::response::Response;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Asked, Console, Sent, Trouble, Visit, counted, facts, form, query};
use crate::admin::pretty::pretty;
use crate::clock::rfc3339;
use crate::event::{Event, Position};
use crate::operator::{self, Admission};
use crate::store::{Appended, Quarantined};

const ROWS: i64 = 200;
/// Entries that one request admits, the oldest first; the rest is for the next one. Those that stay are passed over.
const AT_ONCE: u64 = 1_000;

/// Which; every one if there is no id.
#[derive(Deserialize)]
pub(super) struct Which {
    id: Option<i64>,
}

fn row(entry: &Quarantined) -> Value {
    json!({
        "id": entry.id, "reason": entry.reason, "path": entry.path, "first_seen_at": rfc3339(entry.first_seen_at),
        "last_seen_at": rfc3339(entry.last_seen_at), "attempts": entry.attempts,
    })
}

pub(super) async fn list(visit: Visit) -> Response {
    let found = visit
        .ask(|store| async move { Ok((store.quarantined(ROWS).await?, store.ledger().await?)) })
        .await;
    let found = found.map(|(entries, ledger)| {
        json!({ "entries": entries.iter().map(row).collect::<Vec<_>>(), "quarantined": ledger.quarantined })
    });
    visit.show("quarantine.html", found)
}

async fn entry(visit: &Visit, id: i64) -> Result<Quarantined, Trouble> {
    let found = visit
        .ask(move |store| async move { store.quarantined_one(id).await })
        .await?;
    found.ok_or_else(|| Trouble::NotFound(format!("There is no entry {id} in quarantine.")))
}

/// What the door would say of it now.
fn judged(console: &Console, entry: &Quarantined) -> Result<Event, String> {
    operator::judge_again(&console.verifier, &console.apps, entry, console.now())
        .map(|judged| judged.event)
        .map_err(|stays| stays.to_string())
}

pub(super) async fn one(visit: Visit, Path(id): Path<String>) -> Response {
    let found = look(&visit, &id).await;
    visit.show("refused.html", found)
}

async fn look(visit: &Visit, id: &str) -> Result<Value, Trouble> {
    let id = id
        .parse()
        .map_err(|_| Trouble::NotFound(format!("There is no entry {id} in quarantine.")))?;
    let entry = entry(visit, id).await?;
    let body = Bytes::from(entry.body.clone());
    let text = std::str::from_utf8(&body).ok();
    let mut value = row(&entry);
    value["signature"] = json!(entry.signature);
    value["legacy_signature"] = json!(entry.legacy_signature);
    value["body"] = json!(String::from_utf8_lossy(&body));
    value["pretty"] = json!(text.and_then(pretty));
    value["body_bytes"] = json!(body.len());
    let judged = judged(&visit.console, &entry);
    value["good_now"] = json!(judged.is_ok());
    value["still"] = json!(judged.err());
    Ok(value)
}

pub(super) async fn confirm(visit: Visit, asked: Asked<Which>) -> Response {
    let found = question(&visit, asked).await;
    visit.show("confirm.html", found)
}

async fn question(visit: &Visit, asked: Asked<Which>) -> Result<Value, Trouble> {
    let Which { id } = query(asked)?;
    let (all, facts) = match id {
        Some(id) => (1, concerned(visit, id).await?),
        None => {
            let ledger = visit
                .ask(|store| async move { store.ledger().await })
                .await?;
            (u64::try_from(ledger.quarantined).unwrap_or(0), Vec::new())
        }
    };
    if all == 0 {
        return Err(Trouble::NotFound("The quarantine is empty.".to_owned()));
    }
    let requests = counted(all, "request", "requests");
    let mut lines = vec![
        "What verifies by the configuration of now goes into the log and out to consumers, with the time at which it first came.".to_owned(),
        "What does not verify stays where it is: nothing unverified ever enters the log.".to_owned(),
    ];
    if AT_ONCE < all {
        lines.push(format!(
            "Oldest first, until {AT_ONCE} are admitted; the rest can be judged after that."
        ));
    }
    Ok(json!({
        "title": format!("Judge {requests} again?"), "button": format!("Judge {requests} again"), "affected": all,
        "facts": facts,
        "lines": lines,
        "action": "/quarantine/admit", "back": "/quarantine",
        "fields": [{ "name": "id", "value": id.map(|id| id.to_string()) }],
    }))
}

/// A refused request with the reason; whose it is where somebody vouches for that.
async fn concerned(visit: &Visit, id: i64) -> Result<Vec<Value>, Trouble> {
    let entry = entry(visit, id).await?;
    let mut known = vec![
        facts::fact("refused for", &entry.reason),
        facts::fact("path", &entry.path),
        facts::moment("first", entry.first_seen_at),
        facts::moment("last", entry.last_seen_at),
    ];
    match judged(&visit.console, &entry) {
        Ok(event) => {
            known.push(facts::fact("type", &event.event_type));
            known.extend(facts::named(event.key.as_str(), &event.tenant));
        }
        Err(still) => known.push(facts::fact(
            "now",
            &format!("it would still be refused: {still}"),
        )),
    }
    Ok(known)
}

pub(super) async fn admit(visit: Visit, sent: Sent<Which>) -> Response {
    let judged = match form(sent) {
        Err(trouble) => Err(trouble),
        Ok(Which { id }) => judge(&visit, id).await,
    };
    match judged {
        Err(trouble) => visit.done("", Err(trouble)),
        Ok(Judged {
            admitted,
            stay,
            last,
        }) => {
            let to = last
                .filter(|_| admitted == 1)
                .map(|at| format!("/events/{at}"));
            let said = format!(
                "{} admitted; {} in quarantine.",
                counted(admitted, "request", "requests"),
                counted(stay, "request stays", "requests stay")
            );
            visit.done(to.as_deref().unwrap_or("/quarantine"), Ok((admitted, said)))
        }
    }
}

/// What became of those that were judged.
#[derive(Default)]
struct Judged {
    admitted: u64,
    stay: u64,
    /// Where the last one of them is now.
    last: Option<Position>,
}

async fn judge(visit: &Visit, id: Option<i64>) -> Result<Judged, Trouble> {
    let (operator, console) = (visit.operator(), std::sync::Arc::clone(&visit.console));
    visit
        .ask(move |_| async move {
            let mut judged = Judged::default();
            let told = |_, admission| match admission {
                Some(Admission::Admitted(appended)) => {
                    judged.admitted += 1;
                    judged.last = Appended::position(&appended);
                }
                Some(Admission::Stays(_)) => judged.stay += 1,
                None => {}
            };
            operator
                .admit_each(&console.verifier, &console.apps, id, AT_ONCE, told)
                .await?;
            Ok(judged)
        })
        .await
}
