//! On SQLite the newest keys are in memory, and those before them in a table. Wherever a key is, a delivery
//! that came before is known.

use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, prop_oneof, proptest};

use super::*;
use crate::harness::SqliteFile;
use sqlx::{Connection, Executor};

/// What happens to a store.
#[derive(Debug, Clone)]
enum Deed {
    /// Events with these keys and bodies.
    Append(Vec<(u8, u8)>),
    /// The same by a command beside the daemon.
    AppendBeside(u8, u8),
    /// Every key goes into the table.
    Write,
    /// The daemon ends and another one starts.
    Reopen,
    /// A transaction fails half way.
    Fail,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let some = vec((0..20_u8, 0..3_u8), 1..6);
    let deed = prop_oneof![
        6 => some.prop_map(Deed::Append),
        2 => (0..20_u8, 0..3_u8).prop_map(|(key, body)| Deed::AppendBeside(key, body)),
        2 => Just(Deed::Write),
        1 => Just(Deed::Reopen),
        1 => Just(Deed::Fail),
    ];
    vec(deed, 1..20)
}

/// What was stored under a key, in order: the first body, and others beside it.
type Model = HashMap<u8, Vec<u8>>;

fn delivery(key: u8, body: u8) -> Event {
    event(&format!("w{key}"), format!("body {body}"))
}

/// Says what an append must answer, and remembers it.
fn expect(model: &mut Model, key: u8, body: u8) -> &'static str {
    let bodies = model.entry(key).or_default();
    let known = bodies.contains(&body);
    let is_first = bodies.is_empty();
    if !known {
        bodies.push(body);
    }
    match (known, is_first) {
        (true, _) => "duplicate",
        (false, true) => "new",
        (false, false) => "altered",
    }
}

fn word(appended: &Appended) -> &'static str {
    match appended {
        Appended::New(_) => "new",
        Appended::Duplicate => "duplicate",
        Appended::Altered(..) => "altered",
    }
}

async fn write_all(store: &SqliteStore) {
    // Nothing is behind the relay's cursor, so nothing is removed.
    let cutoff = Cutoff {
        now: Micros(i64::MAX),
        bodies_before: Micros(i64::MAX),
        bodies_before_of: Vec::new(),
        keys_before: Micros(i64::MAX),
        batch: 1,
    };
    let pruned = store.prune(&cutoff).await.unwrap();
    assert_eq!((pruned.events, pruned.keys), (0, 0));
}

async fn open(url: &str) -> SqliteStore {
    let store = SqliteStore::open(url, Access::Exclusive).await.unwrap();
    store.migrate().await.unwrap();
    store
}

async fn play(deeds: Vec<Deed>) {
    let file = SqliteFile::new();
    let url = file.url();
    let mut store = open(&url).await;
    let mut model = Model::new();
    let mut places = 0;
    let check = |model: &mut Model, places: &mut i64, key, body, appended: &Appended| {
        assert_eq!(word(appended), expect(model, key, body), "{key}: {body}");
        if let Appended::New(at) | Appended::Altered(at, _) = appended {
            *places += 1;
            assert_eq!(at.0, *places, "positions have no gaps");
        }
    };
    for deed in deeds {
        match deed {
            Deed::Append(mut events) => {
                // No two of a batch may share a key.
                events.sort_unstable();
                events.dedup_by_key(|(key, _)| *key);
                let batch: Vec<_> = events
                    .iter()
                    .map(|(key, body)| delivery(*key, *body))
                    .collect();
                let appended = store.append(&batch).await.unwrap();
                for ((key, body), appended) in events.into_iter().zip(&appended) {
                    check(&mut model, &mut places, key, body, appended);
                }
            }
            Deed::AppendBeside(key, body) => {
                let beside = SqliteStore::open(&url, Access::Shared).await.unwrap();
                let appended = beside.append(&[delivery(key, body)]).await.unwrap();
                check(&mut model, &mut places, key, body, &appended[0]);
            }
            Deed::Write => write_all(&store).await,
            Deed::Reopen => {
                store.close().await;
                drop(store);
                store = open(&url).await;
            }
            Deed::Fail => {
                let mut other = sqlx::SqliteConnection::connect(&url).await.unwrap();
                let trigger = "create trigger no_room before update on log_head \
                               begin select raise(rollback, 'no room'); end";
                other.execute(trigger).await.unwrap();
                let lost = event(&format!("lost {places}"), "body");
                store.append(&[lost]).await.unwrap_err();
                other.execute("drop trigger no_room").await.unwrap();
            }
        }
    }
    // Each key is found once for each of its bodies, and nothing else is there.
    for (key, bodies) in &model {
        let found = store.positions_of(&format!("w{key}")).await.unwrap();
        assert_eq!(found.len(), 1, "{key}");
        let first = store.event_at(found[0]).await.unwrap().unwrap();
        assert_eq!(first.event.body, format!("body {}", bodies[0]));
    }
    let stored: usize = model.values().map(Vec::len).sum();
    assert_eq!(store.ledger().await.unwrap().accepted, stored as i64);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_delivery_is_known_wherever_its_key_is(deeds in deeds()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(play(deeds));
    }
}

