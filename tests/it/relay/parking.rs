//! What cannot be published, for good or for now.

use super::*;

#[tokio::test]
async fn what_is_over_the_brokers_size_limit_is_parked_and_can_be_published_once_the_limit_is_raised()
 {
    let broker =
        OwnService::start_with("rabbitmq", &[("HOOKWELL_MAX_MESSAGE_SIZE", "65536")]).await;
    let url = broker.value("AMQP_URL");
    let store = store_url(Backend::Sqlite).await;
    let ghl = Ghl::new();
    let config = DaemonConfig::new(store.url()).set("broker", "retry_max = \"1s\"");
    let small = |n| ghl.body("ContactUpdate", TENANT, n);
    let mut bodies: Vec<_> = (0..20).map(small).collect();
    let big = format!(
        "{{\"type\":\"ContactCreate\",\"webhookId\":\"the-big-one\",\"locationId\":\"{TENANT}\",\"text\":\"{}\"}}",
        "x".repeat(100_000)
    );
    bodies.push(big.clone().into_bytes());
    bodies.extend((20..40).map(small));
    // All of it waits before the broker can be reached, so it is one window.
    let mut daemon = Daemon::start(&config).await;
    for body in &bodies {
        assert_eq!(ghl.post(&daemon, body).await.status, 200);
    }
    assert!(daemon.terminate().await.success());

    let config = config.broker(&url);
    let daemon = Daemon::start(&config).await;
    let sink = Sink::open(&url, &[ALL]).await;
    sink.wait_for(40, WITHIN).await;
    ledger_is(&daemon, 40, 1).await;
    // One for the start, one after the window was refused, one after the large event was alone.
    let sessions = daemon.metric("hookwell_broker_connects_total{result=\"ok\"}");
    assert_eq!(sessions.await, Some(3.0));
    let mut first_copies: Vec<Vec<u8>> = Vec::new();
    for delivery in sink.all() {
        if !first_copies.contains(&delivery.body) {
            first_copies.push(delivery.body);
        }
    }
    bodies.retain(|body| body.len() < 65536);
    assert!(first_copies == bodies, "the small ones lost their order");
    let letters = dead_letters(&config);
    assert_eq!(letters.len(), 1, "{letters:?}");
    let letter = &letters[0];
    assert_eq!(letter["position"], 21);
    assert_eq!(letter["reason"], hookwell::relay::REFUSED);
    assert_eq!(letter["event_key"], "the-big-one");
    assert_eq!(
        (&letter["state"], &letter["retries"]),
        (&"parked".into(), &0.into())
    );
    let shown = ok(run_cli(&["dead-letters", "show", "21"], &config));
    assert!(shown.contains("406") && shown.contains("65536"), "{shown}");

    let found = doctor(&config, &[]);
    let one = found.first("dead letters");
    assert_eq!(
        (&one["level"], &one["found"]),
        (&"warning".into(), &"1 event could not be published".into())
    );

    // Nothing has changed at the broker: it comes back.
    ok(run_cli(&["dead-letters", "retry", "21"], &config));
    eventually("it is parked again", WITHIN, async || {
        let letters = dead_letters(&config);
        (letters[0]["state"] == "parked" && letters[0]["retries"] == 1).then_some(())
    })
    .await;
    ledger_is(&daemon, 40, 1).await;

    let file = broker.dir().join("etc/rabbitmq.conf");
    let conf = std::fs::read_to_string(&file).unwrap();
    let raised = conf.replace("max_message_size = 65536", "max_message_size = 1000000");
    assert_ne!(raised, conf);
    std::fs::write(&file, raised).unwrap();
    broker.restart().await;
    ok(run_cli(&["dead-letters", "retry", "--all"], &config));
    let arrived = sink.wait_for(41, WITHIN).await;
    let late = arrived
        .iter()
        .find(|d| d.message_id == "the-big-one")
        .unwrap();
    assert!(late.body == big.as_bytes());
    ledger_is(&daemon, 41, 0).await;
    assert!(dead_letters(&config).is_empty());
}

