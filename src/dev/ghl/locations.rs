//! Sub-accounts, their pipelines and their custom fields. Fields and envelopes as in
//! `apps/locations.json` and `apps/opportunities.json` of GoHighLevel/highlevel-api-docs.

use serde_json::{Value, json};

use super::accounts::Account;
use super::answer::Answer;
use super::errors::Problem;
use super::made_up;
use super::visit::{Outcome, Visit};

/// `GET /locations/{id}`, with the token of the sub-account or of its agency.
pub(super) fn get(visit: &mut Visit<'_>, id: &str) -> Outcome {
    let location = visit.state.accounts.location(id);
    let Some(location) = location else {
        return Err(Problem::Gone(format!("Location with id {id} not found")));
    };
    match visit.grant.as_ref().map(|grant| &grant.account) {
        Some(Account::Company(company)) if *company == location.company => (),
        Some(Account::Location(own)) if own == id => (),
        _ => return Err(Problem::OtherAccount),
    }
    let location = made_up::location(id, location);
    Ok(Answer::ok(json!({ "location": location })))
}

/// `GET /locations/search`, with the token of an agency.
pub(super) fn search(visit: &mut Visit<'_>) -> Outcome {
    let call = visit.call;
    let own = visit
        .grant
        .as_ref()
        .map(|grant| grant.company.clone())
        .unwrap_or_default();
    let company = call.parameter("companyId").unwrap_or(&own);
    visit.must_be_of_company(company)?;
    let skip = call.number("skip", 0, usize::MAX)?;
    let limit = call.number("limit", 10, 500)?;
    let rows = visit.state.accounts.of(company).skip(skip).take(limit);
    let rows: Vec<Value> = rows
        .map(|(id, location)| made_up::location(id, location))
        .collect();
    Ok(Answer::ok(json!({ "locations": rows })))
}

/// `GET /opportunities/pipelines`
pub(super) fn pipelines(visit: &mut Visit<'_>) -> Outcome {
    let location = visit.call.parameter("locationId");
    let location = location.ok_or_else(|| Problem::missing("locationId"))?;
    visit.must_be_of(location)?;
    let pipelines = made_up::pipelines(location);
    Ok(Answer::ok(json!({ "pipelines": pipelines })))
}

/// `GET /locations/{id}/customFields`
pub(super) fn custom_fields(visit: &mut Visit<'_>, id: &str) -> Outcome {
    visit.must_be_of(id)?;
    let model = visit.call.parameter("model").unwrap_or("all");
    if !["contact", "opportunity", "all"].contains(&model) {
        let text = "model must be one of contact, opportunity, all";
        return Err(Problem::Invalid(vec![text.to_owned()]));
    }
    let fields = made_up::custom_fields(id).into_iter();
    let fields: Vec<Value> = fields
        .filter(|field| model == "all" || field["model"] == model)
        .collect();
    Ok(Answer::ok(json!({ "customFields": fields })))
}
