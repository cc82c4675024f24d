//! Held tenants: their events stay pending behind the cursor, in order, until each of them is settled.

use hookwell::store::{Held, Settled, SettledHeld};

use super::*;

fn of(tenant: &str, key: &str) -> Event {
    let mut event = event(key, format!("body {key}"));
    event.tenant.location_id = Some(tenant.to_owned());
    event
}

/// Seven events; `b` has those at 2, 4 and 6, and `c` the one at 5.
async fn held_fixture(backend: Backend) -> (Fixture, Box<dyn RelayReader>) {
    let fixture = Fixture::new(backend).await;
    let tenants = ["a", "b", "a", "b", "c", "b", "a"];
    let events: Vec<_> = (1..)
        .zip(tenants)
        .map(|(n, tenant)| {
            let mut event = of(tenant, &format!("w{n}"));
            event.received_at = Micros(n);
            event
        })
        .collect();
    fixture.append(&events).await;
    let mut reader = fixture.reader().await;
    let held = |tenant: &str, reason, positions: &[i64]| Held {
        tenant: tenant.to_owned(),
        reason,
        detail: format!("{reason} here"),
        positions: positions.iter().copied().map(Position).collect(),
    };
    let first = Settled {
        held: vec![held("b", "rejected", &[2, 4])],
        ..done(4, 2, &[])
    };
    reader.settle(&first, Micros(100)).await.unwrap();
    let second = Settled {
        held: vec![held("b", "", &[6]), held("c", "unroutable", &[5])],
        ..done(6, 0, &[])
    };
    reader.settle(&second, Micros(200)).await.unwrap();
    (fixture, reader)
}

async fn names(fixture: &Fixture) -> Vec<(String, String, i64, i64)> {
    let held = fixture.store.held_tenants().await.unwrap();
    held.into_iter()
        .map(|one| (one.tenant, one.detail, one.since.0, one.events))
        .collect()
}

fn named(tenant: &str, detail: &str, since: i64, events: i64) -> (String, String, i64, i64) {
    (tenant.to_owned(), detail.to_owned(), since, events)
}

async fn waiting(reader: &mut dyn RelayReader, tenant: &str) -> Vec<i64> {
    let events = reader.held(tenant, 100, NO_LIMIT).await.unwrap();
    for one in &events {
        assert_eq!(one.event.tenant.location_id.as_deref(), Some(tenant));
        assert_eq!(one.event.body, format!("body w{}", one.position));
    }
    events.iter().map(|one| one.position.0).collect()
}

fn settled(tenant: &str, published: &[i64], parked: &[i64]) -> SettledHeld {
    let letter = |position: &i64| Parked {
        position: Position(*position),
        reason: "unroutable",
        detail: "312 NO_ROUTE".to_owned(),
    };
    SettledHeld {
        tenant: tenant.to_owned(),
        published: published.iter().copied().map(Position).collect(),
        parked: parked.iter().map(letter).collect(),
    }
}

#[tokio::test]
async fn held_events_are_pending_behind_the_cursor_and_say_whose_they_are_and_why() {
    for backend in Backend::ALL {
        let (fixture, mut reader) = held_fixture(backend).await;
        assert_eq!(reader.position().await.unwrap(), Position(6));
        let ledger = fixture.ledger().await;
        assert_eq!((ledger.accepted, ledger.published), (7, 2), "{backend}");
        assert_eq!((ledger.pending, ledger.held), (5, 4), "{backend}");
        assert_eq!(ledger.held_tenants, 2, "{backend}");
        assert_eq!(ledger.oldest_pending_at, Some(Micros(2)), "{backend}");
        let expected = [
            named("b", "rejected here", 100, 3),
            named("c", "unroutable here", 200, 1),
        ];
        assert_eq!(names(&fixture).await, expected, "{backend}");
        assert_eq!(waiting(reader.as_mut(), "b").await, [2, 4, 6], "{backend}");
        assert_eq!(waiting(reader.as_mut(), "c").await, [5], "{backend}");
        assert_eq!(waiting(reader.as_mut(), "a").await, [0; 0], "{backend}");
    }
}

#[tokio::test]
async fn held_events_are_read_in_bounded_runs_from_the_oldest_on() {
    for backend in Backend::ALL {
        let (_fixture, mut reader) = held_fixture(backend).await;
        let mut read = async |limit, bytes| {
            let events = reader.held("b", limit, bytes).await.unwrap();
            events.iter().map(|one| one.position.0).collect::<Vec<_>>()
        };
        assert_eq!(read(2, NO_LIMIT).await, [2, 4], "{backend}");
        // Never none, however large the first one is.
        assert_eq!(read(100, 1).await, [2], "{backend}");
        assert_eq!(read(100, 8).await, [2, 4], "{backend}");
    }
}

#[tokio::test]
async fn a_tenant_is_held_until_the_last_of_its_events_is_settled() {
    for backend in Backend::ALL {
        let (fixture, mut reader) = held_fixture(backend).await;
        // The one in the middle first: a settled event is gone, wherever it was.
        let some = [settled("b", &[4], &[]), settled("c", &[], &[5])];
        let released = reader.settle_held(&some, Micros(300)).await.unwrap();
        assert_eq!(released, ["c"], "{backend}");
        assert_eq!(waiting(reader.as_mut(), "b").await, [2, 6], "{backend}");
        assert_eq!(names(&fixture).await, [named("b", "rejected here", 100, 2)]);
        assert_eq!(fixture.counts().await, (7, 3, 3, 1), "{backend}");
        let letters = fixture.store.dead_letters(10).await.unwrap();
        assert_eq!(letters.len(), 1, "{backend}");
        assert_eq!(letters[0].position, Position(5), "{backend}");
        // What was said before is said again, as after a lost answer: it counts once.
        let again = [settled("b", &[2, 4], &[])];
        let released = reader.settle_held(&again, Micros(400)).await.unwrap();
        assert!(released.is_empty(), "{backend}");
        assert_eq!(fixture.counts().await, (7, 4, 2, 1), "{backend}");
        let rest = [settled("b", &[6], &[])];
        let released = reader.settle_held(&rest, Micros(500)).await.unwrap();
        assert_eq!(released, ["b"], "{backend}");
        assert_eq!(names(&fixture).await, [], "{backend}");
        assert_eq!(fixture.counts().await, (7, 5, 1, 1), "{backend}");
        assert_eq!(fixture.ledger().await.oldest_pending_at, Some(Micros(7)));
        reader.settle(&done(7, 1, &[]), Micros(600)).await.unwrap();
        assert_eq!(fixture.counts().await, (7, 6, 0, 1), "{backend}");
    }
}

#[tokio::test]
async fn retention_leaves_held_events_alone() {
    for backend in Backend::ALL {
        let (fixture, mut reader) = held_fixture(backend).await;
        assert_eq!(fixture.prune(1_000, 0).await.0, 2, "{backend}");
        assert_eq!(fixture.positions().await, [2, 4, 5, 6, 7], "{backend}");
        let all = [settled("b", &[2, 4, 6], &[]), settled("c", &[5], &[])];
        reader.settle_held(&all, Micros(300)).await.unwrap();
        assert_eq!(fixture.prune(1_000, 0).await.0, 4, "{backend}");
        assert_eq!(fixture.positions().await, [7], "{backend}");
    }
}
