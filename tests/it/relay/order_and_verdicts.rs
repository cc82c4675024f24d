//! Who gets which verdict, and in which order a tenant's events arrive.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_20_000_messages_exactly_the_unroutable_ones_are_said_to_be_returned() {
    const BATCH: u32 = 1000;
    const TOTAL: u32 = 20_000;
    let broker = fresh_vhost().await;
    let (_connection, channel) = channel(&broker.url).await;
    declare_without_alternate(&channel, "taken", &["taken.#"]).await;
    let settings = settings(&broker.url, TopologyMode::Check, vec![]);
    let session = Session::open(&settings).await.unwrap();
    let is_lost = |n: u32| n.is_multiple_of(7);
    let mut wrong = Vec::new();
    for start in (0..TOTAL).step_by(BATCH as usize) {
        let numbers = start..start + BATCH;
        let batch: Vec<_> = numbers
            .clone()
            .map(|n| {
                let key = if is_lost(n) { "lost.x" } else { "taken.x" };
                message(format!("m-{n}"), key.to_owned(), u64::from(n % 13))
            })
            .collect();
        let outcomes = session.publish(&batch).await.unwrap();
        assert_eq!(outcomes.len(), batch.len());
        for (n, outcome) in numbers.zip(outcomes) {
            let right = match &outcome {
                Outcome::Returned(reason) => is_lost(n) && reason.contains("312"),
                Outcome::Confirmed => !is_lost(n),
                Outcome::Nacked => false,
            };
            if !right {
                wrong.push((n, outcome));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong: {wrong:?}", wrong.len());
    let lost = (0..TOTAL).filter(|n| is_lost(*n)).count() as u32;
    eventually("the queue has every routable message", WITHIN, async || {
        (waiting_in(&channel, "taken").await == TOTAL - lost).then_some(())
    })
    .await;
    session.close().await;
}

#[tokio::test]
async fn two_messages_with_one_id_are_told_apart_by_their_routing_keys() {
    // Two apps may each have an event under the same key.
    let broker = fresh_vhost().await;
    let (_connection, channel) = channel(&broker.url).await;
    declare_without_alternate(&channel, "taken", &["taken.#"]).await;
    let settings = settings(&broker.url, TopologyMode::Check, vec![]);
    let session = Session::open(&settings).await.unwrap();
    let batch = ["taken.x", "lost.x"].map(|key| message("same".to_owned(), key.to_owned(), 1));
    let outcomes = session.publish(&batch).await.unwrap();
    assert_eq!(outcomes[0], Outcome::Confirmed);
    assert!(matches!(outcomes[1], Outcome::Returned(_)), "{outcomes:?}");
}

fn event(n: u64, tenant: String) -> Event {
    let body = bytes::Bytes::from(format!("{{\"n\":{n}}}"));
    Event {
        key: EventKey::from_id(&format!("event-{n}")).unwrap(),
        app_id: "app".to_owned(),
        event_type: "ContactUpdate".to_owned(),
        tenant: Tenant {
            company_id: None,
            location_id: Some(tenant),
        },
        entity_id: None,
        origin: Origin::Webhook,
        signature: None,
        received_at: Micros(1_769_860_800_000_000),
        body_hash: BodyHash::of(&body),
        body,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_events_of_a_tenant_keep_their_order_over_several_channels() {
    const EVENTS: u64 = 5000;
    const TENANTS: u64 = 50;
    let file = SqliteFile::new();
    let store = SqliteStore::open(&file.url(), Access::Exclusive)
        .await
        .unwrap();
    store.migrate().await.unwrap();
    let store: Arc<dyn Store> = Arc::new(store);
    // Tenants in no regular order, so that neighbours are on the same and on different channels.
    let tenant = |n: u64| format!("tenant-{}", n.wrapping_mul(0x9e37_79b9) >> 7 & 0xffff);
    let tenant = |n: u64| tenant(n % TENANTS + n / 700 % 3);
    let events: Vec<_> = (0..EVENTS).map(|n| event(n, tenant(n))).collect();
    for batch in events.chunks(500) {
        store.append(batch).await.unwrap();
    }
    let broker = fresh_vhost().await;
    let shutdown = CancellationToken::new();
    let relay = Relay {
        store: Arc::clone(&store),
        settings: hookwell::relay::Settings {
            broker: settings(
                &broker.url,
                TopologyMode::Declare,
                vec![queue(ALL, &["#"], QueueKind::Quorum)],
            ),
            window: 170,
            window_bytes: 1024 * 1024,
            unroutable_attempts: 5,
            retry_delays: (Duration::from_millis(100), Duration::from_secs(1)),
        },
        feed: Arc::new(hookwell::feed::Feed::new(170, 1024 * 1024)),
        clock: hookwell::clock::system(),
        spans: hookwell::spans::Spans::none(&Metrics::new()),
        metrics: Metrics::new(),
    };
    let running = tokio::spawn(relay.run(shutdown.clone()));
    let sink = Sink::open(&broker.url, &[ALL]).await;
    let arrived = sink.wait_for(EVENTS as usize, WITHIN).await;
    assert_eq!(arrived.len(), EVENTS as usize, "copies without a fault");
    let mut last = std::collections::HashMap::new();
    for delivery in &arrived {
        let position: i64 = delivery.headers["hookwell-position"].parse().unwrap();
        let before = last.insert(delivery.headers["ghl-location-id"].clone(), position);
        assert!(before < Some(position), "{before:?} before {position}");
    }
    assert!(TENANTS as usize <= last.len(), "{} tenants", last.len());
    eventually("the ledger knows", WITHIN, async || {
        let ledger = store.ledger().await.unwrap();
        (ledger.published == EVENTS as i64 && ledger.pending == 0).then_some(())
    })
    .await;
    shutdown.cancel();
    running.await.unwrap();
}
