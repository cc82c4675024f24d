//! What consumers get: routing keys, properties, headers and bodies, seen from the other side of a real
//! broker. What fails here breaks somebody's consumer.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hookwell::clock::rfc3339;
use hookwell::event::{BodyHash, Event, EventKey, Micros, Origin, Position, Recorded, Tenant};
use hookwell::relay::{CLOUD_EVENTS, HEADERS};
use lapin::message::Delivery;
use lapin::options::BasicGetOptions;
use lapin::types::AMQPValue;
use lapin::{Channel, Connection, ConnectionProperties};
use serde_json::{Value, json};

use crate::harness::daemon::ALL;
use crate::harness::ghl::{APP_ID, PATH};
use crate::harness::{
    Backend, Broker, Daemon, DaemonConfig, Ghl, Sink, eventually, fresh_vhost, store_url,
};

const WITHIN: Duration = Duration::from_secs(30);
const COMPANY: &str = "Company0000000000001";
const LOCATION: &str = "Location000000000001";

async fn channel(url: &str) -> (Connection, Channel) {
    let connection = Connection::connect(url, ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

/// Waits until the queues are there.
async fn declared(daemon: &Daemon) {
    eventually("the relay runs", WITHIN, async || {
        (daemon.metric("hookwell_relay_active").await == Some(1.0)).then_some(())
    })
    .await;
}

/// Takes the next message of a queue, with everything the broker has of it.
async fn take(channel: &Channel, queue: &str) -> Delivery {
    eventually(&format!("a message in {queue}"), WITHIN, async || {
        let options = BasicGetOptions { no_ack: true };
        let got = channel.basic_get(queue.into(), options).await.unwrap();
        got.map(|message| message.delivery)
    })
    .await
}

fn seconds_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_secs()
}

/// What one event is expected to look like.
struct Expected<'a> {
    path: String,
    body: Vec<u8>,
    id: &'a str,
    kind: &'a str,
    routing_key: &'a str,
    company: Option<&'a str>,
    location: Option<&'a str>,
    entity: Option<String>,
}

fn text_of(value: &AMQPValue) -> String {
    match value {
        AMQPValue::LongString(text) => text.to_string(),
        other => panic!("a header is {other:?}, not a long string"),
    }
}

