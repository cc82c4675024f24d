//! `hookwell erase`, `events export` and `dead-letters discard`, beside a running daemon.

use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};

use super::{code, stderr, stdout};
use crate::harness::daemon::{ALL, cli};
use crate::harness::store::execute_on;
use crate::harness::{
    Backend, Daemon, DaemonConfig, Ghl, Operator, Sink, eventually, fresh_vhost, on_both, store_url,
};

on_both! {
    a_contact_is_erased_and_nobody_else
    what_waits_for_the_broker_is_left_and_said_so
    dead_letters_are_given_up_on
    a_range_of_time_is_exported_byte_for_byte
}

const WITHIN: Duration = Duration::from_secs(60);
const TENANT: &str = "removeTenant00000001";

fn contact(n: u64) -> Value {
    json!({
        "type": "ContactCreate", "locationId": TENANT, "id": format!("contact00000000000{n:02}"), "webhookId": format!("key-{n}"),
        "email": format!("canary{n}@example.com"), "timestamp": "2026-01-31T12:00:00.000Z",
    })
}

async fn post(ghl: &Ghl, daemon: &Daemon, body: &Value) {
    let answer = ghl.post(daemon, body.to_string().as_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

async fn a_contact_is_erased_and_nobody_else(backend: Backend) {
    let broker = fresh_vhost().await;
    let store = store_url(backend).await;
    let config = DaemonConfig::new(store.url()).broker(&broker.url);
    let mut daemon = Daemon::start(&config).await;
    let (ghl, sink) = (Ghl::new(), Sink::open(&broker.url, &[ALL]).await);
    for n in 1..=3 {
        post(&ghl, &daemon, &contact(n)).await;
    }
    let deal = json!({
        "type": "OpportunityCreate", "locationId": TENANT, "id": "opportunity000000001", "contactId": "contact0000000000002",
        "webhookId": "deal", "note": "of canary2@example.com",
    });
    post(&ghl, &daemon, &deal).await;
    sink.wait_for(4, WITHIN).await;
    let forger = Ghl::with_seed([8; 32]);
    let body = contact(2).to_string();
    let forged = forger.post(&daemon, body.as_bytes());
    assert_eq!(forged.await.status, 401);
    eventually("it is in quarantine", WITHIN, async || {
        let kept = daemon.metric("hookwell_quarantine_entries").await;
        (kept == Some(1.0)).then_some(())
    })
    .await;

    let exported = cli(
        &[
            "events",
            "export",
            "--type",
            "ContactCreate",
            "--since",
            "1h",
        ],
        &config,
    )
    .await;
    let exported = lines(&stdout(&exported));
    assert_eq!(exported.len(), 3);
    assert_eq!(exported[1]["position"], 2);
    assert_eq!(exported[1]["event_key"], "key-2");
    assert_eq!(exported[1]["body"], contact(2).to_string());
    assert!(exported[1]["signature"].is_string());
    let none = cli(&["events", "export", "--until", "1h"], &config).await;
    assert_eq!((code(&none), stdout(&none)), (Some(0), String::new()));

    let erase = ["erase", "--contact", "contact0000000000002"];
    let counted = cli(&[&erase[..], &["--dry-run", "--json"]].concat(), &config).await;
    let counted = &lines(&stdout(&counted))[0];
    assert_eq!(
        (&counted["events"], &counted["quarantined"]),
        (&json!(2), &json!(1)),
        "{counted}"
    );
    let unasked = cli(&erase, &config).await;
    assert_eq!(code(&unasked), Some(64));
    assert!(
        stdout(&unasked).contains("of contact contact0000000000002 there are"),
        "{}",
        stdout(&unasked)
    );
    let done = cli(&[&erase[..], &["--yes", "--json"]].concat(), &config).await;
    let said = &lines(&stdout(&done))[0];
    assert_eq!(
        (
            code(&done),
            &said["events"],
            &said["quarantined"],
            &said["left"]
        ),
        (Some(0), &json!(2), &json!(1), &json!(0)),
        "{said} {}",
        stderr(&done)
    );
    let kept = lines(&stdout(&cli(&["events", "export"], &config).await));
    let kept: Vec<_> = kept
        .iter()
        .map(|one| one["event_key"].as_str().unwrap())
        .collect();
    assert_eq!(kept, ["key-1", "key-3"]);
    // GHL sends it once more, and it stays away.
    let again = ghl.post(&daemon, contact(2).to_string().as_bytes()).await;
    assert!(again.text().contains("duplicate"), "{}", again.text());
    let trail = lines(&stdout(&cli(&["audit", "--json"], &config).await));
    assert_eq!(
        (
            &trail[0]["action"],
            &trail[0]["subject"],
            &trail[0]["affected"]
        ),
        (
            &json!("erase"),
            &json!("contact contact0000000000002"),
            &json!(3)
        )
    );
    // Before anything went, for whoever breaks it off.
    assert_eq!(
        (
            &trail[1]["action"],
            &trail[1]["subject"],
            &trail[1]["affected"]
        ),
        (&json!("begin_erase"), &trail[0]["subject"], &json!(3))
    );
    assert!(daemon.terminate().await.success());
    if backend == Backend::Sqlite {
        // Not in the file either, with what is not in use.
        let path = store.url().trim_start_matches("sqlite://").to_owned();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend(std::fs::read(format!("{path}-wal")).unwrap_or_default());
        let has = |text: &str| {
            bytes
                .windows(text.len())
                .any(|window| window == text.as_bytes())
        };
        assert!(has("canary1@example.com") && has("canary3@example.com"));
        assert!(!has("canary2@example.com"));
    }
}

async fn what_waits_for_the_broker_is_left_and_said_so(backend: Backend) {
    let store = store_url(backend).await;
    // Nobody listens there.
    let config = DaemonConfig::new(store.url());
    let daemon = Daemon::start(&config).await;
    post(&Ghl::new(), &daemon, &contact(1)).await;
    let short = cli(&["erase", "--contact", "short"], &config).await;
    assert_eq!(code(&short), Some(64), "{}", stderr(&short));
    let done = cli(&["erase", "--tenant", TENANT, "--yes"], &config).await;
    assert_eq!(code(&done), Some(1));
    let said = stderr(&done);
    assert!(
        said.contains("1 events stay: they are still to be published"),
        "{said}"
    );
    let kept = cli(&["events", "export"], &config).await;
    assert_eq!(lines(&stdout(&kept)).len(), 1);
}

async fn dead_letters_are_given_up_on(backend: Backend) {
    let broker = fresh_vhost().await;
    let operator = Operator::at(&broker.url).await;
    operator.declare_without_alternate(&[ALL]).await;
    let store = store_url(backend).await;
    let config = DaemonConfig::new(store.url()).broker(&broker.url).set(
        "broker",
        "topology = \"check\"\nunroutable_attempts = 1\nretry_max = \"300ms\"",
    );
    let daemon = Daemon::start(&config).await;
    let ghl = Ghl::new();
    for n in 1..=3 {
        post(&ghl, &daemon, &contact(n)).await;
    }
    let metric = async |state: &str| {
        let name = format!("hookwell_ledger_events{{state={state:?}}}");
        daemon.metric(&name).await
    };
    eventually("all are parked", WITHIN, async || {
        (metric("parked").await == Some(3.0)).then_some(())
    })
    .await;
    let unasked = cli(&["dead-letters", "discard", "2"], &config).await;
    let said = stderr(&unasked);
    assert!(
        said.contains(
            "Remove the ContactCreate key-2 at position 2, parked as unroutable, for ever?"
        ),
        "{said}"
    );
    let one = cli(&["dead-letters", "discard", "2", "--yes"], &config).await;
    assert_eq!(
        (code(&one), stdout(&one).as_str()),
        (Some(0), "1 discarded\n"),
        "{}",
        stderr(&one)
    );
    let unasked = cli(&["dead-letters", "discard", "--all"], &config).await;
    assert_eq!(code(&unasked), Some(64));
    assert!(stderr(&unasked).contains("Remove 2 dead letters with their events for ever?"));
    let all = cli(&["dead-letters", "discard", "--all", "--yes"], &config).await;
    assert_eq!(stdout(&all), "2 discarded\n");
    eventually("the ledger says so", WITHIN, async || {
        let is = (metric("parked").await, metric("discarded").await);
        (is == (Some(0.0), Some(3.0))).then_some(())
    })
    .await;
    assert_eq!(
        daemon.metric("hookwell_ledger_mismatch_events").await,
        Some(0.0)
    );
    let status = stdout(&cli(&["status"], &config).await);
    assert!(status.contains("discarded           3"), "{status}");
    let absent = cli(&["dead-letters", "discard", "2", "--yes"], &config).await;
    assert_eq!(code(&absent), Some(66));
}

async fn a_range_of_time_is_exported_byte_for_byte(backend: Backend) {
    let store = store_url(backend).await;
    let config = DaemonConfig::new(store.url());
    let daemon = Daemon::start(&config).await;
    let ghl = Ghl::new();
    post(&ghl, &daemon, &contact(1)).await;
    // Not UTF-8 within a text: taken as it came, and given out as it came.
    let mut bytes = contact(2).to_string().into_bytes();
    let at = bytes.windows(6).position(|part| part == b"canary").unwrap();
    bytes[at] = 0xff;
    assert_eq!(ghl.post(&daemon, &bytes).await.status, 200);
    post(&ghl, &daemon, &contact(3)).await;
    for (position, minutes) in [(1, 180), (2, 90)] {
        let earlier = i64::from(minutes) * 60_000_000;
        let sql = format!(
            "update events set received_at = received_at - {earlier} where position = {position}"
        );
        execute_on(&store, &sql).await;
    }
    let places = async |range: &[&str]| -> Vec<i64> {
        let output = cli(&[&["events", "export"], range].concat(), &config).await;
        let found = lines(&stdout(&output));
        found
            .iter()
            .map(|one| one["position"].as_i64().unwrap())
            .collect()
    };
    assert_eq!(places(&[]).await, [1, 2, 3]);
    assert_eq!(places(&["--since", "2h"]).await, [2, 3]);
    assert_eq!(places(&["--until", "1h"]).await, [1, 2]);
    assert_eq!(places(&["--since", "2h", "--until", "1h"]).await, [2]);
    let all = lines(&stdout(&cli(&["events", "export"], &config).await));
    assert_eq!(all[0]["body"], contact(1).to_string());
    assert!(
        all[0]["body_base64"].is_null() && all[1]["body"].is_null(),
        "{all:?}"
    );
    let kept =
        base64::engine::general_purpose::STANDARD.decode(all[1]["body_base64"].as_str().unwrap());
    assert_eq!(kept.unwrap(), bytes);
}
