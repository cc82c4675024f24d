//! What a page of confirmation says of the one thing that is concerned: a number alone is easily mistaken.

use serde_json::{Value, json};

use crate::clock::rfc3339;
use crate::event::{Micros, Tenant};
use crate::store::{Listed, Replay};

/// A line of it.
pub(super) fn fact(name: &str, value: &str) -> Value {
    json!({ "name": name, "value": value })
}

/// A line with a moment.
pub(super) fn moment(name: &str, at: Micros) -> Value {
    json!({ "name": name, "at": rfc3339(at) })
}

/// An event in the log, with the way to its page.
pub(super) fn event(listed: &Listed) -> Vec<Value> {
    let mut facts = vec![json!({
        "name": "event", "value": format!("{} at position {}", listed.event_type, listed.position),
        "page": format!("/events/{}", listed.position),
    })];
    facts.extend(named(listed.key.as_str(), &listed.tenant));
    facts.push(moment("received", listed.received_at));
    facts
}

/// Whose an event is.
pub(super) fn named(key: &str, tenant: &Tenant) -> [Value; 2] {
    let tenant = tenant.id().unwrap_or("–");
    [fact("event key", key), fact("tenant", tenant)]
}

/// What a replay takes.
pub(super) fn replay(replay: &Replay) -> Vec<Value> {
    let filter = &replay.filter;
    vec![
        fact("type", filter.event_type.as_deref().unwrap_or("every type")),
        fact("tenant", filter.tenant.as_deref().unwrap_or("every tenant")),
        fact(
            "positions",
            &format!("{} to {}", filter.after.0 + 1, filter.upto),
        ),
        fact("asked by", &replay.who),
        moment("asked", replay.asked_at),
        fact(
            "published",
            &format!("{} of {}", replay.published, replay.matched),
        ),
    ]
}