fn check(delivery: &Delivery, expected: &Expected<'_>, position: i64, posted_at: u64) {
    let kind = expected.kind;
    assert_eq!(delivery.routing_key.as_str(), expected.routing_key);
    assert_eq!(delivery.exchange.as_str(), "hookwell.events", "{kind}");
    assert_eq!(delivery.data, expected.body, "{kind}");

    let properties = &delivery.properties;
    let is = |value: &Option<lapin::types::ShortString>, wanted: &str| {
        let found = value.as_ref().map(|text| text.as_str().to_owned());
        assert_eq!(found.as_deref(), Some(wanted), "{kind}");
    };
    is(properties.message_id(), expected.id);
    is(properties.kind(), kind);
    is(properties.content_type(), "application/json");
    is(properties.app_id(), "hookwell");
    assert_eq!(*properties.delivery_mode(), Some(2), "{kind}");
    let timestamp = properties.timestamp().unwrap();
    assert!((posted_at..=seconds_now()).contains(&timestamp), "{kind}");
    for unset in [
        properties.correlation_id(),
        properties.reply_to(),
        properties.expiration(),
        properties.user_id(),
        properties.content_encoding(),
    ] {
        assert_eq!(*unset, None, "{kind}");
    }
    assert_eq!(*properties.priority(), None, "{kind}");

    let mut headers: BTreeMap<String, AMQPValue> = properties
        .headers()
        .iter()
        .flat_map(|table| table.inner().clone())
        .map(|(name, value)| (name.as_str().to_owned(), value))
        .collect();
    // Quorum queues count deliveries in a header of their own.
    headers.remove("x-delivery-count");
    assert_eq!(
        headers.remove("hookwell-position"),
        Some(AMQPValue::LongLongInt(position)),
        "{kind}"
    );
    let mut headers: BTreeMap<_, _> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), text_of(value)))
        .collect();
    let trace = headers.remove("traceparent").unwrap();
    let parts: Vec<_> = trace.split('-').collect();
    let lengths: Vec<_> = parts.iter().map(|part| part.len()).collect();
    assert_eq!(lengths, [2, 32, 16, 2], "{trace}");
    assert_eq!(parts[0], "00", "{trace}");
    let hex = |text: &str| text.bytes().all(|b| b"0123456789abcdef".contains(&b));
    let zero = |text: &str| text.bytes().all(|b| b == b'0');
    assert!(parts.iter().all(|part| hex(part)), "{trace}");
    assert!(!zero(parts[1]) && !zero(parts[2]), "{trace}");
    let time = headers.remove("cloudEvents_time").unwrap();
    let received = humantime::parse_rfc3339(&time).unwrap();
    let received = received.duration_since(UNIX_EPOCH).unwrap();
    assert_eq!(received.as_secs(), timestamp, "{kind}");
    assert!(time.ends_with('Z'), "{time}");

    let signature = Ghl::new().key.sign_base64(&expected.body);
    let mut wanted = BTreeMap::from([
        ("hookwell-origin", "webhook".to_owned()),
        ("ghl-app-id", APP_ID.to_owned()),
        ("x-ghl-signature", signature),
        ("cloudEvents_specversion", "1.0".to_owned()),
        ("cloudEvents_id", expected.id.to_owned()),
        ("cloudEvents_source", format!("/ghl/apps/{APP_ID}")),
        ("cloudEvents_type", format!("com.gohighlevel.{kind}")),
    ]);
    let mut maybe = |name, value: Option<&str>| {
        wanted.extend(value.map(|value| (name, value.to_owned())));
    };
    maybe("ghl-company-id", expected.company);
    maybe("ghl-location-id", expected.location);
    maybe("ghl-entity-id", expected.entity.as_deref());
    maybe("cloudEvents_subject", expected.entity.as_deref());
    assert_eq!(headers, wanted, "{kind}");
}

/// The documentation's tables name every header that a complete message has, and no other.
fn check_documented(delivery: &Delivery) {
    let table = delivery.properties.headers().clone().unwrap();
    let mut found: Vec<_> = table.inner().keys().map(|name| name.as_str()).collect();
    found.retain(|name| *name != "x-delivery-count");
    let mut documented: Vec<_> = HEADERS.iter().chain(&CLOUD_EVENTS).map(|h| h.0).collect();
    found.sort_unstable();
    documented.sort_unstable();
    assert_eq!(found, documented);
}

/// A body's own field, read by another reader than hookwell's.
fn field(body: &[u8], name: &str) -> Option<String> {
    let value: Value = serde_json::from_slice(body).unwrap();
    value[name].as_str().map(str::to_owned)
}

