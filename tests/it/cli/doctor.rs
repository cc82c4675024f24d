//! `hookwell doctor` and `hookwell healthcheck`: what is good, what is broken, and the way out.

use hookwell::store::{Access, Census as _, SqliteStore};

use super::*;
use crate::harness::ghl::PATH;
use crate::harness::store::execute_on;
use crate::harness::{
    Backend, Daemon, DaemonConfig, Ghl, doctor, eventually, fresh_vhost, run_cli, store_url,
};

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_finds_nothing_where_all_is_well() {
    for backend in Backend::ALL {
        let broker = fresh_vhost().await;
        let store = store_url(backend).await;
        let config = DaemonConfig::new(store.url()).broker(&broker.url);
        let daemon = Daemon::start(&config).await;
        let ghl = Ghl::new();
        assert_eq!(
            ghl.post(&daemon, &ghl.body("ContactCreate", "tenant", 1))
                .await
                .status,
            200
        );
        eventually(
            "the answer is counted",
            std::time::Duration::from_secs(30),
            async || (daemon.metric("hookwell_webhook_answers").await == Some(1.0)).then_some(()),
        )
        .await;
        let url = format!("http://{}", daemon.address());
        let found = doctor(&config, &["--url", &url]);
        assert_eq!(found.code, Some(0), "{found:?}");
        for what in [
            "configuration",
            "store",
            "ledger",
            "GHL's rule",
            "RabbitMQ",
            "public URL",
        ] {
            assert_eq!(found.level(what), "good", "{backend:?} {what}: {found:?}");
        }
        // The configuration's admin port is 0: nobody answers there.
        assert_eq!(found.level("daemon"), "warning");
        // Nor does it take what GHL signs.
        assert_eq!(found.level("signatures"), "warning");
        let clock = if backend == Backend::Postgres {
            "good"
        } else {
            "not said"
        };
        assert_eq!(found.level("clock"), clock, "{found:?}");
        let disk = if backend == Backend::Sqlite {
            "good"
        } else {
            "not said"
        };
        assert_eq!(found.level("disk"), disk, "{found:?}");
        if backend == Backend::Sqlite {
            let full = config.clone().set("store", "disk_reserve = \"1PiB\"");
            let found = doctor(&full, &[]);
            assert_eq!(found.code, Some(1));
            assert_eq!(found.level("disk"), "broken", "{found:?}");
            let file = SqliteStore::open(store.url(), Access::Shared)
                .await
                .unwrap();
            let half = file.disk().unwrap().free / 2 / 1024 / 1024;
            let low = format!("disk_reserve = \"{half}MiB\"");
            let found = doctor(&config.clone().set("store", &low), &[]);
            assert_eq!(found.level("disk"), "warning", "{found:?}");
        }
        let people = run_cli(&["doctor"], &config);
        assert!(
            stdout(&people).ends_with("0 broken, 2 warnings\n"),
            "{}",
            stdout(&people)
        );

        // The right port.
        let port = daemon.admin().replace("http://", "");
        let mut config = config.clone();
        config
            .variables
            .push(("HOOKWELL_ADMIN__LISTEN".to_owned(), port));
        assert_eq!(doctor(&config, &[]).level("daemon"), "good");
        assert_eq!(code(&run_cli(&["healthcheck"], &config)), Some(0));
        drop(daemon);
        assert_eq!(code(&run_cli(&["healthcheck"], &config)), Some(1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_names_what_is_broken_and_the_way_out() {
    let store = store_url(Backend::Sqlite).await;
    let config = DaemonConfig::new(store.url());
    let daemon = Daemon::start(&config).await;
    // Somebody else's key: nine of ten are refused.
    for n in 0..10 {
        let ghl = if n == 0 {
            Ghl::new()
        } else {
            Ghl::with_seed([8; 32])
        };
        ghl.post(&daemon, &ghl.body("ContactCreate", "tenant", n))
            .await;
    }
    eventually(
        "the answers are counted",
        std::time::Duration::from_secs(30),
        async || (daemon.metric("hookwell_webhook_answers").await == Some(10.0)).then_some(()),
    )
    .await;
    assert_eq!(
        daemon.metric("hookwell_webhook_success_ratio").await,
        Some(0.1)
    );
    let url = format!("{}{PATH}", daemon.admin());
    let found = doctor(&config, &["--url", daemon.admin().as_str()]);
    assert_eq!(found.code, Some(1));
    assert_eq!(found.level("RabbitMQ"), "broken", "{found:?}");
    assert_eq!(found.level("GHL's rule"), "broken");
    assert_eq!(found.level("quarantine"), "warning");
    assert_eq!(
        found.level("public URL"),
        "broken",
        "{url} is not hookwell's: {found:?}"
    );
    // Requests without a signature are not GHL's.
    let answer = crate::harness::ghl::post_raw(
        &daemon.url(),
        &[("content-type", "application/json")],
        b"{}",
    )
    .await;
    assert_eq!(answer.status, 401);
    let output = run_cli(&["status", "--json"], &config);
    let status: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(
        (&status["webhook_answers"], &status["webhook_success_ratio"]),
        (&serde_json::json!(10), &serde_json::json!(0.1))
    );
    let wrong = run_cli(&["doctor"], &DaemonConfig::new("mysql://x"));
    assert_eq!(code(&wrong), Some(78));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_not_counted_yet_is_not_said_to_be_missing() {
    let store = store_url(Backend::Sqlite).await;
    let config = DaemonConfig::new(store.url());
    assert!(run_cli(&["migrate"], &config).status.success());
    let found = doctor(&config, &[]);
    let rule = found.first("GHL's rule");
    assert_eq!(rule["level"], "warning");
    let said = rule["found"].as_str().unwrap();
    assert!(
        said.contains("counts its answers every 10 s") && !said.contains("came"),
        "{said}"
    );
}

/// What no component reports by itself: it is read from the store.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_store_says_of_the_past_is_found() {
    for backend in Backend::ALL {
        let store = store_url(backend).await;
        let config = DaemonConfig::new(store.url());
        let mut daemon = Daemon::start(&config).await;
        let ghl = Ghl::new();
        for n in 0..2 {
            let body = ghl.body("ContactCreate", "tenant", n);
            assert_eq!(ghl.post(&daemon, &body).await.status, 200);
        }
        assert!(daemon.terminate().await.success());
        let found = doctor(&config, &[]);
        for what in ["backlog", "silent", "gaps", "held", "dead letters"] {
            assert_eq!(found.level(what), "not said", "{found:?}");
        }
        let now = hookwell::clock::system()().0;
        let minutes = |count: i64| count * 60_000_000;
        for sql in [
            format!(
                "update events set received_at = received_at - {}",
                minutes(2)
            ),
            format!(
                "delete from tenants; insert into tenants (tenant, first_at, last_at, longest_gap) values ('t1', {}, {}, {})",
                now - minutes(100 * 60),
                now - minutes(12 * 60),
                minutes(60)
            ),
            format!(
                "insert into gaps (since_at, until_at) values ({}, {})",
                now - minutes(600),
                now - minutes(300)
            ),
        ] {
            for statement in sql.split("; ") {
                execute_on(&store, statement).await;
            }
        }
        let found = doctor(&config, &[]);
        for (what, said) in [
            ("backlog", "2 events wait, the oldest for 12"),
            (
                "silent",
                "t1 for 720 min, and never before for more than 60 min",
            ),
            ("gaps", "no webhook could be taken for 18000 s from "),
        ] {
            let one = found.first(what);
            let text = one["found"].as_str().unwrap();
            assert!(text.starts_with(said), "{text}");
            assert_eq!(one["level"], "warning", "{one}");
        }
        assert_eq!(found.level("ledger"), "good");
        execute_on(
            &store,
            "update cursors set published = published + 1 where reader = 'relay'",
        )
        .await;
        let found = doctor(&config, &[]);
        let ledger = found.first("ledger");
        assert_eq!(
            (&ledger["level"], &ledger["found"]),
            (&"broken".into(), &"-1 events unaccounted for".into())
        );
    }
}
