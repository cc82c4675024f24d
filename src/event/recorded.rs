//! Events for unit tests.

use crate::event::{BodyHash, Event, EventKey, Micros, Origin, Position, Recorded, Tenant};

/// The event of a tenant at a place; of nobody for an empty name. Its body has ten bytes.
pub(crate) fn recorded(position: i64, tenant: &str) -> Recorded {
    Recorded {
        position: Position(position),
        event: Event {
            key: EventKey::from_stored(format!("event-{position}")),
            app_id: "app".to_owned(),
            event_type: "ContactCreate".to_owned(),
            tenant: Tenant {
                company_id: None,
                location_id: (!tenant.is_empty()).then(|| tenant.to_owned()),
            },
            entity_id: None,
            origin: Origin::Webhook,
            signature: None,
            received_at: Micros(0),
            body_hash: BodyHash::of(b"0123456789"),
            body: bytes::Bytes::from_static(b"0123456789"),
        },
    }
}