#[tokio::test]
async fn every_event_has_the_properties_and_headers_of_the_contract() {
    let ghl = Ghl::new();
    let sample = |kind: &str, n| ghl.body_with_id(kind, LOCATION, n, &format!("id-of-{kind}"));
    let of = |kind: &'static str, id: &'static str, routing_key: &'static str, n| {
        let body = sample(kind, n);
        Expected {
            path: PATH.to_owned(),
            company: field(&body, "companyId").map(|_| COMPANY),
            entity: field(&body, "id"),
            body,
            id,
            kind,
            routing_key,
            location: Some(LOCATION),
        }
    };
    let mut expected = vec![
        of(
            "ContactCreate",
            "id-of-ContactCreate",
            "contact.create.Location000000000001",
            1,
        ),
        of(
            "ContactTagUpdate",
            "id-of-ContactTagUpdate",
            "contact.tag_update.Location000000000001",
            2,
        ),
        of(
            "OpportunityStageUpdate",
            "id-of-OpportunityStageUpdate",
            "opportunity.stage_update.Location000000000001",
            3,
        ),
    ];
    let message = sample("InboundMessage", 4);
    expected.push(Expected {
        path: PATH.to_owned(),
        company: field(&message, "companyId").map(|_| COMPANY),
        entity: field(&message, "messageId"),
        body: message,
        id: "id-of-InboundMessage",
        kind: "InboundMessage",
        routing_key: "message.inbound.Location000000000001",
        location: Some(LOCATION),
    });
    let plain = |path: String, body: Value, id, kind, routing_key| Expected {
        path,
        body: serde_json::to_vec(&body).unwrap(),
        id,
        kind,
        routing_key,
        company: None,
        location: None,
        entity: None,
    };
    // About the app itself, so without an entity; with everything else that can be there.
    let mut install = plain(
        PATH.to_owned(),
        json!({"type": "INSTALL", "webhookId": "id-of-INSTALL", "appId": APP_ID,
               "companyId": COMPANY, "locationId": LOCATION, "id": "not-an-entity"}),
        "id-of-INSTALL",
        "INSTALL",
        "app.install.Location000000000001",
    );
    (install.company, install.location) = (Some(COMPANY), Some(LOCATION));
    expected.push(install);
    // Of an agency: its company stands where a location would.
    let mut agency = plain(
        PATH.to_owned(),
        json!({"type": "UNINSTALL", "webhookId": "id-2", "appId": APP_ID, "companyId": COMPANY}),
        "id-2",
        "UNINSTALL",
        "app.uninstall.Company0000000000001",
    );
    agency.company = Some(COMPANY);
    expected.push(agency);
    // Its type is only in the URL, its tenant only in altId.
    let mut invoice = plain(
        format!("{PATH}/InvoicePartiallyPaid"),
        json!({"_id": "invoice-1", "altId": LOCATION, "altType": "location",
               "webhookId": "id-3", "appId": APP_ID}),
        "id-3",
        "InvoicePartiallyPaid",
        "invoice.partially_paid.Location000000000001",
    );
    (invoice.location, invoice.entity) = (Some(LOCATION), Some("invoice-1".to_owned()));
    expected.push(invoice);
    // A type nobody knows yet, everything else complete.
    let mut unknown = plain(
        PATH.to_owned(),
        json!({"type": "FormSubmit2", "webhookId": "id-4", "appId": APP_ID, "id": "form-1",
               "locationId": LOCATION, "companyId": COMPANY}),
        "id-4",
        "FormSubmit2",
        "other.form_submit2.Location000000000001",
    );
    (unknown.location, unknown.company) = (Some(LOCATION), Some(COMPANY));
    unknown.entity = Some("form-1".to_owned());
    expected.push(unknown);

    let store = store_url(Backend::Sqlite).await;
    let broker = fresh_vhost().await;
    let config = DaemonConfig::new(store.url()).broker(&broker.url);
    let daemon = Daemon::start(&config).await;
    let posted_at = seconds_now();
    for event in &expected {
        let answer = ghl.post_to(&daemon, &event.path, &event.body).await;
        assert_eq!(answer.status, 200, "{}: {}", event.kind, answer.text());
    }
    declared(&daemon).await;
    let (_connection, channel) = channel(&broker.url).await;
    // Tenants share the queue in no certain order.
    let mut arrived = BTreeMap::new();
    for _ in &expected {
        let delivery = take(&channel, ALL).await;
        assert!(!delivery.redelivered);
        let id = delivery.properties.message_id().clone().unwrap();
        arrived.insert(id.as_str().to_owned(), delivery);
    }
    for (event, position) in expected.iter().zip(1..) {
        let delivery = &arrived[event.id];
        check(delivery, event, position, posted_at);
        if event.kind == "FormSubmit2" {
            check_documented(delivery);
        }
    }
}

