//! What every store promises, as one suite of cases that runs on both backends, and what each of them
//! promises alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hookwell::event::{BodyHash, Event, EventKey, Micros, Origin, Position, Recorded, Tenant};
use hookwell::store::{
    Access, Appended, AuditEntry, Cutoff, Error, EventFilter, EventPage, EventState, Ledger,
    Parked, Plan, PostgresStore, QuarantineBounds, Refused, RelayReader, Selection, SqliteStore,
    Store,
};

use crate::harness::{Backend, StoreUrl, done, eventually, store, store_url};
use census::{
    a_part_of_the_log_is_counted_by_tenant, a_tenant_is_silent_after_twice_its_longest_gap,
    answers_add_up_over_three_days,
};

mod census;
mod durability;
mod erasure;
mod follow_ups;
mod gaps;
mod held;
mod installations;
mod lost_answers;
mod order;
mod partitions;
mod pooler;
mod readers;
mod replays;
mod schema;
mod shrinking;
mod tokens;
mod young_keys;

const DEADLINE: Duration = Duration::from_secs(10);
const NO_LIMIT: i64 = 1 << 40;

/// A fresh, migrated store with its URL.
struct Fixture {
    store: Arc<dyn Store>,
    url: StoreUrl,
}

impl Fixture {
    async fn new(backend: Backend) -> Self {
        let url = store_url(backend).await;
        let store: Arc<dyn Store> = match backend {
            Backend::Sqlite => {
                let store = SqliteStore::open(url.url(), Access::Exclusive)
                    .await
                    .unwrap();
                store.migrate().await.unwrap();
                Arc::new(store)
            }
            Backend::Postgres => {
                let store = postgres(url.url()).await;
                store.migrate().await.unwrap();
                Arc::new(store)
            }
        };
        Self { store, url }
    }

    async fn append(&self, batch: &[Event]) -> Vec<Appended> {
        self.store.append(batch).await.unwrap()
    }

    /// Appends `count` events with keys `w1`, `w2`, ….
    async fn fill(&self, count: i64) -> Vec<Event> {
        let events: Vec<_> = (1..=count)
            .map(|n| event(&format!("w{n}"), format!("body {n}")))
            .collect();
        self.append(&events).await;
        events
    }

    async fn reader(&self) -> Box<dyn RelayReader> {
        // On Postgres a dropped reader holds its lock until the server has seen its connection close.
        eventually("the reader is free", DEADLINE, async || {
            self.store.relay_reader().await.unwrap()
        })
        .await
    }

    /// The ledger, which has to balance at any moment.
    async fn ledger(&self) -> Ledger {
        let ledger = self.store.ledger().await.unwrap();
        assert_eq!(ledger.mismatch(), 0, "{ledger:?}");
        ledger
    }

    async fn counts(&self) -> (i64, i64, i64, i64) {
        let ledger = self.ledger().await;
        (
            ledger.accepted,
            ledger.published,
            ledger.pending,
            ledger.parked,
        )
    }

    async fn positions(&self) -> Vec<i64> {
        let filter = EventFilter {
            limit: 10_000,
            ..EventFilter::default()
        };
        let mut positions: Vec<_> = self
            .store
            .events(&filter)
            .await
            .unwrap()
            .rows
            .iter()
            .map(|listed| listed.position.0)
            .collect();
        positions.reverse();
        positions
    }

    /// The planner has seen everything, and calls for nothing.
    async fn planned(&self) {
        let upto = Position(self.ledger().await.accepted);
        let plan = Plan {
            upto,
            ..Plan::default()
        };
        let mut planner = eventually("the planner's reader is free", DEADLINE, async || {
            self.store.plan_reader().await.unwrap()
        })
        .await;
        planner.settle(&plan, Micros(0)).await.unwrap();
    }

    /// Prunes until nothing more goes, a few rows at a time; how many events and keys went. The planner has
    /// seen everything by then: it is the relay that these cases are about.
    async fn prune(&self, bodies_before: i64, keys_before: i64) -> (u64, u64) {
        self.prune_by(3, bodies_before, keys_before).await
    }

    /// The same, so many rows at a time.
    async fn prune_by(&self, batch: i64, bodies_before: i64, keys_before: i64) -> (u64, u64) {
        self.planned().await;
        let cutoff = Cutoff {
            now: Micros(bodies_before),
            bodies_before: Micros(bodies_before),
            bodies_before_of: Vec::new(),
            keys_before: Micros(keys_before),
            batch,
        };
        let (mut events, mut keys, mut idle) = (0, 0, 0);
        // A sweep over the keys has calls that find nothing; a few dozen go over all of them.
        while idle < 50 {
            let pruned = self.store.prune(&cutoff).await.unwrap();
            events += pruned.events;
            keys += pruned.keys;
            idle = if pruned.events + pruned.keys == 0 {
                idle + 1
            } else {
                0
            };
        }
        (events, keys)
    }
}

async fn postgres(url: &str) -> PostgresStore {
    PostgresStore::open(url, DEADLINE).await.unwrap()
}

fn event(key: &str, body: impl Into<Bytes>) -> Event {
    let body = body.into();
    Event {
        key: EventKey::from_stored(key.to_owned()),
        app_id: "app".to_owned(),
        event_type: "ContactCreate".to_owned(),
        tenant: Tenant {
            company_id: None,
            location_id: Some("location".to_owned()),
        },
        entity_id: Some("contact".to_owned()),
        origin: Origin::Webhook,
        signature: Some("c2lnbmF0dXJl".to_owned()),
        received_at: Micros(1_000),
        body_hash: BodyHash::of(&body),
        body,
    }
}

