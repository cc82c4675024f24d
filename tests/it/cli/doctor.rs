//! `hookwell doctor` and `hookwell healthcheck`: what is good, what is broken, and the way out.

use super::*;
use crate::harness::ghl::PATH;
use crate::harness::{
    Backend, Daemon, DaemonConfig, Ghl, eventually, fresh_vhost, run_cli, store_url,
};

fn findings(config: &DaemonConfig, more: &[&str], expected: i32) -> Vec<serde_json::Value> {
    let output = run_cli(&[&["doctor", "--json"][..], more].concat(), config);
    let said = format!("{}{}", stdout(&output), stderr(&output));
    assert_eq!(code(&output), Some(expected), "{said}");
    stdout(&output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The level of what was found, and that whatever is not good has a way out.
fn level(findings: &[serde_json::Value], what: &str) -> String {
    for finding in findings {
        let good = finding["level"] == "good";
        assert_eq!(good, finding["fix"].is_null(), "{finding}");
    }
    let found = findings.iter().find(|finding| finding["what"] == what);
    found.map_or("not said".to_owned(), |found| {
        found["level"].as_str().unwrap().to_owned()
    })
}

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
        let found = findings(&config, &["--url", &url], 0);
        for what in [
            "configuration",
            "store",
            "ledger",
            "GHL's rule",
            "RabbitMQ",
            "public URL",
        ] {
            assert_eq!(level(&found, what), "good", "{backend:?} {what}: {found:?}");
        }
        // The configuration's admin port is 0: nobody answers there.
        assert_eq!(level(&found, "daemon"), "warning");
        // Nor does it take what GHL signs.
        assert_eq!(level(&found, "signatures"), "warning");
        let clock = if backend == Backend::Postgres {
            "good"
        } else {
            "not said"
        };
        assert_eq!(level(&found, "clock"), clock, "{found:?}");
        let disk = if backend == Backend::Sqlite {
            "good"
        } else {
            "not said"
        };
        assert_eq!(level(&found, "disk"), disk, "{found:?}");
        if backend == Backend::Sqlite {
            let full = config.clone().set("store", "disk_reserve = \"1PiB\"");
            let found = findings(&full, &[], 1);
            assert_eq!(level(&found, "disk"), "broken", "{found:?}");
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
        assert_eq!(level(&findings(&config, &[], 0), "daemon"), "good");
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
    let found = findings(&config, &["--url", daemon.admin().as_str()], 1);
    assert_eq!(level(&found, "RabbitMQ"), "broken", "{found:?}");
    assert_eq!(level(&found, "GHL's rule"), "broken");
    assert_eq!(level(&found, "quarantine"), "warning");
    assert_eq!(
        level(&found, "public URL"),
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
    let found = findings(&config, &[], 1);
    let rule = found
        .iter()
        .find(|one| one["what"] == "GHL's rule")
        .unwrap();
    assert_eq!(rule["level"], "warning");
    let said = rule["found"].as_str().unwrap();
    assert!(
        said.contains("counts its answers every 10 s") && !said.contains("came"),
        "{said}"
    );
}
