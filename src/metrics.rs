//! Every metric hookwell exports: its name, its unit, its labels. The only home of `prometheus`.
//!
//! Label sets are closed: no tenant, entity, path or key ever becomes a label.

use std::cell::RefCell;
use std::sync::Arc;

use prometheus::core::Collector;
use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

/// What a metric is, for the reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    /// Its whole name.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// Its labels.
    pub labels: Vec<String>,
    /// What it means.
    pub help: String,
}

/// The metrics of one daemon.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    families: Arc<[Family]>,
    /// `hookwell_http_responses_total{code}`: answers of the public listener.
    pub http_responses: IntCounterVec,
    /// `hookwell_http_connections`: open connections of the public listener.
    pub http_connections: IntGauge,
    /// `hookwell_http_connections_refused_total`: connections over the cap.
    pub http_connections_refused: IntCounter,
    /// `hookwell_http_accept_errors_total`: failures of accept(2), such as no file descriptors.
    pub http_accept_errors: IntCounter,
    /// `hookwell_accept_seconds`: from the whole request read to its answer.
    pub accept_seconds: Histogram,
    /// `hookwell_webhook_outcomes_total{outcome}`: answers to webhooks with a signature: `ok` (2xx), `failed`.
    pub webhook_outcomes: IntCounterVec,
    /// `hookwell_webhook_answers`: how many of them all daemons gave in the last three days.
    pub webhook_answers: IntGauge,
    /// `hookwell_webhook_success_ratio`: the share of 2xx in these; GHL pauses a URL under 0.9.
    pub webhook_success_ratio: Gauge,
    /// `hookwell_tenants`: tenants heard of in the last 30 days.
    pub tenants: IntGauge,
    /// `hookwell_silent_tenants`: those that were never silent for so long before.
    pub silent_tenants: IntGauge,
    /// `hookwell_tokens_reauthorise`: tokens that only a person can renew.
    pub tokens_reauthorise: IntGauge,
    /// `hookwell_store_disk_free_bytes`: room where the SQLite file is; not there on Postgres.
    pub disk_free: IntGaugeVec,
    /// `hookwell_store_disk_bytes`: the size of that file system; not there on Postgres.
    pub disk_total: IntGaugeVec,
    /// `hookwell_store_disk_reserve_bytes`: below so much room no webhook is taken; not there on Postgres.
    pub disk_reserve: IntGaugeVec,
    /// `hookwell_refused_total{reason}`: requests not accepted.
    pub refused: IntCounterVec,
    /// `hookwell_events_accepted_total{outcome}`: answered 200: `new`, `duplicate` or `altered`.
    pub events: IntCounterVec,
    /// `hookwell_events_unreadable_total{reason}`: signed bodies stored as `unknown`.
    pub unreadable: IntCounterVec,
    /// `hookwell_events_without_id_total`: events whose key is the hash of the body.
    pub without_id: IntCounter,
    /// `hookwell_events_too_large_total`: bodies that GHL flagged as cut (`payloadTooLarge`).
    pub too_large: IntCounter,
    /// `hookwell_commit_seconds`: one append transaction.
    pub commit_seconds: Histogram,
    /// `hookwell_commit_batch_events`: events of one append transaction.
    pub commit_batch: Histogram,
    /// `hookwell_commit_errors_total`: appends whose outcome is unknown.
    pub commit_errors: IntCounter,
    /// `hookwell_publish_seconds`: one batch, from the first publish to the last confirm.
    pub publish_seconds: Histogram,
    /// `hookwell_publish_outcomes_total{outcome}`: `confirmed`, `returned`, `nacked`, `unknown`.
    pub publish_outcomes: IntCounterVec,
    /// `hookwell_end_to_end_seconds{origin}`: from the request read to the confirm.
    pub end_to_end_seconds: HistogramVec,
    /// `hookwell_parked_total{reason}`: events that became dead letters.
    pub parked: IntCounterVec,
    /// `hookwell_replay_events_total{outcome}`: events that a person had published again: `published`, `failed`.
    pub replay_events: IntCounterVec,
    /// `hookwell_broker_connects_total{result}`: attempts to open a session: `ok`, `error`.
    pub broker_connects: IntCounterVec,
    /// `hookwell_broker_connected`: 1 while a session stands.
    pub broker_connected: IntGauge,
    /// `hookwell_broker_blocked`: 1 while RabbitMQ takes nothing (memory or disk alarm).
    pub broker_blocked: IntGauge,
    /// `hookwell_relay_active`: 1 where this daemon runs the relay.
    pub relay_active: IntGauge,
    /// `hookwell_store_up`: 1 while an append could be made.
    pub store_up: IntGauge,
    /// `hookwell_ledger_events{state}`: `accepted`, `published`, `pending`, `parked`, `discarded`.
    pub ledger: IntGaugeVec,
    /// `hookwell_ledger_mismatch_events`: accepted − published − pending − parked − discarded; must be 0.
    pub ledger_mismatch: IntGauge,
    /// `hookwell_runtime_tasks`: tasks that have not ended.
    pub runtime_tasks: IntGauge,
    /// `hookwell_backlog_events`: events waiting for the relay.
    pub backlog: IntGauge,
    /// `hookwell_backlog_oldest_seconds`: age of the oldest of them.
    pub backlog_oldest: IntGauge,
    /// `hookwell_held_events`: events that wait because RabbitMQ refuses those of their tenant.
    pub held_events: IntGauge,
    /// `hookwell_held_tenants`: how many tenants these are.
    pub held_tenants: IntGauge,
    /// `hookwell_quarantine_entries`: refused requests kept.
    pub quarantine_entries: IntGauge,
    /// `hookwell_quarantine_dropped_total`: refused requests not kept, over the rate.
    pub quarantine_dropped: IntCounter,
    /// `hookwell_retention_removed_total{what}`: `events`, `keys`, `follow_ups`.
    pub retention_removed: IntCounterVec,
    /// `hookwell_follow_ups_planned_total{rule}`: calls that events called for.
    pub follow_ups_planned: IntCounterVec,
    /// `hookwell_follow_ups_ended_total{end}`: ends of claimed calls: `done`, `again`, `parked`,
    /// `cancelled`, and `lost` where another daemon had taken over.
    pub follow_ups_ended: IntCounterVec,
    /// `hookwell_follow_ups{state}`: calls that are open: `pending`, `parked`.
    pub follow_ups: IntGaugeVec,
    /// `hookwell_follow_ups_oldest_seconds`: age of the oldest pending one.
    pub follow_ups_oldest: IntGauge,
    /// `hookwell_api_calls_total{outcome}`: calls of GHL's API, by what came of them.
    pub api_calls: IntCounterVec,
    /// `hookwell_api_breaker_open`: 1 while calls wait because the API does not answer.
    pub api_breaker_open: IntGauge,
    /// `hookwell_token_requests_total{what, outcome}`: exchanges, refreshes and mints of tokens.
    pub token_requests: IntCounterVec,
    /// `hookwell_gaps`: times without acceptance that are long enough to be repaired and are not yet.
    pub gaps_open: IntGauge,
    /// `hookwell_backfill_records_total{kind, outcome}`: records that changed in a time and were read.
    pub backfill_records: IntCounterVec,
    /// `hookwell_spans_total{outcome}`: spans for a collector: `sent`, `failed`, `dropped`.
    pub spans: IntCounterVec,
    /// `hookwell_trigger_requests_total{outcome}`: what GHL said of workflow triggers.
    pub trigger_requests: IntCounterVec,
}

