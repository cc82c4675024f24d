//! Plausible records: what is in an account at the start, and what stands in for an id that nobody put.
//!
//! The same id gives the same record. Names are invented, mail goes to example.com, phone numbers are
//! from the range kept for fiction. The fields are those of GHL's specifications
//! (`apps/contacts.json`, `apps/opportunities.json`, `apps/locations.json` of
//! GoHighLevel/highlevel-api-docs).

use serde_json::{Value, json};

use super::accounts::Location;
use super::time::iso;
use crate::event::Micros;

const FIRST: [&str; 8] = [
    "Ada", "Björn", "Chiara", "Dilan", "Esra", "Femi", "Greta", "Hugo",
];
const LAST: [&str; 8] = [
    "Ahrens", "Bakker", "Costa", "Duarte", "Eklund", "Fischer", "Grau", "Holm",
];
const DAY: i64 = 24 * 60 * 60 * 1_000_000;

/// A number that belongs to a text. Nothing rests on its quality (FNV-1a).
fn number(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// An id that belongs to a text: 20 characters, as most of GHL's.
pub(super) fn id(what: &str, of: &str) -> String {
    let name = format!("{what}/{of}");
    let mut id = format!(
        "{:016x}{:016x}",
        number(&name),
        number(&format!("{name}/2"))
    );
    id.truncate(20);
    id
}

/// An id in the form of a UUID.
fn uuid(what: &str, of: &str) -> String {
    let name = format!("{what}/{of}");
    let (high, low) = (number(&name), number(&format!("{name}/2")));
    ::uuid::Uuid::from_u64_pair(high, low).to_string()
}

fn pick<'a>(from: &[&'a str], number: u64) -> &'a str {
    from[usize::try_from(number % from.len() as u64).unwrap_or(0)]
}

/// When a record came to be: some day of the last thirty.
fn born(id: &str, now: Micros) -> Micros {
    let age = i64::try_from(number(id) % 30).unwrap_or(0) + 1;
    Micros(now.0 - age * DAY)
}

/// The contact with this id.
pub(super) fn contact(id: &str, location: &str, now: Micros) -> Value {
    let n = number(id);
    let (first, last) = (pick(&FIRST, n), pick(&LAST, n / 8));
    let born = iso(born(id, now));
    json!({
        "id": id,
        "locationId": location,
        "name": format!("{first} {last}"),
        "firstName": first,
        "lastName": last,
        "email": format!("person.{:08x}@example.com", n % 0xffff_ffff),
        "phone": format!("+12025550{}", 100 + n % 100),
        "timezone": "America/Chicago",
        "companyName": null,
        "dnd": false,
        "dndSettings": {},
        "type": "lead",
        "source": "public api",
        "assignedTo": null,
        "address1": "1 Example Street",
        "city": "Springfield",
        "state": "IL",
        "country": "US",
        "postalCode": "62701",
        "website": null,
        "tags": ["made-up"],
        "dateOfBirth": null,
        "dateAdded": born,
        "dateUpdated": born,
        "customFields": [{"id": self::id("contact field", location), "value": "blue"}],
    })
}

/// The opportunity with this id.
pub(super) fn opportunity(id: &str, location: &str, now: Micros) -> Value {
    let n = number(id);
    let born = iso(born(id, now));
    let pipeline = self::id("pipeline", location);
    json!({
        "id": id,
        "name": format!("{} {}", pick(&FIRST, n), pick(&["roof", "website", "garden", "van"], n / 8)),
        "monetaryValue": 100 + n % 100 * 50,
        "pipelineId": pipeline,
        "pipelineStageId": uuid("stage New", &pipeline),
        "assignedTo": null,
        "status": "open",
        "source": "public api",
        "lastStatusChangeAt": born,
        "lastStageChangeAt": born,
        "lastActionDate": born,
        "indexVersion": 1,
        "createdAt": born,
        "updatedAt": born,
        "contactId": self::id("contact of", id),
        "locationId": location,
        "customFields": [{"id": self::id("opportunity field", location), "fieldValue": "soon"}],
        "followers": [],
    })
}

/// What an opportunity shows of its contact.
pub(super) fn excerpt(contact: &Value) -> Value {
    let field = |name: &str| contact.get(name).cloned().unwrap_or_default();
    json!({
        "id": field("id"),
        "name": field("name"),
        "companyName": field("companyName"),
        "email": field("email"),
        "phone": field("phone"),
        "tags": field("tags"),
    })
}

/// The one pipeline of a sub-account, with its stages.
pub(super) fn pipelines(location: &str) -> Value {
    let pipeline = id("pipeline", location);
    let stages = ["New", "Contacted", "Proposal", "Closed"];
    let stages = stages.iter().enumerate().map(|(position, name)| {
        json!({
            "id": uuid(&format!("stage {name}"), &pipeline),
            "name": name,
            "position": position,
            "showInFunnel": true,
            "showInPieChart": true,
        })
    });
    json!([{
        "id": pipeline,
        "name": "Sales",
        "stages": stages.collect::<Vec<Value>>(),
        "showInFunnel": true,
        "showInPieChart": true,
        "locationId": location,
    }])
}

/// The custom fields of a sub-account, one of contacts and one of opportunities.
pub(super) fn custom_fields(location: &str) -> [Value; 2] {
    ["contact", "opportunity"].map(|model| {
        let name = match model {
            "contact" => "Favourite colour",
            _ => "When to start",
        };
        json!({
            "id": id(&format!("{model} field"), location),
            "name": name,
            "fieldKey": format!("{model}.{}", name.to_lowercase().replace(' ', "_")),
            "dataType": "TEXT",
            "position": 0,
            "locationId": location,
            "model": model,
        })
    })
}

/// A sub-account as it is shown.
pub(super) fn location(id: &str, location: &Location) -> Value {
    json!({
        "id": id,
        "companyId": location.company,
        "name": location.name,
        "address": "1 Example Street",
        "city": "Springfield",
        "state": "IL",
        "country": "US",
        "postalCode": "62701",
        "website": "https://example.com/",
        "timezone": "America/Chicago",
        "email": "office@example.com",
        "phone": "+12025550100",
        "settings": {"allowDuplicateContact": false, "allowDuplicateOpportunity": false},
    })
}
