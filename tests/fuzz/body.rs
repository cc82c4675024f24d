//! Bodies: every sequence of bytes has one identity, fit for every place it goes to, and where JSON is
//! read at all, serde_json's tree says the same.

use hookwell::event::identify::{Identity, MAX_TYPE_BYTES, identify};
use hookwell::event::{BodyHash, EventKey, Tenant, UNKNOWN_TYPE};
use hookwell::routing::routing_key;
use serde_json::Value;

use super::routing::assert_legal;

/// Takes `@name` and a line feed for the event name in the URL, and the rest for the body; whether
/// something could be read.
pub fn run(data: &[u8]) -> bool {
    let (name, body) = split(data);
    let hash = BodyHash::of(body);
    let identity = identify(body, &hash, name);
    assert_eq!(
        identity,
        identify(body, &hash, name),
        "the same answer twice"
    );

    let kind = &identity.event_type;
    let in_name = |b: u8| b.is_ascii_alphanumeric() || b"._:-".contains(&b);
    assert!((1..=MAX_TYPE_BYTES).contains(&kind.len()) && kind.bytes().all(in_name));
    let Tenant {
        company_id,
        location_id,
    } = &identity.tenant;
    let ids = [
        &identity.app_id,
        &identity.entity_id,
        company_id,
        location_id,
    ];
    for id in ids.into_iter().flatten() {
        assert!(usable(id), "{id:?}");
    }
    let key = identity.key.as_str();
    let by_hash = identity.key == EventKey::from_body(&hash);
    assert_eq!(by_hash, identity.key_is_fallback);
    assert!(key.len() <= EventKey::MAX_ID_BYTES && key.bytes().all(|b| b.is_ascii_graphic()));
    assert_legal(&routing_key(kind, &identity.tenant));

    match identity.unreadable {
        Some(_) => assert_eq!(identity, nothing(&hash, &identity)),
        None => assert_agrees(body, &identity),
    }
    identity.unreadable.is_none()
}

fn split(data: &[u8]) -> (Option<&str>, &[u8]) {
    let named = data.strip_prefix(b"@").and_then(|rest| {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let name = std::str::from_utf8(&rest[..end]).ok()?;
        Some((Some(name), &rest[end + 1..]))
    });
    named.unwrap_or((None, data))
}

fn usable(id: &str) -> bool {
    (1..=EventKey::MAX_ID_BYTES).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())
}

/// All that an unreadable body may have.
fn nothing(hash: &BodyHash, identity: &Identity) -> Identity {
    Identity {
        event_type: UNKNOWN_TYPE.to_owned(),
        key: EventKey::from_body(hash),
        key_is_fallback: true,
        app_id: None,
        tenant: Tenant::default(),
        entity_id: None,
        too_large: false,
        unreadable: identity.unreadable,
    }
}

/// A consumer that parses the same body finds the same fields in it.
fn assert_agrees(body: &[u8], identity: &Identity) {
    let tree: Value = serde_json::from_slice(body).unwrap();
    let object = match &tree {
        Value::Array(items) => items.iter().find_map(Value::as_object),
        other => other.as_object(),
    }
    .unwrap();
    let text = |name: &str| match object.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if !number.is_f64() => Some(number.to_string()),
        _ => None,
    };
    let id = |name: &str| text(name).filter(|id| usable(id));
    let key = text("webhookId").and_then(|id| EventKey::from_id(&id));
    assert_eq!(key.is_none(), identity.key_is_fallback);
    assert!(key.is_none_or(|key| key == identity.key));
    assert_eq!(identity.app_id, id("appId"));
    assert_eq!(identity.tenant.company_id, id("companyId"));
    if let Some(location) = id("locationId") {
        assert_eq!(identity.tenant.location_id, Some(location));
    }
}