/// What becomes of a message about a workflow trigger.
pub const TRIGGER_OUTCOMES: [&str; 7] = [
    "kept",
    "too_many",
    "deleted",
    "secret",
    "malformed",
    "elsewhere",
    "unavailable",
];

/// Seconds; from a tenth of a millisecond to ten seconds.
const SECONDS: [f64; 16] = [
    0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0,
];
/// Seconds of the whole way, outages included.
const WAY_SECONDS: [f64; 17] = [
    0.001, 0.0025, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 600.0,
    3600.0, 86400.0,
];
const BATCH: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// Registers while building, so that no metric can be forgotten.
struct Builder {
    registry: Registry,
    families: RefCell<Vec<Family>>,
}

impl Builder {
    fn register<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let metric = made.expect("metric names and labels are constants, checked by the tests");
        self.registry
            .register(Box::new(metric.clone()))
            .expect("every metric is registered once");
        let kinds = metric.collect();
        let kind = kinds.first().map(|family| family.get_field_type());
        let described = metric.desc().into_iter().map(|desc| Family {
            name: desc.fq_name.clone(),
            kind: format!("{:?}", kind.unwrap_or_default()).to_lowercase(),
            labels: desc.variable_labels.clone(),
            help: desc.help.clone(),
        });
        self.families.borrow_mut().extend(described);
        metric
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::with_opts(opts(name, help)))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::with_opts(opts(name, help)))
    }

    /// `values` are shown as 0 from the start, so that a rate is never undefined.
    fn counters(&self, name: &str, help: &str, label: &str, values: &[&str]) -> IntCounterVec {
        let family = self.register(IntCounterVec::new(opts(name, help), &[label]));
        for value in values {
            family.with_label_values(&[value]);
        }
        family
    }

    fn gauges(&self, name: &str, help: &str, label: &str, values: &[&str]) -> IntGaugeVec {
        let family = self.register(IntGaugeVec::new(opts(name, help), &[label]));
        for value in values {
            family.with_label_values(&[value]);
        }
        family
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        self.register(Histogram::with_opts(histogram_opts(name, help, buckets)))
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("hookwell")
}

