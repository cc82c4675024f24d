//! Every metric hookwell exports: its name, its labels, what it means. Here and in `metrics/` is the only home of
//! `prometheus`.
//!
//! Label sets are closed: no tenant, entity, path or key ever becomes a label.

use std::sync::Arc;

use prometheus::{Encoder, Registry, TextEncoder};

mod kinds;

pub use kinds::Family;
use kinds::{Builder, type_of};

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

/// Seconds; from a tenth of a millisecond to half a minute.
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

/// The metrics of one daemon, from a list of `field: kind(name, help, …)`. The kinds are [`Builder`]'s.
macro_rules! metrics {
    ($($field:ident: $kind:ident($name:literal, $help:literal $(, $more:expr)*);)*) => {
        /// The metrics of one daemon.
        #[derive(Debug, Clone)]
        pub struct Metrics {
            registry: Registry,
            families: Arc<[Family]>,
            $(#[doc = concat!("`hookwell_", $name, "`: ", $help)]
            pub $field: type_of!($kind),)*
        }

        impl Metrics {
            /// A fresh set with its own registry.
            pub fn new() -> Self {
                let b = Builder::default();
                b.build_info();
                b.process();
                $(let $field = b.$kind($name, $help $(, $more)*);)*
                let (registry, families) = b.end();
                Self { registry, families, $($field),* }
            }
        }
    };
}

