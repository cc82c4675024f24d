//! Exchanges and queues that are there, differ or are missing.

use hookwell::broker::{Argument, Fault, Inspection};

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

/// What differs, and the fault of each.
async fn faults_of(settings: &Settings) -> Vec<(String, Fault, String)> {
    let inspection = Inspection::make(settings).await.unwrap();
    let told = |error| match error {
        Error::Topology {
            what, fault, said, ..
        } => (what, fault, said),
        other => panic!("{other:?}"),
    };
    inspection.faults.into_iter().map(told).collect()
}

fn limited(kind: QueueKind, limit: Option<i64>) -> Queue {
    let limit = limit.map(|limit| ("x-delivery-limit".to_owned(), Argument::Number(limit)));
    Queue {
        arguments: limit.into_iter().collect(),
        ..queue(ALL, &["#"], kind)
    }
}

#[tokio::test]
async fn an_inspection_names_what_differs_and_what_is_missing_and_makes_nothing() {
    let broker = fresh_vhost().await;
    let of = |mode, queue: Queue| settings(&broker.url, mode, vec![queue]);
    let there = of(TopologyMode::Declare, limited(QueueKind::Quorum, Some(20)));
    for _ in 0..2 {
        // The second time nothing is there either.
        let missing = faults_of(&there).await;
        assert!(
            missing.iter().all(|(_, fault, _)| *fault == Fault::Missing),
            "{missing:?}"
        );
        let names: Vec<_> = missing.iter().map(|(what, ..)| what.as_str()).collect();
        let queue = format!("queue {ALL}");
        let (events, unrouted) = ("exchange hookwell.events", "hookwell.unrouted");
        assert_eq!(
            names,
            [
                &format!("exchange {unrouted}"),
                &format!("queue {unrouted}"),
                events,
                &queue
            ]
        );
    }
    Session::open(&there).await.unwrap().close().await;
    assert_eq!(faults_of(&there).await, []);

    let differs: [(Queue, &str); 4] = [
        (limited(QueueKind::Quorum, Some(21)), "x-delivery-limit"),
        (limited(QueueKind::Quorum, None), "x-delivery-limit"),
        (limited(QueueKind::Classic, None), "x-queue-type"),
        (limited(QueueKind::Stream, None), "x-queue-type"),
    ];
    for (queue, part) in differs {
        let found = faults_of(&of(TopologyMode::Declare, queue.clone())).await;
        let [(what, Fault::Differs, said)] = found.as_slice() else {
            panic!("{queue:?}: {found:?}");
        };
        assert_eq!(*what, format!("queue {ALL}"));
        assert!(said.contains(part), "{said}");
        // As it is, where the operator says so.
        assert_eq!(faults_of(&of(TopologyMode::Check, queue)).await, []);
    }
    assert_eq!(faults_of(&there).await, [], "nothing was changed");

    // The exchange of another alternate one.
    let mut other = there.clone();
    other.topology.unrouted = "another".to_owned();
    let found: Vec<_> = faults_of(&other).await;
    let found: Vec<_> = found
        .iter()
        .map(|(what, fault, _)| (what.as_str(), *fault))
        .collect();
    assert_eq!(
        found,
        [
            ("exchange another", Fault::Missing),
            ("queue another", Fault::Missing),
            ("exchange hookwell.events", Fault::Differs),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_finds_a_queue_that_serve_cannot_declare() {
    let broker = fresh_vhost().await;
    let store = store_url(Backend::Sqlite).await;
    let mut config = DaemonConfig::new(store.url()).broker(&broker.url);
    assert!(run_cli(&["migrate"], &config).status.success());
    let doctor = |config: &DaemonConfig| {
        let found = doctor(config, &[]);
        (found.code, found.first("RabbitMQ").clone())
    };
    let (code, found) = doctor(&config);
    assert_eq!(
        (code, &found["level"]),
        (Some(0), &"warning".into()),
        "{found}"
    );
    assert!(
        found["found"]
            .as_str()
            .unwrap()
            .contains(&format!("queue {ALL}")),
        "{found}"
    );

    drop(Daemon::start(&config).await);
    let settings = settings(
        &broker.url,
        TopologyMode::Declare,
        vec![queue(ALL, &["#"], QueueKind::Quorum)],
    );
    Session::open(&settings).await.unwrap().close().await;
    assert_eq!(doctor(&config).1["level"], "good");

    config.queues.clear();
    config.tail = format!(
        "[[broker.queues]]\nname = {ALL:?}\nbind = [\"#\"]\narguments = {{ x-delivery-limit = 20 }}\n"
    );
    let (code, found) = doctor(&config);
    assert_eq!(
        (code, &found["level"]),
        (Some(1), &"broken".into()),
        "{found}"
    );
    let fix = found["fix"].as_str().unwrap();
    for part in ["[[broker.queues]]", "policy", "CONSUMERS.md"] {
        assert!(fix.contains(part), "{part} is not in: {fix}");
    }
    let said = found["found"].as_str().unwrap();
    assert_eq!(said.matches("x-delivery-limit").count(), 1, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_finds_that_nothing_may_be_published_and_publishes_nothing() {
    let broker = fresh_vhost().await;
    let store = store_url(Backend::Sqlite).await;
    let config = DaemonConfig::new(store.url()).broker(&broker.url);
    drop(Daemon::start(&config).await);
    let settings = settings(
        &broker.url,
        TopologyMode::Declare,
        vec![queue(ALL, &["#"], QueueKind::Quorum)],
    );
    Session::open(&settings).await.unwrap().close().await;
    let found = async |permissions: [&str; 3]| {
        let config = config
            .clone()
            .broker(&broker.url_of_a_user(permissions).await)
            .set("broker", "topology = \"check\"");
        doctor(&config, &[]).first("RabbitMQ").clone()
    };
    let writes = found(["", ".*", ".*"]).await;
    assert_eq!(writes["level"], "good", "{writes}");
    let found = found(["", "", ".*"]).await;
    assert_eq!(found["level"], "broken", "{found}");
    for (name, part) in [
        ("found", "publishing to exchange"),
        ("found", "ACCESS_REFUSED"),
        ("fix", "permission to write"),
    ] {
        let text = found[name].as_str().unwrap();
        assert!(text.contains(part), "{part} is not in: {text}");
    }
    let (_connection, channel) = channel(&broker.url).await;
    let left = channel
        .basic_get(ALL.into(), lapin::options::BasicGetOptions::default())
        .await;
    assert!(left.unwrap().is_none(), "the doctor published something");
}

/// RabbitMQ says that it takes nothing to whoever publishes, and answers nothing after that.
#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_finds_that_rabbitmq_takes_nothing() {
    let broker = own_broker().await;
    let store = store_url(Backend::Sqlite).await;
    let config = DaemonConfig::new(store.url()).broker(&broker.value("AMQP_URL"));
    let daemon = Daemon::start(&config).await;
    eventually("there is a session", WITHIN, async || {
        let sessions = daemon.metric("hookwell_broker_connects_total{result=\"ok\"}");
        (sessions.await == Some(1.0)).then_some(())
    })
    .await;
    let watermark = |of_memory: &str| {
        let output = Command::new(broker.value("RABBITMQCTL"))
            .args(["-q", "set_vm_memory_high_watermark", of_memory])
            .output();
        assert!(output.unwrap().status.success());
    };
    watermark("0.00001");
    let alarm = eventually("the alarm is on", WITHIN, async || {
        let found = doctor(&config, &[]);
        let all: Vec<Value> = found.about("RabbitMQ").into_iter().cloned().collect();
        let broken = all.into_iter().find(|one| one["level"] == "broken");
        broken.map(|one| (found.code, one))
    })
    .await;
    assert_eq!(alarm.0, Some(1));
    assert_eq!(alarm.1["found"], "it takes nothing: a memory or disk alarm");
    watermark("0.6");
    eventually("the alarm is off", WITHIN, async || {
        (doctor(&config, &[])
            .about("RabbitMQ")
            .iter()
            .all(|one| one["level"] == "good"))
        .then_some(())
    })
    .await;
}

#[tokio::test]
async fn of_the_queue_for_what_no_binding_takes_the_advice_is_about_its_own_key() {
    let broker = fresh_vhost().await;
    let (_connection, channel) = channel(&broker.url).await;
    declare_queue(&channel, UNROUTED, "classic", &[]).await;
    let error = refused(&settings(&broker.url, TopologyMode::Declare, vec![])).await;
    let text = error.to_string();
    assert!(
        text.contains("broker.unrouted") && !text.contains("[[broker.queues]]"),
        "{text}"
    );
}
