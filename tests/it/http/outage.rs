//! What senders and probes see while the store hangs, and at shutdown.

use std::time::{Duration, Instant};

use sqlx::{Connection, Executor};

use super::SOON;
use crate::harness::ghl::{PATH, get};
use crate::harness::{
    Backend, Client, Daemon, DaemonConfig, Ghl, Sink, eventually, fresh_vhost, own_postgres,
    run_cli, store, store_url,
};

async fn status_of(daemon: &Daemon, path: &str) -> u16 {
    get(&format!("{}{path}", daemon.admin()))
        .await
        .unwrap()
        .status
}

#[tokio::test(flavor = "multi_thread")]
async fn while_postgres_hangs_senders_are_told_to_come_again_and_then_are_accepted() {
    let postgres = own_postgres().await;
    let config = DaemonConfig::new(&postgres.value("PG_URL"))
        .set("http", "commit_deadline = \"500ms\"\nretry_after = \"7s\"")
        .set("store", "statement_timeout = \"1s\"");
    let daemon = Daemon::start(&config).await;
    let ghl = Ghl::new();
    assert_eq!(
        ghl.post(&daemon, &ghl.body("ContactCreate", "l1", 1))
            .await
            .status,
        200
    );

    postgres.freeze();
    let body = ghl.body_with_id("ContactCreate", "l1", 2, "in-the-dark");
    for _ in 0..3 {
        let started = Instant::now();
        let answer = ghl.post(&daemon, &body).await;
        let took = started.elapsed();
        assert_eq!(answer.status, 429);
        assert_eq!(answer.header("retry-after"), Some("7"));
        // The deadline, and not a multiple of it.
        assert!(took < Duration::from_secs(2), "answered after {took:?}");
        assert_eq!(status_of(&daemon, "/livez").await, 200);
    }
    let counted = "hookwell_refused_total{reason=\"store_unavailable\"}";
    assert_eq!(daemon.metric(counted).await, Some(3.0));
    eventually("readiness follows the store", SOON, async || {
        (status_of(&daemon, "/readyz").await == 503).then_some(())
    })
    .await;
    assert_eq!(daemon.metric("hookwell_store_up").await, Some(0.0));
    assert_eq!(status_of(&daemon, "/livez").await, 200);

    postgres.thaw();
    eventually(
        "it is accepted again",
        Duration::from_secs(30),
        async || (ghl.post(&daemon, &body).await.status == 200).then_some(()),
    )
    .await;
    eventually("readiness follows the store back", SOON, async || {
        (status_of(&daemon, "/readyz").await == 200).then_some(())
    })
    .await;
    // However often it came while nobody knew its fate, it is one event.
    let output = run_cli(&["status", "--json"], &config);
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["accepted"], 2, "{status}");
}

#[tokio::test]
async fn a_commit_that_fails_is_answered_429_and_the_next_one_is_its_own() {
    let url = store_url(Backend::Postgres).await;
    let daemon = Daemon::start(&DaemonConfig::new(url.url())).await;
    let ghl = Ghl::new();
    let body = ghl.body_with_id("ContactCreate", "l1", 1, "again");
    store::execute(url.url(), "alter function append_events rename to gone").await;
    let answer = ghl.post(&daemon, &body).await;
    assert_eq!(answer.status, 429);
    assert!(answer.header("retry-after").is_some());
    assert_eq!(
        daemon.metric("hookwell_commit_errors_total").await,
        Some(1.0)
    );
    store::execute(url.url(), "alter function gone rename to append_events").await;
    let answer = ghl.post(&daemon, &body).await;
    assert_eq!(answer.json()["status"], "accepted");
}

