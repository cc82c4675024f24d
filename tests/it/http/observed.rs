//! Metrics, logs and the admin listener: everything is there, and nothing of anybody's data.

use std::collections::BTreeSet;

use super::SOON;
use crate::harness::ghl::{PATH, get, post_raw};
use crate::harness::{
    Backend, Client, Daemon, DaemonConfig, Ghl, Sink, eventually, fresh_vhost, store_url,
};

/// Every family, as operators know it. A change here is a change of a public contract.
const FAMILIES: &str = "\
hookwell_accept_seconds histogram
hookwell_api_breaker_open gauge
hookwell_api_calls_total counter
hookwell_backfill_records_total counter
hookwell_backlog_events gauge
hookwell_backlog_oldest_seconds gauge
hookwell_broker_blocked gauge
hookwell_broker_connected gauge
hookwell_broker_connects_total counter
hookwell_build_info gauge
hookwell_commit_batch_events histogram
hookwell_commit_errors_total counter
hookwell_commit_seconds histogram
hookwell_end_to_end_seconds histogram
hookwell_events_accepted_total counter
hookwell_events_too_large_total counter
hookwell_events_unreadable_total counter
hookwell_events_without_id_total counter
hookwell_follow_ups gauge
hookwell_follow_ups_ended_total counter
hookwell_follow_ups_oldest_seconds gauge
hookwell_gaps gauge
hookwell_held_events gauge
hookwell_held_tenants gauge
hookwell_http_accept_errors_total counter
hookwell_http_connections gauge
hookwell_http_connections_refused_total counter
hookwell_http_responses_total counter
hookwell_ledger_events gauge
hookwell_ledger_mismatch_events gauge
hookwell_parked_total counter
hookwell_publish_outcomes_total counter
hookwell_publish_seconds histogram
hookwell_quarantine_dropped_total counter
hookwell_quarantine_entries gauge
hookwell_refused_total counter
hookwell_relay_active gauge
hookwell_replay_events_total counter
hookwell_retention_removed_total counter
hookwell_runtime_tasks gauge
hookwell_silent_tenants gauge
hookwell_spans_total counter
hookwell_store_disk_bytes gauge
hookwell_store_disk_free_bytes gauge
hookwell_store_disk_reserve_bytes gauge
hookwell_store_up gauge
hookwell_tenants gauge
hookwell_token_requests_total counter
hookwell_tokens_reauthorise gauge
hookwell_trigger_requests_total counter
hookwell_webhook_answers gauge
hookwell_webhook_outcomes_total counter
hookwell_webhook_success_ratio gauge";

