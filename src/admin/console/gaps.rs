//! Times in which no webhook could be taken, and what is read from the API because of them or because a person asked.

use axum::response::Response;
use serde_json::{Value, json};

use super::{Trouble, Visit, follow_ups};
use crate::clock::rfc3339;
use crate::follow_up::{BACKFILL, RECONCILE};
use crate::store::{FollowUp, FollowUpFilter, Gap};

const ROWS: i64 = 50;

pub(super) async fn page(visit: Visit) -> Response {
    let found = look(&visit).await;
    visit.show("gaps.html", found)
}

async fn look(visit: &Visit) -> Result<Value, Trouble> {
    let of = |rule: &str| FollowUpFilter {
        rule: Some(rule.to_owned()),
        limit: ROWS,
        ..FollowUpFilter::default()
    };
    let (backfills, reconciles) = (of(BACKFILL), of(RECONCILE));
    let (gaps, backfills, reconciles) = visit
        .ask(move |store| async move {
            Ok((
                store.gaps(ROWS).await?,
                store.follow_ups(&backfills).await?,
                store.follow_ups(&reconciles).await?,
            ))
        })
        .await?;
    let repair = |gap: &Gap| visit.console.repair.of(gap, visit.console.has_calls);
    Ok(json!({
        "gaps": gaps.iter().map(|gap| json!({
            "since": rfc3339(gap.since), "until": rfc3339(gap.until), "seconds": gap.length().as_secs(),
            "repaired_at": gap.repaired_at.map(rfc3339), "repair": repair(gap),
        })).collect::<Vec<_>>(),
        "backfills": backfills.iter().map(backfill).collect::<Vec<_>>(),
        "reconciles": reconciles.iter().map(follow_ups::row).collect::<Vec<_>>(),
    }))
}

/// A call of a backfill with how far it is.
fn backfill(call: &FollowUp) -> Value {
    let progress: Value = serde_json::from_str(&call.progress).unwrap_or_default();
    let mut value = follow_ups::row(call);
    value["kind"] = json!(call.rule.rsplit('/').next());
    for name in ["all", "found", "lacking", "page"] {
        value[name] = json!(progress[name].as_u64().unwrap_or(0));
    }
    value
}