fn parked(position: i64) -> Parked {
    Parked {
        position: Position(position),
        reason: "refused_by_broker",
        detail: "too large".to_owned(),
    }
}

fn places(page: &EventPage) -> Vec<i64> {
    page.rows.iter().map(|listed| listed.position.0).collect()
}

fn positions(events: &[Recorded]) -> Vec<i64> {
    events.iter().map(|recorded| recorded.position.0).collect()
}

async fn a_repeated_event_is_a_duplicate(f: &Fixture) {
    let w1 = event("w1", "a");
    assert_eq!(
        f.append(std::slice::from_ref(&w1)).await,
        [Appended::New(Position(1))]
    );
    assert_eq!(
        f.append(std::slice::from_ref(&w1)).await,
        [Appended::Duplicate]
    );
    assert_eq!(
        f.append(&[w1.clone(), event("w2", "b")]).await,
        [Appended::Duplicate, Appended::New(Position(2))]
    );
    assert_eq!(f.positions().await, [1, 2]);
    assert_eq!(
        f.store.event_at(Position(1)).await.unwrap().unwrap().event,
        w1
    );
}

async fn the_same_id_with_other_bytes_is_kept_under_a_key_of_its_own(f: &Fixture) {
    let (first, other) = (event("w1", "first"), event("w1", "other"));
    let key = first.key.altered(&other.body_hash);
    f.append(std::slice::from_ref(&first)).await;
    assert_eq!(
        f.append(std::slice::from_ref(&other)).await,
        [Appended::Altered(Position(2), key.clone())]
    );
    let stored = f.store.event_at(Position(2)).await.unwrap().unwrap().event;
    assert_eq!(stored.key, key);
    assert_eq!(stored.body, other.body);
    // From now on both are known, in whatever company they come.
    let batch = [event("w0", "0"), other.clone(), event("w3", "3")];
    assert_eq!(
        f.append(&batch).await,
        [
            Appended::New(Position(3)),
            Appended::Duplicate,
            Appended::New(Position(4))
        ]
    );
    assert_eq!(f.append(&[first]).await, [Appended::Duplicate]);
    let third = event("w1", "third");
    assert_eq!(
        f.append(std::slice::from_ref(&third)).await,
        [Appended::Altered(
            Position(5),
            third.key.altered(&third.body_hash)
        )]
    );
}

async fn one_key_of_two_apps_is_two_events(f: &Fixture) {
    let mine = event("w1", "a");
    let yours = Event {
        app_id: "another".to_owned(),
        ..mine.clone()
    };
    assert_eq!(
        f.append(&[mine.clone(), yours.clone()]).await,
        [Appended::New(Position(1)), Appended::New(Position(2))]
    );
    assert_eq!(
        f.append(&[yours, mine]).await,
        [Appended::Duplicate, Appended::Duplicate]
    );
    // Known to others, with these bytes and with other ones.
    for (n, body) in [(3, "a"), (4, "b")] {
        let theirs = Event {
            app_id: format!("app {n}"),
            ..event("w1", body)
        };
        assert_eq!(f.append(&[theirs]).await, [Appended::New(Position(n))]);
    }
    assert_eq!(
        f.store.positions_of("w1").await.unwrap(),
        [1, 2, 3, 4].map(Position)
    );
}

async fn a_batch_keeps_its_order_and_positions_have_no_gaps(f: &Fixture) {
    f.append(&[]).await;
    let known: Vec<_> = (0..500)
        .step_by(3)
        .map(|n| event(&format!("w{n:03}"), format!("{n}")))
        .collect();
    // The sizes go over those of multi-row statements.
    for size in [1, 2, 7, 33, 124] {
        let done = f.positions().await.len();
        f.append(&known[done..(done + size).min(known.len())]).await;
    }
    assert_eq!(f.positions().await.len(), known.len());
    let batch: Vec<_> = (0..500)
        .rev()
        .map(|n| event(&format!("w{n:03}"), format!("{n}")))
        .collect();
    let outcomes = f.append(&batch).await;
    let mut next = known.len() as i64;
    for (event, outcome) in batch.iter().zip(&outcomes) {
        if known.contains(event) {
            assert_eq!(*outcome, Appended::Duplicate, "{}", event.key);
        } else {
            next += 1;
            assert_eq!(*outcome, Appended::New(Position(next)), "{}", event.key);
        }
    }
    assert_eq!(f.positions().await, (1..=500).collect::<Vec<_>>());
    let read = f
        .reader()
        .await
        .read(Position(known.len() as i64), 1_000, NO_LIMIT)
        .await
        .unwrap();
    let keys: Vec<_> = read
        .iter()
        .map(|recorded| recorded.event.key.clone())
        .collect();
    let fresh: Vec<_> = batch
        .iter()
        .filter(|event| !known.contains(event))
        .map(|event| event.key.clone())
        .collect();
    assert_eq!(keys, fresh);
}

async fn keys_outlive_bodies(f: &Fixture) {
    let events = f.fill(10).await;
    f.reader()
        .await
        .settle(&done(10, 10, &[]), Micros(2_000))
        .await
        .unwrap();
    assert_eq!(f.prune(1_001, 0).await, (10, 0));
    assert_eq!(f.store.event_at(Position(3)).await.unwrap(), None);
    assert_eq!(f.append(&events).await, vec![Appended::Duplicate; 10]);
    assert_eq!(f.store.positions_of("w3").await.unwrap(), [Position(3)]);
    // Positions go on where they were, although no event is left.
    assert_eq!(
        f.append(&[event("later", "l")]).await,
        [Appended::New(Position(11))]
    );
    assert_eq!(f.counts().await, (11, 10, 1, 0));
}