/// Every label with what it may say.
const LABELS: &[(&str, &[&str])] = &[
    ("kind", &["contacts", "opportunities"]),
    ("version", &[env!("CARGO_PKG_VERSION")]),
    (
        "state",
        &["accepted", "published", "pending", "parked", "discarded"],
    ),
    ("origin", &["webhook", "follow_up", "backfill", "replay"]),
    ("result", &["ok", "error"]),
    (
        "what",
        &[
            "events",
            "keys",
            "follow_ups",
            "exchange",
            "refresh",
            "mint",
        ],
    ),
    ("end", &["done", "again", "parked", "cancelled", "lost"]),
    (
        "outcome",
        &[
            "kept",
            "deleted",
            "secret",
            "malformed",
            "elsewhere",
            "too_many",
            "unavailable",
            "known",
            "lacking",
            "new",
            "duplicate",
            "altered",
            "published",
            "sent",
            "dropped",
            "confirmed",
            "returned",
            "nacked",
            "unknown",
            "done",
            "ok",
            "failed",
            "refused",
            "later",
        ],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn metrics_and_logs_say_everything_and_nothing_of_anybody() {
    let url = store_url(Backend::Sqlite).await;
    let broker = fresh_vhost().await;
    let sink = Sink::open(&broker.url, &["hookwell.all"]).await;
    let config = DaemonConfig::new(url.url())
        .broker(&broker.url)
        .set("log", "filter = \"debug\"");
    let mut daemon = Daemon::start(&config).await;
    // Before anything has happened: what is not there yet cannot be graphed or alerted on.
    let metrics = daemon.metrics().await;
    let families: BTreeSet<_> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter(|family| family.starts_with("hookwell_"))
        .collect();
    let expected: BTreeSet<_> = FAMILIES.lines().collect();
    let later = BTreeSet::from(["hookwell_end_to_end_seconds histogram"]);
    assert_eq!(
        families.union(&later).copied().collect::<BTreeSet<_>>(),
        expected
    );
    let ghl = Ghl::new();
    let tenant = "CanaryTenant00000001";
    let body = |id: &str, n: u64| {
        let body = ghl.body_with_id("ContactCreate", tenant, n, id);
        let mut fields: serde_json::Value = serde_json::from_slice(&body).unwrap();
        fields["email"] = "canary@example.com".into();
        fields["id"] = "CanaryEntity00000001".into();
        serde_json::to_vec(&fields).unwrap()
    };
    // Accepted, repeated, altered, forged, for somebody else, unreadable, cut short.
    let first = body("canary-1", 1);
    let unreadable = b"canary@example.com is no JSON".to_vec();
    for body in [&first, &first, &body("canary-1", 2), &unreadable] {
        assert_eq!(ghl.post(&daemon, body).await.status, 200);
    }
    let forged = Ghl::with_seed([9; 32]).key.sign_base64(&first);
    let answer = post_raw(&daemon.url(), &[("x-ghl-signature", &forged)], &first).await;
    assert_eq!(answer.status, 401);
    let other = String::from_utf8(first.clone())
        .unwrap()
        .replace("0123456789abcdef01234567", "fedcba9876543210fedcba98");
    assert_eq!(ghl.post(&daemon, other.as_bytes()).await.status, 403);
    let mut client = ghl.client(&daemon).await;
    let request = ghl.request_bytes(PATH, &first);
    client.write(&request[..request.len() - 1]).await.unwrap();
    drop(client);
    sink.wait_for(3, SOON).await;
    eventually("the refused ones are kept", SOON, async || {
        (daemon.metric("hookwell_quarantine_entries").await? == 3.0).then_some(())
    })
    .await;
    let metrics = daemon.metrics().await;
    assert!(daemon.terminate().await.success());

    let families: BTreeSet<_> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter(|family| family.starts_with("hookwell_"))
        .collect();
    let expected: BTreeSet<_> = FAMILIES.lines().collect();
    assert_eq!(families, expected);
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        check_labels(line);
    }

    let log = daemon.log();
    assert!(log.lines().count() > 5, "{log}");
    let signatures = [ghl.key.sign_base64(&first), forged];
    let public = ghl.key.public_key_pem();
    let key_line = public.lines().nth(1).unwrap();
    let secrets = [
        "canary@example.com",
        "CanaryEntity",
        "firstName",
        key_line,
        "guest:guest",
        &signatures[0],
        &signatures[1],
    ];
    for secret in secrets {
        assert!(!log.contains(secret), "the log holds {secret}:\n{log}");
        assert!(!metrics.contains(secret), "the metrics hold {secret}");
    }
    for word in [tenant, "canary", "webhooks/ghl", "0123456789abcdef"] {
        assert!(!metrics.contains(word), "the metrics hold {word}");
    }
    for line in log.lines() {
        let line: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
        assert!(line["level"].is_string() && line["timestamp"].is_string());
    }
}

fn check_labels(line: &str) {
    let Some((_, rest)) = line.split_once('{') else {
        return;
    };
    let (labels, _) = rest.rsplit_once('}').unwrap();
    for label in labels.split(',') {
        let (name, value) = label.split_once('=').unwrap();
        let value = value.trim_matches('"');
        let allowed = match name {
            "le" => value == "+Inf" || value.parse::<f64>().is_ok(),
            "code" => value.len() == 3 && value.parse::<u16>().is_ok(),
            // Words of closed sets that other tests spell out one by one.
            "reason" => value
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'),
            _ => LABELS
                .iter()
                .any(|(known, values)| *known == name && values.contains(&value)),
        };
        assert!(allowed, "{line}");
    }
}

#[tokio::test]
async fn control_characters_reach_the_log_escaped() {
    for format in ["json", "pretty"] {
        let url = store_url(Backend::Sqlite).await;
        let mut config = DaemonConfig::new(url.url()).set("log", "filter = \"debug\"");
        config.variables = vec![("HOOKWELL_LOG__FORMAT".to_owned(), format.to_owned())];
        let daemon = Daemon::start(&config).await;
        let address = daemon.address();
        for path in [
            &b"/webhooks/ghl/\xc2\x9b31mEvil"[..],
            b"/webhooks/ghl/%1b%5B31mEvil%0aFORGED",
            b"/webhooks/ghl/\xe2\x80\xaeEvil",
        ] {
            let mut client = Client::connect(address).await.unwrap();
            let request = [
                &b"POST "[..],
                path,
                b" HTTP/1.1\r\nhost: h\r\nx-ghl-signature: \x9b31m\r\ncontent-length: 2\r\n\r\n{}",
            ]
            .concat();
            client.write(&request).await.unwrap();
            let _ = client.answer().await;
        }
        let text = eventually("the refusals are logged", SOON, async || {
            let text = daemon.log();
            text.contains("quarantine list").then_some(text)
        })
        .await;
        for line in text.lines() {
            let bad = line.chars().find(|c| c.is_control() || *c == '\u{202e}');
            assert_eq!(bad, None, "{format}: {line:?}");
            assert!(!line.starts_with("FORGED"), "{format}: {line}");
        }
    }
}

#[tokio::test]
async fn a_flood_of_forgeries_leaves_a_bounded_trace() {
    let url = store_url(Backend::Sqlite).await;
    let config = DaemonConfig::new(url.url()).set("quarantine", "max_entries = 5\nrate = 5");
    let daemon = Daemon::start(&config).await;
    let forger = Ghl::with_seed([9; 32]);
    let mut client = forger.client(&daemon).await;
    let (count, started) = (300, std::time::Instant::now());
    for n in 0..count {
        let body = forger.body("ContactCreate", "l1", n);
        assert_eq!(client.post(&forger, &body).await.unwrap().status, 401);
    }
    let kept = eventually("the quarantine is full and at rest", SOON, async || {
        let dropped = daemon.metric("hookwell_quarantine_dropped_total").await?;
        let kept = daemon.log().matches("kept in quarantine").count();
        (kept as f64 + dropped == count as f64).then_some(kept)
    })
    .await;
    // What comes in a second, what waits in the queue, and the one that was taken already.
    let most = 5 * (started.elapsed().as_secs() as usize + 2) + 5;
    assert!(kept <= most, "{kept} of {count} left a line in the log");
    eventually("no more than may be are kept", SOON, async || {
        (daemon.metric("hookwell_quarantine_entries").await? == 5.0).then_some(())
    })
    .await;
    let accepted = "hookwell_ledger_events{state=\"accepted\"}";
    assert_eq!(daemon.metric(accepted).await, Some(0.0));
}

#[tokio::test]
async fn the_admin_listener_has_probes_and_metrics_and_nothing_else() {
    let url = store_url(Backend::Sqlite).await;
    let daemon = Daemon::start(&DaemonConfig::new(url.url())).await;
    for (path, status) in [
        ("/livez", 200),
        ("/readyz", 200),
        ("/metrics", 200),
        ("/", 200),
        ("/events", 404),
        ("/login", 404),
        (PATH, 404),
        ("/metrics/", 404),
    ] {
        let answer = get(&format!("{}{path}", daemon.admin())).await.unwrap();
        assert_eq!(answer.status, status, "{path}");
    }
    let root = get(&format!("{}/", daemon.admin())).await.unwrap().text();
    assert!(root.contains("admin.token_file"), "{root}");
    let metrics = get(&format!("{}/metrics", daemon.admin())).await.unwrap();
    let kind = metrics.header("content-type").unwrap();
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
}
