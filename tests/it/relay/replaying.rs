//! `hookwell replay`: what was published goes out once more, and nothing else.

use std::collections::HashSet;

use super::*;
use crate::harness::daemon::cli;
use crate::harness::{Delivery, on_both};

on_both! {
    what_was_published_goes_out_again_as_it_was
    a_replay_keeps_its_rate_and_ends_when_it_is_cancelled
    a_replay_goes_on_after_a_kill
}

const TYPES: [&str; 3] = ["ContactCreate", "OpportunityCreate", "ContactUpdate"];

/// Thirty events of three types and two tenants, all of them out.
async fn published(daemon: &Daemon, ghl: &Ghl, sink: &Sink, count: usize) -> Vec<Delivery> {
    for n in 0..count {
        let tenant = if n % 2 == 0 {
            TENANT
        } else {
            "Location000000000002"
        };
        let body = ghl.body(TYPES[n % 3], tenant, n as u64);
        assert_eq!(ghl.post(daemon, &body).await.status, 200);
    }
    let first = sink.wait_for(count, WITHIN).await;
    ledger_is(daemon, count, 0).await;
    first
}

/// The copies that say that they were asked for.
fn replayed(sink: &Sink) -> Vec<Delivery> {
    let mut all = sink.all();
    all.retain(|one| one.headers["hookwell-origin"] == "replay");
    all
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

async fn what_was_published_goes_out_again_as_it_was(backend: Backend) {
    let broker = fresh_vhost().await;
    let store = store_url(backend).await;
    let config = DaemonConfig::new(store.url()).broker(&broker.url);
    let daemon = Daemon::start(&config).await;
    let (ghl, sink) = (Ghl::new(), Sink::open(&broker.url, &[ALL]).await);
    let first = published(&daemon, &ghl, &sink, 30).await;

    let filter = [
        "replay",
        "--type",
        "ContactUpdate",
        "--tenant",
        TENANT,
        "--since",
        "1h",
    ];
    let wanted: Vec<_> = first
        .iter()
        .filter(|one| one.kind == "ContactUpdate" && one.headers["ghl-location-id"] == TENANT)
        .collect();
    assert_eq!(wanted.len(), 5);
    let counted = ok(cli(&[&filter[..], &["--dry-run", "--json"]].concat(), &config).await);
    assert_eq!(
        lines_of(&counted),
        [serde_json::json!({"matched": 5, "types": {"ContactUpdate": 5}})]
    );
    // Nobody can be asked here.
    let unasked = cli(&filter, &config).await;
    assert_eq!(unasked.status.code(), Some(64));
    assert!(
        said(&unasked).contains("Publish 5 events again, 50 a second, which takes 1s?"),
        "{}",
        said(&unasked)
    );
    assert!(ok(cli(&["replay", "list", "--json"], &config).await).is_empty());

    let done = lines_of(&ok(cli(
        &[&filter[..], &["--yes", "--json"]].concat(),
        &config,
    )
    .await));
    assert_eq!(
        (
            &done[0]["state"],
            &done[0]["matched"],
            &done[0]["published"],
            &done[0]["failed"]
        ),
        (&"done".into(), &5.into(), &5.into(), &0.into())
    );
    let again = eventually("all five", WITHIN, async || {
        let again = replayed(&sink);
        (5 <= again.len()).then_some(again)
    })
    .await;
    // The same in everything but the origin, in the order of the log.
    let same = |one: &Delivery| {
        let mut headers = one.headers.clone();
        headers.remove("hookwell-origin");
        (
            one.message_id.clone(),
            one.kind.clone(),
            one.routing_key.clone(),
            headers,
            one.body.clone(),
        )
    };
    assert_eq!(
        again.iter().map(same).collect::<Vec<_>>(),
        wanted.into_iter().map(same).collect::<Vec<_>>()
    );
    // One alone, by its key.
    let done = ok(cli(&["replay", &first[3].message_id], &config).await);
    assert!(done.contains("is done: 1 of 1 published again"), "{done}");
    eventually("the sixth", WITHIN, async || {
        let again = replayed(&sink);
        (again.last()?.message_id == first[3].message_id && again.len() == 6).then_some(())
    })
    .await;
    assert_eq!(sink.all().len(), 36, "nothing else went out again");
    let out = "hookwell_replay_events_total{outcome=\"published\"}";
    assert_eq!(daemon.metric(out).await, Some(6.0));
    ledger_is(&daemon, 30, 0).await;
    let trail = lines_of(&ok(cli(&["audit", "--json"], &config).await));
    let trail: Vec<_> = trail
        .iter()
        .map(|one| {
            (
                one["action"].as_str().unwrap(),
                one["subject"].as_str().unwrap(),
                one["affected"].as_i64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        trail,
        [("replay", "replay 2", 1), ("replay", "replay 1", 5)]
    );
    let absent = cli(
        &["replay", "--type", "NoSuchType", "--since", "1h", "--yes"],
        &config,
    )
    .await;
    assert_eq!(absent.status.code(), Some(66), "{}", said(&absent));
}

async fn a_replay_keeps_its_rate_and_ends_when_it_is_cancelled(backend: Backend) {
    let broker = fresh_vhost().await;
    let store = store_url(backend).await;
    let config = DaemonConfig::new(store.url()).broker(&broker.url);
    let daemon = Daemon::start(&config).await;
    let (ghl, sink) = (Ghl::new(), Sink::open(&broker.url, &[ALL]).await);
    published(&daemon, &ghl, &sink, 60).await;
    let asked = cli(
        &[
            "replay",
            "--since",
            "1h",
            "--rate",
            "10",
            "--yes",
            "--no-wait",
        ],
        &config,
    )
    .await;
    assert!(ok(asked).contains("replay 1 is asked for"));
    eventually("some are out", WITHIN, async || {
        (3 <= replayed(&sink).len()).then_some(())
    })
    .await;
    ok(cli(&["replay", "cancel", "1"], &config).await);
    let shown = async || {
        let shown = lines_of(&ok(cli(&["replay", "show", "1", "--json"], &config).await));
        shown.into_iter().next().unwrap()
    };
    // Webhooks go on as ever.
    let body = ghl.body("ContactCreate", TENANT, 99);
    assert_eq!(ghl.post(&daemon, &body).await.status, 200);
    sink.wait_for(61, WITHIN).await;
    // Once the daemon has seen it: another replay of one event is done, so it has looked.
    let last = cli(&["replay", "1", "--json"], &config).await;
    assert_eq!(lines_of(&ok(last))[0]["state"], "done");
    let replay = shown().await;
    assert_eq!(replay["state"], "cancelled");
    let out = replay["published"].as_u64().unwrap();
    assert!((3..60).contains(&out), "{replay}");
    eventually("what was in hand is out", WITHIN, async || {
        (replayed(&sink).len() as u64 == out + 1).then_some(())
    })
    .await;
    let again = cli(&["replay", "cancel", "1"], &config).await;
    assert_eq!(again.status.code(), Some(1));
    assert!(
        said(&again).contains("over already: cancelled"),
        "{}",
        said(&again)
    );
    let none = cli(&["replay", "cancel", "77"], &config).await;
    assert_eq!(none.status.code(), Some(66));
}

async fn a_replay_goes_on_after_a_kill(backend: Backend) {
    let broker = fresh_vhost().await;
    let store = store_url(backend).await;
    let config = DaemonConfig::new(store.url()).broker(&broker.url);
    let mut daemon = Daemon::start(&config).await;
    let (ghl, sink) = (Ghl::new(), Sink::open(&broker.url, &[ALL]).await);
    let first = published(&daemon, &ghl, &sink, 60).await;
    ok(cli(
        &[
            "replay",
            "--since",
            "1h",
            "--rate",
            "20",
            "--yes",
            "--no-wait",
        ],
        &config,
    )
    .await);
    eventually("some are out", WITHIN, async || {
        (5 <= replayed(&sink).len()).then_some(())
    })
    .await;
    daemon.kill9();
    let out = replayed(&sink).len();
    assert!(out < 60, "it was to be in the middle");
    let daemon = Daemon::start(&config).await;
    let copies = eventually("all of them", WITHIN, async || {
        let again = replayed(&sink);
        let distinct: HashSet<_> = again.iter().map(|one| &one.message_id).collect();
        (distinct.len() == first.len()).then_some(again.len())
    })
    .await;
    // It went on, and did not begin again: at most a second's worth came twice.
    assert!(copies <= 60 + 20, "{copies} copies");
    eventually("it is done", WITHIN, async || {
        let shown = ok(cli(&["replay", "show", "1", "--json"], &config).await);
        (lines_of(&shown)[0]["state"] == "done").then_some(())
    })
    .await;
    ledger_is(&daemon, 60, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_queue_takes_any_more_is_counted_and_passed_and_a_dead_letter_is_not_replayed() {
    let broker = fresh_vhost().await;
    let (_connection, channel) = channel(&broker.url).await;
    declare_without_alternate(&channel, ALL, &["contact.#"]).await;
    let store = store_url(Backend::Sqlite).await;
    let config = DaemonConfig::new(store.url()).broker(&broker.url).set(
        "broker",
        "topology = \"check\"\nunroutable_attempts = 1\nretry_max = \"300ms\"",
    );
    let daemon = Daemon::start(&config).await;
    let (ghl, sink) = (Ghl::new(), Sink::open(&broker.url, &[ALL]).await);
    for kind in TYPES {
        let body = ghl.body(kind, TENANT, 1);
        assert_eq!(ghl.post(&daemon, &body).await.status, 200);
    }
    sink.wait_for(2, WITHIN).await;
    ledger_is(&daemon, 2, 1).await;
    let parked = cli(&["replay", "2"], &config).await;
    assert_eq!(parked.status.code(), Some(66));
    let why =
        "the event at position 2 is a dead letter; `hookwell dead-letters retry 2` publishes it";
    assert!(said(&parked).contains(why), "{}", said(&parked));

    drop(sink);
    let options = lapin::options::QueueDeleteOptions::default();
    channel.queue_delete(ALL.into(), options).await.unwrap();
    declare_queue(&channel, ALL, "quorum", &["contact.update.#"]).await;
    let sink = Sink::open(&broker.url, &[ALL]).await;
    let done = cli(&["replay", "--since", "1h", "--yes"], &config).await;
    assert_eq!(done.status.code(), Some(1), "{}", said(&done));
    let text = String::from_utf8_lossy(&done.stdout);
    assert!(
        text.contains("replay 1 is done: 1 of 2 published again"),
        "{text}"
    );
    assert!(
        said(&done).contains("RabbitMQ did not take 1 of them: 312"),
        "{}",
        said(&done)
    );
    let again = eventually("the one", WITHIN, async || {
        let again = replayed(&sink);
        (!again.is_empty()).then_some(again)
    })
    .await;
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].kind, "ContactUpdate");
    // It was out once: it does not become a dead letter by that.
    ledger_is(&daemon, 2, 1).await;
}
