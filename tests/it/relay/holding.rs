//! A tenant whose events RabbitMQ refuses waits; the others go on.

use std::collections::BTreeMap;

use super::*;

const OTHER: &str = "Location000000000002";
const OWN: &str = "hookwell.own";

fn held(config: &DaemonConfig) -> Vec<Value> {
    let lines = ok(run_cli(&["held", "--json"], config));
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The `n`-th events of both, in turns.
async fn post(ghl: &Ghl, daemon: &Daemon, numbers: std::ops::Range<u64>) {
    for n in numbers {
        for tenant in [TENANT, OTHER] {
            let answer = ghl
                .post(daemon, &ghl.body("ContactUpdate", tenant, n))
                .await;
            assert_eq!(answer.status, 200);
        }
    }
}

/// First copies only, in the order of their arrival, by tenant.
fn first_copies(sink: &Sink) -> BTreeMap<&'static str, Vec<String>> {
    let mut copies = BTreeMap::from([(TENANT, Vec::new()), (OTHER, Vec::new())]);
    for delivery in sink.all() {
        let tenant = if delivery.routing_key.ends_with(TENANT) {
            TENANT
        } else {
            OTHER
        };
        let own = copies.get_mut(tenant).unwrap();
        if !own.contains(&delivery.message_id) {
            own.push(delivery.message_id);
        }
    }
    copies
}

fn in_order(config: &DaemonConfig, tenant: &str) -> Vec<String> {
    let listed = ok(run_cli(
        &[
            "events", "list", "--tenant", tenant, "--limit", "10000", "--json",
        ],
        config,
    ));
    let line = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    let keys = listed
        .lines()
        .map(line)
        .map(|event| event["event_key"].as_str().unwrap().to_owned());
    let mut keys: Vec<_> = keys.collect();
    keys.reverse();
    keys
}

#[tokio::test]
async fn a_full_queue_of_one_tenant_holds_that_tenant_alone_also_over_a_restart() {
    for backend in Backend::ALL {
        let broker = fresh_vhost().await;
        let store = store_url(backend).await;
        let mut config = DaemonConfig::new(store.url())
            .broker(&broker.url)
            .set("broker", "retry_max = \"300ms\"");
        config.queues = vec![(ALL.to_owned(), vec![format!("*.*.{OTHER}")])];
        config.tail = format!(
            "[[broker.queues]]\nname = {OWN:?}\nbind = [\"*.*.{TENANT}\"]\nkind = \"classic\"\n\
             arguments = {{ x-max-length = 5, x-overflow = \"reject-publish\" }}\n"
        );
        let mut daemon = Daemon::start(&config).await;
        let ghl = Ghl::new();
        post(&ghl, &daemon, 0..20).await;
        let others = Sink::open(&broker.url, &[ALL]).await;
        others.wait_for(20, WITHIN).await;
        eventually("fifteen are held", WITHIN, async || {
            let held = held(&config);
            (held.len() == 1 && held[0]["events"] == 15).then_some(())
        })
        .await;
        let one = &held(&config)[0];
        assert_eq!(
            (&one["tenant"], &one["reason"]),
            (&TENANT.into(), &"rejected".into())
        );
        let status = ok(run_cli(&["status"], &config));
        assert!(
            status.contains("held             15  of 1 tenant,"),
            "{status}"
        );
        let found = doctor(&config, &[]);
        let one = found.first("held");
        assert_eq!(
            (&one["level"], &one["found"]),
            (
                &"warning".into(),
                &"RabbitMQ refuses 15 events of 1 tenant".into()
            )
        );
        eventually("metrics say so", WITHIN, async || {
            let events = daemon.metric("hookwell_held_events").await == Some(15.0);
            let tenants = daemon.metric("hookwell_held_tenants").await == Some(1.0);
            let pending = daemon.metric("hookwell_backlog_events").await == Some(15.0);
            (events && tenants && pending).then_some(())
        })
        .await;

        assert!(daemon.terminate().await.success());
        let daemon = Daemon::start(&config).await;
        post(&ghl, &daemon, 20..40).await;
        others.wait_for(40, WITHIN).await;
        assert_eq!(held(&config).len(), 1);
        // Somebody reads that queue again.
        let own = Sink::open(&broker.url, &[OWN]).await;
        own.wait_for(40, WITHIN).await;
        ledger_is(&daemon, 80, 0).await;
        assert!(held(&config).is_empty());
        assert_eq!(
            first_copies(&own)[TENANT],
            in_order(&config, TENANT),
            "{backend}"
        );
        assert_eq!(
            first_copies(&others)[OTHER],
            in_order(&config, OTHER),
            "{backend}"
        );
        // Held no more: it goes the ordinary way.
        post(&ghl, &daemon, 40..45).await;
        own.wait_for(45, WITHIN).await;
        assert!(held(&config).is_empty());
        assert_eq!(
            first_copies(&own)[TENANT],
            in_order(&config, TENANT),
            "{backend}"
        );
    }
}

