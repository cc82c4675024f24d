//! Realistic bodies for trying things out: what GHL would post, with made-up people in it.
//!
//! A body is a function of its [`SampleContext`], so a run can be repeated. The same people,
//! conversations and records come back every so many bodies, as they do in an account in use.
//! Names are invented, mail goes to example.com, phone numbers are from the range kept for fiction.
//! Nothing here signs or sends.

use serde_json::{Map, Value};

use super::catalogue::{self, Kind, PRICE};

mod bodies;

/// What a sample body is made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleContext {
    /// The delivery's `webhookId`; GHL sends a UUID.
    pub webhook_id: String,
    /// When it was sent, as in `2026-01-31T12:00:00.000Z`.
    pub timestamp_rfc3339: String,
    /// The app it is sent to.
    pub app_id: String,
    /// The agency.
    pub company_id: String,
    /// The sub-account.
    pub location_id: String,
    /// A running number. It varies the names and picks the entity: the contact, for one, is that
    /// of `n % 1000`.
    pub n: u64,
}

/// The event types there are samples of.
pub fn types() -> Vec<&'static str> {
    let known = catalogue::all().iter().map(|kind| kind.event_type);
    // The stand-in for price bodies that do not say what happened is nothing GHL sends.
    known.filter(|name| *name != PRICE).collect()
}

/// A body of `event_type`, which may be an alias; `None` for a type without samples.
pub fn body(event_type: &str, context: &SampleContext) -> Option<Vec<u8>> {
    let kind = catalogue::find(event_type)?;
    let mut fields = match bodies::fields(kind, context)? {
        Value::Object(fields) => fields,
        _ => return None,
    };
    complete(&mut fields, kind, context);
    let body = match kind.event_type {
        // GHL's page on this type calls its body an array.
        "SaasPlanCreate" => Value::Array(vec![Value::Object(fields)]),
        _ => Value::Object(fields),
    };
    serde_json::to_vec(&body).ok()
}

/// Whether bodies of `event_type` do not name it: see [`Kind::lacks_type`].
pub fn needs_url_name(event_type: &str) -> bool {
    catalogue::find(event_type).is_some_and(Kind::lacks_type)
}

/// Adds what every delivery carries beside the documented fields.
fn complete(fields: &mut Map<String, Value>, kind: &Kind, context: &SampleContext) {
    let mut add = |name: &str, value: &str| {
        fields
            .entry(name)
            .or_insert_with(|| Value::String(value.to_owned()));
    };
    if !kind.lacks_type() {
        add("type", kind.event_type);
    }
    add("appId", &context.app_id);
    // The first version of an app has the app's own id.
    add("versionId", &context.app_id);
    add("timestamp", &context.timestamp_rfc3339);
    add("webhookId", &context.webhook_id);
}

/// 20 letters and digits, the form of most of GHL's ids; the same for the same `what` and `n`.
fn id(what: &str, n: u64) -> String {
    const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut digits = Digits::new(what, n);
    (0..20)
        .map(|_| char::from(LETTERS[(digits.next() % 62) as usize]))
        .collect()
}

/// 24 hex digits, the form of the ids in GHL's newer services.
fn hex_id(what: &str, n: u64) -> String {
    let mut digits = Digits::new(what, n);
    let (high, low) = (digits.next() & 0xffff_ffff, digits.next());
    format!("{high:08x}{low:016x}")
}

/// SplitMix64, which turns neighbouring numbers into unlike ones. Nothing rests on its quality.
struct Digits(u64);

impl Digits {
    fn new(what: &str, n: u64) -> Self {
        let start = what.bytes().fold(n, |state, byte| {
            state.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte)
        });
        Self(start)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::event::BodyHash;
    use crate::event::identify::identify;
    use std::collections::HashSet;

    fn context(n: u64) -> SampleContext {
        SampleContext {
            webhook_id: format!("00000000-0000-4000-8000-{n:012}"),
            timestamp_rfc3339: "2026-01-31T12:00:00.000Z".into(),
            app_id: "Sample0App0Id0000001".into(),
            company_id: "Sample0Company000001".into(),
            location_id: "Sample0Location00001".into(),
            n,
        }
    }

    #[test]
    fn each_sample_is_identified_as_its_own_type() {
        for name in types() {
            for n in [0, 1, 2, 3, 1_000_007, u64::MAX] {
                let context = context(n);
                let body = body(name, &context).unwrap();
                let url_name = needs_url_name(name).then_some(name);
                let found = identify(&body, &BodyHash::of(&body), url_name);
                assert_eq!(found.unreadable, None, "{name}");
                assert_eq!(found.event_type, name);
                assert_eq!(found.key.as_str(), context.webhook_id, "{name}");
                assert_eq!(found.app_id, Some(context.app_id), "{name}");
                assert!(found.tenant.id().is_some(), "{name} has no tenant");
                let lifecycle = catalogue::find(name).unwrap().family == "app";
                assert_eq!(found.entity_id.is_none(), lifecycle, "{name}");
                let without = identify(&body, &BodyHash::of(&body), None).event_type;
                assert_eq!(without != name, needs_url_name(name), "{name}");
            }
        }
    }

    #[test]
    fn samples_repeat_and_share_entities() {
        let entity = |name: &str, n| {
            let body = body(name, &context(n)).unwrap();
            identify(&body, &BodyHash::of(&body), None)
                .entity_id
                .unwrap()
        };
        assert_eq!(
            body("ContactCreate", &context(5)),
            body("ContactCreate", &context(5))
        );
        assert_ne!(
            body("ContactCreate", &context(5)),
            body("ContactCreate", &context(6))
        );
        assert_eq!(entity("ContactCreate", 5), entity("ContactUpdate", 1_005));
        let contacts: HashSet<_> = (0..2_000).map(|n| entity("ContactCreate", n)).collect();
        assert_eq!(contacts.len(), 1_000);
        assert!(contacts.iter().all(|id| id.len() == 20));
        let messages: HashSet<_> = (0..2_000).map(|n| entity("InboundMessage", n)).collect();
        assert_eq!(messages.len(), 2_000);
    }

    #[test]
    fn aliases_have_samples_and_unknown_types_have_none() {
        assert!(types().len() >= 30);
        assert_eq!(
            body("AppInstall", &context(1)),
            body("INSTALL", &context(1))
        );
        assert_eq!(body("Nonsense", &context(1)), None);
        assert_eq!(body(PRICE, &context(1)), None);
        assert!(needs_url_name("InvoicePaid") && !needs_url_name("ContactCreate"));
    }
}
