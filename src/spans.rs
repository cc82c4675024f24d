//! Spans for an OpenTelemetry collector: what happened to an event, from the request to the calls that it called for.
//!
//! OTLP over HTTP in its JSON form (opentelemetry.io/docs/specs/otlp, "JSON Protobuf Encoding"). The ids are the
//! event's own (`event::trace`), which is why no SDK makes them. Nothing waits for a collector: what it does not take
//! in time is dropped and counted. No body, no secret and no name of a person is in a span.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::event::Micros;
use crate::event::trace::TraceContext;
use crate::metrics::Metrics;
use crate::telemetry::Chain;
use crate::tls;

/// Spans that wait at most.
const QUEUE: usize = 8_192;
/// Spans of one request to the collector.
const AT_ONCE: usize = 512;
/// How long the first span waits for others.
const LINGER: Duration = Duration::from_secs(1);
/// For one request to the collector, and for the last one at shutdown.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where spans go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The collector, such as `http://127.0.0.1:4318`; the path `/v1/traces` is added.
    pub url: String,
    /// How many traces of a hundred.
    pub sample_percent: u8,
}

/// What a span is to the one that caused it (OTLP's numbers).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A request was answered.
    Server = 2,
    /// A call was made.
    Client = 3,
    /// A message was published.
    Producer = 4,
}

/// Something that happened to an event.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// Of which trace.
    pub context: TraceContext,
    /// Its own id; that of the context where it is the event's arrival.
    pub id: u64,
    /// What it was.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// When it began.
    pub began: Micros,
    /// When it ended.
    pub ended: Micros,
    /// What is to be known of it.
    pub attributes: Vec<(&'static str, Value)>,
    /// What went wrong.
    pub error: Option<String>,
}

impl Span {
    /// As OTLP writes it.
    fn to_json(&self) -> Value {
        let nanos = |at: Micros| (i128::from(at.0) * 1_000).to_string();
        let attribute = |(key, value): &(&str, Value)| {
            let value = match value {
                Value::Number(number) => json!({"intValue": number.to_string()}),
                Value::Bool(flag) => json!({"boolValue": flag}),
                Value::String(text) => json!({"stringValue": text}),
                other => json!({"stringValue": other.to_string()}),
            };
            json!({"key": key, "value": value})
        };
        let attributes = self.attributes.iter().filter(|(_, value)| !value.is_null());
        let mut span = json!({
            "traceId": format!("{:032x}", self.context.trace_id), "spanId": format!("{:016x}", self.id), "name": self.name,
            "kind": self.kind as u8, "startTimeUnixNano": nanos(self.began), "endTimeUnixNano": nanos(self.ended.max(self.began)),
            "attributes": attributes.map(attribute).collect::<Vec<_>>(), "flags": 1,
        });
        if self.id != self.context.span_id {
            span["parentSpanId"] = json!(format!("{:016x}", self.context.span_id));
        }
        if let Some(error) = &self.error {
            span["status"] = json!({"code": 2, "message": error});
        }
        span
    }
}

/// Takes spans from wherever something happens. Cheap to clone; where no collector is configured it does nothing.
#[derive(Debug, Clone)]
pub struct Spans {
    queue: Option<mpsc::Sender<Span>>,
    percent: u8,
    metrics: Metrics,
}

impl Spans {
    /// Spans for a collector, with the task that sends them; for nobody without one.
    pub fn new(settings: Option<Settings>, metrics: &Metrics) -> (Self, Option<Exporter>) {
        let Some(settings) = settings else {
            return (Self::none(metrics), None);
        };
        let (sender, receiver) = mpsc::channel(QUEUE);
        let spans = Self {
            queue: Some(sender),
            percent: settings.sample_percent,
            metrics: metrics.clone(),
        };
        let exporter = Exporter {
            url: format!("{}/v1/traces", settings.url.trim_end_matches('/')),
            queue: receiver,
            metrics: metrics.clone(),
        };
        (spans, Some(exporter))
    }

    /// For nobody.
    pub fn none(metrics: &Metrics) -> Self {
        Self {
            queue: None,
            percent: 0,
            metrics: metrics.clone(),
        }
    }

    /// How many traces of a hundred are kept; 0 where nobody takes them.
    pub fn percent(&self) -> u8 {
        self.percent
    }

    /// The trace of an event, if it is kept.
    pub fn of(&self, app_id: &str, key: &str) -> Option<TraceContext> {
        self.queue.as_ref()?;
        Some(TraceContext::of(app_id, key)).filter(|trace| trace.is_sampled(self.percent))
    }

