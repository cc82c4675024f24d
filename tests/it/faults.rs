//! What breaks in production, broken on purpose under load: broker, network, Postgres, daemon. Whatever
//! breaks, everything answered 200 arrives, the first copies in order for each tenant, and copies beyond
//! the first are no more than what was in flight when something broke.

use std::process::Command;
use std::time::Duration;

use crate::harness::daemon::ALL;
use crate::harness::{
    Accepted, Backend, Daemon, DaemonConfig, Load, Network, Operator, Proxy, Side, Sink,
    eventually, fresh_vhost, own_broker, own_postgres, quorum_queue_is_on_disk, store_url,
};

const WITHIN: Duration = Duration::from_secs(60);
const TENANTS: usize = 6;
const PAUSE: Duration = Duration::from_millis(3);
/// Events in flight at most, so copies at most for each connection that was lost.
const WINDOW: usize = 100;

const ACTIVE: &str = "hookwell_relay_active";
const CONNECTS: &str = "hookwell_broker_connects_total{result=\"ok\"}";

fn config(store_url: &str, broker_url: &str) -> DaemonConfig {
    DaemonConfig::new(store_url)
        .broker(broker_url)
        .set("http", "retry_after = \"1s\"")
        .set(
            "broker",
            &format!(
                "window = {WINDOW}\nconfirm_deadline = \"2s\"\nconnect_timeout = \"2s\"\n\
                 heartbeat = \"2s\"\nretry_max = \"500ms\""
            ),
        )
}

async fn value(daemon: &Daemon, name: &str) -> f64 {
    daemon.metric(name).await.unwrap()
}

async fn becomes(daemon: &Daemon, name: &str, wanted: f64) {
    eventually(&format!("{name} is {wanted}"), WITHIN, async || {
        (daemon.metric(name).await == Some(wanted)).then_some(())
    })
    .await;
}

/// Waits until everything has been published, then judges what arrived. `broken_before` is how many
/// connections broke that this daemon does not count: of the daemons before it, and its last one where it
/// has no other yet.
async fn judge(daemon: &Daemon, sink: &Sink, accepted: &Accepted, broken_before: usize) {
    let arrived = sink.wait_for(accepted.count(), WITHIN).await;
    becomes(daemon, "hookwell_ledger_events{state=\"pending\"}", 0.0).await;
    let lost_connections = value(daemon, CONNECTS).await as usize - 1;
    let surplus_at_most = WINDOW * (broken_before + lost_connections);
    accepted.judge(&arrived, surplus_at_most);
    let published = "hookwell_ledger_events{state=\"published\"}";
    becomes(daemon, published, accepted.count() as f64).await;
    becomes(daemon, "hookwell_ledger_mismatch_events", 0.0).await;
    // Whatever came after the judgement counts as well.
    accepted.judge(&sink.all(), surplus_at_most);
}