async fn retention_never_touches_unread_events_nor_dead_letters(f: &Fixture) {
    f.fill(10).await;
    assert_eq!(f.prune(i64::MAX, i64::MAX).await, (0, 0));
    f.reader()
        .await
        .settle(&done(6, 5, &[parked(3)]), Micros(2_000))
        .await
        .unwrap();
    assert_eq!(f.prune(i64::MAX, 0).await, (5, 0));
    assert_eq!(f.positions().await, [3, 7, 8, 9, 10]);
    assert_eq!(f.counts().await, (10, 5, 4, 1));
    let letter = f.store.dead_letter(Position(3)).await.unwrap().unwrap();
    assert_eq!(letter.event_key, "w3");
}

async fn retention_keeps_what_is_not_old_enough(f: &Fixture) {
    let mut events: Vec<_> = (1..=10).map(|n| event(&format!("w{n}"), "b")).collect();
    for (event, n) in events.iter_mut().zip(1..) {
        event.received_at = Micros(n * 100);
    }
    f.append(&events).await;
    f.reader()
        .await
        .settle(&done(10, 10, &[]), Micros(2_000))
        .await
        .unwrap();
    assert_eq!(f.prune(500, 0).await, (4, 0));
    assert_eq!(f.positions().await, [5, 6, 7, 8, 9, 10]);
}

async fn keys_go_only_after_their_time_and_behind_the_cursor(f: &Fixture) {
    let mut events: Vec<_> = (1..=20).map(|n| event(&format!("w{n}"), "b")).collect();
    for (event, n) in events.iter_mut().zip(1..) {
        event.received_at = Micros(n * 100);
    }
    f.append(&events).await;
    f.reader()
        .await
        .settle(&done(10, 10, &[]), Micros(5_000))
        .await
        .unwrap();
    assert_eq!(f.prune(0, 500).await, (0, 4));
    assert_eq!(f.prune(0, i64::MAX).await, (0, 6));
    for (n, event) in (1..).zip(&events) {
        let known = !f
            .store
            .positions_of(event.key.as_str())
            .await
            .unwrap()
            .is_empty();
        assert_eq!(known, 10 < n, "{}", event.key);
    }
}

async fn reading_is_bounded_by_count_and_bytes(f: &Fixture) {
    let sizes = [100, 100, 100, 100, 5_000, 100, 100];
    let batch: Vec<_> = (1..)
        .zip(sizes)
        .map(|(n, size)| event(&format!("w{n}"), vec![b'x'; size]))
        .collect();
    f.append(&batch).await;
    let mut reader = f.reader().await;
    // The event that reaches the bound is the last one, and there is always one.
    let rows: [(i64, i64, i64, &[i64]); 8] = [
        (0, 3, NO_LIMIT, &[1, 2, 3]),
        (0, 100, NO_LIMIT, &[1, 2, 3, 4, 5, 6, 7]),
        (0, 100, 200, &[1, 2]),
        (0, 100, 150, &[1, 2]),
        (0, 100, 1, &[1]),
        (4, 100, 1_000, &[5]),
        (3, 100, 1_000, &[4, 5]),
        (7, 100, 1_000, &[]),
    ];
    for (after, limit, bytes, expected) in rows {
        let read = reader.read(Position(after), limit, bytes).await.unwrap();
        assert_eq!(
            positions(&read),
            expected,
            "after {after}, {limit} events, {bytes} bytes"
        );
    }
}

async fn the_cursor_never_moves_back(f: &Fixture) {
    f.fill(10).await;
    let mut reader = f.reader().await;
    assert_eq!(reader.position().await.unwrap(), Position(0));
    for (upto, published) in [(5, 5), (3, 3), (5, 5)] {
        reader
            .settle(&done(upto, published, &[]), Micros(1))
            .await
            .unwrap();
        assert_eq!(reader.position().await.unwrap(), Position(5));
        assert_eq!(f.counts().await, (10, 5, 5, 0));
    }
    drop(reader);
    assert_eq!(f.reader().await.position().await.unwrap(), Position(5));
}

