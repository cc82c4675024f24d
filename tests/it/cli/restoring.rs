//! `hookwell restored`: the log of a copy goes on where nothing was given out, and what it lacks is a gap.

use std::time::Duration;

use serde_json::{Value, json};

use super::{code, stderr, stdout};
use crate::harness::daemon::ALL;
use crate::harness::{
    Backend, Daemon, DaemonConfig, Ghl, Sink, eventually, fresh_vhost, on_both, run_cli, store_url,
};

on_both! {
    a_restored_log_goes_on_behind_what_was_given_out
    a_copy_with_waiting_events_is_left_as_it_is
    an_empty_store_is_hardly_the_copy_that_was_meant
}

const WITHIN: Duration = Duration::from_secs(60);
const TENANT: &str = "restoreTenant0000001";

async fn post(ghl: &Ghl, daemon: &Daemon, n: u64) -> String {
    let body = ghl.body_with_id("ContactCreate", TENANT, n, &format!("key-{n}"));
    let answer = ghl.post(daemon, &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text()
}

fn status(config: &DaemonConfig) -> Value {
    let output = run_cli(&["status", "--json"], config);
    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    serde_json::from_str(&stdout(&output)).unwrap()
}

async fn a_restored_log_goes_on_behind_what_was_given_out(backend: Backend) {
    let broker = fresh_vhost().await;
    let store = store_url(backend).await;
    let config = DaemonConfig::new(store.url()).broker(&broker.url);
    let mut daemon = Daemon::start(&config).await;
    let (ghl, sink) = (Ghl::new(), Sink::open(&broker.url, &[ALL]).await);
    for n in 1..=5 {
        post(&ghl, &daemon, n).await;
    }
    sink.wait_for(5, WITHIN).await;
    let raise = ["restored", "--head", "1000", "--yes", "--json"];
    let running = run_cli(&raise, &config);
    assert_eq!(code(&running), Some(69), "{}", stdout(&running));
    let said = stderr(&running);
    assert!(
        said.contains("a daemon runs") || said.contains("another hookwell"),
        "{said}"
    );
    // The planner is a quarter of a second behind; it says so itself where it is not there yet.
    let done = eventually("every reader is at the end", WITHIN, async || {
        assert!(daemon.terminate().await.success());
        let done = run_cli(&raise, &config);
        if code(&done) == Some(0) {
            return Some(done);
        }
        assert!(
            stderr(&done).contains("still to be published or planned"),
            "{}",
            stderr(&done)
        );
        daemon = Daemon::start(&config).await;
        None
    })
    .await;
    let said: Value = serde_json::from_str(&stdout(&done)).unwrap();
    assert_eq!((&said["from"], &said["head"]), (&json!(5), &json!(1000)));
    assert!(said["lacks_since"].is_string(), "{said}");

    let daemon = Daemon::start(&config).await;
    post(&ghl, &daemon, 6).await;
    assert!(post(&ghl, &daemon, 2).await.contains("duplicate"));
    let arrived = sink.wait_for(6, WITHIN).await;
    let last = arrived
        .iter()
        .find(|one| one.message_id == "key-6")
        .unwrap();
    assert_eq!(last.headers["hookwell-position"], "1001");
    let known = eventually("the ledger adds up", WITHIN, async || {
        let known = status(&config);
        (known["published"] == 6).then_some(known)
    })
    .await;
    assert_eq!(
        (&known["accepted"], &known["pending"], &known["mismatch"]),
        (&json!(6), &json!(0), &json!(0))
    );
    // It is repaired however short it was; here nobody has credentials for that.
    let gap = &known["gaps"][0];
    assert_eq!(
        gap["repair"], "no app has credentials to read what changed",
        "{gap}"
    );
    let listed = run_cli(&["events", "list", "--json"], &config);
    assert_eq!(stdout(&listed).lines().count(), 6);
    let listed = run_cli(&["events", "export", "--since", "1h"], &config);
    assert_eq!(stdout(&listed).lines().count(), 6);
    let trail = run_cli(&["audit", "--json"], &config);
    assert!(
        stdout(&trail).contains("\"subject\":\"5 to 1000\""),
        "{}",
        stdout(&trail)
    );
}

async fn a_copy_with_waiting_events_is_left_as_it_is(backend: Backend) {
    let store = store_url(backend).await;
    // Nobody listens there.
    let config = DaemonConfig::new(store.url());
    let mut daemon = Daemon::start(&config).await;
    let ghl = Ghl::new();
    for n in 1..=3 {
        post(&ghl, &daemon, n).await;
    }
    assert!(daemon.terminate().await.success());
    let unasked = run_cli(&["restored"], &config);
    assert_eq!(code(&unasked), Some(64));
    assert!(stderr(&unasked).contains("The newest event of this store is at 3. Go on at 1000003?"));
    let waiting = run_cli(&["restored", "--yes"], &config);
    assert_eq!(code(&waiting), Some(1));
    assert!(
        stderr(&waiting).contains("3 events of the copy are still to be"),
        "{}",
        stderr(&waiting)
    );
    let before = run_cli(&["restored", "--yes", "--head", "2"], &config);
    assert_eq!(code(&before), Some(64), "{}", stderr(&before));
    let known = status(&config);
    assert_eq!(
        (&known["accepted"], &known["pending"]),
        (&json!(3), &json!(3))
    );
}

async fn an_empty_store_is_hardly_the_copy_that_was_meant(backend: Backend) {
    let store = store_url(backend).await;
    let config = DaemonConfig::new(store.url());
    let refused = run_cli(&["restored", "--yes"], &config);
    assert_eq!(code(&refused), Some(66), "{}", stdout(&refused));
    assert!(
        stderr(&refused).contains("store.url"),
        "{}",
        stderr(&refused)
    );
    let daemon = Daemon::start(&config).await;
    let ghl = Ghl::new();
    post(&ghl, &daemon, 1).await;
    let shown = run_cli(&["events", "show", "1"], &config);
    assert_eq!(code(&shown), Some(0), "its log begins at 1 still");
    drop(daemon);

    // Whoever names a place knows.
    let store = store_url(backend).await;
    let config = DaemonConfig::new(store.url());
    let raised = run_cli(&["restored", "--yes", "--head", "1000"], &config);
    assert_eq!(code(&raised), Some(0), "{}", stderr(&raised));
    assert!(stdout(&raised).contains("The next event is at 1001."));
}