#[tokio::test]
async fn every_body_comes_out_as_the_bytes_that_went_in() {
    let large = format!(
        "{{\"type\":\"ContactCreate\",\"locationId\":\"{LOCATION}\",\"text\":\"{}\"}}",
        "ü".repeat(100 * 1024)
    );
    let odd = format!(
        " {{ \"locationId\" : \"{LOCATION}\",\r\n\t\"type\":\"Contact\\u0043reate\", \"n\": 1.0e+0, \"e\": \"\\/\" }}\n"
    );
    let unreadable: Vec<Vec<u8>> = vec![
        b"not JSON at all".to_vec(),
        b"{\"type\":\"ContactCreate\"".to_vec(),
        b"{\"type\":\"ContactCreate\",\"a\":\"\\u0000\"}".to_vec(),
        b"{\"type\":\"ContactCreate\",\"a\":\"\0\"}".to_vec(),
        b"{\"type\":\"ContactCreate\",\"a\":\"\\ud800\"}".to_vec(),
        b"{\"type\":\"ContactCreate\",\"type\":\"ContactDelete\"}".to_vec(),
        b"{\"type\":\"ContactCreate\",\"a\":1e400}".to_vec(),
        b"\xef\xbb\xbf{\"type\":\"ContactCreate\"}".to_vec(),
        b"{\"type\":\"ContactCreate\",\"a\":\"\xff\xfe\"}".to_vec(),
        b"null".to_vec(),
        b"[]".to_vec(),
        b"\r\n".to_vec(),
        [b"[".repeat(5000), b"]".repeat(5000)].concat(),
        (0..=255).collect(),
    ];
    let ghl = Ghl::new();
    let store = store_url(Backend::Postgres).await;
    let broker = fresh_vhost().await;
    let config = DaemonConfig::new(store.url()).broker(&broker.url);
    let daemon = Daemon::start(&config).await;
    let readable = [large.into_bytes(), odd.into_bytes()];
    for body in unreadable.iter().chain(&readable) {
        let answer = ghl.post(&daemon, body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    declared(&daemon).await;
    let (_connection, channel) = channel(&broker.url).await;
    // Two tenants (one of them nobody) use two channels: between them there is no order.
    let mut deliveries = Vec::new();
    for _ in 0..unreadable.len() + readable.len() {
        deliveries.push(take(&channel, ALL).await);
    }
    let (unknown, known): (Vec<_>, Vec<_>) = deliveries
        .into_iter()
        .partition(|delivery| delivery.routing_key.as_str() == "other.unknown.none");
    assert_eq!(
        (unknown.len(), known.len()),
        (unreadable.len(), readable.len())
    );
    for (body, delivery) in unreadable.iter().zip(&unknown) {
        assert_eq!(&delivery.data, body);
        let kind = delivery.properties.kind().clone().unwrap();
        assert_eq!(kind.as_str(), "unknown");
        let id = delivery.properties.message_id().clone().unwrap();
        assert_eq!(id.as_str(), format!("sha256-{}", BodyHash::of(body)));
    }
    for (body, delivery) in readable.iter().zip(&known) {
        assert!(delivery.data == *body, "a readable body was changed");
        let key = delivery.routing_key.as_str();
        assert_eq!(key, format!("contact.create.{LOCATION}"));
    }
}

#[tokio::test]
async fn declared_queues_are_quorum_queues_and_what_no_binding_takes_is_kept() {
    let ghl = Ghl::new();
    let store = store_url(Backend::Sqlite).await;
    let broker = fresh_vhost().await;
    let mut config = DaemonConfig::new(store.url()).broker(&broker.url);
    config.queues.clear();
    let config = config
        .queue("contacts", &["contact.#"])
        .queue("created", &["*.create.*"]);
    let daemon = Daemon::start(&config).await;
    let bodies = [
        ghl.body("ContactCreate", LOCATION, 1),
        ghl.body("TaskComplete", LOCATION, 2),
        ghl.body("OpportunityCreate", LOCATION, 3),
        ghl.body("ContactUpdate", LOCATION, 4),
    ];
    for body in &bodies {
        assert_eq!(ghl.post(&daemon, body).await.status, 200);
    }
    let came = |queue: &'static str, wanted: Vec<&Vec<u8>>| {
        let url = broker.url.clone();
        let wanted: Vec<_> = wanted.into_iter().cloned().collect();
        async move {
            let sink = Sink::open(&url, &[queue]).await;
            let arrived = sink.wait_for(wanted.len(), WITHIN).await;
            let arrived: Vec<_> = arrived.into_iter().map(|delivery| delivery.body).collect();
            assert_eq!(arrived, wanted, "{queue}");
        }
    };
    let [contact, task, opportunity, update] = &bodies;
    came("hookwell.unrouted", vec![task]).await;
    came("contacts", vec![contact, update]).await;
    came("created", vec![contact, opportunity]).await;
    let types = queue_types(&broker);
    let wanted = ["contacts", "created", "hookwell.unrouted"].map(|name| (name, "quorum"));
    let types: Vec<_> = types
        .iter()
        .map(|(n, t)| (n.as_str(), t.as_str()))
        .collect();
    assert_eq!(types, wanted);
}

/// Names and types of the queues, as the broker's own tool tells them.
fn queue_types(broker: &Broker) -> Vec<(String, String)> {
    let control = std::env::var("HOOKWELL_TEST_RABBITMQCTL").unwrap();
    let output = Command::new(control)
        .args(["-q", "-p", &broker.vhost, "list_queues", "name", "type"])
        .args(["--formatter", "json"])
        .output()
        .unwrap();
    let rows: Vec<BTreeMap<String, String>> = serde_json::from_slice(&output.stdout).unwrap();
    let mut types: Vec<_> = rows
        .into_iter()
        .map(|row| (row["name"].clone(), row["type"].clone()))
        .collect();
    types.sort();
    types
}

#[test]
fn a_message_made_again_is_the_same_message_in_every_version() {
    let body = bytes::Bytes::from_static(b"{\"type\":\"ContactCreate\"}");
    let recorded = Recorded {
        position: Position(7),
        event: Event {
            key: EventKey::from_id("00000000-0000-4000-8000-000000000001").unwrap(),
            app_id: APP_ID.to_owned(),
            event_type: "ContactCreate".to_owned(),
            tenant: Tenant {
                company_id: None,
                location_id: Some(LOCATION.to_owned()),
            },
            entity_id: None,
            origin: Origin::Webhook,
            signature: None,
            received_at: Micros(1_769_860_800_123_456),
            body_hash: BodyHash::of(&body),
            body,
        },
    };
    let message = hookwell::relay::message(&recorded, 0);
    let header = |name: &str| {
        let found = message.headers.iter().find(|(header, _)| *header == name);
        found.map(|(_, value)| value.clone()).unwrap()
    };
    let text = |text: &str| hookwell::broker::Header::Text(text.to_owned());
    assert_eq!(
        header("traceparent"),
        text("00-0402590156889a70ef5959af966a2143-0eb9e93a634fb329-00")
    );
    assert_eq!(
        header("cloudEvents_time"),
        text(&rfc3339(recorded.event.received_at))
    );
    assert_eq!(
        header("cloudEvents_time"),
        text("2026-01-31T12:00:00.123456Z")
    );
    assert_eq!(message.timestamp, 1_769_860_800);
    // The lane decides on which channel a tenant's events keep their order.
    let mut other = recorded.clone();
    other.position = Position(8);
    other.event.key = EventKey::from_id("another").unwrap();
    assert_eq!(hookwell::relay::message(&other, 0).lane, message.lane);
}
