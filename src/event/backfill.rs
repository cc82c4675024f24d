//! Events of our own that ask for something to be read from the API: records that changed in a time, and where an app
//! is installed.
//!
//! They are in the log like any event: planned once, published to consumers, and what they ask for is a call with a
//! budget, a token and retries. What GHL posts is never taken for one. Pure.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{BodyHash, Event, EventKey, Micros, Origin, Tenant};
use crate::clock::rfc3339;

/// The type of an event that asks for records.
pub const BACKFILL_REQUESTED: &str = "backfill.requested";
/// The type of the event that says that all of them were read.
pub const BACKFILL_COMPLETED: &str = "backfill.completed";
/// The type of an event that asks where an app is installed.
pub const INSTALLS_REQUESTED: &str = "installs.requested";

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Contacts.
    Contacts,
    /// Opportunities.
    Opportunities,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Contacts, Self::Opportunities];

    /// The name in the configuration, on the command line, and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Contacts => "contacts",
            Self::Opportunities => "opportunities",
        }
    }

    /// The inverse of [`Self::as_str`].
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// One record's field in a message.
    pub fn record(self) -> &'static str {
        match self {
            Self::Contacts => "contact",
            Self::Opportunities => "opportunity",
        }
    }

    /// The type of the event that a record becomes: that of the ready-made rules.
    pub fn event_type(self) -> &'static str {
        match self {
            Self::Contacts => "contact.snapshot",
            Self::Opportunities => "opportunity.snapshot",
        }
    }
}

/// Which records are asked for: those of a location that changed in a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ask {
    /// What is read.
    pub kinds: Vec<Kind>,
    /// From here, in microseconds since 1970.
    pub since_micros: i64,
    /// To here.
    pub until_micros: i64,
    /// Whether they are only counted.
    #[serde(default)]
    pub dry_run: bool,
    /// Why: `command`, `gap` or `install`.
    pub why: String,
}

impl Ask {
    /// What an event asks for.
    pub fn of(event: &Event) -> Option<Self> {
        let ours = event.origin == Origin::Backfill && event.event_type == BACKFILL_REQUESTED;
        ours.then(|| serde_json::from_slice(&event.body).ok())?
    }

    /// The event that asks for it. Under the same key it is asked for once.
    pub fn event(&self, key: &str, app_id: &str, tenant: Tenant, now: Micros) -> Event {
        let mut body = json!(self);
        body["since"] = json!(rfc3339(Micros(self.since_micros)));
        body["until"] = json!(rfc3339(Micros(self.until_micros)));
        body["locationId"] = json!(tenant.location_id);
        own(key, app_id, BACKFILL_REQUESTED, tenant, None, &body, now)
    }
}

/// The event that asks where an app is installed for a company.
pub fn reconcile(key: &str, app_id: &str, company_id: &str, why: &str, now: Micros) -> Event {
    let tenant = Tenant {
        company_id: Some(company_id.to_owned()),
        location_id: None,
    };
    let body = json!({"companyId": company_id, "why": why});
    own(key, app_id, INSTALLS_REQUESTED, tenant, None, &body, now)
}

/// An event of our own, found by reading the API or asking for that.
pub fn own(
    key: &str,
    app_id: &str,
    event_type: &str,
    tenant: Tenant,
    entity_id: Option<String>,
    body: &serde_json::Value,
    now: Micros,
) -> Event {
    let body = bytes::Bytes::from(body.to_string());
    Event {
        key: EventKey::from_id(key).unwrap_or_else(|| EventKey::from_body(&BodyHash::of(&body))),
        app_id: app_id.to_owned(),
        event_type: event_type.to_owned(),
        tenant,
        entity_id,
        origin: Origin::Backfill,
        signature: None,
        received_at: now,
        body_hash: BodyHash::of(&body),
        body,
    }
}