/// RabbitMQ closes the channel while most of the window is still being handed over to it.
#[tokio::test]
async fn a_refusal_is_heard_however_much_is_behind_what_is_refused() {
    let broker =
        OwnService::start_with("rabbitmq", &[("HOOKWELL_MAX_MESSAGE_SIZE", "65536")]).await;
    let store = store_url(Backend::Sqlite).await;
    let ghl = Ghl::new();
    let config = DaemonConfig::new(store.url());
    let mut daemon = Daemon::start(&config).await;
    let mut client = ghl.client(&daemon).await;
    let big = format!(
        "{{\"type\":\"ContactCreate\",\"webhookId\":\"the-big-one\",\"locationId\":\"{TENANT}\",\"text\":\"{}\"}}",
        "x".repeat(100_000)
    );
    let behind = (0..900).map(|n| ghl.body("ContactUpdate", TENANT, n));
    for body in std::iter::once(big.into_bytes()).chain(behind) {
        assert_eq!(client.post(&ghl, &body).await.unwrap().status, 200);
    }
    drop(client);
    assert!(daemon.terminate().await.success());

    let config = config.broker(&broker.value("AMQP_URL"));
    let daemon = Daemon::start(&config).await;
    ledger_is(&daemon, 900, 1).await;
    // One for the start, one after the window was refused, one after the large event was alone.
    let sessions = daemon.metric("hookwell_broker_connects_total{result=\"ok\"}");
    assert_eq!(sessions.await, Some(3.0));
}

/// More of them than one turn takes, each for a queue that is full, and one behind them for another queue.
#[tokio::test]
async fn dead_letters_that_are_rejected_do_not_keep_others_from_their_turn() {
    const FULL: &str = "hookwell.full";
    let broker = fresh_vhost().await;
    let (_connection, channel) = channel(&broker.url).await;
    declare_without_alternate(&channel, ALL, &["app.#"]).await;
    let store = store_url(Backend::Sqlite).await;
    let config = DaemonConfig::new(store.url()).broker(&broker.url).set(
        "broker",
        "topology = \"check\"\nunroutable_attempts = 1\nretry_max = \"300ms\"",
    );
    let daemon = Daemon::start(&config).await;
    let ghl = Ghl::new();
    let mut client = ghl.client(&daemon).await;
    for n in 0..61 {
        let kind = if n < 60 {
            "ContactUpdate"
        } else {
            "OpportunityCreate"
        };
        let body = ghl.body(kind, TENANT, n);
        assert_eq!(client.post(&ghl, &body).await.unwrap().status, 200);
    }
    ledger_is(&daemon, 0, 61).await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(1));
    let rejects = AMQPValue::LongString("reject-publish".into());
    arguments.insert("x-overflow".into(), rejects);
    let options = QueueDeclareOptions::default();
    let declared = channel.queue_declare(FULL.into(), options, arguments);
    declared.await.unwrap();
    bind_queue(&channel, FULL, "contact.#").await;
    bind_queue(&channel, ALL, "opportunity.#").await;
    ok(run_cli(&["dead-letters", "retry", "--all"], &config));
    let sink = Sink::open(&broker.url, &[ALL]).await;
    let arrived = sink.wait_for(1, WITHIN).await;
    assert_eq!(arrived[0].kind, "OpportunityCreate");
    eventually("the queue rejects", WITHIN, async || {
        let nacked = "hookwell_publish_outcomes_total{outcome=\"nacked\"}";
        (daemon.metric(nacked).await > Some(50.0)).then_some(())
    })
    .await;
    let _reads = Sink::open(&broker.url, &[FULL]).await;
    ledger_is(&daemon, 61, 0).await;
}

