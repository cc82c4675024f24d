//! Stores that older versions left go on: `fixtures/make.sh` made them with those versions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hookwell::event::{Position, Recorded};
use hookwell::store::{Access, PostgresStore, SqliteStore, Store};
use serde_json::Value;

use crate::harness::daemon::ALL;
use crate::harness::{
    Backend, Daemon, DaemonConfig, Delivery, Ghl, Sink, StoreUrl, eventually, fresh_vhost, on_both,
    run_cli, store, store_url,
};

on_both! {
    a_store_of_the_first_version_is_migrated_and_goes_on
    a_store_with_calls_and_an_installation_without_a_token_is_migrated_and_goes_on
}

const WITHIN: Duration = Duration::from_secs(60);
/// The places in a fixture: these were published, the next one is a dead letter, and these wait.
const PUBLISHED: std::ops::RangeInclusive<i64> = 1..=4;
const DEAD: i64 = 5;
const WAITING: std::ops::RangeInclusive<i64> = 6..=11;
const NEW: i64 = 12;

async fn a_store_of_the_first_version_is_migrated_and_goes_on(backend: Backend) {
    let sql = match backend {
        Backend::Sqlite => include_str!("fixtures/schema-01.sqlite.sql"),
        Backend::Postgres => include_str!("fixtures/schema-01.postgres.sql"),
    };
    let (url, config) = migrated(backend, sql, 1).await;
    goes_on(&url, config).await;
}

async fn a_store_with_calls_and_an_installation_without_a_token_is_migrated_and_goes_on(
    backend: Backend,
) {
    let sql = match backend {
        Backend::Sqlite => include_str!("fixtures/schema-13.sqlite.sql"),
        Backend::Postgres => include_str!("fixtures/schema-13.postgres.sql"),
    };
    let (url, config) = migrated(backend, sql, 13).await;
    let calls = rows(&["follow-ups", "list"], &config);
    // One for each contact that changed, and one for the token that is missing.
    assert_eq!(calls.len(), 6, "{calls:?}");
    for call in &calls {
        assert_eq!(call["state"], "pending", "{call}");
    }
    let installs = rows(&["installs", "list"], &config);
    assert_eq!(installs.len(), 1, "{installs:?}");
    assert_eq!(
        installs[0]["tenant"], "fixtureLocation0000B",
        "{installs:?}"
    );
    assert_eq!(installs[0]["token"], "none", "{installs:?}");
    goes_on(&url, config).await;
    let config = DaemonConfig::new(url.url());
    assert_eq!(rows(&["follow-ups", "list"], &config), calls);
}

/// A fixture of this schema in a fresh store, brought up to date.
async fn migrated(backend: Backend, sql: &str, from: i64) -> (StoreUrl, DaemonConfig) {
    let url = store_url(backend).await;
    if let Some(file) = url.url().strip_prefix("sqlite://") {
        // An empty file is an empty database.
        std::fs::File::create(file).unwrap();
    }
    store::execute_on(&url, sql).await;
    let config = DaemonConfig::new(url.url());
    let output = run_cli(&["migrate"], &config);
    let missing = store::migrations() - from;
    let said = match missing {
        1 => "1 migration ran; the schema is up to date.\n".to_owned(),
        n => format!("{n} migrations ran; the schema is up to date.\n"),
    };
    assert_eq!(String::from_utf8_lossy(&output.stdout), said, "{output:?}");
    (url, config)
}

