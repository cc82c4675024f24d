//! Events as the daemon would append them, made without HTTP and signatures.

use hookwell::clock::Clock;
use hookwell::event::identify::identify;
use hookwell::event::{BodyHash, Event, Origin};

use crate::bodies;

/// Event number `n`; its signature has the length of a real one, and nobody checks it again.
pub fn event(app_id: &str, n: u64, clock: &Clock) -> Event {
    let body = bodies::body(app_id, n);
    let body_hash = BodyHash::of(&body);
    let identity = identify(&body, &body_hash, None);
    Event {
        key: identity.key,
        app_id: app_id.to_owned(),
        event_type: identity.event_type,
        tenant: identity.tenant,
        entity_id: identity.entity_id,
        origin: Origin::Webhook,
        signature: Some("A".repeat(88)),
        received_at: clock(),
        body_hash,
        body: body.into(),
    }
}