#[tokio::test]
async fn keys_go_into_the_table_by_themselves_and_the_cursor_follows() {
    let file = SqliteFile::new();
    let store = Arc::new(open(&file.url()).await);
    let upkeep = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.upkeep().await }
    });
    // Enough for one go, and a rest that waits for the next one.
    const EVENTS: i64 = 33_280;
    for first in (0..EVENTS).step_by(256) {
        let batch: Vec<_> = (first..first + 256)
            .map(|n| event(&format!("w{n}"), "body"))
            .collect();
        store.append(&batch).await.unwrap();
    }
    let mut other = sqlx::SqliteConnection::connect(&file.url()).await.unwrap();
    eventually("the keys are in the table", DEADLINE, async || {
        let count = "select count(*) from event_keys k join cursors c on c.reader = 'keys' \
                     where k.position <= c.position";
        let written: i64 = sqlx::query_scalar(count)
            .fetch_one(&mut other)
            .await
            .unwrap();
        (32_768 <= written).then_some(())
    })
    .await;
    let again: Vec<_> = (0..EVENTS)
        .step_by(131)
        .map(|n| event(&format!("w{n}"), "body"))
        .collect();
    let known = store.append(&again).await.unwrap();
    assert!(known.iter().all(|one| *one == Appended::Duplicate));
    upkeep.abort();
}

/// After a crash in an overload the log can be far ahead of the table. What is kept in memory stays bounded.
#[tokio::test]
async fn more_keys_than_there_is_room_for_go_into_the_table_first() {
    const EVENTS: i64 = 200_000;
    let file = SqliteFile::new();
    let store = open(&file.url()).await;
    store.append(&[delivery(1, 1)]).await.unwrap();
    drop(store);
    let mut other = sqlx::SqliteConnection::connect(&file.url()).await.unwrap();
    let many = "insert into events with recursive n (n) as (select 2 union all select n + 1 from n where n < $1) \
                select n, 'many-' || n, app_id, event_type, company_id, location_id, entity_id, origin, signature, \
                       received_at, body_hash, body from n, (select * from events where position = 1)";
    sqlx::query(many)
        .bind(EVENTS)
        .execute(&mut other)
        .await
        .unwrap();
    let head = "update log_head set position = $1";
    sqlx::query(head)
        .bind(EVENTS)
        .execute(&mut other)
        .await
        .unwrap();

    let store = open(&file.url()).await;
    let mut first = delivery(1, 1);
    let mut last = first.clone();
    first.key = EventKey::from_stored("many-2".to_owned());
    last.key = EventKey::from_stored(format!("many-{EVENTS}"));
    let appended = store.append(&[first, last, delivery(2, 1)]).await.unwrap();
    let words: Vec<_> = appended.iter().map(word).collect();
    assert_eq!(words, ["duplicate", "duplicate", "new"]);
    let in_the_table: i64 = sqlx::query_scalar("select count(*) from event_keys")
        .fetch_one(&mut other)
        .await
        .unwrap();
    let cursor: i64 = sqlx::query_scalar("select position from cursors where reader = 'keys'")
        .fetch_one(&mut other)
        .await
        .unwrap();
    assert_eq!(in_the_table, cursor);
    assert!(
        EVENTS - cursor <= 131_072,
        "{cursor} of {EVENTS} are in the table"
    );
}
