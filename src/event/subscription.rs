//! What GHL says when a workflow begins or ceases to use one of an app's triggers.
//!
//! GHL posts it to the trigger's subscription URL: created, updated or deleted, with the address at which the
//! workflow is started (its page on custom triggers). It is not signed, so what is in it is believed no further
//! than a form: bounded, and the address is checked by whoever calls it. Pure.

use serde::Deserialize;
use serde_json::Value;

/// Bytes of an id or a name, and of the address, at most.
const ID: usize = 128;
const ADDRESS: usize = 2048;

/// Bytes of filters at most, as JSON.
const FILTERS: usize = 8 * 1024;
/// What is below it starts a workflow, as GHL's page on custom triggers has it.
const STARTS: &str = "/workflows-marketplace/triggers/execute/";

/// Whether a workflow of the API at `base` is started at an address. Whoever knows the trigger's secret names it, and the
/// call carries the location's token: it must not lead to any other call of the API.
pub fn starts_a_workflow(address: &str, base: &str) -> bool {
    let below = address
        .strip_prefix(base)
        .and_then(|path| path.strip_prefix(STARTS));
    below.is_some_and(|below| below.split('/').all(is_plain))
}

/// A workflow that waits for a trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// GHL's id of it: letters, digits, `-` and `_`.
    pub id: String,
    /// The trigger's key, as the app's page in the portal names it.
    pub trigger: String,
    /// The location whose workflow it is.
    pub location_id: String,
    /// Its agency.
    pub company_id: Option<String>,
    /// The workflow.
    pub workflow_id: Option<String>,
    /// What the workflow's author filled in, as GHL sent it.
    pub filters: Value,
    /// Where the workflow is started.
    pub target_url: String,
}

/// What became of a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is there, as it is said now.
    Kept(Subscription),
    /// It is gone.
    Deleted {
        /// GHL's id of it.
        id: String,
        /// The location.
        location_id: String,
    },
}

/// Why a body is no such message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is not the JSON that GHL documents.
    #[error("it is not what GHL posts for a workflow trigger")]
    Unreadable,
    /// A field is missing or is no text of a usable length.
    #[error("{0} is missing or is not usable")]
    Field(&'static str),
    /// GHL may have made a new one.
    #[error("eventType is none of CREATED, UPDATED and DELETED")]
    EventType,
}

#[derive(Deserialize)]
struct Body {
    #[serde(rename = "triggerData")]
    data: Data,
    extras: Extras,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    #[serde(default)]
    id: Value,
    #[serde(default)]
    key: Value,
    #[serde(default)]
    filters: Value,
    #[serde(default)]
    event_type: Value,
    #[serde(default)]
    target_url: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Extras {
    #[serde(default)]
    location_id: Value,
    #[serde(default)]
    workflow_id: Value,
    #[serde(default)]
    company_id: Value,
}

impl Change {
    /// Reads a body of GHL's.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn read(body: &[u8]) -> Result<Self, Error> {
        let Body { data, extras } = serde_json::from_slice(body).map_err(|_| Error::Unreadable)?;
        let id = name(&data.id).ok_or(Error::Field("triggerData.id"))?;
        let location_id = name(&extras.location_id).ok_or(Error::Field("extras.locationId"))?;
        match data.event_type.as_str() {
            Some("DELETED") => Ok(Self::Deleted { id, location_id }),
            Some("CREATED" | "UPDATED") => Ok(Self::Kept(Subscription {
                id,
                trigger: name(&data.key).ok_or(Error::Field("triggerData.key"))?,
                location_id,
                company_id: name(&extras.company_id),
                workflow_id: name(&extras.workflow_id),
                filters: Some(data.filters)
                    .filter(|filters| filters.to_string().len() <= FILTERS)
                    .ok_or(Error::Field("triggerData.filters"))?,
                target_url: data
                    .target_url
                    .as_str()
                    .filter(|url| (1..=ADDRESS).contains(&url.len()))
                    .map(str::to_owned)
                    .ok_or(Error::Field("triggerData.targetUrl"))?,
            })),
            _ => Err(Error::EventType),
        }
    }
}

fn name(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    (text.len() <= ID && is_plain(text)).then(|| text.to_owned())
}

