//! Spans at a collector: one trace from the request through the message to the call that the event calls for.

use std::sync::Mutex;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;

use super::*;
use crate::harness::daemon::ALL;
use crate::harness::{Sink, fresh_vhost};

/// A collector that keeps what it gets.
struct Collector {
    url: String,
    bodies: Arc<Mutex<Vec<Value>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Collector {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let bodies: Arc<Mutex<Vec<Value>>> = Arc::default();
        let keep = async |State(kept): State<Arc<Mutex<Vec<Value>>>>, body: Bytes| {
            let body = serde_json::from_slice(&body).unwrap();
            kept.lock().unwrap().push(body);
            "{}"
        };
        let router = Router::new().route("/v1/traces", post(keep));
        let router = router.with_state(Arc::clone(&bodies));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, bodies, task }
    }

    fn spans(&self) -> Vec<Value> {
        let bodies = self.bodies.lock().unwrap();
        let mut spans = Vec::new();
        for body in bodies.iter() {
            let resource = &body["resourceSpans"][0];
            let service = &resource["resource"]["attributes"][0];
            assert_eq!(service["value"]["stringValue"], "hookwell");
            spans.extend(
                resource["scopeSpans"][0]["spans"]
                    .as_array()
                    .unwrap()
                    .clone(),
            );
        }
        spans
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn attribute<'a>(span: &'a Value, name: &str) -> &'a Value {
    let attributes = span["attributes"].as_array().unwrap();
    let found = attributes.iter().find(|one| one["key"] == name);
    &found.unwrap_or_else(|| panic!("{span} has no {name}"))["value"]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_from_the_request_through_the_message_to_the_call() {
    let (collector, broker) = (Collector::start().await, fresh_vhost().await);
    let mut world = World::new(Backend::Sqlite, SNAPSHOT).await;
    let to = format!("otlp_url = {:?}", collector.url);
    world.config = world.config.broker(&broker.url).set("trace", &to);
    let daemon = world.authorised().await;
    let contact = json!({"locationId": world.location, "email": "canary@example.com"});
    world.api.ghl.put_contact("c1", contact);
    world.contact(&daemon, "ContactCreate", "c1").await;
    let sink = Sink::open(&broker.url, &[ALL]).await;
    let mut daemon = daemon;
    let wanted = [
        "webhook ContactCreate",
        "publish ContactCreate",
        "GET contact-snapshot",
        "publish contact.snapshot",
    ];
    let spans = eventually("all spans are there", WITHIN, async || {
        let spans = collector.spans();
        let found = wanted.map(|name| spans.iter().find(|span| span["name"] == name).cloned());
        let found: Option<Vec<_>> = found.into_iter().collect();
        found
    })
    .await;
    let [arrival, published, called, answered] = spans.as_slice() else {
        unreachable!()
    };
    // The message carries the arrival on, marked as kept.
    let message = eventually("the message", WITHIN, async || {
        sink.all()
            .into_iter()
            .find(|one| one.kind == "ContactCreate")
    })
    .await;
    let trace = arrival["traceId"].as_str().unwrap();
    let root = arrival["spanId"].as_str().unwrap();
    assert_eq!(
        message.headers["traceparent"],
        format!("00-{trace}-{root}-01")
    );
    assert!(arrival.get("parentSpanId").is_none());
    for child in [published, called] {
        assert_eq!(
            (&child["traceId"], &child["parentSpanId"]),
            (&json!(trace), &json!(root)),
            "{child}"
        );
    }
    assert_eq!(
        [&arrival["kind"], &published["kind"], &called["kind"]],
        [2, 4, 3]
    );
    assert_eq!(
        attribute(called, "http.response.status_code")["intValue"],
        "200"
    );
    assert_eq!(
        attribute(published, "messaging.message.id")["stringValue"],
        message.message_id
    );
    // The answer is an event of its own: its trace begins with its message.
    assert_ne!(answered["traceId"], json!(trace));
    assert!(answered.get("parentSpanId").is_none());
    let nanos = |span: &Value, name: &str| span[name].as_str().unwrap().parse::<u64>().unwrap();
    for span in &spans {
        assert!(
            nanos(span, "startTimeUnixNano") <= nanos(span, "endTimeUnixNano"),
            "{span}"
        );
    }
    assert!(
        !json!(collector.spans()).to_string().contains("canary"),
        "a body is in a span"
    );
    assert!(daemon.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_holds_up_nobody() {
    let mut world = World::new(Backend::Sqlite, SNAPSHOT).await;
    // Nobody listens on port 9 here.
    world.config = world
        .config
        .set("trace", "otlp_url = \"http://127.0.0.1:9\"");
    let mut daemon = world.start().await;
    for n in 0..20 {
        world
            .contact(&daemon, "ContactCreate", &format!("c{n}"))
            .await;
    }
    eventually("they are counted as lost", WITHIN, async || {
        let failed = daemon
            .metric("hookwell_spans_total{outcome=\"failed\"}")
            .await;
        (failed == Some(20.0)).then_some(())
    })
    .await;
    assert!(daemon.terminate().await.success());
}

/// Webhooks alone are traced, too, up to the last message before the daemon ends.
#[tokio::test(flavor = "multi_thread")]
async fn spans_need_no_app_with_credentials() {
    let (collector, broker) = (Collector::start().await, fresh_vhost().await);
    let store = store_url(Backend::Sqlite).await;
    let config = DaemonConfig::new(store.url())
        .broker(&broker.url)
        .set("trace", &format!("otlp_url = {:?}", collector.url));
    let mut daemon = Daemon::start(&config).await;
    let ghl = Ghl::new();
    let sink = Sink::open(&broker.url, &[ALL]).await;
    const EVENTS: u64 = 20;
    for n in 0..EVENTS {
        let body = ghl.body("ContactCreate", "l1", n);
        assert_eq!(ghl.post(&daemon, &body).await.status, 200);
    }
    sink.wait_for(EVENTS as usize, WITHIN).await;
    assert!(daemon.terminate().await.success());
    let spans = collector.spans();
    for name in ["webhook ContactCreate", "publish ContactCreate"] {
        let count = spans.iter().filter(|span| span["name"] == name).count();
        assert_eq!(count, EVENTS as usize, "{name}");
    }
}
