//! The commands that look into the store, and those that ask it for something.

use std::time::Duration;

use hookwell::event::{Micros, Position};
use hookwell::store::{Access, Parked, PostgresStore, SqliteStore, Store};
use sqlx::{Connection, PgConnection};

use super::{code, stderr, stdout};
use crate::harness::daemon::{ALL, run_on_a_terminal};
use crate::harness::ghl::APP_ID;
use crate::harness::store::execute_on;
use crate::harness::{
    Backend, Daemon, DaemonConfig, Ghl, Sink, done, eventually, fresh_vhost, run_cli, store,
    store_url,
};

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn migrating_says_what_it_did() {
    for backend in Backend::ALL {
        let url = store_url(backend).await;
        let config = DaemonConfig::new(url.url());
        for said in [
            &format!(
                "{} migrations ran; the schema is up to date.\n",
                store::migrations()
            ),
            "The schema is up to date.\n",
        ] {
            let output = run_cli(&["migrate"], &config);
            assert_eq!(code(&output), Some(0), "{}", stderr(&output));
            assert_eq!(stdout(&output), said, "{backend:?}");
        }
    }
}

#[tokio::test]
async fn status_shows_the_ledger_in_words_and_as_json() {
    let url = store_url(Backend::Sqlite).await;
    let config = DaemonConfig::new(url.url());
    let daemon = Daemon::start(&config).await;
    let ghl = Ghl::new();
    for n in 0..3 {
        let body = ghl.body("ContactCreate", "l1", n);
        assert_eq!(ghl.post(&daemon, &body).await.status, 200);
    }
    let output = run_cli(&["status"], &config);
    let said = stdout(&output);
    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    let number = |word: &str| -> i64 {
        let line = said.lines().find(|line| line.trim().starts_with(word));
        let line = line.unwrap_or_else(|| panic!("{word} is missing:\n{said}"));
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let words = ["accepted", "published", "pending", "parked", "quarantined"];
    assert_eq!(words.map(number), [3, 0, 3, 0, 0]);
    assert!(said.contains("the oldest for"), "{said}");
    let output = run_cli(&["status", "--json"], &config);
    let mut status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let age = status["oldest_pending_seconds"].take();
    assert!(age.as_u64().is_some_and(|age| age < 60), "{age}");
    assert_eq!(status["schema"], status["schema_known"]);
    for key in ["schema", "schema_known"] {
        assert!(status[key].take().is_i64(), "{key}");
    }
    // They are written every ten seconds.
    let answers = status["webhook_answers"].take();
    assert!(answers == 0 || answers == 3, "{answers}");
    assert_eq!(
        status,
        serde_json::json!({"schema": null, "schema_known": null, "gaps": [], "accepted": 3, "published": 0, "pending": 3, "held": 0, "held_tenants": 0, "parked": 0, "retry": 0,
            "discarded": 0, "mismatch": 0, "quarantined": 0, "oldest_pending_seconds": null, "webhook_answers": null, "webhook_success_ratio": 1.0,
            "silent_tenants": []})
    );
}

/// A look that takes too long is one at less of the log, not the end of the list.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_goes_on_when_the_store_was_slow_for_a_while() {
    let url = store_url(Backend::Postgres).await;
    let config = DaemonConfig::new(url.url());
    let mut daemon = Daemon::start(&config).await;
    let ghl = Ghl::new();
    let body = ghl.body("ContactCreate", "l1", 1);
    assert_eq!(ghl.post(&daemon, &body).await.status, 200);
    assert!(daemon.terminate().await.success());
    let mut connection = PgConnection::connect(url.url()).await.unwrap();
    let mut locked = connection.begin().await.unwrap();
    sqlx::query("lock table events in access exclusive mode")
        .execute(&mut *locked)
        .await
        .unwrap();
    let list = tokio::task::spawn_blocking(move || run_cli(&["events", "list", "--json"], &config));
    // Inside a transaction the view would always say the same.
    let mut looking = PgConnection::connect(url.url()).await.unwrap();
    let mut first = None;
    eventually("one look has waited too long, and another waits", SOON, async || {
        let waits: Option<i32> = sqlx::query_scalar(
            "select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' \
             and query like '%from events e where%'",
        )
        .fetch_optional(&mut looking)
        .await
        .unwrap();
        let pid = waits?;
        (*first.get_or_insert(pid) != pid).then_some(())
    })
    .await;
    locked.rollback().await.unwrap();
    let output = list.await.unwrap();
    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    assert_eq!(stdout(&output).lines().count(), 1);
}

