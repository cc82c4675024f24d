//! Replays: what they take of the log, how far they are, and how they end.

use hookwell::store::{EventRange, Held, ReplayStep, Settled};

use super::*;

/// Ten events of two types and two tenants; the relay is at 9, 3 is a dead letter and 4 is held.
async fn filled(f: &Fixture) -> Box<dyn RelayReader> {
    let events: Vec<_> = (1..=10)
        .map(|n| {
            let mut event = event(&format!("w{n}"), format!("body {n}"));
            event.event_type = if n % 2 == 0 { "Even" } else { "Odd" }.to_owned();
            if n == 4 || 7 < n {
                event.tenant.location_id = Some("elsewhere".to_owned());
            }
            event
        })
        .collect();
    f.append(&events).await;
    let mut reader = f.reader().await;
    let held = Held {
        tenant: "elsewhere".to_owned(),
        reason: "rejected",
        detail: String::new(),
        positions: vec![Position(4)],
    };
    let settled = Settled {
        held: vec![held],
        ..done(9, 7, &[parked(3)])
    };
    reader.settle(&settled, Micros(5)).await.unwrap();
    reader
}

fn upto(upto: i64) -> EventRange {
    EventRange {
        upto: Position(upto),
        ..EventRange::default()
    }
}

async fn counted(f: &Fixture, filter: &EventRange) -> Vec<(String, i64)> {
    let count = f.store.count_replay(filter).await.unwrap();
    assert_eq!(count.next, None);
    count.types
}

fn named(counts: &[(&str, i64)]) -> Vec<(String, i64)> {
    let named = counts
        .iter()
        .map(|(name, count)| ((*name).to_owned(), *count));
    named.collect()
}

pub(super) async fn a_replay_takes_what_was_published_and_the_filter_lets_through(f: &Fixture) {
    let mut reader = filled(f).await;
    let all = upto(f.store.replayable_upto().await.unwrap().0);
    assert_eq!(all.upto, Position(9));
    assert_eq!(counted(f, &all).await, named(&[("Even", 3), ("Odd", 4)]));
    let odd = EventRange {
        event_type: Some("Odd".to_owned()),
        tenant: Some("location".to_owned()),
        after: Position(1),
        ..all.clone()
    };
    assert_eq!(counted(f, &odd).await, named(&[("Odd", 2)]));

    let id = f
        .store
        .ask_replay(&odd, "ada", 7, 2, Micros(10))
        .await
        .unwrap();
    let [replay] = &reader.running_replays(10).await.unwrap()[..] else {
        panic!("one runs");
    };
    assert_eq!(
        (
            replay.id,
            replay.rate,
            replay.matched,
            replay.left(),
            replay.position,
            &*replay.who
        ),
        (id, 7, 2, 2, Position(1), "ada")
    );
    let (events, end) = reader.read_replay(replay, 10, NO_LIMIT).await.unwrap();
    assert_eq!((positions(&events), end), (vec![5, 7], Position(7)));
    let (events, end) = reader.read_replay(replay, 1, NO_LIMIT).await.unwrap();
    assert_eq!((positions(&events), end), (vec![5], Position(5)));
    let (events, end) = reader.read_replay(replay, 10, 1).await.unwrap();
    assert_eq!(
        (positions(&events), end),
        (vec![5], Position(5)),
        "at least one"
    );
    let mut later = replay.clone();
    later.position = Position(7);
    let (events, end) = reader.read_replay(&later, 10, NO_LIMIT).await.unwrap();
    assert_eq!((positions(&events), end), (vec![], Position(9)));
}

