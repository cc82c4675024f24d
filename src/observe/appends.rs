//! Whether appends come through: a store that answers may have no room for an event.
//!
//! One that failed is believed until another came through, or would. Where few webhooks come, or none since a proxy sends
//! them elsewhere, a second without a failure says nothing.

use bytes::BytesMut;

use crate::event::{BodyHash, Event, EventKey, Micros, Origin, Tenant};
use crate::metrics::Metrics;
use crate::store::Store;

/// Bytes of the body that an append is rehearsed with: more than what is left over on a full disk.
const BODY: usize = 128 * 1024;

/// What is known of the appends.
pub(super) struct Appends {
    metrics: Metrics,
    failed: u64,
    committed: u64,
    fail: bool,
}

impl Appends {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self {
            failed: metrics.commit_errors.get(),
            committed: committed(&metrics),
            fail: false,
            metrics,
        }
    }

    /// Whether they come through, by what happened since the last look.
    pub(super) async fn come_through(&mut self, store: &dyn Store, now: Micros) -> bool {
        let (failed, committed) = (self.metrics.commit_errors.get(), committed(&self.metrics));
        if self.failed < failed {
            self.fail = true;
        } else if self.committed < committed {
            self.fail = false;
        } else if self.fail {
            self.fail = store.rehearse(&made_up(now)).await.is_err();
        }
        (self.failed, self.committed) = (failed, committed);
        !self.fail
    }
}

/// Events that were written: for one that was there already no room is needed.
fn committed(metrics: &Metrics) -> u64 {
    let of = |outcome| metrics.events.with_label_values(&[outcome]).get();
    of("new") + of("altered")
}

/// An event that nobody sent. No store can make its body smaller.
fn made_up(now: Micros) -> Event {
    let mut body = BytesMut::with_capacity(BODY);
    let mut hash = BodyHash::of(&now.0.to_be_bytes());
    while body.len() < BODY {
        body.extend_from_slice(&hash.0);
        hash = BodyHash::of(&hash.0);
    }
    let body_hash = BodyHash::of(&body);
    Event {
        key: EventKey::from_body(&body_hash),
        app_id: String::new(),
        event_type: "rehearsal".to_owned(),
        tenant: Tenant::default(),
        entity_id: None,
        origin: Origin::Webhook,
        signature: None,
        received_at: now,
        body_hash,
        body: body.freeze(),
    }
}
