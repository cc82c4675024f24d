//! Which sub-accounts have the app.

use serde_json::{Value, json};

use super::answer::Answer;
use super::errors::Problem;
use super::time::iso;
use super::visit::{Outcome, Visit};

/// `GET /oauth/installedLocations`, as in `apps/oauth.json` of GoHighLevel/highlevel-api-docs: `skip` and
/// `limit` are strings, 20 rows without them. The newest installation comes first.
pub(super) fn installed_locations(visit: &mut Visit<'_>) -> Outcome {
    let call = visit.call;
    let required = |name: &str| call.parameter(name).ok_or_else(|| Problem::missing(name));
    let (company, app) = (required("companyId")?, required("appId")?);
    visit.must_be_of_company(company)?;
    let skip = call.number("skip", 0, usize::MAX)?;
    let limit = call.number("limit", 20, 500)?;
    let installed = match call.parameter("isInstalled") {
        None => None,
        Some("true") => Some(true),
        Some("false") => Some(false),
        Some(_) => {
            let text = "isInstalled must be a boolean string";
            return Err(Problem::Invalid(vec![text.to_owned()]));
        }
    };
    let named = call.parameter("query").map(str::to_lowercase);
    let mut locations: Vec<_> = visit
        .state
        .accounts
        .of(company)
        // Another app has none here.
        .filter(|_| app == visit.settings.app_id())
        .filter(|(id, _)| {
            call.parameter("locationId")
                .is_none_or(|wanted| wanted == *id)
        })
        .filter(|(_, location)| {
            installed.is_none_or(|wanted| wanted == location.installed.is_some())
        })
        .filter(|(_, location)| {
            named
                .as_ref()
                .is_none_or(|part| location.name.to_lowercase().contains(part))
        })
        .collect();
    locations.sort_by_key(|(id, location)| (std::cmp::Reverse(location.installed), *id));
    let count = locations.len();
    let rows = locations.into_iter().skip(skip).take(limit);
    let rows = rows.map(|(id, location)| {
        let mut row = json!({
            "_id": id,
            "name": location.name,
            "address": "1 Example Street",
            "isInstalled": location.installed.is_some(),
        });
        if let Some(since) = location.installed {
            // The first version of an app has the app's own id.
            row["versionId"] = visit.settings.app_id().into();
            row["installedAt"] = iso(since).into();
        }
        row
    });
    Ok(Answer::ok(json!({
        "locations": rows.collect::<Vec<Value>>(),
        "count": count,
        "installToFutureLocations": visit.settings.future_locations,
    })))
}
