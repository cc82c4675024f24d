//! Acceptance and its gaps; what the log has of records.

use hookwell::store::Known;

use super::*;
use crate::harness::store::execute_on;

const HOUR: i64 = 3600 * 1_000_000;

fn now() -> Micros {
    hookwell::clock::system()()
}

pub async fn a_time_without_acceptance_is_a_gap_once(f: &Fixture) {
    let silence = Duration::from_secs(1800);
    let beat = async || f.store.beat(silence, now()).await.unwrap();
    for _ in 0..3 {
        beat().await;
    }
    assert!(f.store.gaps(9).await.unwrap().is_empty());
    let earlier = format!("update acceptance set until_at = until_at - {}", 2 * HOUR);
    execute_on(&f.url, &earlier).await;
    for _ in 0..3 {
        beat().await;
    }
    let gaps = f.store.gaps(9).await.unwrap();
    assert_eq!(gaps.len(), 1);
    let length = gaps[0].until.0 - gaps[0].since.0;
    assert!(
        (2 * HOUR..2 * HOUR + HOUR / 60).contains(&length),
        "{length}"
    );
    assert_eq!(gaps[0].repaired_at, None);
    f.store.gap_repaired(gaps[0].since, now()).await.unwrap();
    let repaired = f.store.gaps(9).await.unwrap()[0].repaired_at;
    assert!(repaired.is_some());
    f.store.gap_repaired(gaps[0].since, now()).await.unwrap();
    assert_eq!(
        f.store.gaps(9).await.unwrap()[0].repaired_at,
        repaired,
        "the first time stands"
    );
}

pub async fn the_place_of_a_time_and_the_newest_events_of_records_are_found(f: &Fixture) {
    let at = |n: i64, record: &str, location: &str| {
        let mut event = event(&format!("w{n}"), "b");
        event.received_at = Micros(10 * n);
        event.entity_id = Some(record.to_owned());
        event.tenant.location_id = Some(location.to_owned());
        event
    };
    let place = async |time| f.store.place_at(Micros(time)).await.unwrap();
    assert_eq!(place(5).await, Position(0), "of an empty log");
    let events = [
        at(1, "x", "l"),
        at(2, "y", "l"),
        at(3, "x", "other"),
        at(4, "x", "l"),
        at(5, "z", "l"),
    ];
    f.append(&events).await;
    for (time, expected) in [
        (5, 0),
        (10, 0),
        (11, 1),
        (25, 2),
        (50, 4),
        (51, 5),
        (1_000, 5),
    ] {
        assert_eq!(place(time).await, Position(expected), "{time}");
    }
    let known = async |after, upto| {
        let records = ["x".to_owned(), "y".to_owned(), "nobody".to_owned()];
        let found = f
            .store
            .known("app", "l", &records, Position(after), Position(upto));
        let mut found = found.await.unwrap();
        found.sort_by(|a, b| a.entity_id.cmp(&b.entity_id));
        found
    };
    let of = |record: &str, at| Known {
        entity_id: record.to_owned(),
        received_at: Micros(at),
    };
    assert_eq!(known(0, 5).await, [of("x", 40), of("y", 20)]);
    assert_eq!(known(1, 3).await, [of("y", 20)]);
    // Retention leaves holes behind.
    let mut reader = f.reader().await;
    reader.settle(&done(3, 3, &[]), Micros(1)).await.unwrap();
    drop(reader);
    f.prune(25, 0).await;
    assert_eq!(place(31).await, Position(3));
    assert_eq!(known(0, 5).await, [of("x", 40)]);
}
