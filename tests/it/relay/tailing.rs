//! `hookwell tail`.

use super::*;
use crate::harness::daemon::cli;

#[tokio::test]
async fn tail_shows_what_arrives_and_leaves_what_waits() {
    let broker = fresh_vhost().await;
    let store = store_url(Backend::Sqlite).await;
    let config = DaemonConfig::new(store.url()).broker(&broker.url);
    let tail = async |arguments: &[&str]| cli(&[&["tail"], arguments].concat(), &config).await;
    let before = tail(&["--timeout", "5s"]).await;
    assert_eq!(before.status.code(), Some(69));
    let said = String::from_utf8_lossy(&before.stderr);
    assert!(said.contains("hookwell serve"), "{said}");

    let daemon = Daemon::start(&config).await;
    let ghl = Ghl::new();
    eventually("the exchange is declared", WITHIN, async || {
        (daemon.metric("hookwell_relay_active").await == Some(1.0)).then_some(())
    })
    .await;

    // From now on, through a queue of its own; so there is something to see all the time.
    let posting = async {
        for n in 0.. {
            for kind in ["OpportunityCreate", "ContactCreate"] {
                let body = ghl.body(kind, TENANT, n);
                assert_eq!(ghl.post(&daemon, &body).await.status, 200);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let seen = tokio::select! {
        seen = tail(&["--bind", "contact.#", "--count", "3", "--timeout", "30s", "--json"]) => seen,
        () = posting => unreachable!("it goes on until the other is done"),
    };
    let seen = lines_of(&ok(seen));
    assert_eq!(seen.len(), 3);
    for line in &seen {
        assert_eq!(line["type"], "ContactCreate");
        assert_eq!(line["queue"], ALL);
        assert_eq!(line["routing_key"], format!("contact.create.{TENANT}"));
        assert!(line["ms"].as_f64().unwrap() >= 0.0);
        assert_eq!(line["headers"]["ghl-location-id"], TENANT);
        let body: Value = serde_json::from_str(line["body"].as_str().unwrap()).unwrap();
        assert_eq!(body["webhookId"], line["event_key"]);
    }

    // What waits in a queue is shown and stays, however often one looks.
    let (_connection, channel) = channel(&broker.url).await;
    let waiting = waiting_in(&channel, ALL).await;
    assert!(waiting >= 6, "{waiting} waiting");
    for _ in 0..2 {
        let looked = tail(&["--queue", ALL, "--count", "5", "--timeout", "30s", "--json"]).await;
        let ids = |lines: Vec<Value>| lines.into_iter().map(|l| l["event_key"].clone());
        let ids: Vec<_> = ids(lines_of(&ok(looked))).collect();
        assert_eq!(ids.len(), 5);
        eventually("everything is back", WITHIN, async || {
            (waiting <= waiting_in(&channel, ALL).await).then_some(())
        })
        .await;
    }

    let quiet = tail(&["--bind", "nothing.#", "--timeout", "500ms"]).await;
    assert_eq!(quiet.status.code(), Some(0));
    let fewer = tail(&["--bind", "nothing.#", "--count", "2", "--timeout", "500ms"]).await;
    assert_eq!(fewer.status.code(), Some(1));
    let said = String::from_utf8_lossy(&fewer.stderr);
    assert!(said.contains("0 of 2"), "{said}");
    let absent = tail(&["--queue", "no-such-queue", "--timeout", "5s"]).await;
    assert_eq!(absent.status.code(), Some(69));
    let said = String::from_utf8_lossy(&absent.stderr);
    assert!(said.contains("no-such-queue"), "{said}");
}

#[tokio::test]
async fn a_tail_that_is_not_allowed_says_what_was_refused_and_which_permission_it_wants() {
    let broker = fresh_vhost().await;
    let (_connection, channel) = channel(&broker.url).await;
    declare_exchange(&channel, EXCHANGE, ExchangeKind::Topic).await;
    declare_exchange(&channel, UNROUTED, ExchangeKind::Fanout).await;
    declare_queue(&channel, ALL, "quorum", &["#"]).await;
    let looks: [(&[&str], [&str; 3], &[&str]); 4] = [
        (
            &[],
            ["^hookwell", "^hookwell", "^hookwell"],
            &["exchange hookwell.events", "amq.gen", "configure"],
        ),
        (
            &[],
            [".*", ".*", "^amq"],
            &["exchange hookwell.events", "read the exchanges"],
        ),
        (
            &["--queue", ALL],
            [".*", ".*", ""],
            &["queue hookwell.all", "permission to read"],
        ),
        (
            &["--queue", "nowhere"],
            [".*", ".*", ".*"],
            &["queue nowhere", "NOT_FOUND", "list_queues"],
        ),
    ];
    for (arguments, permissions, parts) in looks {
        let url = broker.url_of_a_user(permissions).await;
        let config = DaemonConfig::new("sqlite://unused.db").broker(&url);
        let arguments = [&["tail", "--timeout", "5s"], arguments].concat();
        let output = run_cli(&arguments, &config);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(69), "{said}");
        for part in parts {
            assert!(said.contains(part), "{part} is not in: {said}");
        }
        let refused = said.matches("ACCESS_REFUSED").count() + said.matches("NOT_FOUND").count();
        assert_eq!(refused, 1, "{said}");
        assert!(!said.contains("lost") && !said.contains("secret"), "{said}");
    }
    let url = broker
        .url_of_a_user([".*", ".*", ".*"])
        .await
        .replace("secret", "wrong");
    let output = run_cli(
        &["tail"],
        &DaemonConfig::new("sqlite://unused.db").broker(&url),
    );
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.matches("ACCESS_REFUSED").count(), 1, "{said}");
}
