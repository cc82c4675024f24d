//! pgbouncer before Postgres: refused where it lends sessions by the transaction, of use where it keeps them.

use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, Executor, PgConnection};

use super::lost_answers::port_of;
use super::{DEADLINE, Error, Micros, Position, PostgresStore, Store, event, postgres};
use crate::harness::{Daemon, DaemonConfig, OwnService, done, fresh_postgres_url, run_cli};

/// A pgbouncer with these lines in its file, and the URL of a fresh database behind it.
async fn behind(lines: &str) -> (OwnService, String) {
    let url = fresh_postgres_url().await;
    let port = port_of(&url).to_string();
    let variables = [
        ("HOOKWELL_PGBOUNCER_POSTGRES", port.as_str()),
        ("HOOKWELL_PGBOUNCER_CONF", lines),
    ];
    let pooler = OwnService::start_with("pgbouncer", &variables).await;
    let url = url.replace(
        &format!(":{port}/"),
        &format!(":{}/", pooler.value("PG_PORT")),
    );
    (pooler, url)
}

#[tokio::test]
async fn a_pooler_that_lends_sessions_is_refused_with_the_way_out() {
    for lines in [
        "pool_mode = transaction",
        "pool_mode = transaction\nserver_round_robin = 1",
        "pool_mode = transaction\ndefault_pool_size = 1",
        "pool_mode = statement",
    ] {
        let (_pooler, url) = behind(lines).await;
        for sessions in 0..3 {
            let refused = PostgresStore::open(&url, DEADLINE).await;
            assert!(
                matches!(refused, Err(Error::SharedSessions)),
                "{lines}: {refused:?}"
            );
            // Once more with more sessions to lend, where it has room for them.
            if lines.ends_with("transaction") {
                more_sessions(&url, sessions + 2).await;
            }
        }
        let config = DaemonConfig::new(&url);
        let (code, log) = Daemon::try_start(&config).await.err().unwrap();
        assert_eq!(code, Some(69), "{lines}: {log}");
        for said in [
            "store.url",
            "hold locks of their sessions",
            "pool_mode = session",
        ] {
            assert!(log.contains(said), "{lines}: {log}");
        }
        assert_eq!(
            run_cli(&["migrate"], &config).status.code(),
            Some(69),
            "{lines}"
        );
    }
}

/// Has a pooler open so many sessions.
async fn more_sessions(url: &str, count: usize) {
    // The one thing that sqlx asks for at a start and pgbouncer does not know.
    let options = PgConnectOptions::from_str(url)
        .unwrap()
        .extra_float_digits(None);
    let mut open = Vec::new();
    for _ in 0..count {
        let mut connection = PgConnection::connect_with(&options).await.unwrap();
        connection.execute("begin").await.unwrap();
        open.push(connection);
    }
    for mut connection in open {
        connection.execute("rollback").await.unwrap();
    }
}

#[tokio::test]
async fn a_pooler_that_keeps_sessions_is_as_good_as_postgres() {
    let (_pooler, url) = behind("pool_mode = session").await;
    let (store, other) = (postgres(&url).await, postgres(&url).await);
    store.migrate().await.unwrap();
    store
        .append(&[event("w1", "body".to_owned())])
        .await
        .unwrap();
    let mut reader = store.relay_reader().await.unwrap().unwrap();
    assert!(other.relay_reader().await.unwrap().is_none());
    reader.settle(&done(1, 1, &[]), Micros(1)).await.unwrap();
    assert_eq!(other.ledger().await.unwrap().accepted, 1);
    assert_eq!(reader.position().await.unwrap(), Position(1));
    Daemon::start(&DaemonConfig::new(&url)).await;
}