async fn the_ledger_balances_at_each_step_of_a_dead_letters_life(f: &Fixture) {
    f.fill(5).await;
    assert_eq!(f.counts().await, (5, 0, 5, 0));
    let mut reader = f.reader().await;
    reader
        .settle(&done(4, 2, &[parked(2), parked(4)]), Micros(7))
        .await
        .unwrap();
    assert_eq!(f.counts().await, (5, 2, 1, 2));
    let letters = f.store.dead_letters(10).await.unwrap();
    assert_eq!(
        letters
            .iter()
            .map(|letter| letter.position.0)
            .collect::<Vec<_>>(),
        [2, 4]
    );
    let letter = &letters[0];
    assert_eq!(
        (
            letter.event_key.as_str(),
            letter.reason.as_str(),
            letter.detail.as_str()
        ),
        ("w2", "refused_by_broker", "too large")
    );
    assert_eq!(
        (letter.parked_at, letter.retries, letter.state.as_str()),
        (Micros(7), 0, "parked")
    );
    assert_eq!(
        positions(&reader.retries(Position(0), 10).await.unwrap()),
        [0_i64; 0]
    );

    let one = Selection::One(Position(2));
    assert_eq!(f.store.retry_dead_letters(one).await.unwrap(), 1);
    // Asked for already, or not there at all.
    assert_eq!(f.store.retry_dead_letters(one).await.unwrap(), 0);
    assert_eq!(
        f.store
            .retry_dead_letters(Selection::One(Position(1)))
            .await
            .unwrap(),
        0
    );
    assert_eq!(
        positions(&reader.retries(Position(0), 10).await.unwrap()),
        [2]
    );
    assert_eq!(f.counts().await, (5, 2, 1, 2));
    // It is a dead letter still, and told apart from the one that waits for a person.
    assert_eq!(f.ledger().await.retry, 1);
    for (state, expected) in [(EventState::Retry, [2]), (EventState::Parked, [4])] {
        let filter = EventFilter {
            state: Some(state),
            ..EventFilter::default()
        };
        let page = f.store.events(&filter).await.unwrap();
        assert_eq!(places(&page), expected);
        assert_eq!((page.rows[0].state, page.next), (state, None));
    }

    reader
        .settle_retry(Position(2), Some(&parked(2)), Micros(8))
        .await
        .unwrap();
    let letter = f.store.dead_letter(Position(2)).await.unwrap().unwrap();
    assert_eq!(
        (letter.state.as_str(), letter.retries, letter.parked_at),
        ("parked", 1, Micros(8))
    );
    assert_eq!(f.counts().await, (5, 2, 1, 2));
    assert_eq!(f.ledger().await.retry, 0);

    assert_eq!(f.store.retry_dead_letters(Selection::All).await.unwrap(), 2);
    assert_eq!(
        positions(&reader.retries(Position(0), 1).await.unwrap()),
        [2]
    );
    assert_eq!(
        positions(&reader.retries(Position(2), 10).await.unwrap()),
        [4]
    );
    assert_eq!(
        positions(&reader.retries(Position(0), 10).await.unwrap()),
        [2, 4]
    );
    for (position, left) in [(2, 1), (4, 0)] {
        reader
            .settle_retry(Position(position), None, Micros(9))
            .await
            .unwrap();
        assert_eq!(f.store.dead_letter(Position(position)).await.unwrap(), None);
        assert_eq!(f.counts().await, (5, 4 - left, 1, left));
    }
    reader.settle(&done(5, 1, &[]), Micros(9)).await.unwrap();
    assert_eq!(f.counts().await, (5, 5, 0, 0));
}

async fn the_ledger_knows_the_oldest_waiting_event(f: &Fixture) {
    assert_eq!(f.ledger().await.oldest_pending_at, None);
    let mut events: Vec<_> = (1..=3).map(|n| event(&format!("w{n}"), "b")).collect();
    for (event, n) in events.iter_mut().zip(1..) {
        event.received_at = Micros(n * 100);
    }
    f.append(&events).await;
    assert_eq!(f.ledger().await.oldest_pending_at, Some(Micros(100)));
    f.reader()
        .await
        .settle(&done(2, 2, &[]), Micros(1))
        .await
        .unwrap();
    assert_eq!(f.ledger().await.oldest_pending_at, Some(Micros(300)));
}

fn refused(n: u8, seen_at: i64, body: impl Into<Bytes>) -> Refused {
    Refused {
        fingerprint: [n; 32],
        reason: "signature_wrong",
        path: format!("/webhooks/{n}"),
        signature: Some("s".to_owned()),
        legacy_signature: None,
        seen_at: Micros(seen_at),
        body: body.into(),
    }
}

async fn the_quarantine_keeps_the_newest_within_its_bounds(f: &Fixture) {
    let roomy = QuarantineBounds {
        entries: 100,
        bytes: NO_LIMIT,
    };
    let paths = async || -> Vec<String> {
        let kept = f.store.quarantined(100).await.unwrap();
        kept.into_iter().map(|entry| entry.path).collect()
    };
    let batch: Vec<_> = (1..=5)
        .map(|n| refused(n, i64::from(n), vec![n; 100]))
        .collect();
    f.store
        .quarantine(
            &batch,
            QuarantineBounds {
                entries: 3,
                ..roomy
            },
        )
        .await
        .unwrap();
    assert_eq!(paths().await, ["/webhooks/5", "/webhooks/4", "/webhooks/3"]);
    assert_eq!(f.ledger().await.quarantined, 3);

    // A repeat is the same entry, and the newest one now.
    f.store
        .quarantine(&[refused(3, 10, vec![3; 100])], roomy)
        .await
        .unwrap();
    assert_eq!(paths().await, ["/webhooks/3", "/webhooks/5", "/webhooks/4"]);
    let listed = f.store.quarantined(1).await.unwrap().remove(0);
    assert_eq!(
        (listed.attempts, listed.first_seen_at, listed.last_seen_at),
        (2, Micros(3), Micros(10))
    );
    assert_eq!(listed.body, [0_u8; 0], "a list has no bodies");
    let one = f.store.quarantined_one(listed.id).await.unwrap().unwrap();
    assert_eq!(one.body, [3; 100]);
    assert_eq!(
        (one.reason.as_str(), one.signature.as_deref()),
        ("signature_wrong", Some("s"))
    );

    f.store
        .quarantine(
            &[refused(6, 11, vec![6; 100])],
            QuarantineBounds {
                bytes: 250,
                ..roomy
            },
        )
        .await
        .unwrap();
    assert_eq!(paths().await, ["/webhooks/6", "/webhooks/3"]);

    f.store.release_quarantined(listed.id).await.unwrap();
    assert_eq!(paths().await, ["/webhooks/6"]);
    assert_eq!(f.store.quarantined_one(listed.id).await.unwrap(), None);
}

