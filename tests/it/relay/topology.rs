//! Exchanges and queues that are there, differ or are missing.

use super::*;

#[tokio::test]
async fn declaring_twice_changes_nothing() {
    let broker = fresh_vhost().await;
    let queues = vec![queue(ALL, &["#"], QueueKind::Quorum)];
    let settings = settings(&broker.url, TopologyMode::Declare, queues);
    for round in 1..=2 {
        let session = Session::open(&settings).await.unwrap();
        let batch = [message(format!("m-{round}"), "a.b.c".to_owned(), 0)];
        let outcomes = session.publish(&batch).await.unwrap();
        assert_eq!(outcomes, [Outcome::Confirmed]);
        session.close().await;
    }
    let (_connection, channel) = channel(&broker.url).await;
    eventually("both messages", WITHIN, async || {
        (waiting_in(&channel, ALL).await == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_queue_of_another_kind_is_named_with_the_way_out_and_webhooks_are_accepted_meanwhile() {
    let broker = fresh_vhost().await;
    let (_connection, channel) = channel(&broker.url).await;
    declare_queue(&channel, ALL, "classic", &[]).await;
    let queues = vec![queue(ALL, &["#"], QueueKind::Quorum)];
    let error = refused(&settings(&broker.url, TopologyMode::Declare, queues)).await;
    assert!(matches!(error, Error::Topology { .. }), "{error:?}");
    let text = error.to_string();
    for part in [
        &format!("queue {ALL}"),
        "x-queue-type",
        "topology",
        "never deletes",
    ] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
    let told = Chain(&error).to_string();
    assert_eq!(told.matches("inequivalent arg").count(), 1, "{told}");

    let store = store_url(Backend::Sqlite).await;
    let config = DaemonConfig::new(store.url()).broker(&broker.url);
    let daemon = Daemon::start(&config).await;
    let ghl = Ghl::new();
    let answer = ghl
        .post(&daemon, &ghl.body("ContactCreate", TENANT, 1))
        .await;
    assert_eq!(answer.status, 200);
    eventually("the log says it", WITHIN, async || {
        daemon.log().contains(&format!("queue {ALL}")).then_some(())
    })
    .await;
    // The way out works without a restart: here, the queue is made anew.
    let options = QueuePurgeOptions::default();
    channel.queue_purge(ALL.into(), options).await.unwrap();
    let options = lapin::options::QueueDeleteOptions::default();
    channel.queue_delete(ALL.into(), options).await.unwrap();
    let sink = Sink::open(&broker.url, &[ALL]).await;
    sink.wait_for(1, WITHIN).await;
}

#[tokio::test]
async fn check_mode_makes_nothing_and_names_what_is_missing() {
    let broker = fresh_vhost().await;
    let (_connection, channel) = channel(&broker.url).await;
    let wanted = || vec![queue("wanted", &["#"], QueueKind::Quorum)];
    let settings = settings(&broker.url, TopologyMode::Check, wanted());
    let missing = async |name: &str| {
        let error = refused(&settings).await;
        assert!(matches!(error, Error::Topology { .. }), "{error:?}");
        let text = error.to_string();
        for part in [name, "create it", "declare"] {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
    };
    missing("exchange hookwell.unrouted").await;
    declare_exchange(&channel, UNROUTED, ExchangeKind::Fanout).await;
    missing("queue hookwell.unrouted").await;
    declare_queue(&channel, UNROUTED, "quorum", &[]).await;
    missing("exchange hookwell.events").await;
    declare_exchange(&channel, EXCHANGE, ExchangeKind::Topic).await;
    missing("queue wanted").await;
    // Of whatever kind the operator made it.
    declare_queue(&channel, "wanted", "classic", &[]).await;
    Session::open(&settings).await.unwrap().close().await;
}
