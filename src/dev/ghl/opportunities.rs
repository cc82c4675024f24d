//! Opportunities: by id, by both searches, and their status. Fields and envelopes as in
//! `apps/opportunities.json` of GoHighLevel/highlevel-api-docs and on the page of the newer search,
//! <https://marketplace.gohighlevel.com/docs/ghl/opportunities/search-opportunities-advanced>.

use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::errors::Problem;
use super::made_up;
use super::records::Records;
use super::time::iso;
use super::visit::{Outcome, Visit, text};

mod search;

pub(super) use search::{find, search};

const STATUSES: [&str; 4] = ["open", "won", "lost", "abandoned"];

/// `GET /opportunities/{id}`. Notes are not in it, whatever the specification says (issue 305).
pub(super) fn get(visit: &mut Visit<'_>, id: &str) -> Outcome {
    // Developers report both 400 and 404 for one that was deleted (issue 27); the words are not known.
    if visit.state.opportunities.is_deleted(id) {
        return Err(Problem::Bad(format!("Opportunity with id {id} not found")));
    }
    let opportunity = known(visit, id)?;
    let opportunity = with_contact(visit, opportunity);
    Ok(Answer::ok(json!({ "opportunity": opportunity })))
}

/// The opportunity, if it is of the token's sub-account. A lenient server makes one up.
fn known(visit: &mut Visit<'_>, id: &str) -> Result<Value, Problem> {
    if let Some(opportunity) = visit.state.opportunities.get(id) {
        let opportunity = opportunity.clone();
        visit.must_be_of(opportunity["locationId"].as_str().unwrap_or_default())?;
        return Ok(opportunity);
    }
    let is_gone = id.starts_with("gone") || visit.state.opportunities.is_deleted(id);
    if is_gone || !visit.settings.lenient {
        return Err(Problem::Gone(format!("Opportunity with id {id} not found")));
    }
    let opportunity = made_up::opportunity(id, &visit.location(), visit.now);
    visit
        .state
        .opportunities
        .put(id, opportunity.clone(), visit.now);
    Ok(opportunity)
}

/// Adds the excerpt of the contact.
fn with_contact(visit: &Visit<'_>, mut opportunity: Value) -> Value {
    let id = opportunity["contactId"].as_str().unwrap_or_default();
    let contact = visit.state.contacts.get(id).cloned().unwrap_or_else(|| {
        let location = opportunity["locationId"].as_str().unwrap_or_default();
        made_up::contact(id, location, visit.now)
    });
    opportunity["contact"] = made_up::excerpt(&contact);
    opportunity
}

/// `POST /opportunities/`
pub(super) fn create(visit: &mut Visit<'_>) -> Outcome {
    let mut fields = visit.call.json()?;
    let needed = ["pipelineId", "locationId", "name", "status", "contactId"];
    let missing: Vec<String> = needed
        .iter()
        .filter(|field| text(&fields, field).is_none())
        .map(|field| format!("{field} should not be empty"))
        .collect();
    if !missing.is_empty() {
        return Err(Problem::Invalid(missing));
    }
    let location = visit.own_location(&fields)?;
    must_be_status(&fields)?;
    fields.remove("id");
    let mut id = uuid::Uuid::new_v4().simple().to_string();
    id.truncate(20);
    let now = iso(visit.now);
    let mut opportunity = json!({
        "id": id,
        "locationId": location,
        "monetaryValue": 0,
        "customFields": [],
        "followers": [],
        "createdAt": now,
        "updatedAt": now,
        "lastStatusChangeAt": now,
        "lastStageChangeAt": now,
    });
    merge(&mut opportunity, fields, &now);
    visit
        .state
        .opportunities
        .put(&id, opportunity.clone(), visit.now);
    let opportunity = with_contact(visit, opportunity);
    Ok(Answer::created(json!({ "opportunity": opportunity })))
}

/// `PUT /opportunities/{id}`
pub(super) fn update(visit: &mut Visit<'_>, id: &str) -> Outcome {
    let opportunity = change(visit, id)?;
    let opportunity = with_contact(visit, opportunity);
    Ok(Answer::ok(json!({ "opportunity": opportunity })))
}

/// `PUT /opportunities/{id}/status`
pub(super) fn set_status(visit: &mut Visit<'_>, id: &str) -> Outcome {
    if text(&visit.call.json()?, "status").is_none() {
        return Err(Problem::missing("status"));
    }
    change(visit, id)?;
    Ok(Answer::ok(json!({ "succeded": true })))
}

fn change(visit: &mut Visit<'_>, id: &str) -> Result<Value, Problem> {
    let mut opportunity = known(visit, id)?;
    let fields = visit.call.json()?;
    must_be_status(&fields)?;
    merge(&mut opportunity, fields, &iso(visit.now));
    visit
        .state
        .opportunities
        .put(id, opportunity.clone(), visit.now);
    Ok(opportunity)
}

fn must_be_status(fields: &Map<String, Value>) -> Result<(), Problem> {
    match fields.get("status") {
        Some(status)
            if status
                .as_str()
                .is_none_or(|status| !STATUSES.contains(&status)) =>
        {
            let text = format!("status must be one of {}", STATUSES.join(", "));
            Err(Problem::Invalid(vec![text]))
        }
        _ => Ok(()),
    }
}

/// Puts fields over those of an opportunity. Id and sub-account stay, and the times follow.
pub(super) fn merge(opportunity: &mut Value, fields: Map<String, Value>, now: &str) {
    for (field, time) in [
        ("status", "lastStatusChangeAt"),
        ("pipelineStageId", "lastStageChangeAt"),
    ] {
        if fields
            .get(field)
            .is_some_and(|value| opportunity[field] != *value)
        {
            opportunity[time] = now.into();
        }
    }
    opportunity["updatedAt"] = now.into();
    for (name, value) in fields {
        if name != "id" && name != "locationId" {
            opportunity[name] = value;
        }
    }
}

/// `DELETE /opportunities/{id}`
pub(super) fn delete(visit: &mut Visit<'_>, id: &str) -> Outcome {
    known(visit, id)?;
    visit.state.opportunities.remove(id, visit.now);
    Ok(Answer::ok(json!({ "succeded": true })))
}

/// The words that both searches look for are in the name, and in that of the contact.
fn mentions(contacts: &Records, opportunity: &Value, words: &str) -> bool {
    let is_in = |value: &Value| {
        value
            .as_str()
            .is_some_and(|text| text.to_lowercase().contains(words))
    };
    let contact = opportunity["contactId"].as_str().unwrap_or_default();
    let contact = contacts.get(contact);
    is_in(&opportunity["name"]) || contact.is_some_and(|contact| is_in(&contact["name"]))
}