#[tokio::test]
async fn without_an_alternate_exchange_an_event_for_no_queue_is_parked_after_its_attempts() {
    let broker = fresh_vhost().await;
    let (_connection, channel) = channel(&broker.url).await;
    declare_without_alternate(&channel, ALL, &["contact.#"]).await;
    let store = store_url(Backend::Sqlite).await;
    let config = DaemonConfig::new(store.url()).broker(&broker.url).set(
        "broker",
        "topology = \"check\"\nunroutable_attempts = 2\nretry_max = \"300ms\"",
    );
    let daemon = Daemon::start(&config).await;
    let ghl = Ghl::new();
    for kind in ["ContactCreate", "OpportunityCreate", "ContactUpdate"] {
        let answer = ghl.post(&daemon, &ghl.body(kind, TENANT, 1)).await;
        assert_eq!(answer.status, 200);
    }
    let sink = Sink::open(&broker.url, &[ALL]).await;
    let kinds = |arrived: &[crate::harness::Delivery]| {
        let kinds = arrived.iter().map(|delivery| delivery.kind.clone());
        kinds.collect::<Vec<_>>()
    };
    let arrived = sink.wait_for(2, WITHIN).await;
    assert_eq!(kinds(&arrived), ["ContactCreate", "ContactUpdate"]);
    ledger_is(&daemon, 2, 1).await;
    let tried = "hookwell_publish_outcomes_total{outcome=\"returned\"}";
    assert_eq!(daemon.metric(tried).await, Some(2.0));
    let letters = dead_letters(&config);
    assert_eq!(letters[0]["reason"], hookwell::relay::UNROUTABLE);
    assert!(letters[0]["detail"].as_str().unwrap().contains("312"));

    bind_queue(&channel, ALL, "opportunity.#").await;
    ok(run_cli(&["dead-letters", "retry", "2"], &config));
    let arrived = sink.wait_for(3, WITHIN).await;
    assert_eq!(kinds(&arrived)[2], "OpportunityCreate");
    ledger_is(&daemon, 3, 0).await;
}

#[tokio::test]
async fn what_a_full_queue_rejects_waits_until_there_is_room() {
    let broker = fresh_vhost().await;
    let store = store_url(Backend::Sqlite).await;
    let mut config = DaemonConfig::new(store.url())
        .broker(&broker.url)
        .set("broker", "retry_max = \"300ms\"");
    config.queues.clear();
    config.tail = format!(
        "[[broker.queues]]\nname = {ALL:?}\nbind = [\"#\"]\n\
         arguments = {{ x-max-length = 10, x-overflow = \"reject-publish\" }}\n"
    );
    let daemon = Daemon::start(&config).await;
    let ghl = Ghl::new();
    let mut client = ghl.client(&daemon).await;
    let mut posted = 0;
    // A quorum queue minds its length a little late, so how many it takes is not known beforehand.
    let nacked = "hookwell_publish_outcomes_total{outcome=\"nacked\"}";
    eventually("the queue rejects", WITHIN, async || {
        for _ in 0..10 {
            let body = ghl.body("ContactUpdate", TENANT, posted);
            assert_eq!(client.post(&ghl, &body).await.unwrap().status, 200);
            posted += 1;
        }
        (daemon.metric(nacked).await > Some(20.0)).then_some(())
    })
    .await;
    for reason in [hookwell::relay::UNROUTABLE, hookwell::relay::REFUSED] {
        let parked = format!("hookwell_parked_total{{reason=\"{reason}\"}}");
        assert_eq!(daemon.metric(&parked).await, Some(0.0), "{reason}");
    }
    assert!(dead_letters(&config).is_empty());
    // It may be the session's fault: another one is tried.
    let sessions = "hookwell_broker_connects_total{result=\"ok\"}";
    eventually("a fresh session", WITHIN, async || {
        (daemon.metric(sessions).await == Some(2.0)).then_some(())
    })
    .await;
    let sink = Sink::open(&broker.url, &[ALL]).await;
    sink.wait_for(posted as usize, WITHIN).await;
    ledger_is(&daemon, posted as usize, 0).await;
}
