//! Where the apps are installed, how fresh their tokens are, and what of today's calls is used.

use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Asked, Trouble, Visit, given, query};
use crate::clock::rfc3339;
use crate::store::{Installation, InstallationFilter};

const ROWS: i64 = 100;

/// Where the page goes on: behind this app and tenant.
#[derive(Deserialize)]
pub(super) struct Query {
    app: Option<String>,
    after_app: Option<String>,
    after: Option<String>,
}

fn row(found: &Installation, now: crate::event::Micros) -> Value {
    let token = found.token.as_ref();
    let fresh =
        token.map(
            |token| match (token.reauthorise, now < token.expires_at, token.refreshable) {
                (true, _, _) => "reauthorise",
                (false, true, _) => "fresh",
                (false, false, true) => "to refresh",
                // A location's is minted from its company's when it is needed.
                (false, false, false) => "to mint",
            },
        );
    json!({
        "app_id": found.app_id, "tenant": found.tenant, "account": found.account.as_str(), "company_id": found.company_id,
        "installed": found.installed, "installed_at": found.installed_at.map(rfc3339), "uninstalled_at": found.uninstalled_at.map(rfc3339),
        "company_name": found.details.company_name, "plan_id": found.details.plan_id, "version_id": found.details.version_id,
        "token": fresh, "token_expires_at": token.map(|token| rfc3339(token.expires_at)), "scope": token.map(|token| token.scope.as_str()),
        "calls_today": found.budget.used_today(now),
    })
}

pub(super) async fn list(visit: Visit, asked: Asked<Query>) -> Response {
    let found = listed(&visit, asked).await;
    visit.show("installations.html", found)
}

async fn listed(visit: &Visit, asked: Asked<Query>) -> Result<Value, Trouble> {
    let query = query(asked)?;
    let filter = InstallationFilter {
        app_id: given(query.app),
        after: given(query.after_app).zip(given(query.after)),
        limit: ROWS,
        ..InstallationFilter::default()
    };
    let now = visit.console.now();
    let found = visit
        .ask(move |store| async move { store.installations(&filter).await })
        .await?;
    let full = found.len() as i64 == ROWS;
    Ok(json!({
        "installations": found.iter().map(|one| row(one, now)).collect::<Vec<_>>(),
        "next": found.last().filter(|_| full).map(|last| json!({ "app": last.app_id, "tenant": last.tenant })),
        "daily_calls": visit.console.daily_calls, "configured": visit.console.has_calls,
    }))
}
