//! On Postgres the log is in partitions: the next one is there before it is wanted, and an old one goes as a
//! whole but for what has to stay.

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};

use super::*;
use crate::harness::store::execute;

const DAY: i64 = 24 * 3_600 * 1_000_000;
const NOW: i64 = 100 * DAY;

/// Events are kept for five days. One by one they go two days later.
fn cutoff() -> Cutoff {
    Cutoff {
        now: Micros(NOW),
        bodies_before: Micros(NOW - 5 * DAY),
        bodies_before_of: Vec::new(),
        keys_before: Micros(0),
        batch: 1_000,
    }
}

/// A store whose partitions hold ten positions each.
async fn small(partitions: i64) -> Fixture {
    let f = Fixture::new(Backend::Postgres).await;
    let mut sql = "drop table events_1, events_250001; delete from event_partitions;".to_owned();
    for from in (0..partitions).map(|n| 1 + n * 10) {
        let upto = from + 10;
        sql += &format!(
            "create table events_{from} partition of events for values from ({from}) to ({upto});
             insert into event_partitions values ({from}, {upto}, 'events_{from}', 0);"
        );
    }
    execute(f.url.url(), &sql).await;
    f
}

/// Events of this age, published but for those that are parked.
async fn published(f: &Fixture, count: i64, days: i64, parked_ones: &[i64]) {
    let head = f.ledger().await.accepted;
    let events: Vec<_> = (head + 1..=head + count)
        .map(|n| Event {
            received_at: Micros(NOW - days * DAY),
            ..event(&format!("w{n}"), format!("body {n}"))
        })
        .collect();
    f.append(&events).await;
    let parked: Vec<_> = parked_ones.iter().map(|at| parked(*at)).collect();
    let (upto, published) = (head + count, count - parked_ones.len() as i64);
    let settled = done(upto, published, &parked);
    f.reader()
        .await
        .settle(&settled, Micros(NOW))
        .await
        .unwrap();
    f.planned().await;
}

async fn names(f: &Fixture) -> Vec<String> {
    let mut connection = PgConnection::connect(f.url.url()).await.unwrap();
    let names = sqlx::query_scalar(
        "select c.relname::text from pg_inherits i join pg_class c on c.oid = i.inhrelid \
         where i.inhparent = 'events'::regclass order by length(c.relname), c.relname",
    );
    names.fetch_all(&mut connection).await.unwrap()
}

/// Waits until the upkeep has made these of the partitions that there were.
async fn upkeep_makes(f: &Fixture, expected: [&str; 3]) {
    let made = async || (names(f).await == expected).then_some(());
    tokio::select! {
        () = f.store.upkeep() => unreachable!("it never returns"),
        () = eventually("there is another one", DEADLINE, made) => (),
    }
}

#[tokio::test]
async fn an_old_partition_goes_as_a_whole_and_what_has_to_stay_is_kept() {
    let f = small(4).await;
    published(&f, 20, 6, &[5]).await;
    published(&f, 15, 4, &[]).await;

    assert_eq!(f.store.prune(&cutoff()).await.unwrap().events, 9);
    assert_eq!(
        names(&f).await,
        ["events_11", "events_21", "events_31", "events_kept"]
    );
    assert_eq!(f.store.prune(&cutoff()).await.unwrap().events, 10);
    // The rest is young, and the last one is in use.
    assert_eq!(f.store.prune(&cutoff()).await.unwrap().events, 0);
    assert_eq!(names(&f).await, ["events_21", "events_31", "events_kept"]);
    let stays: Vec<_> = std::iter::once(5).chain(21..=35).collect();
    assert_eq!(f.positions().await, stays);
    assert_eq!(f.counts().await, (35, 34, 0, 1));

    let kept = f.store.event_at(Position(5)).await.unwrap().unwrap();
    assert_eq!(kept.event.body, "body 5");
}

/// Nothing that has to stay is copied by the ten thousand; what is behind it goes all the same.
#[tokio::test]
async fn a_partition_of_which_much_has_to_stay_is_in_nobodys_way() {
    let f = small(0).await;
    let sql = "create table events_1 partition of events for values from (1) to (20001);
         create table events_20001 partition of events for values from (20001) to (20011);
         create table events_20011 partition of events for values from (20011) to (20021);
         insert into event_partitions values (1, 20001, 'events_1', 0), (20001, 20011, 'events_20001', 0),
             (20011, 20021, 'events_20011', 0);
         insert into dead_letters select n, 'refused', '', 1, 0, 'parked' from generate_series(1, 10001) n;
         update log_head set position = 20015;
         update cursors set position = 20015;
         update cursors set published = 20015 - 10001 where reader = 'relay'";
    execute(f.url.url(), sql).await;
    assert_eq!(f.store.prune(&cutoff()).await.unwrap().events, 10);
    assert_eq!(names(&f).await, ["events_1", "events_kept", "events_20011"]);
    execute(f.url.url(), "delete from dead_letters where position = 1").await;
    assert_eq!(f.store.prune(&cutoff()).await.unwrap().events, 10_000);
    assert_eq!(names(&f).await, ["events_kept", "events_20011"]);
}