async fn bytes_out_are_bytes_in(f: &Fixture) {
    let mut noise = 1_u32;
    let big: Vec<u8> = (0..1 << 20)
        .map(|_| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (noise >> 24) as u8
        })
        .collect();
    let bodies = [
        Vec::new(),
        b"\0".to_vec(),
        b"{\"a\":\"\0\"}".to_vec(),
        b"\xff\xfe\xc3\x28".to_vec(),
        (0..=255).collect(),
        "{\"name\":\"J\u{f6}rg \u{1f980}\"} \r\n\t ".into(),
        b"\\x00 '; drop table events; --".to_vec(),
        big,
    ];
    let batch: Vec<_> = (1..)
        .zip(&bodies)
        .map(|(n, body)| event(&format!("w{n}"), body.clone()))
        .collect();
    f.append(&batch).await;
    let read = f
        .reader()
        .await
        .read(Position(0), 100, NO_LIMIT)
        .await
        .unwrap();
    for (n, (body, recorded)) in bodies.iter().zip(&read).enumerate() {
        assert!(recorded.event.body == *body, "body {n} read");
        assert_eq!(recorded.event.body_hash, BodyHash::of(body));
        let found = f.store.event_at(recorded.position).await.unwrap().unwrap();
        assert!(found.event.body == *body, "body {n} found");
    }
    assert_eq!(read.len(), bodies.len());
    let bounds = QuarantineBounds {
        entries: 100,
        bytes: NO_LIMIT,
    };
    for (n, body) in (1..).zip(&bodies) {
        f.store
            .quarantine(&[refused(n, i64::from(n), body.clone())], bounds)
            .await
            .unwrap();
        let id = f.store.quarantined(1).await.unwrap()[0].id;
        let kept = f.store.quarantined_one(id).await.unwrap().unwrap();
        assert!(kept.body == *body, "body {n} in quarantine");
    }
}

async fn strange_text_is_just_text(f: &Fixture) {
    let strange = [
        "'; drop table events; --",
        "\" or \"1\"=\"1",
        "\\x00\\n\\",
        "$1 $2 :name ? %s {}",
        "{a,\"b\",NULL}",
        "J\u{f6}rg \u{1f980} \u{202e}evil",
        "tab\tline\r\nend\u{1b}[31m\u{9b}",
        "null",
        "",
    ];
    let mut events = Vec::new();
    for (n, text) in strange.iter().enumerate() {
        let text = (*text).to_owned();
        events.push(Event {
            key: EventKey::from_stored(format!("{n}{text}")),
            app_id: text.clone(),
            event_type: text.clone(),
            tenant: Tenant {
                company_id: Some(text.clone()),
                location_id: Some(text.clone()),
            },
            entity_id: Some(text.clone()),
            signature: Some(text),
            ..event("x", "b")
        });
    }
    events.push(Event {
        tenant: Tenant::default(),
        entity_id: None,
        signature: None,
        ..event("nothing", "b")
    });
    f.append(&events).await;
    assert_eq!(
        f.append(&events).await,
        vec![Appended::Duplicate; events.len()]
    );
    let mut reader = f.reader().await;
    let read = reader.read(Position(0), 100, NO_LIMIT).await.unwrap();
    let stored: Vec<_> = read.into_iter().map(|recorded| recorded.event).collect();
    assert_eq!(stored, events);
    for (n, text) in (1..).zip(strange) {
        assert_eq!(
            f.store
                .positions_of(&format!("{}{text}", n - 1))
                .await
                .unwrap(),
            [Position(n)]
        );
        let filter = EventFilter {
            event_type: Some(text.to_owned()),
            tenant: Some(text.to_owned()),
            limit: 10,
            ..EventFilter::default()
        };
        assert_eq!(
            places(&f.store.events(&filter).await.unwrap()),
            [n],
            "{text:?}"
        );
        let letter = Parked {
            position: Position(n),
            reason: "unroutable",
            detail: text.to_owned(),
        };
        reader
            .settle(&done(n, 0, &[letter]), Micros(1))
            .await
            .unwrap();
        let kept = f.store.dead_letter(Position(n)).await.unwrap().unwrap();
        assert_eq!(kept.detail, text);
        let entry = Refused {
            path: text.to_owned(),
            signature: Some(text.to_owned()),
            legacy_signature: Some(text.to_owned()),
            ..refused(n as u8, n, "b")
        };
        let bounds = QuarantineBounds {
            entries: 1,
            bytes: NO_LIMIT,
        };
        f.store.quarantine(&[entry], bounds).await.unwrap();
        let kept = f.store.quarantined(10).await.unwrap().remove(0);
        assert_eq!(
            [
                Some(kept.path.as_str()),
                kept.signature.as_deref(),
                kept.legacy_signature.as_deref()
            ],
            [Some(text); 3]
        );
    }
}

