//! Promises that hold for all values, with values that nobody chose.
//!
//! A case that fails is printed; it becomes a row of the tests of its room.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hookwell::event::{Micros, Position, Recorded};
use hookwell::ingest::{App, Webhook, judge};
use hookwell::metrics::Metrics;
use hookwell::quarantine::{Keeper, Settings};
use hookwell::relay::message;
use hookwell::retry::Delays;
use hookwell::signature::{SignatureHeaders, Verifier};
use hookwell::store::{Access, PostgresStore, QuarantineBounds, Refused, SqliteStore, Store};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use tokio_util::sync::CancellationToken;

use crate::fuzz::targets::{body, routing};
use crate::harness::daemon::ALL;
use crate::harness::ghl::{APP_ID, PATH};
use crate::harness::{
    Backend, Client, Daemon, DaemonConfig, Ghl, Sink, StoreUrl, fresh_vhost, store_url,
};

const SOON: Duration = Duration::from_secs(30);

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Bodies of every kind: JSON with room for every freedom of its spelling, and anything else.
fn a_body() -> impl Strategy<Value = Vec<u8>> {
    let spelled = (
        r#"(\u{feff})?[ \t\r\n]{0,3}"#,
        r#"[ \t\r\n]{0,3}"type"[ \t]{0,2}:[ \t]{0,2}"(ContactCreate|\\u0043ontactCreate|[a-z\\u0000-]{0,9})""#,
        r#"(,"webhookId":"[a-f0-9]{8}")?(,"locationId":("[A-Za-z0-9]{3}"|null|1e400|0\.10))?"#,
        r#"(,"n":(1\.0|1e2|-0|"\\ud83d\\ude00"|"\\ud83d"|"é"|"\\/"))?(,"n":0)?"#,
        r#"[ \t\r\n]{0,3}"#,
    );
    let spelled = spelled.prop_map(|(start, kind, ids, rest, end)| {
        format!("{start}{{{kind}{ids}{rest}}}{end}").into_bytes()
    });
    prop_oneof![
        3 => spelled,
        1 => vec(any::<u8>(), 0..2_000),
        1 => ".{0,200}".prop_map(String::into_bytes),
    ]
}

#[tokio::test]
async fn any_bytes_that_are_signed_arrive_as_they_are() {
    let (url, broker) = (store_url(Backend::Sqlite).await, fresh_vhost().await);
    let sink = Sink::open(&broker.url, &[ALL]).await;
    let daemon = Daemon::start(&DaemonConfig::new(url.url()).broker(&broker.url)).await;
    let ghl = Ghl::new();
    let mut runner = TestRunner::new(cases(60));
    let mut bodies: Vec<_> = (0..60)
        .map(|_| a_body().new_tree(&mut runner).unwrap().current())
        .collect();
    // As large as GHL's get, and the smallest there is.
    bodies.push(
        vec(any::<u8>(), 256 * 1024)
            .new_tree(&mut runner)
            .unwrap()
            .current(),
    );
    bodies.push(Vec::new());
    let mut sent = BTreeMap::new();
    let mut client = Client::connect(daemon.address()).await.unwrap();
    for body in bodies {
        let answer = client.post(&ghl, &body).await.unwrap();
        assert_eq!(answer.status, 200, "{}", body.escape_ascii());
        let key = answer.json()["event_key"].as_str().unwrap().to_owned();
        sent.insert(key, body);
    }
    assert!(sent.len() > 40, "{} different events", sent.len());
    let taken = sink.wait_for(sent.len(), SOON).await;
    for delivery in taken {
        let body = &sent[&delivery.message_id];
        assert!(delivery.body == *body, "{}", body.escape_ascii());
    }
}

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn a_message_has_the_bytes_that_were_signed(bytes in a_body()) {
        let ghl = Ghl::new();
        let verifier = Verifier::new(std::vec![ghl.key.public_key()], None).unwrap();
        let app = App { id: APP_ID.to_owned(), path: PATH.to_owned() };
        let signature = ghl.key.sign_base64(&bytes);
        let webhook = Webhook {
            app: &app,
            event_name: None,
            signatures: SignatureHeaders { ghl: &[signature.as_bytes()], legacy: &[] },
            body: &Bytes::from(bytes.clone()),
        };
        let apps = std::slice::from_ref(&app);
        let event = judge(&verifier, apps, &webhook, Micros(0)).unwrap().event;
        let message = message(&Recorded { position: Position(1), event }, 0);
        prop_assert_eq!(message.body, &bytes);
        routing::assert_legal(&message.routing_key);
        body::run(&bytes);
    }

    #[test]
    fn any_names_make_a_key_that_its_bindings_take(
        event_type in "[^\u{1f}]{0,220}",
        location in "[^\u{1f}]{0,140}",
        company in "[^\u{1f}]{0,9}",
        binding in "([a-z]{1,3}|\\*|#)?(\\.([a-z]{0,2}|\\*|#)){0,8}",
        key in "[a-z]{0,2}(\\.[a-z]{0,2}){0,8}",
    ) {
        let fields = [event_type, location, company, binding, key];
        let input = format!("\u{1f}{}", fields.join("\u{1f}"));
        routing::run(input.as_bytes());
    }

    #[test]
    fn delays_double_from_the_first_to_the_cap_give_or_take_half(
        first in 1..10_000_u64,
        more in 0..1_000_000_u64,
        restart in 0..20_usize,
    ) {
        let (first, cap) = (Duration::from_millis(first), Duration::from_millis(first + more));
        let mut delays = Delays::new(first, cap);
        for round in 0..2 {
            for n in 0..restart + 12 {
                let middle = cap.min(first.saturating_mul(1 << n));
                let delay = delays.next_delay();
                // A whole microsecond for what floating point loses.
                let slack = Duration::from_micros(1);
                prop_assert!(
                    middle / 2 <= delay + slack && delay <= (middle * 3 / 2).min(cap) + slack,
                    "round {}, delay {}: {:?} around {:?}", round, n, delay, middle
                );
            }
            delays.reset();
        }
    }
}