#[tokio::test]
async fn a_partition_stays_while_a_reader_has_not_passed_it() {
    let f = small(2).await;
    let old: Vec<_> = (1..=12)
        .map(|n| event(&format!("w{n}"), format!("body {n}")))
        .collect();
    f.append(&old).await;
    f.planned().await;
    f.reader()
        .await
        .settle(&done(9, 9, &[]), Micros(NOW))
        .await
        .unwrap();
    f.store.prune(&cutoff()).await.unwrap();
    assert!(names(&f).await.contains(&"events_1".to_owned()));

    f.reader()
        .await
        .settle(&done(10, 10, &[]), Micros(NOW))
        .await
        .unwrap();
    f.store.prune(&cutoff()).await.unwrap();
    assert!(!names(&f).await.contains(&"events_1".to_owned()));
    assert_eq!(f.positions().await, [11, 12]);
}

#[tokio::test]
async fn whoever_reads_the_log_for_long_is_not_in_the_way_of_appends() {
    let f = small(2).await;
    published(&f, 12, 6, &[]).await;
    let mut reads = PgConnection::connect(f.url.url()).await.unwrap();
    reads
        .execute("begin; select count(*) from events")
        .await
        .unwrap();
    assert_eq!(f.store.prune(&cutoff()).await.unwrap().events, 0);
    f.append(&[event("w13", "body 13")]).await;
    assert_eq!(f.positions().await.len(), 13);

    reads.execute("commit").await.unwrap();
    assert_eq!(f.store.prune(&cutoff()).await.unwrap().events, 10);
}

#[tokio::test]
async fn the_next_partition_is_there_before_it_is_wanted() {
    let f = small(1).await;
    f.fill(3).await;
    upkeep_makes(&f, ["events_1", "events_11", "events_kept"]).await;
    let more: Vec<_> = (4..=12).map(|n| event(&format!("w{n}"), "body")).collect();
    f.append(&more).await;
    execute(
        f.url.url(),
        "do $$ begin assert (select count(*) from events_11) = 2; end $$",
    )
    .await;
}

#[tokio::test]
async fn what_came_where_no_partition_is_stays_where_it_is() {
    let f = small(1).await;
    f.fill(12).await;
    upkeep_makes(&f, ["events_1", "events_kept", "events_250012"]).await;
    assert_eq!(f.positions().await, (1..=12).collect::<Vec<_>>());
    f.append(&[event("w13", "body 13")]).await;
    assert_eq!(f.positions().await.len(), 13);
}

/// What has to stay is copied while nobody can append: not more than 32 MiB of it.
#[tokio::test]
async fn a_partition_with_large_dead_letters_is_in_nobodys_way() {
    let f = small(3).await;
    published(&f, 20, 6, &[1, 2]).await;
    published(&f, 5, 4, &[]).await;
    let large = "update events set body = decode(repeat('00', 17 << 20), 'hex') where position < 3";
    execute(f.url.url(), large).await;
    assert_eq!(f.store.prune(&cutoff()).await.unwrap().events, 10);
    assert_eq!(names(&f).await, ["events_1", "events_21", "events_kept"]);
    execute(f.url.url(), "delete from dead_letters where position = 1").await;
    assert_eq!(f.store.prune(&cutoff()).await.unwrap().events, 9);
    assert_eq!(names(&f).await, ["events_21", "events_kept"]);
}

/// What else is old goes all the same.
#[tokio::test]
async fn a_partition_that_cannot_be_dropped_keeps_nothing_else() {
    let f = small(3).await;
    published(&f, 20, 8, &[]).await;
    execute(f.url.url(), "create view looks as select * from events_1").await;
    assert_eq!(f.store.prune(&cutoff()).await.unwrap().events, 20);
    assert!(names(&f).await.contains(&"events_1".to_owned()));
    assert_eq!(f.positions().await, [] as [i64; 0]);
}
