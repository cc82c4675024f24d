//! Contacts: by id, by search, by list, and their tags. Fields and envelopes as in `apps/contacts.json` of
//! GoHighLevel/highlevel-api-docs.

use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::errors::Problem;
use super::made_up;
use super::search::{Order, Page, Start, check, page, passes};
use super::time::iso;
use super::visit::{Outcome, Visit, text, too_large};

/// Rows of a search at most, and rows that pages reach in all; a cursor goes further.
const PAGE_LIMIT: usize = 500;
const WINDOW: usize = 10_000;
/// Rows of a list.
const LIST_DEFAULT: usize = 20;
const LIST_LIMIT: usize = 100;

/// `GET /contacts/{id}`
pub(super) fn get(visit: &mut Visit<'_>, id: &str) -> Outcome {
    let contact = known(visit, id)?;
    Ok(Answer::ok(json!({ "contact": contact })))
}

/// The contact, if it is of the token's sub-account. A lenient server makes one up.
pub(super) fn known(visit: &mut Visit<'_>, id: &str) -> Result<Value, Problem> {
    if let Some(contact) = visit.state.contacts.get(id) {
        let contact = contact.clone();
        visit.must_be_of(text_of(&contact, "locationId"))?;
        return Ok(contact);
    }
    let is_gone = id.starts_with("gone") || visit.state.contacts.is_deleted(id);
    if is_gone || !visit.settings.lenient {
        return Err(Problem::Gone(format!("Contact with id {id} not found")));
    }
    let contact = made_up::contact(id, &visit.location(), visit.now);
    visit.state.contacts.put(id, contact.clone(), visit.now);
    Ok(contact)
}

fn text_of<'a>(record: &'a Value, field: &str) -> &'a str {
    record[field].as_str().unwrap_or_default()
}

/// `POST /contacts/`
pub(super) fn create(visit: &mut Visit<'_>) -> Outcome {
    let mut fields = visit.call.json()?;
    let location = visit.own_location(&fields)?;
    fields.remove("id");
    let mut id = uuid::Uuid::new_v4().simple().to_string();
    id.truncate(20);
    let now = iso(visit.now);
    let mut contact = json!({
        "id": id,
        "locationId": location,
        "dnd": false,
        "type": "lead",
        "tags": [],
        "customFields": [],
        "dateAdded": now,
        "dateUpdated": now,
    });
    merge(&mut contact, fields);
    visit.state.contacts.put(&id, contact.clone(), visit.now);
    Ok(Answer::created(json!({ "contact": contact })))
}

/// `PUT /contacts/{id}`. GHL spells `succeded` like this.
pub(super) fn update(visit: &mut Visit<'_>, id: &str) -> Outcome {
    let mut contact = known(visit, id)?;
    let fields = visit.call.json()?;
    merge(&mut contact, fields);
    contact["dateUpdated"] = iso(visit.now).into();
    visit.state.contacts.put(id, contact.clone(), visit.now);
    Ok(Answer::ok(json!({ "succeded": true, "contact": contact })))
}

/// Puts fields over those of a contact. Id and sub-account stay, and the name follows its parts.
pub(super) fn merge(contact: &mut Value, fields: Map<String, Value>) {
    let is_named = |fields: &Map<String, Value>| {
        fields.contains_key("firstName") || fields.contains_key("lastName")
    };
    let follows = is_named(&fields) && !fields.contains_key("name");
    for (name, value) in fields {
        if name != "id" && name != "locationId" {
            contact[name] = value;
        }
    }
    if follows {
        let name = format!(
            "{} {}",
            text_of(contact, "firstName"),
            text_of(contact, "lastName")
        );
        contact["name"] = name.trim().into();
    }
}

/// `DELETE /contacts/{id}`
pub(super) fn delete(visit: &mut Visit<'_>, id: &str) -> Outcome {
    known(visit, id)?;
    visit.state.contacts.remove(id, visit.now);
    Ok(Answer::ok(json!({ "succeded": true })))
}

/// `POST` and `DELETE /contacts/{id}/tags`. A tag that is there is not added twice.
pub(super) fn tag(visit: &mut Visit<'_>, id: &str, add: bool) -> Outcome {
    let mut contact = known(visit, id)?;
    let fields = visit.call.json()?;
    let asked = fields.get("tags").and_then(Value::as_array);
    let asked: Option<Vec<&str>> = asked.and_then(|tags| tags.iter().map(Value::as_str).collect());
    let asked = asked.ok_or_else(|| {
        let texts = [
            "each value in tags must be a string",
            "tags must be an array",
        ];
        Problem::Invalid(texts.map(ToOwned::to_owned).to_vec())
    })?;
    let mut tags: Vec<Value> = contact["tags"].as_array().cloned().unwrap_or_default();
    tags.retain(|tag| tag.as_str().is_none_or(|tag| !asked.contains(&tag)));
    if add {
        let mut seen = Vec::new();
        for tag in asked {
            if !seen.contains(&tag) {
                seen.push(tag);
                tags.push(tag.into());
            }
        }
    }
    contact["tags"] = tags.clone().into();
    contact["dateUpdated"] = iso(visit.now).into();
    visit.state.contacts.put(id, contact, visit.now);
    let body = json!({ "tags": tags });
    Ok(match add {
        true => Answer::created(body),
        false => Answer::ok(body),
    })
}