async fn events_are_filtered_newest_first(f: &Fixture) {
    let make = |key: &str, event_type: &str, company: Option<&str>, location: Option<&str>| Event {
        event_type: event_type.to_owned(),
        tenant: Tenant {
            company_id: company.map(str::to_owned),
            location_id: location.map(str::to_owned),
        },
        ..event(key, "b")
    };
    f.append(&[
        make("w1", "ContactCreate", None, Some("l1")),
        make("w2", "INSTALL", Some("c1"), None),
        make("w3", "ContactCreate", Some("c1"), Some("l2")),
        make("w4", "ContactUpdate", None, Some("l1")),
        make("w5", "ContactCreate", None, Some("l1")),
    ])
    .await;
    type Row<'a> = (
        Option<&'a str>,
        Option<&'a str>,
        Option<i64>,
        i64,
        &'a [i64],
    );
    let rows: [Row<'_>; 8] = [
        (None, None, None, 10, &[5, 4, 3, 2, 1]),
        (None, None, None, 2, &[5, 4]),
        (None, None, Some(4), 2, &[3, 2]),
        (Some("ContactCreate"), None, None, 10, &[5, 3, 1]),
        (None, Some("l1"), None, 10, &[5, 4, 1]),
        (None, Some("c1"), None, 10, &[3, 2]),
        (Some("ContactCreate"), Some("l1"), Some(5), 10, &[1]),
        (Some("Nothing"), None, None, 10, &[]),
    ];
    for (event_type, tenant, before, limit, expected) in rows {
        let filter = EventFilter {
            event_type: event_type.map(str::to_owned),
            tenant: tenant.map(str::to_owned),
            before: before.map(Position),
            limit,
            ..EventFilter::default()
        };
        let found = f.store.events(&filter).await.unwrap();
        assert_eq!(places(&found), expected, "{filter:?}");
    }
}

async fn a_page_looks_at_a_part_and_says_where_to_go_on(f: &Fixture) {
    f.fill(30).await;
    let mut reader = f.reader().await;
    let parked = [3, 20].map(|n| Parked {
        position: Position(n),
        reason: "unroutable",
        detail: "nobody".to_owned(),
    });
    reader
        .settle(&done(24, 22, &parked), Micros(1))
        .await
        .unwrap();
    let states = async |state, look, limit, before: Option<i64>| {
        let filter = EventFilter {
            state: Some(state),
            look,
            limit,
            before: before.map(Position),
            ..EventFilter::default()
        };
        let page = f.store.events(&filter).await.unwrap();
        (places(&page), page.next.map(|next| next.0))
    };
    let all = 1_000;
    assert_eq!(
        states(EventState::Parked, all, 10, None).await,
        (vec![20, 3], None)
    );
    // Of those, too, only so many are looked at, wherever they are.
    assert_eq!(
        states(EventState::Parked, 1, 10, None).await,
        (vec![20], Some(20))
    );
    assert_eq!(
        states(EventState::Parked, 1, 10, Some(20)).await,
        (vec![3], Some(3))
    );
    assert_eq!(
        states(EventState::Parked, 1, 10, Some(3)).await,
        (vec![], None)
    );
    assert_eq!(
        states(EventState::Parked, 1, 1, None).await,
        (vec![20], Some(20))
    );
    assert_eq!(
        states(EventState::Held, all, 10, None).await,
        (vec![], None)
    );
    assert_eq!(
        states(EventState::Pending, all, 3, None).await,
        (vec![30, 29, 28], Some(28))
    );
    assert_eq!(
        states(EventState::Pending, all, 10, Some(28)).await,
        (vec![27, 26, 25], None)
    );
    // What is published is behind the cursor: what waits before it is not looked at.
    assert_eq!(
        states(EventState::Published, 5, 10, None).await,
        (vec![24, 23, 22, 21], Some(20))
    );
    assert_eq!(
        states(EventState::Published, 5, 10, Some(20)).await,
        (vec![19, 18, 17, 16, 15], Some(15))
    );

    // Bodies behind the cursor go, but for the parked ones: pages go on over the hole.
    f.prune(i64::MAX, 0).await;
    assert_eq!(f.positions().await, [3, 20, 25, 26, 27, 28, 29, 30]);
    let by = async |look, before: Option<i64>| {
        let filter = EventFilter {
            look,
            limit: 100,
            before: before.map(Position),
            ..EventFilter::default()
        };
        let page = f.store.events(&filter).await.unwrap();
        (places(&page), page.next.map(|next| next.0))
    };
    assert_eq!(by(7, None).await, (vec![30, 29, 28, 27, 26, 25], Some(21)));
    assert_eq!(by(7, Some(21)).await, (vec![20], Some(4)));
    assert_eq!(by(7, Some(4)).await, (vec![3], None));

    let text = |text: &str| EventFilter {
        text: Some(text.to_owned()),
        ..EventFilter::default()
    };
    for (wanted, expected) in [
        ("body 2", vec![29, 28, 27, 26, 25, 20]),
        ("y 30", vec![30]),
        ("BODY", vec![]),
        ("%", vec![]),
        ("\u{e9}", vec![]),
    ] {
        assert_eq!(
            places(&f.store.events(&text(wanted)).await.unwrap()),
            expected,
            "{wanted}"
        );
    }
    let one = EventFilter {
        after: Position(19),
        before: Some(Position(21)),
        ..EventFilter::default()
    };
    let page = f.store.events(&one).await.unwrap();
    let listed = &page.rows[0];
    assert_eq!(
        (listed.state, listed.body_bytes, listed.key.as_str()),
        (EventState::Parked, 7, "w20")
    );
    assert_eq!(page.next, None);
}

async fn the_audit_trail_is_newest_first(f: &Fixture) {
    for n in 1..=5 {
        let id = f
            .store
            .note_audit(
                "ada",
                "retry_dead_letters",
                &format!("position {n}"),
                n,
                Micros(n),
            )
            .await
            .unwrap();
        assert_eq!(id, n);
    }
    let ids = |entries: &[AuditEntry]| entries.iter().map(|entry| entry.id).collect::<Vec<_>>();
    let newest = f.store.audit_trail(None, 2).await.unwrap();
    assert_eq!(ids(&newest), [5, 4]);
    assert_eq!(
        ids(&f.store.audit_trail(Some(4), 10).await.unwrap()),
        [3, 2, 1]
    );
    let last = &newest[0];
    assert_eq!(
        (
            last.who.as_str(),
            last.subject.as_str(),
            last.count,
            last.at
        ),
        ("ada", "position 5", 5, Micros(5))
    );
}