pub(super) async fn a_replay_goes_on_where_it_was_and_is_done_at_its_end(f: &Fixture) {
    let mut reader = filled(f).await;
    let id = f
        .store
        .ask_replay(&upto(9), "ada", 7, 7, Micros(10))
        .await
        .unwrap();
    let step = |upto, published, failed, detail: Option<&str>| ReplayStep {
        id,
        upto: Position(upto),
        published,
        failed,
        detail: detail.map(str::to_owned),
    };
    reader
        .settle_replay(&step(2, 2, 0, None), Micros(11))
        .await
        .unwrap();
    reader
        .settle_replay(&step(6, 1, 1, Some("NO_ROUTE")), Micros(12))
        .await
        .unwrap();
    let replay = f.store.replay(id).await.unwrap().unwrap();
    assert_eq!(
        (
            replay.position,
            replay.published,
            replay.failed,
            replay.left()
        ),
        (Position(6), 3, 1, 3)
    );
    assert!(replay.is_running() && replay.ended_at.is_none());
    // What was said once is kept until something else is said.
    assert_eq!(replay.detail.as_deref(), Some("NO_ROUTE"));
    reader
        .settle_replay(&step(9, 3, 0, None), Micros(13))
        .await
        .unwrap();
    let replay = f.store.replay(id).await.unwrap().unwrap();
    assert_eq!(
        (&*replay.state, replay.ended_at),
        ("done", Some(Micros(13)))
    );
    assert_eq!(reader.running_replays(10).await.unwrap(), []);
    // The ledger knows nothing of it.
    assert_eq!(f.counts().await, (10, 7, 2, 1));
    assert!(
        !f.store.cancel_replay(id, Micros(14)).await.unwrap(),
        "it is over"
    );
}

pub(super) async fn a_replay_that_is_cancelled_counts_what_was_in_hand_and_stays_where_it_is(
    f: &Fixture,
) {
    let mut reader = filled(f).await;
    let first = f
        .store
        .ask_replay(&upto(9), "ada", 7, 7, Micros(10))
        .await
        .unwrap();
    let second = f
        .store
        .ask_replay(&upto(2), "bob", 1, 2, Micros(10))
        .await
        .unwrap();
    assert!(f.store.cancel_replay(first, Micros(20)).await.unwrap());
    assert!(!f.store.cancel_replay(99, Micros(20)).await.unwrap());
    let step = ReplayStep {
        id: first,
        upto: Position(9),
        published: 7,
        failed: 0,
        detail: None,
    };
    reader.settle_replay(&step, Micros(21)).await.unwrap();
    let replay = f.store.replay(first).await.unwrap().unwrap();
    assert_eq!(
        (
            &*replay.state,
            replay.position,
            replay.published,
            replay.ended_at
        ),
        ("cancelled", Position(0), 7, Some(Micros(20)))
    );
    let running = reader.running_replays(10).await.unwrap();
    assert_eq!(
        running.iter().map(|one| one.id).collect::<Vec<_>>(),
        [second]
    );
    let listed = f.store.replays(10).await.unwrap();
    assert_eq!(
        listed.iter().map(|one| one.id).collect::<Vec<_>>(),
        [second, first]
    );
}

pub(super) async fn a_replay_passes_holes_that_retention_left(f: &Fixture) {
    let events: Vec<_> = (1..=5)
        .map(|n| {
            let mut event = event(&format!("w{n}"), "x");
            event.received_at = Micros(if n < 4 { 1 } else { 100 });
            event
        })
        .collect();
    f.append(&events).await;
    let mut reader = f.reader().await;
    reader.settle(&done(5, 5, &[]), Micros(5)).await.unwrap();
    assert_eq!(f.prune(50, 0).await.0, 3);
    assert_eq!(counted(f, &upto(5)).await, named(&[("ContactCreate", 2)]));
    f.store
        .ask_replay(&upto(3), "ada", 7, 0, Micros(10))
        .await
        .unwrap();
    let replay = reader.running_replays(1).await.unwrap().remove(0);
    let (events, end) = reader.read_replay(&replay, 10, NO_LIMIT).await.unwrap();
    assert_eq!((positions(&events), end), (vec![], Position(3)));
}