#[tokio::test]
async fn without_any_queue_a_tenants_events_are_parked_one_after_the_other_and_nobody_waits() {
    let broker = fresh_vhost().await;
    let (_connection, channel) = channel(&broker.url).await;
    declare_without_alternate(&channel, ALL, &[&format!("*.*.{OTHER}")]).await;
    let store = store_url(Backend::Sqlite).await;
    let config = DaemonConfig::new(store.url()).broker(&broker.url).set(
        "broker",
        "topology = \"check\"\nunroutable_attempts = 3\nretry_max = \"300ms\"",
    );
    let daemon = Daemon::start(&config).await;
    let ghl = Ghl::new();
    post(&ghl, &daemon, 0..20).await;
    let sink = Sink::open(&broker.url, &[ALL]).await;
    sink.wait_for(20, WITHIN).await;
    ledger_is(&daemon, 20, 20).await;
    assert!(held(&config).is_empty());
    let letters = dead_letters(&config);
    assert!(
        letters
            .iter()
            .all(|letter| letter["reason"] == hookwell::relay::UNROUTABLE)
    );
    let keys = letters
        .iter()
        .map(|letter| letter["event_key"].as_str().unwrap());
    assert_eq!(keys.collect::<Vec<_>>(), in_order(&config, TENANT));
    // Each of them had its three attempts.
    let returned = daemon.metric("hookwell_publish_outcomes_total{outcome=\"returned\"}");
    assert_eq!(returned.await, Some(60.0));
    // Bound in the midst of an event's attempts, it comes by itself.
    post(&ghl, &daemon, 20..21).await;
    bind_queue(&channel, ALL, &format!("*.*.{TENANT}")).await;
    post(&ghl, &daemon, 21..22).await;
    let arrived = eventually("the last one of both", WITHIN, async || {
        let copies = first_copies(&sink);
        let last = |tenant| copies[tenant].last() == in_order(&config, tenant).last();
        (last(TENANT) && last(OTHER)).then_some(copies)
    })
    .await;
    assert!(
        in_order(&config, TENANT).ends_with(&arrived[TENANT]),
        "{arrived:?}"
    );
}

#[tokio::test]
async fn an_event_over_the_size_limit_is_found_among_the_held_ones() {
    let broker =
        OwnService::start_with("rabbitmq", &[("HOOKWELL_MAX_MESSAGE_SIZE", "65536")]).await;
    let url = broker.value("AMQP_URL");
    let store = store_url(Backend::Sqlite).await;
    let mut config = DaemonConfig::new(store.url())
        .broker(&url)
        .set("broker", "retry_max = \"300ms\"");
    config.queues = vec![(ALL.to_owned(), vec![format!("*.*.{OTHER}")])];
    config.tail = format!(
        "[[broker.queues]]\nname = {OWN:?}\nbind = [\"*.*.{TENANT}\"]\nkind = \"classic\"\n\
         arguments = {{ x-max-length = 1, x-overflow = \"reject-publish\" }}\n"
    );
    let daemon = Daemon::start(&config).await;
    let ghl = Ghl::new();
    post(&ghl, &daemon, 0..5).await;
    eventually("four are held", WITHIN, async || {
        (held(&config).first()?["events"] == 4).then_some(())
    })
    .await;
    let big = format!(
        "{{\"type\":\"ContactCreate\",\"webhookId\":\"the-big-one\",\"locationId\":\"{TENANT}\",\"text\":\"{}\"}}",
        "x".repeat(100_000)
    );
    assert_eq!(ghl.post(&daemon, big.as_bytes()).await.status, 200);
    post(&ghl, &daemon, 5..10).await;
    let sink = Sink::open(&url, &[ALL, OWN]).await;
    sink.wait_for(20, WITHIN).await;
    ledger_is(&daemon, 20, 1).await;
    let letters = dead_letters(&config);
    assert_eq!(letters[0]["event_key"], "the-big-one");
    assert_eq!(letters[0]["reason"], hookwell::relay::REFUSED);
    let mut expected = in_order(&config, TENANT);
    expected.retain(|key| key != "the-big-one");
    assert_eq!(first_copies(&sink)[TENANT], expected);
}
