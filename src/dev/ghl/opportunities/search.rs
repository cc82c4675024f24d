//! The two searches of opportunities: the older with its filters in the query and a cursor in `meta`,
//! the newer with a cursor in each row. Both order by the day of creation, the newest first, unless told
//! otherwise; neither is documented to order by the last change.

use serde_json::{Value, json};

use super::super::State;
use super::super::answer::Answer;
use super::super::contacts::{meta, start_after};
use super::super::errors::Problem;
use super::super::search::{Order, Page, Start, check, page, passes};
use super::super::time::{american_day, millis};
use super::super::visit::{Outcome, Visit, text, too_large};
use super::{STATUSES, mentions, with_contact};

const DEFAULT: usize = 20;
const LIMIT: usize = 100;
/// Characters of a text to look for.
const WORDS: usize = 75;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// `GET /opportunities/search`, with the names of 2021-07-28 (`location_id`) or of v3 (`locationId`).
pub(in super::super) fn find(visit: &mut Visit<'_>) -> Outcome {
    let call = visit.call;
    let is_v3 = call.version.as_deref() == Some("v3");
    let named = |old: &'static str, new: &'static str| if is_v3 { new } else { old };
    let location = named("location_id", "locationId");
    let Some(id) = call.parameter(location) else {
        return Err(Problem::missing(location));
    };
    visit.must_be_of(id)?;
    let limit = call.number("limit", DEFAULT, LIMIT)?;
    let words = words(call.parameter("q"), "q")?;
    let status = call.parameter("status").filter(|status| *status != "all");
    if status.is_some_and(|status| !STATUSES.contains(&status)) {
        let text = format!("status must be one of {}, all", STATUSES.join(", "));
        return Err(Problem::Invalid(vec![text]));
    }
    let day = |name: &str| match call.parameter(name) {
        None => Ok(None),
        Some(text) => american_day(text)
            .map(Some)
            .ok_or_else(|| Problem::Invalid(vec![format!("{name} must be a date, mm-dd-yyyy")])),
    };
    let (from, until) = (day("date")?, day("endDate")?);
    let equal = [
        (
            "pipelineId",
            call.parameter(named("pipeline_id", "pipelineId")),
        ),
        (
            "pipelineStageId",
            call.parameter(named("pipeline_stage_id", "pipelineStageId")),
        ),
        (
            "contactId",
            call.parameter(named("contact_id", "contactId")),
        ),
        (
            "assignedTo",
            call.parameter(named("assigned_to", "assignedTo")),
        ),
        ("status", status),
    ];
    let order = match call.parameter("order") {
        Some("added_asc") => Order(vec![("createdAt".to_owned(), false)]),
        _ => Order::newest("createdAt"),
    };
    let number = call.number("page", 1, usize::MAX)?.max(1);
    let start = match start_after(visit)? {
        Start::Skip(_) => Start::Skip((number - 1).saturating_mul(limit)),
        after => after,
    };
    let State {
        contacts,
        opportunities,
        ..
    } = &mut *visit.state;
    let mut matching = opportunities.found(id, visit.now);
    matching.retain(|opportunity| {
        let created = opportunity["createdAt"]
            .as_str()
            .and_then(millis)
            .unwrap_or_default();
        equal
            .iter()
            .all(|(field, wanted)| wanted.is_none_or(|wanted| opportunity[*field] == wanted))
            && from.is_none_or(|from| from <= created)
            && until.is_none_or(|until| created < until + DAY_MS)
            && words
                .as_ref()
                .is_none_or(|words| mentions(contacts, opportunity, words))
    });
    let page = page(matching.into_iter(), &order, &start, limit);
    let Page { rows, total } = page.map_err(|text| Problem::Invalid(vec![text]))?;
    let mut meta = meta(
        "/opportunities/search",
        &[(location, id)],
        &rows,
        total,
        limit,
    );
    let has_next = !meta["startAfterId"].is_null();
    meta["currentPage"] = number.into();
    meta["nextPage"] = has_next.then_some(number + 1).into();
    meta["prevPage"] = number.checked_sub(1).filter(|before| *before > 0).into();
    let rows = rows.into_iter().map(|(row, _)| with_contact(visit, row));
    let rows: Vec<Value> = rows.collect();
    Ok(Answer::ok(
        json!({ "opportunities": rows, "meta": meta, "aggregations": {} }),
    ))
}

/// `POST /opportunities/search`. The cursor of a row is in `sort` and goes back as `searchAfter`.
pub(in super::super) fn search(visit: &mut Visit<'_>) -> Outcome {
    let body = visit.call.json()?;
    let location = visit.own_location(&body)?;
    let invalid = |text: String| Problem::Invalid(vec![text]);
    let words = words(text(&body, "query"), "query")?;
    let number = |field: &str, default: usize| match body.get(field) {
        None | Some(Value::Null) => Ok(default),
        Some(value) => value
            .as_u64()
            .and_then(|number| usize::try_from(number).ok())
            .ok_or_else(|| invalid(format!("{field} must be a number"))),
    };
    let limit = number("limit", DEFAULT)?;
    if limit > LIMIT {
        return Err(too_large("limit", LIMIT));
    }
    // The example in GHL's page has 0, and clients begin with 1: both are the first.
    let skip = number("page", 1)?.saturating_sub(1).saturating_mul(limit);
    let cursor = body.get("searchAfter").and_then(Value::as_array);
    let start = match cursor.filter(|values| !values.is_empty()) {
        Some(values) => Start::After(values.clone().into()),
        None => Start::Skip(skip),
    };
    let filters = body.get("filters").cloned().unwrap_or_else(|| json!([]));
    check(&filters).map_err(invalid)?;
    let State {
        contacts,
        opportunities,
        ..
    } = &mut *visit.state;
    let mut matching = opportunities.found(&location, visit.now);
    matching.retain(|opportunity| {
        let mentions = |words: &String| mentions(contacts, opportunity, words);
        words.as_ref().is_none_or(mentions) && passes(opportunity, &filters) == Ok(true)
    });
    let order = Order::newest("createdAt");
    let found = page(matching.into_iter(), &order, &start, limit);
    let Page { rows, total } = found.map_err(invalid)?;
    let rows = rows.into_iter().map(|(row, cursor)| {
        let mut row = with_contact(visit, row);
        row["sort"] = cursor;
        row
    });
    let rows: Vec<Value> = rows.collect();
    Ok(Answer::ok(json!({
        "opportunities": rows,
        "total": total,
        "stageAggregations": [],
        "aggregations": {},
    })))
}

fn words(given: Option<&str>, name: &str) -> Result<Option<String>, Problem> {
    match given {
        Some(text) if text.chars().count() > WORDS => Err(Problem::Invalid(vec![format!(
            "{name} must be shorter than or equal to {WORDS} characters"
        )])),
        given => Ok(given.map(str::to_lowercase)),
    }
}