async fn an_event_is_found_by_key_and_by_position(f: &Fixture) {
    let events = f.fill(3).await;
    assert_eq!(f.store.positions_of("w2").await.unwrap(), [Position(2)]);
    assert_eq!(f.store.positions_of("w9").await.unwrap(), []);
    let found = f.store.event_at(Position(2)).await.unwrap().unwrap();
    assert_eq!((found.position, &found.event), (Position(2), &events[1]));
    for nowhere in [0, 4, -1, i64::MAX] {
        assert_eq!(f.store.event_at(Position(nowhere)).await.unwrap(), None);
    }
    f.store.check().await.unwrap();
}

async fn of_the_same_events_appended_at_once_each_is_new_once(f: &Fixture) {
    let batch: Vec<_> = (0..40).map(|n| event(&format!("w{n}"), "b")).collect();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..6 {
        let store = another(f).await;
        let mut batch = batch.clone();
        batch.rotate_left(n * 7);
        tasks.spawn(async move {
            let outcomes = store.append(&batch).await.unwrap();
            let keys = batch.into_iter().map(|event| event.key.to_string());
            keys.zip(outcomes).collect::<Vec<_>>()
        });
    }
    let mut new: BTreeMap<String, usize> = BTreeMap::new();
    while let Some(outcomes) = tasks.join_next().await {
        for (key, outcome) in outcomes.unwrap() {
            *new.entry(key).or_default() += usize::from(outcome != Appended::Duplicate);
        }
    }
    assert_eq!(new.len(), 40);
    assert!(new.values().all(|count| *count == 1), "{new:?}");
    assert_eq!(f.positions().await, (1..=40).collect::<Vec<_>>());
}

async fn positions_become_visible_in_order(f: &Fixture) {
    let mut stores = Vec::new();
    for _ in 0..order::WRITERS {
        stores.push(another(f).await);
    }
    order::watch(stores, f.store.as_ref(), 60).await.unwrap();
}

/// A store of one's own on Postgres, as another daemon has; on SQLite there is one for all.
async fn another(f: &Fixture) -> Arc<dyn Store> {
    match f.url.url().starts_with("postgres") {
        true => Arc::new(postgres(f.url.url()).await),
        false => Arc::clone(&f.store),
    }
}

macro_rules! store_suite {
    ($($case:ident)*) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::$case(&super::Fixture::new(super::Backend::Sqlite).await).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::$case(&super::Fixture::new(super::Backend::Postgres).await).await;
            })*
        }
    };
}

use follow_ups::{
    a_budget_that_was_all_under_way_comes_back_after_its_claims,
    a_call_behind_one_that_is_cancelled_is_made_at_once,
    a_call_behind_one_that_is_erased_is_made_at_once,
    a_call_is_claimed_by_one_and_ended_under_its_claim,
    a_call_with_the_companys_token_is_not_made_again_for_a_location_that_went,
    a_call_without_its_event_is_parked_and_holds_up_nobody,
    a_claim_whose_time_is_over_is_somebody_elses, a_claim_without_a_call_costs_no_budget,
    a_companys_token_wakes_the_calls_of_its_locations,
    a_late_uninstall_cancels_nothing_of_whoever_is_installed_again,
    a_parked_call_waits_for_a_person_and_keeps_its_event,
    a_tenants_budget_bounds_its_claims_and_nobody_elses, an_uninstall_cancels_the_calls_before_it,
    an_uninstall_leaves_a_call_that_is_being_made_to_its_end,
    calls_are_found_by_each_filter_wherever_they_are, calls_of_one_record_run_one_after_the_other,
    events_of_one_record_within_a_window_are_one_call, of_many_attempts_the_newest_are_kept,
    the_planner_reads_the_types_it_asks_for_and_plans_each_event_once,
    what_came_of_a_call_before_its_end_is_known_and_bounded,
    what_is_cancelled_by_hand_is_not_made_and_what_is_under_way_is,
    what_is_claimed_is_shared_among_tenants,
};
use gaps::{
    a_time_without_acceptance_is_a_gap_once,
    the_place_of_a_time_and_the_newest_events_of_records_are_found,
};
use installations::{
    a_companys_uninstall_is_that_of_every_location,
    a_location_whose_company_is_said_later_ends_with_it, a_state_is_good_once_and_with_its_cookie,
    a_subscription_is_what_was_said_last_until_it_is_deleted,
    an_installation_follows_its_newest_event,
    an_installation_is_as_old_as_its_first_token_until_its_install_comes,
    an_old_uninstall_erases_no_newer_token, an_uninstall_that_comes_first_is_remembered,
    installations_are_listed_page_by_page,
};