fn histogram_opts(name: &str, help: &str, buckets: &[f64]) -> HistogramOpts {
    HistogramOpts::from(opts(name, help)).buckets(buckets.to_vec())
}

impl Metrics {
    /// A fresh set with its own registry.
    pub fn new() -> Self {
        let b = Builder {
            registry: Registry::new(),
            families: RefCell::default(),
        };
        let info = b.gauges(
            "build_info",
            "The version of this binary; always 1.",
            "version",
            &[env!("CARGO_PKG_VERSION")],
        );
        info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let token_requests = b.register(IntCounterVec::new(
            opts(
                "token_requests_total",
                "Requests for tokens: `exchange`, `refresh` and `mint`, each `ok`, `refused`, `later` or `unknown`.",
            ),
            &["what", "outcome"],
        ));
        for what in ["exchange", "refresh", "mint"] {
            for outcome in ["ok", "refused", "later", "unknown"] {
                token_requests.with_label_values(&[what, outcome]);
            }
        }
        let backfill_records = b.register(IntCounterVec::new(
            opts(
                "backfill_records_total",
                "Records read because they changed in a time: `known` to the log, or `lacking` there.",
            ),
            &["kind", "outcome"],
        ));
        for kind in ["contacts", "opportunities"] {
            for outcome in ["known", "lacking"] {
                backfill_records.with_label_values(&[kind, outcome]);
            }
        }
        let trigger_requests = b.register(IntCounterVec::new(
            opts(
                "trigger_requests_total",
                "Messages about workflow triggers: `kept`, `deleted`, and refused as `secret`, `malformed`, `elsewhere`, `too_many`, `unavailable`.",
            ),
            &["outcome"],
        ));
        for outcome in TRIGGER_OUTCOMES {
            trigger_requests.with_label_values(&[outcome]);
        }
        #[cfg(target_os = "linux")]
        b.registry
            .register(Box::new(
                prometheus::process_collector::ProcessCollector::for_self(),
            ))
            .expect("the process collector is registered once");
        Self {
            http_responses: b.counters(
                "http_responses_total",
                "Answers of the public listener.",
                "code",
                &["200"],
            ),
            http_connections: b.gauge(
                "http_connections",
                "Open connections of the public listener.",
            ),
            http_connections_refused: b.counter(
                "http_connections_refused_total",
                "Connections over `http.max_connections`.",
            ),
            http_accept_errors: b.counter(
                "http_accept_errors_total",
                "Connections that could not be accepted (no file descriptors).",
            ),
            accept_seconds: b.histogram(
                "accept_seconds",
                "From the whole request read to its answer.",
                &SECONDS,
            ),
            webhook_outcomes: b.counters(
                "webhook_outcomes_total",
                "Answers to webhooks with a signature: `ok` (2xx), `failed`.",
                "outcome",
                &["ok", "failed"],
            ),
            webhook_answers: b.gauge(
                "webhook_answers",
                "Answers to webhooks with a signature in the last three days, of all daemons.",
            ),
            webhook_success_ratio: b.register(Gauge::with_opts(opts(
                "webhook_success_ratio",
                "The share of 2xx in the answers of three days; GHL pauses a URL under 0.9.",
            ))),
            tenants: b.gauge("tenants", "Tenants heard of in the last 30 days."),
            silent_tenants: b.gauge(
                "silent_tenants",
                "Tenants that are silent for more than twice their longest silence lately, and an hour.",
            ),
            tokens_reauthorise: b
                .gauge("tokens_reauthorise", "Tokens that only a person can renew."),
            disk_free: b.register(IntGaugeVec::new(
                opts(
                    "store_disk_free_bytes",
                    "Room where the SQLite file is; not there on Postgres.",
                ),
                &[],
            )),
            disk_total: b.register(IntGaugeVec::new(
                opts(
                    "store_disk_bytes",
                    "The size of the file system of the SQLite file; not there on Postgres.",
                ),
                &[],
            )),
            disk_reserve: b.register(IntGaugeVec::new(
                opts(
                    "store_disk_reserve_bytes",
                    "With less room than this webhooks are answered 429 (store.disk_reserve); not there on Postgres.",
                ),
                &[],
            )),
            refused: b.counters("refused_total", "Requests not accepted.", "reason", &[]),
            events: b.counters(
                "events_accepted_total",
                "Answered 200: `new`, `duplicate`, or `altered` (a known id with other bytes).",
                "outcome",
                &["new", "duplicate", "altered"],
            ),
            unreadable: b.counters(
                "events_unreadable_total",
                "Signed bodies stored as `unknown`.",
                "reason",
                &[],
            ),
            without_id: b.counter(
                "events_without_id_total",
                "Events whose key is the hash of the body.",
            ),
            too_large: b.counter("events_too_large_total", "Bodies that GHL says it cut (`payloadTooLarge`)."),
            commit_seconds: b.histogram("commit_seconds", "One append transaction.", &SECONDS),
            commit_batch: b.histogram(
                "commit_batch_events",
                "Events of one append transaction.",
                &BATCH,
            ),
            commit_errors: b.counter("commit_errors_total", "Appends whose outcome is not known."),
            publish_seconds: b.histogram(
                "publish_seconds",
                "One batch, first publish to last confirm.",
                &SECONDS,
            ),
            publish_outcomes: b.counters(
                "publish_outcomes_total",
                "What became of messages: `confirmed`, `returned`, `nacked`, `unknown`.",
                "outcome",
                &["confirmed", "returned", "nacked", "unknown"],
            ),
            end_to_end_seconds: b.register(HistogramVec::new(
                histogram_opts(
                    "end_to_end_seconds",
                    "From the request read to the confirm.",
                    &WAY_SECONDS,
                ),
                &["origin"],
            )),
            parked: b.counters(
                "parked_total",
                "Events that became dead letters: `refused_by_broker`, `unroutable`.",
                "reason",
                &["refused_by_broker", "unroutable"],
            ),
            spans: b.counters(
                "spans_total",
                "Spans for the collector of `trace.otlp_url`: `sent`, `failed` where it did not take them, `dropped` where too many waited.",
                "outcome",
                &["sent", "failed", "dropped"],
            ),
            replay_events: b.counters(
                "replay_events_total",
                "Events that a person had published again: `published`, and `failed` where RabbitMQ did not take it.",
                "outcome",
                &["published", "failed"],
            ),
            broker_connects: b.counters(
                "broker_connects_total",
                "Attempts to open a session with RabbitMQ: `ok`, `error`.",
                "result",
                &["ok", "error"],
            ),
            broker_connected: b.gauge("broker_connected", "1 while a session stands."),
            broker_blocked: b.gauge("broker_blocked", "1 while RabbitMQ takes nothing (memory or disk alarm)."),
            relay_active: b.gauge("relay_active", "1 where this daemon runs the relay."),
            store_up: b.gauge("store_up", "1 while an append could be made."),
            ledger: b.gauges(
                "ledger_events",
                "The ledger: `accepted` = `published` + `pending` + `parked` + `discarded`.",
                "state",
                &["accepted", "published", "pending", "parked", "discarded"],
            ),
            ledger_mismatch: b.gauge(
                "ledger_mismatch_events",
                "Events that the ledger cannot account for; must be 0.",
            ),
            runtime_tasks: b.gauge("runtime_tasks", "Tasks that have not ended: a few dozen, and one or two for each connection."),
            backlog: b.gauge("backlog_events", "Events waiting for the relay."),
            backlog_oldest: b.gauge(
                "backlog_oldest_seconds",
                "Age of the oldest event that waits for the relay.",
            ),
            held_events: b.gauge(
                "held_events",
                "Events that wait because RabbitMQ refuses those of their tenant; a part of the backlog.",
            ),
            held_tenants: b.gauge(
                "held_tenants",
                "Tenants whose events wait because RabbitMQ refuses them, while others go on.",
            ),
            quarantine_entries: b.gauge("quarantine_entries", "Refused requests kept."),
            quarantine_dropped: b.counter(
                "quarantine_dropped_total",
                "Refused requests not kept, over the rate.",
            ),
            retention_removed: b.counters(
                "retention_removed_total",
                "Rows that retention removed: `events`, `keys`, `follow_ups`.",
                "what",
                &["events", "keys", "follow_ups"],
            ),
            follow_ups_planned: b.counters(
                "follow_ups_planned_total",
                "API calls that events called for.",
                "rule",
                &[],
            ),
            follow_ups_ended: b.counters(
                "follow_ups_ended_total",
                "Ends of claims: `done`, `again`, `parked`, `cancelled`, and `lost` where another daemon had taken over.",
                "end",
                &["done", "again", "parked", "cancelled", "lost"],
            ),
            follow_ups: b.gauges(
                "follow_ups",
                "API calls that are open: `pending`, and `parked` for a person.",
                "state",
                &["pending", "parked"],
            ),
            follow_ups_oldest: b.gauge(
                "follow_ups_oldest_seconds",
                "Age of the oldest pending API call.",
            ),
            api_calls: b.counters(
                "api_calls_total",
                "Calls of GHL's API, by what came of them: `done`, `rate_limited`, `unavailable`, `unanswered`, ….",
                "outcome",
                &["done"],
            ),
            api_breaker_open: b.gauge(
                "api_breaker_open",
                "1 while calls wait because the API does not answer.",
            ),
            token_requests,
            trigger_requests,
            backfill_records,
            gaps_open: b.gauge(
                "gaps",
                "Gaps of `repair.gap_after` or longer that are not repaired yet.",
            ),
            registry: b.registry,
            families: b.families.take().into(),
        }
    }

    /// What each metric is, in the order in which they were made.
    pub fn families(&self) -> &[Family] {
        &self.families
    }

    /// The text exposition of everything. Touches nothing but memory and `/proc`.
    pub fn render(&self) -> Vec<u8> {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics could not be written");
        }
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_of_the_family_and_has_help() {
        let metrics = Metrics::new();
        for family in metrics.registry.gather() {
            let name = family.name();
            assert!(
                name.starts_with("hookwell_") || name.starts_with("process_"),
                "{name}"
            );
            assert!(!family.help().is_empty(), "{name} has no help");
        }
    }
}