/// As with a disk that has room for a cursor and none for an event.
#[tokio::test(flavor = "multi_thread")]
async fn where_appends_failed_the_daemon_is_not_ready_until_one_would_come_through() {
    for (backend, break_it, mend_it) in [
        (
            Backend::Sqlite,
            "create trigger no_room before insert on events begin select raise(rollback, 'no room'); end",
            "drop trigger no_room",
        ),
        (
            Backend::Postgres,
            "alter function append_events rename to gone",
            "alter function gone rename to append_events",
        ),
    ] {
        let url = store_url(backend).await;
        let daemon = Daemon::start(&DaemonConfig::new(url.url())).await;
        let ghl = Ghl::new();
        store::execute_on(&url, break_it).await;
        // One webhook, and then none: they are sent to somebody who is ready.
        let answer = ghl.post(&daemon, &ghl.body("ContactCreate", "l1", 1)).await;
        assert_eq!(answer.status, 429);
        eventually("it is not ready", SOON, async || {
            (status_of(&daemon, "/readyz").await == 503).then_some(())
        })
        .await;
        let watched = Instant::now();
        while watched.elapsed() < Duration::from_secs(4) {
            assert_eq!(status_of(&daemon, "/readyz").await, 503, "{backend}");
            assert_eq!(daemon.metric("hookwell_store_up").await, Some(0.0));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        store::execute_on(&url, mend_it).await;
        eventually("it is ready again", SOON, async || {
            (status_of(&daemon, "/readyz").await == 200).then_some(())
        })
        .await;
        // What was made up to find that out is nowhere.
        assert_eq!(
            daemon
                .metric("hookwell_ledger_events{state=\"accepted\"}")
                .await,
            Some(0.0)
        );
        let answer = ghl.post(&daemon, &ghl.body("ContactCreate", "l1", 2)).await;
        assert_eq!(answer.json()["status"], "accepted", "{backend}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn below_the_reserve_of_the_disk_webhooks_are_refused_and_what_is_in_the_log_goes_on() {
    let url = store_url(Backend::Sqlite).await;
    let broker = fresh_vhost().await;
    let ghl = Ghl::new();
    // The log waits for a RabbitMQ that is not there.
    let waiting = DaemonConfig::new(url.url());
    let mut daemon = Daemon::start(&waiting).await;
    let body = ghl.body("ContactCreate", "l1", 1);
    assert_eq!(ghl.post(&daemon, &body).await.status, 200);
    assert!(daemon.terminate().await.success());
    let taken_until = || async {
        let mut connection = sqlx::SqliteConnection::connect(url.url()).await.unwrap();
        let until = sqlx::query_scalar::<_, i64>("select until_at from acceptance");
        until.fetch_one(&mut connection).await.unwrap()
    };
    let before = taken_until().await;

    let full = DaemonConfig::new(url.url())
        .broker(&broker.url)
        .set("store", "disk_reserve = \"1PiB\"");
    let sink = Sink::open(&broker.url, &["hookwell.all"]).await;
    let daemon = Daemon::launch(&full).await.unwrap();
    sink.wait_for(1, SOON).await;
    for body in [
        &ghl.body("ContactCreate", "l1", 2),
        &body,
        &vec![b' '; 500_000],
    ] {
        let answer = ghl.post(&daemon, body).await;
        assert_eq!(answer.status, 429);
        assert!(answer.header("retry-after").is_some());
    }
    let counted = "hookwell_refused_total{reason=\"disk_reserve\"}";
    assert_eq!(daemon.metric(counted).await, Some(3.0));
    let ready = get(&format!("{}/readyz", daemon.admin())).await.unwrap();
    assert_eq!(
        (ready.status, ready.text().as_str()),
        (503, "the disk is down to store.disk_reserve\n")
    );
    // The store itself is well, and an operator may write.
    assert_eq!(daemon.metric("hookwell_store_up").await, Some(1.0));
    assert_eq!(
        daemon.metric("hookwell_commit_errors_total").await,
        Some(0.0)
    );
    let retried = run_cli(&["dead-letters", "retry", "--all"], &full);
    assert!(retried.status.success(), "{retried:?}");
    assert!(daemon.log().contains("down to store.disk_reserve"));
    // The time is a gap, though the store commits.
    assert_eq!(taken_until().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_to_the_writer_is_answered_429_at_once() {
    let url = store_url(Backend::Sqlite).await;
    let config =
        DaemonConfig::new(url.url()).set("http", "max_waiting = 1\ncommit_deadline = \"30s\"");
    let daemon = Daemon::start(&config).await;
    // Somebody else holds SQLite's one lock for writing, so the writer waits for it.
    let mut lock = sqlx::SqliteConnection::connect(url.url()).await.unwrap();
    lock.execute("begin immediate").await.unwrap();
    let mut waiting = tokio::task::JoinSet::new();
    let address = daemon.address();
    let post = |n| async move {
        let ghl = Ghl::new();
        let body = ghl.body("ContactCreate", "l1", n);
        let mut client = Client::connect(address).await.unwrap();
        client.post(&ghl, &body).await.unwrap()
    };
    waiting.spawn(post(0));
    // Or several would be in its batch.
    eventually("the writer waits with one", SOON, async || {
        let begun = daemon.metric("hookwell_commit_batch_events_count").await;
        (begun == Some(1.0)).then_some(())
    })
    .await;
    for n in 1..8 {
        waiting.spawn(post(n));
    }
    let mut statuses = Vec::new();
    for _ in 0..5 {
        let answer = tokio::time::timeout(Duration::from_secs(4), waiting.join_next())
            .await
            .expect("answered while the writer waits")
            .unwrap()
            .unwrap();
        assert!(answer.header("retry-after").is_some());
        statuses.push(answer.status);
    }
    assert_eq!(statuses, [429; 5]);
    // With one more the queue is full for sure; then nobody's signature is looked at any more.
    waiting.spawn(post(8));
    let stranger = Ghl::with_seed([13; 32]);
    let body = stranger.body("ContactCreate", "l1", 9);
    let refused = eventually("refused unseen", SOON, async || {
        let answer = stranger.post(&daemon, &body).await;
        (answer.status != 401).then_some(answer)
    })
    .await;
    assert_eq!(refused.status, 429);
    assert!(refused.header("retry-after").is_some());
    lock.execute("rollback").await.unwrap();
    let mut accepted = 0;
    while let Some(answer) = waiting.join_next().await {
        accepted += usize::from(answer.unwrap().status == 200);
    }
    assert!(accepted > 0, "nobody who waited was accepted");
    let overloaded = daemon
        .metric("hookwell_refused_total{reason=\"overloaded\"}")
        .await
        .unwrap();
    assert_eq!(overloaded as usize + accepted, 10);
}

#[tokio::test]
async fn readiness_does_not_depend_on_the_broker() {
    let url = store_url(Backend::Sqlite).await;
    let mut daemon = Daemon::start(&DaemonConfig::new(url.url())).await;
    assert_eq!(daemon.metric("hookwell_broker_connected").await, Some(0.0));
    assert_eq!(status_of(&daemon, "/readyz").await, 200);
    let ghl = Ghl::new();
    let answer = ghl.post(&daemon, &ghl.body("ContactCreate", "l1", 1)).await;
    assert_eq!(answer.status, 200);
    assert!(daemon.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_flight_at_sigterm_are_answered_and_new_ones_are_not_taken() {
    for backend in Backend::ALL {
        let url = store_url(backend).await;
        let config = DaemonConfig::new(url.url());
        let mut daemon = Daemon::start(&config).await;
        let ghl = Ghl::new();
        let body = ghl.body_with_id("ContactCreate", "l1", 1, "on-the-way");
        let request = ghl.request_bytes(PATH, &body);
        let mut client = ghl.client(&daemon).await;
        client.write(&request[..request.len() - 10]).await.unwrap();
        // Its head has been read once another request behind it in time is answered.
        let other = ghl.body("ContactCreate", "l1", 2);
        assert_eq!(ghl.post(&daemon, &other).await.status, 200);

        daemon.signal("TERM");
        eventually("no new connection is taken", SOON, async || {
            Client::connect(daemon.address()).await.err()
        })
        .await;
        assert!(daemon.ended().is_none(), "it waits for who is inside");
        eventually("it says that it is draining", SOON, async || {
            (daemon.ready().await == Some(503)).then_some(())
        })
        .await;
        client.write(&request[request.len() - 10..]).await.unwrap();
        let answer = client.answer().await.unwrap();
        assert_eq!(answer.status, 200, "{backend:?}");
        assert!(client.is_closed(SOON).await);
        assert!(daemon.wait(SOON).await.success(), "{backend:?}");
        let output = run_cli(&["events", "show", "on-the-way", "--body"], &config);
        assert_eq!(output.stdout, body, "{backend:?}");
    }
}

#[tokio::test]
async fn a_half_sent_body_does_not_hold_up_sigterm_beyond_the_grace() {
    let url = store_url(Backend::Sqlite).await;
    let config = DaemonConfig::new(url.url())
        .set("shutdown", "grace = \"2s\"")
        .set("http", "header_timeout = \"60s\"\nbody_timeout = \"60s\"");
    let mut daemon = Daemon::start(&config).await;
    let ghl = Ghl::new();
    let request = ghl.request_bytes(PATH, &ghl.body("ContactCreate", "l1", 1));
    let mut stuck = ghl.client(&daemon).await;
    stuck.write(&request[..request.len() - 1]).await.unwrap();
    assert_eq!(ghl.post(&daemon, b"{}").await.status, 200);
    let started = Instant::now();
    assert!(daemon.terminate().await.success());
    let took = started.elapsed();
    assert!(took < Duration::from_secs(4), "it took {took:?}");
}

#[tokio::test]
async fn half_a_head_and_an_idle_connection_do_not_hold_up_sigterm() {
    let url = store_url(Backend::Sqlite).await;
    let config = DaemonConfig::new(url.url())
        .set("shutdown", "grace = \"10min\"")
        .set("http", "header_timeout = \"1h\"");
    let mut daemon = Daemon::start(&config).await;
    let ghl = Ghl::new();
    let request = ghl.request_bytes(PATH, &ghl.body("ContactCreate", "l1", 1));
    let mut stuck = vec![ghl.client(&daemon).await];
    for part in [1, 60] {
        let mut client = ghl.client(&daemon).await;
        client.write(&request[..part]).await.unwrap();
        stuck.push(client);
    }
    // One that was served before.
    let mut client = ghl.client(&daemon).await;
    client.write(&request).await.unwrap();
    assert_eq!(client.answer().await.unwrap().status, 200);
    client.write(&request[..60]).await.unwrap();
    stuck.push(client);
    assert!(daemon.terminate().await.success());
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let url = store_url(Backend::Sqlite).await;
    let config = DaemonConfig::new(url.url())
        .set("shutdown", "grace = \"10min\"")
        .set("http", "body_timeout = \"1h\"");
    let mut daemon = Daemon::start(&config).await;
    let ghl = Ghl::new();
    let request = ghl.request_bytes(PATH, &ghl.body("ContactCreate", "l1", 1));
    let mut stuck = ghl.client(&daemon).await;
    stuck.write(&request[..request.len() - 1]).await.unwrap();
    assert_eq!(ghl.post(&daemon, b"{}").await.status, 200);
    daemon.signal("TERM");
    eventually("it is draining", SOON, async || {
        (daemon.ready().await == Some(503)).then_some(())
    })
    .await;
    assert_eq!(daemon.ended(), None);
    daemon.signal("TERM");
    assert_eq!(daemon.wait(SOON).await.code(), Some(130));
}
