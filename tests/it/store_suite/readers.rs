//! Who reads the log on Postgres: whoever holds the lock, as long as it says something.

use std::time::{Duration, Instant};

use hookwell::store::FollowUps;

use super::lost_answers::behind_a_proxy_to;
use super::{DEADLINE, Fixture, Micros, Plan, Position, Store, event, postgres};
use crate::harness::{Backend, Network, done, eventually, fresh_postgres_url};

/// Within so long the readers of one that fell silent are to be had.
const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_reader_that_has_nothing_to_say_for_long_keeps_its_lock() {
    let fixture = Fixture::new(Backend::Postgres).await;
    fixture.fill(2).await;
    let mut reader = fixture.reader().await;
    let mut planner = fixture.store.plan_reader().await.unwrap().unwrap();
    let since = Instant::now();
    eventually("twice as long as a silence may be", DEADLINE, async || {
        (Duration::from_secs(6) < since.elapsed()).then_some(())
    })
    .await;
    assert!(fixture.store.relay_reader().await.unwrap().is_none());
    assert!(fixture.store.plan_reader().await.unwrap().is_none());
    reader.settle(&done(2, 2, &[]), Micros(1)).await.unwrap();
    assert_eq!(reader.position().await.unwrap(), Position(2));
    planner.settle(&planned(), Micros(1)).await.unwrap();
}

#[tokio::test]
async fn a_reader_that_is_cut_off_loses_its_lock_soon_and_moves_nothing_any_more() {
    let url = fresh_postgres_url().await;
    let (store, proxy) = behind_a_proxy_to(&url).await;
    let batch = [
        event("w1", "body".to_owned()),
        event("w2", "body".to_owned()),
    ];
    store.append(&batch).await.unwrap();
    let mut reader = store.relay_reader().await.unwrap().unwrap();
    let mut planner = store.plan_reader().await.unwrap().unwrap();
    let other = postgres(&url).await;
    assert!(other.relay_reader().await.unwrap().is_none());
    assert!(other.plan_reader().await.unwrap().is_none());

    proxy.line.network(Network::Blackhole);
    let mut next = eventually("the relay's reader is free", SOON, async || {
        other.relay_reader().await.unwrap()
    })
    .await;
    let mut next_planner = eventually("the planner's reader is free", SOON, async || {
        other.plan_reader().await.unwrap()
    })
    .await;
    proxy.line.network(Network::Passes);
    assert!(reader.settle(&done(2, 2, &[]), Micros(1)).await.is_err());
    assert!(planner.settle(&planned(), Micros(1)).await.is_err());
    assert_eq!(next.position().await.unwrap(), Position(0));
    assert_eq!(next_planner.position().await.unwrap(), Position(0));
}

/// The planner's way to the second event, with nothing to do.
fn planned() -> Plan {
    Plan {
        upto: Position(2),
        ..Plan::default()
    }
}