/// `POST /contacts/search`
pub(super) fn search(visit: &mut Visit<'_>) -> Outcome {
    let body = visit.call.json()?;
    let mut wrong = Vec::new();
    for field in ["locationId", "pageLimit"] {
        if body.get(field).is_none_or(Value::is_null) {
            wrong.push(format!("{field} should not be empty"));
        }
    }
    if !wrong.is_empty() {
        return Err(Problem::Invalid(wrong));
    }
    let location = visit.own_location(&body)?;
    let invalid = |text: String| Problem::Invalid(vec![text]);
    let whole = |field: &str| match body.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let number = value
                .as_u64()
                .and_then(|number| usize::try_from(number).ok());
            let positive = number.filter(|number| *number > 0);
            positive
                .map(Some)
                .ok_or_else(|| invalid(format!("{field} must be a positive number")))
        }
    };
    let limit = whole("pageLimit")?.unwrap_or(LIST_DEFAULT);
    if limit > PAGE_LIMIT {
        return Err(too_large("pageLimit", PAGE_LIMIT));
    }
    let cursor = body.get("searchAfter").filter(|cursor| {
        cursor.as_array().is_none_or(|values| !values.is_empty()) && !cursor.is_null()
    });
    let start = match (cursor, whole("page")?) {
        (Some(cursor), _) => Start::After(cursor.clone()),
        (None, number) => {
            let skip = (number.unwrap_or(1) - 1).saturating_mul(limit);
            if skip.saturating_add(limit) > WINDOW {
                let text =
                    format!("page and pageLimit reach {WINDOW} rows; go on with searchAfter");
                return Err(invalid(text));
            }
            Start::Skip(skip)
        }
    };
    let order = match body.get("sort") {
        None | Some(Value::Null) => Order::newest("dateAdded"),
        Some(sort) => Order::parse(sort).map_err(invalid)?,
    };
    let filters = body.get("filters").cloned().unwrap_or_else(|| json!([]));
    let words = text(&body, "query").map(str::to_lowercase);
    check(&filters).map_err(invalid)?;
    let mut matching = visit.state.contacts.found(&location, visit.now);
    matching.retain(|contact| {
        let mentions = words.as_ref().is_none_or(|words| mentions(contact, words));
        mentions && passes(contact, &filters) == Ok(true)
    });
    let found = page(matching.into_iter(), &order, &start, limit);
    let Page { rows, total } = found.map_err(invalid)?;
    let rows = rows.into_iter().map(|(mut contact, cursor)| {
        if let Some(fields) = contact.as_object_mut() {
            // It never has them: GoHighLevel/highlevel-api-docs issue 43.
            fields.remove("dndSettings");
            fields.insert("searchAfter".to_owned(), cursor);
        }
        contact
    });
    let rows: Vec<Value> = rows.collect();
    Ok(Answer::ok(json!({ "contacts": rows, "total": total })))
}

fn mentions(contact: &Value, words: &str) -> bool {
    ["name", "email", "phone", "companyName"]
        .iter()
        .any(|field| text_of(contact, field).to_lowercase().contains(words))
}

/// `GET /contacts/`: deprecated, still answered. The next page is where `startAfter` and `startAfterId`
/// are both given; one alone begins anew, so that a client that forgets one turns in circles
/// (PipedreamHQ/pipedream issue 21941).
pub(super) fn list(visit: &mut Visit<'_>) -> Outcome {
    let call = visit.call;
    let location = call
        .parameter("locationId")
        .ok_or_else(|| Problem::missing("locationId"))?;
    visit.must_be_of(location)?;
    let limit = call.number("limit", LIST_DEFAULT, LIST_LIMIT)?;
    let start = start_after(visit)?;
    let words = call.parameter("query").map(str::to_lowercase);
    let mut contacts = visit.state.contacts.found(location, visit.now);
    contacts.retain(|contact| words.as_ref().is_none_or(|words| mentions(contact, words)));
    let order = Order::newest("dateAdded");
    let page = page(contacts.into_iter(), &order, &start, limit);
    let Page { rows, total } = page.map_err(|text| Problem::Invalid(vec![text]))?;
    let meta = meta(
        "/contacts/",
        &[("locationId", location)],
        &rows,
        total,
        limit,
    );
    let rows: Vec<Value> = rows.into_iter().map(|(contact, _)| contact).collect();
    Ok(Answer::ok(json!({ "contacts": rows, "meta": meta })))
}

/// Where a list begins by its query.
pub(super) fn start_after(visit: &Visit<'_>) -> Result<Start, Problem> {
    let call = visit.call;
    match (call.parameter("startAfter"), call.parameter("startAfterId")) {
        (Some(_), Some(id)) => {
            let time = call.number("startAfter", 0, usize::MAX)?;
            Ok(Start::After(json!([time, id])))
        }
        _ => Ok(Start::Skip(0)),
    }
}

/// The `meta` of a list. As in GHL's examples, `nextPageUrl` names a host that nobody else can reach.
pub(super) fn meta(
    path: &str,
    query: &[(&str, &str)],
    rows: &[(Value, Value)],
    total: usize,
    limit: usize,
) -> Value {
    let last = rows.last().filter(|_| rows.len() == limit);
    let Some((record, cursor)) = last else {
        return json!({"total": total, "nextPageUrl": null, "startAfter": null, "startAfterId": null, "nextPage": null});
    };
    let (time, id) = (&cursor[0], text_of(record, "id"));
    let mut url = format!("http://localhost:5066{path}?");
    for (name, value) in query {
        url.push_str(&format!("{name}={value}&"));
    }
    url.push_str(&format!(
        "limit={limit}&startAfter={time}&startAfterId={id}"
    ));
    json!({"total": total, "nextPageUrl": url, "startAfter": time, "startAfterId": id, "nextPage": 2})
}