fn is_plain(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    !text.is_empty() && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn body() -> Value {
        json!({
            "triggerData": {"id": "s1", "key": "deal_won", "filters": [{"field": "stage"}], "eventType": "CREATED",
                            "targetUrl": "https://api.example/workflows-marketplace/triggers/execute/a/s1"},
            "meta": {"key": "deal_won", "version": "1.0"},
            "extras": {"locationId": "l1", "workflowId": "w1", "companyId": "c1"},
        })
    }

    fn read(body: &Value) -> Result<Change, Error> {
        Change::read(body.to_string().as_bytes())
    }

    #[test]
    fn only_a_workflow_is_started() {
        let base = "https://api.example";
        for (rest, starts) in [
            ("/workflows-marketplace/triggers/execute/a/s-1_x", true),
            ("/workflows-marketplace/triggers/execute/a", true),
            ("/workflows-marketplace/triggers/execute/", false),
            ("/workflows-marketplace/triggers/execute", false),
            ("/workflows-marketplace/triggers/execute/a/", false),
            ("/workflows-marketplace/triggers/execute//a", false),
            (
                "/workflows-marketplace/triggers/execute/../../contacts",
                false,
            ),
            (
                "/workflows-marketplace/triggers/execute/%2e%2e/contacts",
                false,
            ),
            ("/workflows-marketplace/triggers/execute/a?x=1", false),
            ("/workflows-marketplace/triggers/execute/a#x", false),
            ("/workflows-marketplace/triggers/execute/a\\b", false),
            ("/contacts/", false),
            ("/conversations/messages", false),
            (
                ".evil.example/workflows-marketplace/triggers/execute/a",
                false,
            ),
            (
                "@evil.example/workflows-marketplace/triggers/execute/a",
                false,
            ),
            ("", false),
        ] {
            assert_eq!(
                starts_a_workflow(&format!("{base}{rest}"), base),
                starts,
                "{rest}"
            );
        }
        let elsewhere = "https://api.evil/workflows-marketplace/triggers/execute/a";
        assert!(!starts_a_workflow(elsewhere, base));
    }

    #[test]
    fn filters_are_bounded() {
        let mut body = body();
        body["triggerData"]["filters"] = json!(["x".repeat(FILTERS - 4)]);
        assert!(read(&body).is_ok());
        body["triggerData"]["filters"] = json!(["x".repeat(FILTERS - 3)]);
        assert_eq!(read(&body), Err(Error::Field("triggerData.filters")));
    }

    #[test]
    fn a_subscription_is_kept_until_it_is_deleted() {
        let mut body = body();
        let Change::Kept(kept) = read(&body).unwrap() else {
            panic!("it is there");
        };
        assert_eq!(
            (kept.id.as_str(), kept.trigger.as_str()),
            ("s1", "deal_won")
        );
        assert_eq!(kept.workflow_id.as_deref(), Some("w1"));
        assert_eq!(kept.filters[0]["field"], "stage");
        body["triggerData"]["eventType"] = json!("UPDATED");
        assert!(matches!(read(&body), Ok(Change::Kept(_))));
        body["triggerData"] = json!({"id": "s1", "eventType": "DELETED"});
        let gone = Change::Deleted {
            id: "s1".to_owned(),
            location_id: "l1".to_owned(),
        };
        assert_eq!(read(&body), Ok(gone));
    }

    #[test]
    fn what_is_missing_or_strange_is_named() {
        let cases = [
            ("/triggerData/id", json!(7), Error::Field("triggerData.id")),
            (
                "/triggerData/id",
                json!("a/b"),
                Error::Field("triggerData.id"),
            ),
            (
                "/triggerData/id",
                json!("x".repeat(129)),
                Error::Field("triggerData.id"),
            ),
            (
                "/triggerData/key",
                json!(""),
                Error::Field("triggerData.key"),
            ),
            (
                "/triggerData/targetUrl",
                Value::Null,
                Error::Field("triggerData.targetUrl"),
            ),
            ("/triggerData/eventType", json!("PAUSED"), Error::EventType),
            (
                "/extras/locationId",
                Value::Null,
                Error::Field("extras.locationId"),
            ),
            ("/extras", json!(7), Error::Unreadable),
        ];
        for (place, value, error) in cases {
            let mut body = body();
            *body.pointer_mut(place).unwrap() = value.clone();
            assert_eq!(read(&body), Err(error), "{place} {value}");
        }
        assert_eq!(Change::read(b"{"), Err(Error::Unreadable));
    }
}