/// What waits comes in order, what was published does not, keys are known, and the rest can be mended.
async fn goes_on(url: &StoreUrl, config: DaemonConfig) {
    ledger_is(&config, [11, 4, 6, 1, 1]).await;
    let events = events(url).await;
    let broker = fresh_vhost().await;
    let config = config
        .broker(&broker.url)
        // The fixture grows older than what is kept by default.
        .set(
            "store",
            "keep_bodies = \"3650days\"\nkeep_keys = \"3650days\"",
        );
    let mut daemon = Daemon::start(&config).await;
    let sink = Sink::open(&broker.url, &[ALL]).await;
    let arrived = sink.wait_for(WAITING.count(), WITHIN).await;
    let waited = |at: &i64| WAITING.contains(at);
    assert_eq!(by_tenant(&arrived), expected(&events, waited));
    for one in &arrived {
        let event = &events[&position(one)].event;
        assert_eq!(one.message_id, event.key.as_str());
        assert_eq!(one.body, event.body);
    }

    let ghl = Ghl::new();
    for recorded in events.values() {
        let answer = ghl.post(&daemon, &recorded.event.body).await;
        assert!(answer.text().contains("duplicate"), "{}", answer.text());
    }
    let body = ghl.body("ContactCreate", "fixtureLocation0000A", 1);
    assert_eq!(ghl.post(&daemon, &body).await.status, 200);
    let letters = rows(&["dead-letters", "list"], &config);
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0]["position"], DEAD, "{letters:?}");
    assert_eq!(rows(&["quarantine", "list"], &config).len(), 1);
    let retried = run_cli(&["dead-letters", "retry", "--all"], &config);
    assert!(retried.status.success(), "{retried:?}");

    ledger_is(&config, [12, 12, 0, 0, 1]).await;
    let mut arrived: Vec<_> = sink.all().iter().map(position).collect();
    arrived.sort_unstable();
    let wanted = [DEAD].into_iter().chain(WAITING).chain([NEW]);
    assert_eq!(arrived, wanted.collect::<Vec<_>>());
    assert!(daemon.terminate().await.success());
}

/// Every event of a fixture by its place. No daemon may run.
async fn events(url: &StoreUrl) -> BTreeMap<i64, Recorded> {
    let store: Arc<dyn Store> = match url.url().starts_with("sqlite:") {
        true => Arc::new(
            SqliteStore::open(url.url(), Access::Exclusive)
                .await
                .unwrap(),
        ),
        false => Arc::new(PostgresStore::open(url.url(), WITHIN).await.unwrap()),
    };
    let mut events = BTreeMap::new();
    for at in 1..=*WAITING.end() {
        events.insert(at, store.event_at(Position(at)).await.unwrap().unwrap());
    }
    assert!(
        PUBLISHED
            .clone()
            .chain([DEAD])
            .chain(WAITING)
            .eq(events.keys().copied())
    );
    store.close().await;
    events
}

/// Waits until it has these: accepted, published, pending, parked, quarantined.
async fn ledger_is(config: &DaemonConfig, wanted: [i64; 5]) {
    let words = ["accepted", "published", "pending", "parked", "quarantined"];
    eventually(&format!("the ledger has {wanted:?}"), WITHIN, async || {
        let output = run_cli(&["status", "--json"], config);
        // It exits 1 where the ledger does not add up.
        assert!(output.status.success(), "{output:?}");
        let status: Value = serde_json::from_slice(&output.stdout).unwrap();
        (words.map(|word| status[word].as_i64().unwrap()) == wanted).then_some(())
    })
    .await;
}

/// What a command prints with `--json`, a line each.
fn rows(command: &[&str], config: &DaemonConfig) -> Vec<Value> {
    let output = run_cli(&[command, &["--json"]].concat(), config);
    assert!(output.status.success(), "{output:?}");
    let lines = std::str::from_utf8(&output.stdout).unwrap().lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn position(one: &Delivery) -> i64 {
    one.headers["hookwell-position"].parse().unwrap()
}

/// The places of each tenant in the order in which they came.
fn by_tenant(arrived: &[Delivery]) -> BTreeMap<String, Vec<i64>> {
    let mut tenants = BTreeMap::<_, Vec<_>>::new();
    for one in arrived {
        let body: Value = serde_json::from_slice(&one.body).unwrap();
        let tenant = body["locationId"].as_str().unwrap().to_owned();
        tenants.entry(tenant).or_default().push(position(one));
    }
    tenants
}

/// The same in the order of the log.
fn expected(
    events: &BTreeMap<i64, Recorded>,
    which: impl Fn(&i64) -> bool,
) -> BTreeMap<String, Vec<i64>> {
    let mut tenants = BTreeMap::<_, Vec<_>>::new();
    for (at, recorded) in events.iter().filter(|(at, _)| which(at)) {
        let tenant = recorded.event.tenant.location_id.clone().unwrap();
        tenants.entry(tenant).or_default().push(*at);
    }
    tenants
}