fn shared_port(url: &str) -> u16 {
    let (_, rest) = url.rsplit_once(':').unwrap();
    rest.split('/').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_down_at_the_start_or_killed_under_load_costs_nothing() {
    let broker = own_broker().await;
    let url = broker.value("AMQP_URL");
    broker.stop().await;
    let store = store_url(Backend::Sqlite).await;
    let config = config(store.url(), &url);
    let daemon = Daemon::start(&config).await;
    let load = Load::start(&daemon, TENANTS, PAUSE);
    load.more(200, WITHIN).await;
    assert_eq!(value(&daemon, "hookwell_broker_connected").await, 0.0);
    broker.restart().await;
    let sink = Sink::open(&url, &[ALL]).await;
    sink.wait_for(200, WITHIN).await;
    // A kill before would test the broker.
    eventually("the queue is on the broker's disk", WITHIN, async || {
        quorum_queue_is_on_disk(&broker, ALL).then_some(())
    })
    .await;

    broker.kill9();
    load.more(200, WITHIN).await;
    broker.restart().await;
    load.more(200, WITHIN).await;
    assert_eq!(load.refused(429), 0, "the broker's absence was felt");
    let accepted = load.finish().await;
    judge(&daemon, &sink, &accepted, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_hangs_for_a_while_or_blocks_publishers_costs_nothing() {
    let broker = own_broker().await;
    let url = broker.value("AMQP_URL");
    let store = store_url(Backend::Sqlite).await;
    let config = config(store.url(), &url);
    let daemon = Daemon::start(&config).await;
    let sink = Sink::open(&url, &[ALL]).await;
    let load = Load::start(&daemon, TENANTS, PAUSE);
    sink.wait_for(100, WITHIN).await;

    broker.freeze();
    becomes(&daemon, "hookwell_broker_connected", 0.0).await;
    load.more(300, WITHIN).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    broker.thaw();
    becomes(&daemon, "hookwell_broker_connected", 1.0).await;
    let before = sink.distinct();
    sink.wait_for(before + 100, WITHIN).await;

    let control = broker.value("RABBITMQCTL");
    set_disk_limit(&control, "900GB").await;
    becomes(&daemon, "hookwell_broker_blocked", 1.0).await;
    let connects = value(&daemon, CONNECTS).await;
    load.more(300, WITHIN).await;
    // Longer than the confirm deadline: nothing may be given up and sent again.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(value(&daemon, "hookwell_broker_blocked").await, 1.0);
    assert_eq!(value(&daemon, CONNECTS).await, connects);
    set_disk_limit(&control, "50MB").await;
    becomes(&daemon, "hookwell_broker_blocked", 0.0).await;
    load.more(100, WITHIN).await;
    assert_eq!(load.refused(429), 0, "the broker's trouble was felt");
    let accepted = load.finish().await;
    judge(&daemon, &sink, &accepted, 0).await;
}

async fn set_disk_limit(control: &str, limit: &'static str) {
    let control = control.to_owned();
    let set = move || {
        let output = Command::new(control)
            .args(["-q", "set_disk_free_limit", limit])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    tokio::task::spawn_blocking(set).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_cut_in_mid_message_and_lines_that_go_dead_cost_nothing() {
    let broker = fresh_vhost().await;
    let proxy = Proxy::in_front_of(shared_port(&broker.url)).await;
    let store = store_url(Backend::Sqlite).await;
    let url = proxy.url(&broker.url, shared_port(&broker.url));
    let config = config(store.url(), &url);
    let daemon = Daemon::start(&config).await;
    let sink = Sink::open(&broker.url, &[ALL]).await;
    let load = Load::start(&daemon, TENANTS, PAUSE);
    sink.wait_for(50, WITHIN).await;

    // In the middle of whatever comes after so many bytes: of a head, a frame, a body.
    for bytes in [1, 777, 10_001, 30_011] {
        let before = value(&daemon, CONNECTS).await;
        proxy.cut_after(bytes);
        eventually("the connection is cut", WITHIN, async || {
            (!proxy.cut_is_due()).then_some(())
        })
        .await;
        eventually("it connects again", WITHIN, async || {
            (before < value(&daemon, CONNECTS).await).then_some(())
        })
        .await;
        let arrived = sink.distinct();
        sink.wait_for(arrived + 20, WITHIN).await;
    }

    proxy.network(Network::Blackhole);
    becomes(&daemon, "hookwell_broker_connected", 0.0).await;
    load.more(100, WITHIN).await;
    // The old connection's bytes come through late, beside those of the new one.
    proxy.network(Network::Passes);
    becomes(&daemon, "hookwell_broker_connected", 1.0).await;
    let arrived = sink.distinct();
    sink.wait_for(arrived + 100, WITHIN).await;

    proxy.network(Network::Refuses);
    proxy.cut();
    becomes(&daemon, "hookwell_broker_connected", 0.0).await;
    load.more(100, WITHIN).await;
    proxy.network(Network::Passes);
    becomes(&daemon, "hookwell_broker_connected", 1.0).await;
    assert_eq!(load.refused(429), 0, "the broker's absence was felt");
    let accepted = load.finish().await;
    judge(&daemon, &sink, &accepted, 0).await;
    eventually("connections given up are closed", WITHIN, async || {
        (proxy.connections() == 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_on_which_a_window_takes_longer_than_the_deadline_makes_no_copies() {
    let broker = fresh_vhost().await;
    let proxy = Proxy::in_front_of(shared_port(&broker.url)).await;
    let store = store_url(Backend::Sqlite).await;
    let url = proxy.url(&broker.url, shared_port(&broker.url));
    let config = config(store.url(), &url);
    proxy.network(Network::Refuses);
    let daemon = Daemon::start(&config).await;
    let load = Load::start(&daemon, TENANTS, PAUSE);
    load.more(WINDOW, WITHIN).await;
    let accepted = load.finish().await;
    // A window of about 130 kB takes some four seconds; the deadline is two.
    proxy.network(Network::BytesPerSecond(32 * 1024));
    let sink = Sink::open(&broker.url, &[ALL]).await;
    judge(&daemon, &sink, &accepted, 0).await;
    assert_eq!(value(&daemon, CONNECTS).await, 1.0);
}

/// As in the midst of an election.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_has_confirmed_nothing_yet_is_given_up_before_the_deadline() {
    let broker = fresh_vhost().await;
    let proxy = Proxy::in_front_of(shared_port(&broker.url)).await;
    let store = store_url(Backend::Sqlite).await;
    // Longer than the test waits for anything.
    let config = DaemonConfig::new(store.url())
        .broker(&proxy.url(&broker.url, shared_port(&broker.url)))
        .set("broker", "confirm_deadline = \"5m\"\nheartbeat = \"60s\"");
    let daemon = Daemon::start(&config).await;
    becomes(&daemon, ACTIVE, 1.0).await;
    proxy.network(Network::BlackholeFrom(Side::Server));
    let load = Load::start(&daemon, TENANTS, PAUSE);
    load.more(20, WITHIN).await;
    let accepted = load.finish().await;
    becomes(&daemon, "hookwell_broker_connected", 0.0).await;
    proxy.network(Network::Passes);
    let sink = Sink::open(&broker.url, &[ALL]).await;
    judge(&daemon, &sink, &accepted, 0).await;
}

/// For days: a host that refuses, a load balancer whose RabbitMQ is gone, and one of TLS.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_rabbitmq_cannot_be_reached_no_attempt_leaves_anything_behind() {
    const ATTEMPTS: f64 = 8.0;
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = mute.local_addr().unwrap().port();
    let taken = tokio::spawn(async move {
        let mut taken = Vec::new();
        loop {
            taken.push(mute.accept().await.unwrap());
        }
    });
    for (scheme, port, said) in [
        ("amqp", 1, "Connection refused"),
        ("amqp", port, "no answer within 300ms"),
        ("amqps", port, "no answer within 300ms"),
    ] {
        let store = store_url(Backend::Sqlite).await;
        let config = DaemonConfig::new(store.url())
            .broker(&format!("{scheme}://guest:guest@127.0.0.1:{port}/%2f"))
            .set(
                "broker",
                "connect_timeout = \"300ms\"\nretry_max = \"100ms\"",
            );
        let daemon = Daemon::start(&config).await;
        let held = async |attempts: f64| {
            let name = "hookwell_broker_connects_total{result=\"error\"}";
            eventually("it tries and tries", WITHIN, async || {
                (attempts <= value(&daemon, name).await).then_some(())
            })
            .await;
            let tasks = value(&daemon, "hookwell_runtime_tasks").await;
            tasks + value(&daemon, "process_threads").await
        };
        let before = held(ATTEMPTS).await;
        let after = held(3.0 * ATTEMPTS).await;
        assert!(
            after < before + ATTEMPTS,
            "{scheme}, {said}: {before} tasks and threads after {ATTEMPTS} attempts, {after} after {}",
            3.0 * ATTEMPTS
        );
        assert!(daemon.log().contains(said), "{scheme}, {said}");
    }
    taken.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_that_is_deleted_under_load_is_made_again() {
    let broker = fresh_vhost().await;
    let store = store_url(Backend::Sqlite).await;
    let config = config(store.url(), &broker.url);
    let daemon = Daemon::start(&config).await;
    let sink = Sink::open(&broker.url, &[ALL]).await;
    let load = Load::start(&daemon, TENANTS, PAUSE);
    sink.wait_for(50, WITHIN).await;
    let operator = Operator::at(&broker.url).await;
    for _ in 0..3 {
        let before = value(&daemon, CONNECTS).await;
        operator.delete_exchange().await;
        eventually("it connects again", WITHIN, async || {
            (before < value(&daemon, CONNECTS).await).then_some(())
        })
        .await;
    }
    load.more(50, WITHIN).await;
    let accepted = load.finish().await;
    // What RabbitMQ routes in the very moment of a deletion can meet the exchange without its bindings, and
    // goes to the alternate exchange. A session that published before it had bound would send windows there.
    let unrouted = Sink::open(&broker.url, &["hookwell.unrouted"]).await;
    becomes(&daemon, "hookwell_ledger_events{state=\"pending\"}", 0.0).await;
    eventually("everything is in one of both queues", WITHIN, async || {
        (accepted.count() <= sink.distinct() + unrouted.distinct()).then_some(())
    })
    .await;
    let strays = unrouted.distinct();
    assert!(
        strays < 10,
        "{strays}: the session binds before it publishes"
    );
    if strays == 0 {
        judge(&daemon, &sink, &accepted, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_postgres_is_away_nothing_is_accepted_and_nothing_is_lost() {
    let postgres = own_postgres().await;
    let broker = fresh_vhost().await;
    let config = config(&postgres.value("PG_URL"), &broker.url);
    let daemon = Daemon::start(&config).await;
    let sink = Sink::open(&broker.url, &[ALL]).await;
    let load = Load::start(&daemon, TENANTS, PAUSE);
    sink.wait_for(100, WITHIN).await;
    for way in ["stop", "kill"] {
        let refused = load.refused(429);
        if way == "stop" {
            postgres.stop().await;
        } else {
            postgres.kill9();
        }
        eventually("senders are asked to come again", WITHIN, async || {
            (refused + 10 < load.refused(429)).then_some(())
        })
        .await;
        becomes(&daemon, "hookwell_store_up", 0.0).await;
        assert_eq!(daemon.ready().await, Some(503), "{way}");
        let down = load.accepted();
        let none = eventually("more refusals", WITHIN, async || {
            (refused + 100 < load.refused(429)).then(|| load.accepted())
        })
        .await;
        assert_eq!(none, down, "answered 200 without a store");
        postgres.restart().await;
        load.more(100, WITHIN).await;
        becomes(&daemon, "hookwell_store_up", 1.0).await;
    }
    let accepted = load.finish().await;
    judge(&daemon, &sink, &accepted, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_daemons_one_relays_and_the_other_takes_over() {
    let store = store_url(Backend::Postgres).await;
    let broker = fresh_vhost().await;
    let sink = Sink::open(&broker.url, &[ALL]).await;
    let configs = [(); 2].map(|()| config(store.url(), &broker.url));
    let (first, second) = tokio::join!(Daemon::start(&configs[0]), Daemon::start(&configs[1]));
    let mut daemons = vec![first, second];
    let load = Load::start(&daemons[0], TENANTS, PAUSE);
    load.point_at(&[&daemons[0], &daemons[1]]);
    let active = async |daemons: &[Daemon]| {
        let mut active = Vec::new();
        for (index, daemon) in daemons.iter().enumerate() {
            if daemon.metric(ACTIVE).await == Some(1.0) {
                active.push(index);
            }
        }
        active
    };
    let relaying = eventually("one of them relays", WITHIN, async || {
        active(&daemons).await.first().copied()
    })
    .await;
    sink.wait_for(200, WITHIN).await;
    let standing_by = &daemons[1 - relaying];
    eventually("the other stands by", WITHIN, async || {
        standing_by.log().contains("standing by").then_some(())
    })
    .await;
    assert_eq!(active(&daemons).await, [relaying], "not exactly one relays");

    daemons[relaying].kill9();
    let survivor = daemons.remove(1 - relaying);
    load.point_at(&[&survivor]);
    let moment = std::time::Instant::now();
    becomes(&survivor, ACTIVE, 1.0).await;
    let took = moment.elapsed();
    assert!(took < Duration::from_secs(5), "taking over took {took:?}");
    load.more(200, WITHIN).await;

    // The killed one comes back and stands by; then an orderly handover the other way.
    let back = Daemon::start(&configs[relaying]).await;
    load.point_at(&[&survivor, &back]);
    load.more(100, WITHIN).await;
    assert_eq!(value(&back, ACTIVE).await, 0.0);
    let mut survivor = survivor;
    assert!(survivor.terminate().await.success());
    load.point_at(&[&back]);
    becomes(&back, ACTIVE, 1.0).await;
    load.more(100, WITHIN).await;
    let accepted = load.finish().await;
    judge(&back, &sink, &accepted, 1).await;
}

async fn survives_kills(backend: Backend) {
    const KILLS: usize = 5;
    let store = store_url(backend).await;
    let broker = fresh_vhost().await;
    let sink = Sink::open(&broker.url, &[ALL]).await;
    let config = config(store.url(), &broker.url);
    let mut daemon = Daemon::start(&config).await;
    let load = Load::start(&daemon, TENANTS, PAUSE);
    for kill in 0..KILLS {
        // At ever other moments, once soon after a recovery has begun.
        load.more(1 + 40 * kill, WITHIN).await;
        daemon.kill9();
        daemon = Daemon::start(&config).await;
        load.point_at(&[&daemon]);
    }
    load.more(100, WITHIN).await;
    let accepted = load.finish().await;
    judge(&daemon, &sink, &accepted, KILLS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_on_sqlite_that_is_killed_under_load_loses_nothing() {
    survives_kills(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_on_postgres_that_is_killed_under_load_loses_nothing() {
    survives_kills(Backend::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_is_told_to_end_under_load_ends_well_and_repeats_nothing() {
    let store = store_url(Backend::Sqlite).await;
    let broker = fresh_vhost().await;
    let sink = Sink::open(&broker.url, &[ALL]).await;
    let config = config(store.url(), &broker.url);
    let mut daemon = Daemon::start(&config).await;
    let load = Load::start(&daemon, TENANTS, PAUSE);
    for _ in 0..3 {
        load.more(100, WITHIN).await;
        let status = daemon.terminate().await;
        assert_eq!(status.code(), Some(0), "{}", daemon.log());
        daemon = Daemon::start(&config).await;
        load.point_at(&[&daemon]);
    }
    load.more(50, WITHIN).await;
    let accepted = load.finish().await;
    judge(&daemon, &sink, &accepted, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_is_told_to_end_while_the_broker_does_not_answer_ends_in_time() {
    let broker = fresh_vhost().await;
    let proxy = Proxy::in_front_of(shared_port(&broker.url)).await;
    let store = store_url(Backend::Sqlite).await;
    let url = proxy.url(&broker.url, shared_port(&broker.url));
    let config = config(store.url(), &url);
    let mut daemon = Daemon::start(&config).await;
    let sink = Sink::open(&broker.url, &[ALL]).await;
    let load = Load::start(&daemon, TENANTS, PAUSE);
    sink.wait_for(50, WITHIN).await;
    proxy.network(Network::Blackhole);
    load.more(50, WITHIN).await;
    daemon.signal("TERM");
    let status = daemon.wait(Duration::from_secs(15)).await;
    assert_eq!(status.code(), Some(0), "{}", daemon.log());
    proxy.network(Network::Passes);
    let daemon = Daemon::start(&config).await;
    load.point_at(&[&daemon]);
    let accepted = load.finish().await;
    judge(&daemon, &sink, &accepted, 1).await;
}
