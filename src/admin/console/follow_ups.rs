//! The API calls that events call for: the list, and making parked ones again.

use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Asked, Sent, Trouble, Visit, counted, facts, form, given, query};
use crate::clock::rfc3339;
use crate::store::{EventFilter, FollowUp, FollowUpFilter, WhichCalls};

const ROWS: i64 = 50;
/// Calls that are counted before it is asked whether all of them are meant.
const MOST: i64 = 10_000;
const STATES: [&str; 5] = ["pending", "done", "dead", "cancelled", "merged"];

#[derive(Deserialize)]
pub(super) struct Query {
    state: Option<String>,
    rule: Option<String>,
    tenant: Option<String>,
    before: Option<i64>,
}

/// Which parked calls; none of the fields means every one.
#[derive(Deserialize)]
pub(super) struct Which {
    id: Option<i64>,
    rule: Option<String>,
}

impl Which {
    fn calls(self) -> WhichCalls {
        WhichCalls::of(self.id, given(self.rule))
    }
}

pub(super) fn row(call: &FollowUp) -> Value {
    json!({
        "id": call.id, "state": call.state, "rule": call.rule, "position": call.position.0, "app_id": call.app_id, "tenant": call.tenant,
        "entity_id": call.entity_id, "attempt": call.attempt, "due_at": rfc3339(call.due_at), "claimed": call.claimed,
        "planned_at": rfc3339(call.planned_at), "ended_at": call.ended_at.map(rfc3339), "status": call.status, "reason": call.reason,
        "detail": call.detail,
    })
}

pub(super) async fn list(visit: Visit, asked: Asked<Query>) -> Response {
    let found = listed(&visit, asked).await;
    visit.show("follow_ups.html", found)
}

async fn listed(visit: &Visit, asked: Asked<Query>) -> Result<Value, Trouble> {
    let query = query(asked)?;
    let state = given(query.state);
    if state
        .as_deref()
        .is_some_and(|state| !STATES.contains(&state))
    {
        return Err(Trouble::BadRequest(format!(
            "state must be one of {}",
            STATES.join(", ")
        )));
    }
    let filter = FollowUpFilter {
        state,
        rule: given(query.rule),
        tenant: given(query.tenant),
        before: query.before,
        position: None,
        limit: ROWS,
    };
    let asked = json!({ "state": filter.state, "rule": filter.rule, "tenant": filter.tenant });
    let (page, counts) = visit
        .ask(move |store| async move {
            Ok((
                store.follow_up_page(&filter).await?,
                store.follow_up_counts().await?,
            ))
        })
        .await?;
    Ok(json!({
        "asked": asked, "calls": page.rows.iter().map(row).collect::<Vec<_>>(), "pending": counts.pending, "parked": counts.dead,
        "next": page.next, "states": STATES, "configured": visit.console.has_calls,
    }))
}

/// What would be made again.
pub(super) async fn confirm(visit: Visit, asked: Asked<Which>) -> Response {
    let found = question(&visit, asked).await;
    visit.show("confirm.html", found)
}

async fn question(visit: &Visit, asked: Asked<Which>) -> Result<Value, Trouble> {
    let which = query(asked)?;
    let (id, rule) = (which.id, given(which.rule));
    let of_rule = rule.clone();
    let (parked, unknown, facts) = match id {
        Some(id) => {
            let (call, facts) = concerned(visit, id).await?;
            let is_unknown = call.reason.as_deref() == Some("outcome_unknown");
            (1, i64::from(is_unknown), facts)
        }
        None => {
            let (parked, unknown) =
                visit
                    .ask(move |store| async move {
                        store.count_parked(of_rule.as_deref(), MOST + 1).await
                    })
                    .await?;
            (parked, unknown, Vec::new())
        }
    };
    if parked == 0 {
        return Err(Trouble::NotFound(
            "There is no such parked call.".to_owned(),
        ));
    }
    let count = match MOST < parked {
        true => format!("more than {MOST} calls"),
        false => counted(u64::try_from(parked).unwrap_or(0), "call", "calls"),
    };
    let mut lines =
        vec!["Each is made with all its attempts again, within GHL's limits.".to_owned()];
    if 0 < unknown {
        lines.push(format!(
            "Of {unknown} nobody knows whether GHL has done it already (outcome_unknown): look at GHL before it is done twice."
        ));
    }
    Ok(json!({
        "title": format!("Make {count} again?"), "lines": lines, "action": "/follow-ups/retry", "button": format!("Make {count} again"),
        "back": "/follow-ups?state=dead", "affected": parked, "facts": facts,
        "fields": [{ "name": "id", "value": id.map(|id| id.to_string()) }, { "name": "rule", "value": rule }],
    }))
}

/// A parked call with what it is for and why it is parked.
async fn concerned(visit: &Visit, id: i64) -> Result<(FollowUp, Vec<Value>), Trouble> {
    let (call, listed) = visit
        .ask(move |store| async move {
            let Some(call) = store.follow_up(id).await? else {
                return Ok((None, None));
            };
            let of = EventFilter::alone(call.position);
            let listed = store.events(&of).await?.rows.into_iter().next();
            Ok((Some(call), listed))
        })
        .await?;
    let Some(call) = call.filter(|call| call.state == "dead") else {
        return Err(Trouble::NotFound(
            "There is no such parked call.".to_owned(),
        ));
    };
    let mut known = vec![
        facts::fact("rule", &call.rule),
        facts::fact("made for", &call.tenant),
    ];
    known.extend(
        call.entity_id
            .as_deref()
            .map(|entity| facts::fact("entity", entity)),
    );
    let why = [
        call.status.map(|status| status.to_string()),
        call.reason.clone(),
        call.detail.clone(),
    ];
    let why: Vec<_> = why.into_iter().flatten().collect();
    known.push(facts::fact("reason", &why.join(" ")));
    known.extend(call.ended_at.map(|at| facts::moment("parked", at)));
    known.extend(listed.iter().flat_map(facts::event));
    Ok((call, known))
}

pub(super) async fn retry(visit: Visit, sent: Sent<Which>) -> Response {
    let done = match form(sent) {
        Err(trouble) => Err(trouble),
        Ok(which) => {
            let (operator, which) = (visit.operator(), which.calls());
            let count = visit
                .ask(move |_| async move { operator.retry_follow_ups(&which).await })
                .await;
            count.map(|count| match count {
                0 => (
                    0,
                    "Nothing was done: nothing of that is parked any more.".to_owned(),
                ),
                count => (
                    count,
                    format!("{} will be made again.", counted(count, "call", "calls")),
                ),
            })
        }
    };
    visit.done("/follow-ups", done)
}