metrics! {
    token_requests: pairs("token_requests_total",
        "Requests for tokens: `exchange`, `refresh` and `mint`, each `ok`, `refused`, `later` or `unknown`.",
        ["what", "outcome"], ["exchange", "refresh", "mint"], ["ok", "refused", "later", "unknown"]);
    backfill_records: pairs("backfill_records_total",
        "Records read because they changed in a time: `known` to the log, or `lacking` there.",
        ["kind", "outcome"], ["contacts", "opportunities"], ["known", "lacking"]);
    trigger_requests: counters("trigger_requests_total",
        "Messages about workflow triggers: `kept`, `deleted`, and refused as `secret`, `malformed`, `elsewhere`, `too_many`, `unavailable`.",
        "outcome", TRIGGER_OUTCOMES);
    http_responses: counters("http_responses_total", "Answers of the public listener.", "code", ["200"]);
    http_connections: gauge("http_connections", "Open connections of the public listener.");
    http_connections_refused: counter("http_connections_refused_total", "Connections over `http.max_connections`.");
    http_accept_errors: counter("http_accept_errors_total",
        "Connections that could not be accepted (no file descriptors).");
    accept_seconds: histogram("accept_seconds", "From the whole request read to its answer.", SECONDS);
    webhook_outcomes: counters("webhook_outcomes_total",
        "Answers to webhooks with a signature: `ok` (2xx), `failed`.",
        "outcome", ["ok", "failed"]);
    webhook_answers: gauge("webhook_answers",
        "Answers to webhooks with a signature in the last three days, of all daemons.");
    webhook_success_ratio: ratio("webhook_success_ratio",
        "The share of 2xx in the answers of three days; GHL pauses a URL under 0.9.");
    tenants: gauge("tenants", "Tenants heard of in the last 30 days.");
    silent_tenants: gauge("silent_tenants",
        "Tenants that are silent for more than twice their longest silence lately, and an hour.");
    tokens_reauthorise: gauge("tokens_reauthorise", "Tokens that only a person can renew.");
    disk_free: optional("store_disk_free_bytes", "Room where the SQLite file is; not there on Postgres.");
    disk_total: optional("store_disk_bytes",
        "The size of the file system of the SQLite file; not there on Postgres.");
    disk_reserve: optional("store_disk_reserve_bytes",
        "With less room than this webhooks are answered 429 (store.disk_reserve); not there on Postgres.");
    refused: counters("refused_total", "Requests not accepted.", "reason", []);
    events: counters("events_accepted_total",
        "Answered 200: `new`, `duplicate`, or `altered` (a known id with other bytes).",
        "outcome", ["new", "duplicate", "altered"]);
    unreadable: counters("events_unreadable_total", "Signed bodies stored as `unknown`.", "reason", []);
    without_id: counter("events_without_id_total", "Events whose key is the hash of the body.");
    too_large: counter("events_too_large_total", "Bodies that GHL says it cut (`payloadTooLarge`).");
    commit_seconds: histogram("commit_seconds", "One append transaction.", SECONDS);
    commit_batch: histogram("commit_batch_events", "Events of one append transaction.", BATCH);
    commit_errors: counter("commit_errors_total", "Appends whose outcome is not known.");
    publish_seconds: histogram("publish_seconds", "One batch, first publish to last confirm.", SECONDS);
    publish_outcomes: counters("publish_outcomes_total",
        "What became of messages: `confirmed`, `returned`, `nacked`, `unknown`.",
        "outcome", ["confirmed", "returned", "nacked", "unknown"]);
    end_to_end_seconds: histograms("end_to_end_seconds",
        "From the request read to the confirm.",
        "origin", WAY_SECONDS);
    parked: counters("parked_total",
        "Events that became dead letters: `refused_by_broker`, `unroutable`.",
        "reason", ["refused_by_broker", "unroutable"]);
    spans: counters("spans_total",
        "Spans for the collector of `trace.otlp_url`: `sent`, `failed` where it did not take them, `dropped` where too many waited.",
        "outcome", ["sent", "failed", "dropped"]);
    replay_events: counters("replay_events_total",
        "Events that a person had published again: `published`, and `failed` where RabbitMQ did not take it.",
        "outcome", ["published", "failed"]);
    broker_connects: counters("broker_connects_total",
        "Attempts to open a session with RabbitMQ: `ok`, `error`.",
        "result", ["ok", "error"]);
    broker_connected: gauge("broker_connected", "1 while a session stands.");
    broker_blocked: gauge("broker_blocked", "1 while RabbitMQ takes nothing (memory or disk alarm).");
    relay_active: gauge("relay_active", "1 where this daemon runs the relay.");
    store_up: gauge("store_up", "1 while an append could be made.");
    ledger: gauges("ledger_events",
        "The ledger: `accepted` = `published` + `pending` + `parked` + `discarded`.",
        "state", ["accepted", "published", "pending", "parked", "discarded"]);
    ledger_mismatch: gauge("ledger_mismatch_events", "Events that the ledger cannot account for; must be 0.");
    runtime_tasks: gauge("runtime_tasks",
        "Tasks that have not ended: a few dozen, and one or two for each connection.");
    backlog: gauge("backlog_events", "Events waiting for the relay.");
    backlog_oldest: gauge("backlog_oldest_seconds", "Age of the oldest event that waits for the relay.");
    held_events: gauge("held_events",
        "Events that wait because RabbitMQ refuses those of their tenant; a part of the backlog.");
    held_tenants: gauge("held_tenants",
        "Tenants whose events wait because RabbitMQ refuses them, while others go on.");
    quarantine_entries: gauge("quarantine_entries", "Refused requests kept.");
    quarantine_dropped: counter("quarantine_dropped_total", "Refused requests not kept: over the rate, or the store did not take them.");
    retention_removed: counters("retention_removed_total",
        "Rows that retention removed: `events` (of a partition that was dropped all its places), `keys`, `follow_ups`.",
        "what", ["events", "keys", "follow_ups"]);
    follow_ups_planned: counters("follow_ups_planned_total", "API calls that events called for.", "rule", []);
    follow_ups_ended: counters("follow_ups_ended_total",
        "Ends of claims: `done`, `again`, `parked`, `cancelled`, and `lost` where another daemon had taken over.",
        "end", ["done", "again", "parked", "cancelled", "lost"]);
    follow_ups: gauges("follow_ups",
        "API calls that are open: `pending`, and `parked` for a person.",
        "state", ["pending", "parked"]);
    follow_ups_oldest: gauge("follow_ups_oldest_seconds", "Age of the oldest pending API call.");
    api_calls: counters("api_calls_total",
        "Calls of GHL's API, by what came of them: `done`, `rate_limited`, `unavailable`, `unanswered`, ….",
        "outcome", ["done"]);
    api_breaker_open: gauge("api_breaker_open", "1 while calls wait because the API does not answer.");
    gaps_open: gauge("gaps", "Gaps of `repair.gap_after` or longer that are not repaired yet.");
}

impl Metrics {
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