async fn store(backend: Backend) -> (Arc<dyn Store>, StoreUrl) {
    let url = store_url(backend).await;
    let store: Arc<dyn Store> = match backend {
        Backend::Sqlite => {
            let store = SqliteStore::open(url.url(), Access::Exclusive)
                .await
                .unwrap();
            store.migrate().await.unwrap();
            Arc::new(store)
        }
        Backend::Postgres => {
            let store = PostgresStore::open(url.url(), SOON).await.unwrap();
            store.migrate().await.unwrap();
            Arc::new(store)
        }
    };
    (store, url)
}

/// The request number `n`, seen at `at`.
fn refused(n: u64, at: i64, bytes: usize) -> Refused {
    let mut fingerprint = [0; 32];
    fingerprint[..8].copy_from_slice(&n.to_be_bytes());
    Refused {
        fingerprint,
        reason: "signature_wrong",
        path: n.to_string(),
        signature: None,
        legacy_signature: None,
        seen_at: Micros(at),
        body: vec![b'x'; bytes].into(),
    }
}

#[tokio::test]
async fn the_quarantine_holds_the_newest_within_any_bounds() {
    // Batches of (request, bytes of its body), and bounds. A request has the same body each time.
    let batches = vec(vec((0..12_u64, 0..6_usize), 0..8), 1..5);
    let strategy = (batches, 0..8_i64, 0..30_i64);
    let mut runner = TestRunner::new(cases(40));
    for backend in Backend::ALL {
        let (store, _url) = store(backend).await;
        for case in 0..40 {
            let (batches, entries, bytes) = strategy.new_tree(&mut runner).unwrap().current();
            let bounds = QuarantineBounds { entries, bytes };
            let (mut time, mut size) = (0, [0; 12]);
            // Newest last: request, times seen.
            let mut model: Vec<(u64, i64)> = Vec::new();
            for batch in batches {
                let mut rows = Vec::new();
                for (n, length) in batch {
                    time += 1;
                    let seen = model.iter().position(|(other, _)| *other == n);
                    let seen = seen.map_or(0, |at| model.remove(at).1);
                    if seen == 0 {
                        size[n as usize] = length;
                    }
                    model.push((n, seen + 1));
                    rows.push(refused(n, time, size[n as usize]));
                }
                store.quarantine(&rows, bounds).await.unwrap();
                let mut room = bytes;
                let kept = model
                    .iter()
                    .rev()
                    .take(entries as usize)
                    .take_while(|(n, _)| {
                        room -= size[*n as usize] as i64;
                        room >= 0
                    });
                model = kept.copied().collect();
                model.reverse();
                let found = store.quarantined(100).await.unwrap();
                let found = found.iter().rev();
                let found: Vec<_> = found
                    .map(|entry| (entry.path.parse().unwrap(), entry.attempts))
                    .collect();
                assert_eq!(found, model, "{backend:?}, case {case}, {bounds:?}");
            }
            for entry in store.quarantined(100).await.unwrap() {
                store.release_quarantined(entry.id).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn the_quarantine_keeps_no_more_in_a_second_than_its_rate() {
    const LONG: Duration = Duration::from_secs(2);
    let floods = [1, 2, 6, 7, 20, 33].map(|rate| async move {
        let (store, _url) = store(Backend::Sqlite).await;
        let bounds = QuarantineBounds {
            entries: 1_000_000,
            bytes: 1 << 30,
        };
        let metrics = Metrics::new();
        let (handle, keeper) = Keeper::new(
            Arc::clone(&store),
            Settings { bounds, rate },
            metrics.clone(),
        );
        let (shutdown, started) = (CancellationToken::new(), Instant::now());
        let keeping = tokio::spawn(keeper.run(shutdown.clone()));
        let mut offered = 0;
        while started.elapsed() < LONG {
            for _ in 0..rate {
                offered += 1;
                handle.offer(refused(offered, offered as i64, 1));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let kept = store.ledger().await.unwrap().quarantined as f64;
        let seconds = started.elapsed().as_secs_f64();
        let share = f64::from(rate.div_ceil(5));
        // The first share is not waited for.
        let most = f64::from(rate) * seconds + share;
        assert!(
            (share..=most).contains(&kept),
            "rate {rate}: {kept} in {seconds} s"
        );
        // At the end the queue is emptied, and everything is accounted for.
        shutdown.cancel();
        keeping.await.unwrap();
        let kept = store.ledger().await.unwrap().quarantined as u64;
        assert_eq!(
            kept + metrics.quarantine_dropped.get(),
            offered,
            "rate {rate}"
        );
    });
    futures_util::future::join_all(floods).await;
}