    /// Takes one.
    pub fn record(&self, span: Span) {
        if let Some(queue) = &self.queue
            && queue.try_send(span).is_err()
        {
            self.metrics.spans.with_label_values(&["dropped"]).inc();
        }
    }
}

/// Sends spans to the collector; run it as a task of its own.
pub struct Exporter {
    url: String,
    queue: mpsc::Receiver<Span>,
    metrics: Metrics,
}

impl Exporter {
    /// Sends until shutdown, and then what is left, for a few seconds.
    pub async fn run(mut self, shutdown: CancellationToken) {
        tls::provide();
        let client = match reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(PATIENCE)
            .build()
        {
            Ok(client) => client,
            Err(error) => {
                tracing::error!(error = %Chain(&error), "no client for trace.otlp_url; spans are dropped");
                return shutdown.cancelled().await;
            }
        };
        let client = Arc::new(client);
        let mut batch = Vec::with_capacity(AT_ONCE);
        let mut is_told = false;
        while !shutdown.is_cancelled() {
            tokio::select! {
                () = shutdown.cancelled() => (),
                _ = self.queue.recv_many(&mut batch, AT_ONCE) => (),
            }
            if batch.len() < AT_ONCE {
                tokio::select! {
                    () = shutdown.cancelled() => (),
                    () = sleep(LINGER) => (),
                }
                while batch.len() < AT_ONCE
                    && let Ok(span) = self.queue.try_recv()
                {
                    batch.push(span);
                }
            }
            self.send(&client, &mut batch, &mut is_told).await;
        }
        let rest = async {
            while let Ok(span) = self.queue.try_recv() {
                batch.push(span);
                if batch.len() == AT_ONCE {
                    self.send(&client, &mut batch, &mut is_told).await;
                }
            }
            self.send(&client, &mut batch, &mut is_told).await;
        };
        // A collector that hangs does not hold up the shutdown.
        let _ = timeout(PATIENCE, rest).await;
    }

    /// Sends a batch; told is whether the log says already that it fails.
    async fn send(&self, client: &reqwest::Client, batch: &mut Vec<Span>, is_told: &mut bool) {
        if batch.is_empty() {
            return;
        }
        let count = batch.len() as u64;
        let body = request(batch).to_string();
        batch.clear();
        let sent = client
            .post(&self.url)
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await;
        let sent = sent.and_then(reqwest::Response::error_for_status);
        let outcome = if sent.is_ok() { "sent" } else { "failed" };
        let spans = self.metrics.spans.with_label_values(&[outcome]);
        spans.inc_by(count);
        match sent {
            Ok(_) => *is_told = false,
            Err(error) if !*is_told => {
                *is_told = true;
                tracing::warn!(error = %Chain(&error), "the collector of spans does not take them; they are dropped");
            }
            Err(_) => (),
        }
    }
}

/// A request of the collector's protocol.
fn request(spans: &[Span]) -> Value {
    let service = json!({"key": "service.name", "value": {"stringValue": "hookwell"}});
    let version =
        json!({"key": "service.version", "value": {"stringValue": env!("CARGO_PKG_VERSION")}});
    json!({"resourceSpans": [{
        "resource": {"attributes": [service, version]},
        "scopeSpans": [{
            "scope": {"name": "hookwell"},
            "spans": spans.iter().map(Span::to_json).collect::<Vec<_>>(),
        }],
    }]})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_written_as_otlp_wants_it() {
        let context = TraceContext {
            trace_id: 0xabc,
            span_id: 1,
        };
        let span = Span {
            context,
            id: 2,
            name: "publish".to_owned(),
            kind: Kind::Producer,
            began: Micros(1_700_000_000_000_001),
            ended: Micros(1_700_000_000_000_003),
            attributes: vec![("a", json!("x")), ("n", json!(7)), ("none", Value::Null)],
            error: Some("312 NO_ROUTE".to_owned()),
        };
        assert_eq!(
            span.to_json(),
            json!({
                "traceId": "00000000000000000000000000000abc", "spanId": "0000000000000002", "parentSpanId": "0000000000000001",
                "name": "publish", "kind": 4, "startTimeUnixNano": "1700000000000001000", "endTimeUnixNano": "1700000000000003000",
                "attributes": [{"key": "a", "value": {"stringValue": "x"}}, {"key": "n", "value": {"intValue": "7"}}],
                "flags": 1, "status": {"code": 2, "message": "312 NO_ROUTE"},
            })
        );
        let arrival = Span { id: 1, ..span };
        assert!(arrival.to_json().get("parentSpanId").is_none());
    }
}
