//! The message contract: what consumers get for an event. Changing it is a breaking change.
//!
//! The body is the very bytes of the log, those of a webhook as GHL signed them. Everything else is derived from the event alone, so a
//! message published again is the same message.

use crate::broker::{Header, Message};
use crate::clock::rfc3339;
use crate::event::Recorded;
use crate::event::trace::{TraceContext, number};
use crate::failpoints;
use crate::routing::key_of_event;

/// The header that says how the event came.
pub(super) const ORIGIN: &str = "hookwell-origin";

/// The headers, with what each holds, in the order of the documentation.
pub const HEADERS: [(&str, &str); 8] = [
    (
        "hookwell-position",
        "place in the log; rises with time, over all queues without gaps but those of dead letters, of what was discarded, and of a restored copy",
    ),
    (ORIGIN, "`webhook`, `follow_up`, `backfill` or `replay`"),
    ("ghl-app-id", "the app it was sent to"),
    ("ghl-company-id", "the agency, where known"),
    ("ghl-location-id", "the sub-account, where known"),
    (
        "ghl-entity-id",
        "the contact, opportunity, … it is about, where known",
    ),
    ("x-ghl-signature", "the signature header as GHL sent it"),
    ("traceparent", "W3C trace context, the same for every copy"),
];

/// CloudEvents 1.0 attributes with the prefix of its AMQP binding.
pub const CLOUD_EVENTS: [(&str, &str); 6] = [
    ("cloudEvents_specversion", "`1.0`"),
    ("cloudEvents_id", "the event key"),
    ("cloudEvents_source", "`/ghl/apps/<app id>`"),
    ("cloudEvents_type", "`com.gohighlevel.<type>`"),
    (
        "cloudEvents_time",
        "when hookwell had received it, RFC 3339",
    ),
    ("cloudEvents_subject", "the entity id, where known"),
];

/// The message for an event. So many traces of a hundred are marked as kept.
pub fn message(recorded: &Recorded, traced_percent: u8) -> Message {
    let event = &recorded.event;
    let key = event.key.as_str();
    let tenant = event.tenant.id().unwrap_or("none");
    let mut headers = Vec::with_capacity(HEADERS.len() + CLOUD_EVENTS.len());
    let mut text = |name: &'static str, value: Option<&str>| {
        if let Some(value) = value {
            headers.push((name, Header::Text(value.to_owned())));
        }
    };
    text(ORIGIN, Some(event.origin.as_str()));
    text("ghl-app-id", Some(&event.app_id));
    text("ghl-company-id", event.tenant.company_id.as_deref());
    text("ghl-location-id", event.tenant.location_id.as_deref());
    text("ghl-entity-id", event.entity_id.as_deref());
    text("x-ghl-signature", event.signature.as_deref());
    let trace = TraceContext::of(&event.app_id, key);
    let traceparent = trace.traceparent(trace.is_sampled(traced_percent));
    text("traceparent", Some(&traceparent));
    text("cloudEvents_specversion", Some("1.0"));
    text("cloudEvents_id", Some(key));
    text(
        "cloudEvents_source",
        Some(&format!("/ghl/apps/{}", event.app_id)),
    );
    text(
        "cloudEvents_type",
        Some(&format!("com.gohighlevel.{}", event.event_type)),
    );
    text("cloudEvents_time", Some(&rfc3339(event.received_at)));
    text("cloudEvents_subject", event.entity_id.as_deref());
    headers.push(("hookwell-position", Header::Number(recorded.position.0)));
    Message {
        id: key.to_owned(),
        kind: event.event_type.clone(),
        timestamp: u64::try_from(event.received_at.0 / 1_000_000).unwrap_or(0),
        lane: number(&[tenant]),
        routing_key: key_of_event(event),
        headers,
        body: match failpoints::mutant("mutant.M10") {
            true => serialised_again(&event.body),
            false => event.body.clone(),
        },
    }
}

/// The defect M10: what a parser and a printer make of a body.
fn serialised_again(body: &bytes::Bytes) -> bytes::Bytes {
    let value = serde_json::from_slice::<serde_json::Value>(body);
    value.map_or_else(|_| body.clone(), |value| value.to_string().into())
}
