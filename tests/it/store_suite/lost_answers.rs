//! Postgres does what it was asked, or not, and the answer is lost or an error: nothing is lost or twice.

use super::{Appended, DEADLINE, PostgresStore, Store, event, postgres};
use crate::harness::{Deed, Ending, Postgres, fresh_postgres_url};
use hookwell::event::{Micros, Position};

/// A migrated store whose connections pass through a proxy.
async fn behind_a_proxy() -> (PostgresStore, Postgres) {
    behind_a_proxy_to(&fresh_postgres_url().await).await
}

/// The same in this database.
pub async fn behind_a_proxy_to(url: &str) -> (PostgresStore, Postgres) {
    let port = port_of(url);
    let proxy = Postgres::in_front_of(port).await;
    let store = postgres(&proxy.line.url(url, port)).await;
    store.migrate().await.unwrap();
    (store, proxy)
}

/// The port of a server's URL.
pub fn port_of(url: &str) -> u16 {
    let (_, rest) = url.rsplit_once(':').unwrap();
    rest.split('/').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn an_append_whose_answer_is_lost_is_a_duplicate_when_it_comes_again() {
    let (store, proxy) = behind_a_proxy().await;
    // The first one is prepared, the second one is known by name.
    for n in 1..=2 {
        let batch = [event(&format!("w{n}"), format!("body {n}"))];
        let deed = Deed::LoseAnswer(Ending::Reset);
        proxy.plan("append_events", 1, deed);
        assert!(store.append(&batch).await.is_err());
        assert_eq!(proxy.to_come(), 0);
        assert_eq!(store.append(&batch).await.unwrap(), [Appended::Duplicate]);
        assert_eq!(store.ledger().await.unwrap().accepted, n);
    }
}

#[tokio::test]
async fn an_append_that_fails_says_so_and_the_next_one_works() {
    let (store, proxy) = behind_a_proxy().await;
    let mut accepted = 0;
    for (sqlstate, fatal) in [
        ("40001", false), // serialization failure
        ("40P01", false), // deadlock
        ("25P02", false), // in a failed transaction
        ("53100", false), // disk full
        ("57014", false), // statement timeout
        ("57P01", true),  // terminated by an administrator
        ("57P02", true),  // crash of another session
    ] {
        for executed in [true, false] {
            let batch = [event(&format!("{sqlstate}-{executed}"), "body".to_owned())];
            let deed = Deed::Fail {
                sqlstate,
                executed,
                fatal,
            };
            proxy.plan("append_events", 1, deed);
            let failed = store.append(&batch).await;
            assert!(failed.is_err(), "{sqlstate}: {failed:?}");
            accepted += 1;
            let expected = match executed {
                true => Appended::Duplicate,
                false => Appended::New(Position(accepted)),
            };
            let again = store.append(&batch).await.unwrap();
            assert_eq!(again, [expected], "{sqlstate}, executed: {executed}");
        }
    }
    assert_eq!(store.ledger().await.unwrap().accepted, accepted);
}

#[tokio::test]
async fn a_server_without_room_for_a_session_is_asked_again() {
    let (store, proxy) = behind_a_proxy().await;
    proxy.line.cut();
    proxy.refuse_sessions(1, "53300");
    let batch = [event("w1", "body".to_owned())];
    // The old connection is broken, and there is no new one.
    assert!(store.append(&batch).await.is_err());
    assert!(store.append(&batch).await.is_err());
    assert_eq!(proxy.to_come(), 0);
    let appended = store.append(&batch).await.unwrap();
    assert_eq!(appended, [Appended::New(Position(1))]);
}

#[tokio::test]
async fn a_cursor_whose_move_went_unanswered_has_moved() {
    let (store, proxy) = behind_a_proxy().await;
    let batch: Vec<_> = (1..=3)
        .map(|n| event(&format!("w{n}"), "body".to_owned()))
        .collect();
    store.append(&batch).await.unwrap();
    let mut reader = store.relay_reader().await.unwrap().unwrap();
    let deed = Deed::LoseAnswer(Ending::Reset);
    proxy.plan("update cursors", 1, deed);
    let settled = reader.settle(&super::done(2, 2, &[]), Micros(0)).await;
    assert!(settled.is_err(), "{settled:?}");
    drop(reader);
    let mut reader = crate::harness::eventually("the reader is free", DEADLINE, async || {
        store.relay_reader().await.unwrap()
    })
    .await;
    assert_eq!(reader.position().await.unwrap(), Position(2));
}