use erasure::{
    a_call_that_is_being_made_keeps_its_event,
    a_dead_letter_that_is_discarded_in_the_relays_hands_is_gone,
    a_held_event_that_is_erased_in_the_relays_hands_is_gone,
    dead_letters_are_discarded_a_part_at_a_time,
    held_events_that_are_erased_while_they_are_settled_are_counted_once,
    types_are_kept_for_times_of_their_own, what_is_erased_is_a_contacts_and_nothing_else,
    what_is_erased_of_a_tenant_is_what_is_over,
};
use replays::{
    a_replay_goes_on_where_it_was_and_is_done_at_its_end,
    a_replay_passes_holes_that_retention_left,
    a_replay_takes_what_was_published_and_the_filter_lets_through,
    a_replay_that_is_cancelled_counts_what_was_in_hand_and_stays_where_it_is,
};
use tokens::{
    a_call_beside_the_claims_takes_room_in_the_budget,
    a_pair_that_came_late_is_kept_whatever_became_of_those_who_began_since,
    a_refresh_of_an_erased_token_does_not_end_on_the_next_one,
    a_refresh_that_brought_no_new_refresh_token_keeps_the_old_one,
    a_refresh_without_an_end_is_over_after_its_time_and_counted,
    a_token_minted_for_a_location_that_is_gone_is_not_kept,
    an_access_token_that_is_not_taken_counts_as_expired_if_it_is_still_that_one,
    of_many_who_want_to_refresh_one_does, tokens_are_found_by_the_key_that_sealed_them,
};

store_suite! {
    a_repeated_event_is_a_duplicate
    the_same_id_with_other_bytes_is_kept_under_a_key_of_its_own
    one_key_of_two_apps_is_two_events
    a_batch_keeps_its_order_and_positions_have_no_gaps
    keys_outlive_bodies
    retention_never_touches_unread_events_nor_dead_letters
    retention_keeps_what_is_not_old_enough
    keys_go_only_after_their_time_and_behind_the_cursor
    reading_is_bounded_by_count_and_bytes
    the_cursor_never_moves_back
    the_ledger_balances_at_each_step_of_a_dead_letters_life
    the_ledger_knows_the_oldest_waiting_event
    the_quarantine_keeps_the_newest_within_its_bounds
    bytes_out_are_bytes_in
    strange_text_is_just_text
    events_are_filtered_newest_first
    a_page_looks_at_a_part_and_says_where_to_go_on
    the_audit_trail_is_newest_first
    a_tenant_is_silent_after_twice_its_longest_gap
    a_part_of_the_log_is_counted_by_tenant
    answers_add_up_over_three_days
    what_is_erased_is_a_contacts_and_nothing_else
    what_is_erased_of_a_tenant_is_what_is_over
    a_call_that_is_being_made_keeps_its_event
    a_dead_letter_that_is_discarded_in_the_relays_hands_is_gone
    dead_letters_are_discarded_a_part_at_a_time
    held_events_that_are_erased_while_they_are_settled_are_counted_once
    a_held_event_that_is_erased_in_the_relays_hands_is_gone
    types_are_kept_for_times_of_their_own
    an_event_is_found_by_key_and_by_position
    a_replay_takes_what_was_published_and_the_filter_lets_through
    a_replay_goes_on_where_it_was_and_is_done_at_its_end
    a_replay_that_is_cancelled_counts_what_was_in_hand_and_stays_where_it_is
    a_replay_passes_holes_that_retention_left
    of_the_same_events_appended_at_once_each_is_new_once
    positions_become_visible_in_order
    the_planner_reads_the_types_it_asks_for_and_plans_each_event_once
    a_call_is_claimed_by_one_and_ended_under_its_claim
    a_claim_whose_time_is_over_is_somebody_elses
    a_tenants_budget_bounds_its_claims_and_nobody_elses
    a_claim_without_a_call_costs_no_budget
    what_is_claimed_is_shared_among_tenants
    what_came_of_a_call_before_its_end_is_known_and_bounded
    of_many_attempts_the_newest_are_kept
    calls_are_found_by_each_filter_wherever_they_are
    what_is_cancelled_by_hand_is_not_made_and_what_is_under_way_is
    a_call_behind_one_that_is_cancelled_is_made_at_once
    a_call_behind_one_that_is_erased_is_made_at_once
    a_call_with_the_companys_token_is_not_made_again_for_a_location_that_went
    calls_of_one_record_run_one_after_the_other
    events_of_one_record_within_a_window_are_one_call
    a_parked_call_waits_for_a_person_and_keeps_its_event
    an_uninstall_cancels_the_calls_before_it
    an_installation_follows_its_newest_event
    an_installation_is_as_old_as_its_first_token_until_its_install_comes
    an_uninstall_that_comes_first_is_remembered
    a_companys_uninstall_is_that_of_every_location
    a_location_whose_company_is_said_later_ends_with_it
    a_pair_that_came_late_is_kept_whatever_became_of_those_who_began_since
    a_call_beside_the_claims_takes_room_in_the_budget
    an_old_uninstall_erases_no_newer_token
    of_many_who_want_to_refresh_one_does
    a_refresh_that_brought_no_new_refresh_token_keeps_the_old_one
    a_refresh_without_an_end_is_over_after_its_time_and_counted
    an_access_token_that_is_not_taken_counts_as_expired_if_it_is_still_that_one
    a_state_is_good_once_and_with_its_cookie
    tokens_are_found_by_the_key_that_sealed_them
    installations_are_listed_page_by_page
    a_budget_that_was_all_under_way_comes_back_after_its_claims
    a_call_without_its_event_is_parked_and_holds_up_nobody
    a_late_uninstall_cancels_nothing_of_whoever_is_installed_again
    an_uninstall_leaves_a_call_that_is_being_made_to_its_end
    a_companys_token_wakes_the_calls_of_its_locations
    a_refresh_of_an_erased_token_does_not_end_on_the_next_one
    a_token_minted_for_a_location_that_is_gone_is_not_kept
    a_subscription_is_what_was_said_last_until_it_is_deleted
    a_time_without_acceptance_is_a_gap_once
    the_place_of_a_time_and_the_newest_events_of_records_are_found
}