#[tokio::test]
async fn events_are_listed_and_shown_and_bodies_come_out_byte_for_byte() {
    for backend in Backend::ALL {
        let url = store_url(backend).await;
        let config = DaemonConfig::new(url.url());
        let daemon = Daemon::start(&config).await;
        let ghl = Ghl::new();
        let bodies = [
            ghl.body_with_id("ContactCreate", "l1", 1, "hook-1"),
            ghl.body_with_id("OpportunityCreate", "l2", 2, "hook-2"),
            b"{\"escape\":\"\x1b[31m\xff\0\r\n".to_vec(),
        ];
        for body in &bodies {
            assert_eq!(ghl.post(&daemon, body).await.status, 200);
        }
        let list = |more: &[&str]| -> Vec<serde_json::Value> {
            let output = run_cli(&[&["events", "list", "--json"], more].concat(), &config);
            assert_eq!(code(&output), Some(0), "{}", stderr(&output));
            stdout(&output)
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect()
        };
        let positions = |rows: &[serde_json::Value]| -> Vec<i64> {
            rows.iter()
                .map(|row| row["position"].as_i64().unwrap())
                .collect()
        };
        let all = list(&[]);
        assert_eq!(positions(&all), [3, 2, 1]);
        assert_eq!(all[1]["type"], "OpportunityCreate");
        assert_eq!(all[1]["tenant"], "l2");
        assert_eq!(all[1]["event_key"], "hook-2");
        assert_eq!(all[1]["body_bytes"], bodies[1].len());
        assert_eq!(positions(&list(&["--limit", "1"])), [3]);
        assert_eq!(positions(&list(&["--before", "3", "--limit", "1"])), [2]);
        assert_eq!(positions(&list(&["--tenant", "l1"])), [1]);
        assert_eq!(positions(&list(&["--type", "unknown"])), [3]);
        let output = run_cli(&["events", "list"], &config);
        assert!(
            stdout(&output).starts_with("POSITION  "),
            "{}",
            stdout(&output)
        );

        for (n, body) in (1..).zip(&bodies) {
            let output = run_cli(&["events", "show", &n.to_string(), "--body"], &config);
            assert!(output.stdout == *body, "{backend:?}: body {n}");
        }
        let output = run_cli(&["events", "show", "hook-2", "--json"], &config);
        let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(shown["position"], 2);
        assert_eq!(shown["routing_key"], "opportunity.create.l2");
        assert_eq!(shown["app_id"], APP_ID);
        assert_eq!(shown["body"].as_str().unwrap().as_bytes(), bodies[1]);
        // For people nothing that drives a terminal.
        let said = stdout(&run_cli(&["events", "show", "3"], &config));
        assert!(said.contains("unknown"), "{said}");
        let bad = said.chars().find(|c| c.is_control() && *c != '\n');
        assert_eq!(bad, None, "{said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_listed_shown_retried_and_arrives() {
    for backend in Backend::ALL {
        let url = store_url(backend).await;
        let broker = fresh_vhost().await;
        let config = DaemonConfig::new(url.url());
        let mut daemon = Daemon::start(&config).await;
        let ghl = Ghl::new();
        let bodies: Vec<_> = (0..2).map(|n| ghl.body("ContactCreate", "l1", n)).collect();
        for body in &bodies {
            assert_eq!(ghl.post(&daemon, body).await.status, 200);
        }
        assert!(daemon.terminate().await.success());
        park_the_first_of_two(backend, url.url()).await;

        let said = stdout(&run_cli(&["dead-letters", "list"], &config));
        assert!(said.contains("refused_by_broker"), "{said}");
        let said = stdout(&run_cli(&["dead-letters", "list", "--json"], &config));
        let letter: serde_json::Value = serde_json::from_str(said.trim()).unwrap();
        assert_eq!(letter["position"], 1);
        assert_eq!(letter["state"], "parked");
        assert_eq!(letter["detail"], "it said \u{1b}[31mno");
        let said = stdout(&run_cli(&["dead-letters", "show", "1"], &config));
        assert!(said.contains("it said \\u{1b}[31mno"), "{said}");
        let output = run_cli(&["dead-letters", "show", "1", "--json"], &config);
        assert_eq!(
            serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap(),
            letter
        );
        // Not a dead letter.
        assert_eq!(
            code(&run_cli(&["dead-letters", "retry", "2"], &config)),
            Some(66)
        );

        let config = config.broker(&broker.url);
        let sink = Sink::open(&broker.url, &[ALL]).await;
        let daemon = Daemon::start(&config).await;
        let output = run_cli(&["dead-letters", "retry", "1"], &config);
        assert_eq!(code(&output), Some(0), "{}", stderr(&output));
        let taken = sink.wait_for(1, SOON).await;
        assert_eq!(taken[0].body, bodies[0], "{backend:?}");
        eventually("the ledger says so", SOON, async || {
            let output = run_cli(&["status", "--json"], &config);
            let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            (status["parked"] == 0 && status["published"] == 2).then_some(())
        })
        .await;
        let said = stdout(&run_cli(&["dead-letters", "list", "--json"], &config));
        assert_eq!(said, "");
        let said = stdout(&run_cli(&["dead-letters", "retry", "--all"], &config));
        assert_eq!(said, "There is no parked dead letter.\n");
        drop(daemon);
    }
}

async fn park_the_first_of_two(backend: Backend, url: &str) {
    let store: Box<dyn Store> = match backend {
        Backend::Sqlite => Box::new(SqliteStore::open(url, Access::Exclusive).await.unwrap()),
        Backend::Postgres => Box::new(PostgresStore::open(url, SOON).await.unwrap()),
    };
    let parked = Parked {
        position: Position(1),
        reason: "refused_by_broker",
        detail: "it said \u{1b}[31mno".to_owned(),
    };
    // The daemon that just ended may still hold the reader for a moment.
    let mut reader = eventually("the reader is free", SOON, async || {
        store.relay_reader().await.unwrap()
    })
    .await;
    reader
        .settle(&done(2, 1, &[parked]), Micros(1_000_000))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_wrong_key_refused_is_admitted_after_mending_it_and_arrives() {
    for backend in Backend::ALL {
        let url = store_url(backend).await;
        let broker = fresh_vhost().await;
        let sink = Sink::open(&broker.url, &[ALL]).await;
        let ghl = Ghl::new();
        let mut config = DaemonConfig::new(url.url()).broker(&broker.url);
        config.keys = vec![Ghl::with_seed([9; 32]).key.public_key_pem()];
        let daemon = Daemon::start(&config).await;
        let contact = ghl.body("ContactCreate", "l1", 1);
        let invoice = ghl.body("InvoicePaid", "l1", 2);
        let forged = b"{\"type\":\"ContactCreate\",\"forged\":true}";
        assert_eq!(ghl.post(&daemon, &contact).await.status, 401);
        assert_eq!(ghl.post(&daemon, &contact).await.status, 401);
        let path = "/webhooks/ghl/InvoicePaid";
        assert_eq!(ghl.post_to(&daemon, path, &invoice).await.status, 401);
        let stranger = Ghl::with_seed([10; 32]);
        assert_eq!(stranger.post(&daemon, forged).await.status, 401);
        let list = |config: &DaemonConfig| -> Vec<serde_json::Value> {
            let said = stdout(&run_cli(&["quarantine", "list", "--json"], config));
            said.lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect()
        };
        let kept = eventually("all are in quarantine", SOON, async || {
            let kept = list(&config);
            (kept.len() == 3).then_some(kept)
        })
        .await;
        // Newest first.
        let entry = &kept[2];
        assert_eq!(entry["reason"], "signature_wrong");
        assert_eq!(entry["path"], "/webhooks/ghl");
        assert_eq!(entry["attempts"], 2, "{kept:?}");
        let id = entry["id"].to_string();
        let output = run_cli(&["quarantine", "show", &id, "--body"], &config);
        assert_eq!(output.stdout, contact);
        let said = stdout(&run_cli(&["quarantine", "show", &id], &config));
        assert!(said.contains("signature_wrong"), "{said}");

        let output = run_cli(&["quarantine", "admit", &id], &config);
        assert_eq!(code(&output), Some(1), "the key is still wrong");
        assert!(stdout(&output).contains("signature_wrong"));
        assert_eq!(list(&config).len(), 3);

        config.keys.push(ghl.key.public_key_pem());
        let output = run_cli(&["quarantine", "admit", &id], &config);
        assert_eq!(code(&output), Some(0), "{}", stderr(&output));
        let output = run_cli(&["quarantine", "admit", "--all"], &config);
        assert_eq!(code(&output), Some(1), "one is forged and stays");
        assert!(
            stderr(&output).contains("1 not admitted"),
            "{}",
            stderr(&output)
        );
        let left = list(&config);
        assert_eq!(left.len(), 1, "{left:?}");
        let taken = sink.wait_for(2, SOON).await;
        let came: Vec<_> = taken
            .iter()
            .map(|delivery| (delivery.kind.as_str(), &delivery.body))
            .collect();
        assert_eq!(
            came,
            [("ContactCreate", &contact), ("InvoicePaid", &invoice)]
        );
        drop(daemon);

        // The retry that comes after the mending is no second event.
        let daemon = Daemon::start(&config).await;
        let answer = ghl.post(&daemon, &contact).await;
        assert_eq!(answer.json()["status"], "duplicate", "{backend:?}");
    }
}

/// On standard error, so that a pipe gets the events alone.
#[tokio::test]
async fn a_bar_is_shown_on_a_terminal_and_nowhere_else() {
    let store = store_url(Backend::Sqlite).await;
    let config = DaemonConfig::new(store.url());
    let daemon = Daemon::start(&config).await;
    let ghl = Ghl::new();
    for n in 0..20 {
        let body = ghl.body("ContactCreate", "tenant", n);
        assert_eq!(ghl.post(&daemon, &body).await.status, 200);
    }
    let shown = run_on_a_terminal(&["events", "export"], &config);
    assert!(shown.contains("/20 "), "{shown:?}");
    drop(daemon);
    let relayed = "update cursors set position = 20, published = 20 where reader = 'relay'";
    execute_on(&store, relayed).await;
    let shown = run_on_a_terminal(&["replay", "--since", "1h", "--dry-run"], &config);
    assert!(shown.contains("/20 "), "{shown:?}");
    let shown = run_on_a_terminal(&["compact"], &config);
    assert!(shown.contains("rewriting the file, "), "{shown:?}");
    let output = run_cli(&["events", "export"], &config);
    assert_eq!(
        (stdout(&output).lines().count(), stderr(&output)),
        (20, String::new())
    );
}
