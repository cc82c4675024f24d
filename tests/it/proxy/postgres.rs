//! Faults of single statements, through sqlx.

use sqlx::{Connection, Executor, PgConnection, Row};
use tokio::time::timeout;

use super::{NOTHING, WITHIN, port_of};
use crate::harness::{Deed, Ending, Postgres, Side, eventually, fresh_postgres_url};

/// A database with an empty table, and a proxy in front of its server.
struct Bench {
    proxy: Postgres,
    /// The database through the proxy.
    url: String,
    /// A connection that does not pass through it.
    direct: PgConnection,
}

impl Bench {
    async fn new() -> Self {
        let url = fresh_postgres_url().await;
        let proxy = Postgres::in_front_of(port_of(&url)).await;
        let mut direct = PgConnection::connect(&url).await.unwrap();
        direct
            .execute("create table t (id int primary key)")
            .await
            .unwrap();
        Self {
            url: proxy.line.url(&url, port_of(&url)),
            proxy,
            direct,
        }
    }

    async fn connect(&self) -> PgConnection {
        let url = format!("{}?application_name=proxied", self.url);
        PgConnection::connect(&url).await.unwrap()
    }

    async fn rows(&mut self) -> Vec<i32> {
        sqlx::query_scalar("select id from t order by id")
            .fetch_all(&mut self.direct)
            .await
            .unwrap()
    }

    /// Waits until the server has ended every session that came through the proxy.
    async fn sessions_end(&mut self) {
        let direct = &mut self.direct;
        eventually("the server ends its sessions", WITHIN, async || {
            let count: i64 = sqlx::query_scalar(
                "select count(*) from pg_stat_activity \
                 where application_name = 'proxied' and datname = current_database()",
            )
            .fetch_one(&mut *direct)
            .await
            .unwrap();
            (count == 0).then_some(())
        })
        .await;
    }
}

async fn insert(connection: &mut PgConnection, id: i32) -> Result<(), sqlx::Error> {
    let insert = sqlx::query("insert into t values ($1) returning id").bind(id);
    timeout(WITHIN, insert.fetch_one(connection))
        .await
        .expect("an answer or an error")
        .map(drop)
}

/// The SQLSTATE of an error that the server, or the proxy in its place, reported.
fn sqlstate(error: &sqlx::Error) -> String {
    let reported = error.as_database_error();
    let reported = reported.unwrap_or_else(|| panic!("not from the server: {error}"));
    reported.code().unwrap().into_owned()
}

#[tokio::test]
async fn a_statement_whose_answer_is_lost_is_committed() {
    let mut bench = Bench::new().await;
    let mut connection = bench.connect().await;
    let mut other = bench.connect().await;
    bench
        .proxy
        .plan("insert into t", 3, Deed::LoseAnswer(Ending::Reset));
    for id in [1, 2] {
        insert(&mut connection, id).await.unwrap();
        assert_eq!(bench.proxy.to_come(), 1);
    }
    // The third one has no Parse: sqlx knows it by name.
    let error = insert(&mut connection, 3).await.unwrap_err();
    assert!(matches!(error, sqlx::Error::Io(_)), "{error}");
    assert_eq!(bench.proxy.to_come(), 0);
    assert_eq!(bench.rows().await, [1, 2, 3]);
    assert!(connection.ping().await.is_err());
    insert(&mut other, 4).await.unwrap();
}

#[tokio::test]
async fn a_connection_can_fall_silent_instead_of_answering() {
    let mut bench = Bench::new().await;
    let mut connection = bench.connect().await;
    bench
        .proxy
        .plan("insert into t", 1, Deed::LoseAnswer(Ending::Silence));
    let statement = sqlx::query("insert into t values (1)");
    let answer = timeout(NOTHING, statement.execute(&mut connection)).await;
    assert!(answer.is_err(), "{answer:?}");
    assert_eq!(bench.rows().await, [1]);
    assert_eq!(bench.proxy.line.connections(), 1);
    bench.proxy.line.cut();
    bench.sessions_end().await;
    assert!(connection.ping().await.is_err());
}

#[tokio::test]
async fn the_answer_to_a_commit_can_be_lost() {
    let mut bench = Bench::new().await;
    let mut connection = bench.connect().await;
    bench
        .proxy
        .plan("COMMIT", 1, Deed::LoseAnswer(Ending::Reset));
    let mut transaction = connection.begin().await.unwrap();
    insert(&mut transaction, 1).await.unwrap();
    assert!(bench.rows().await.is_empty());
    assert!(transaction.commit().await.is_err());
    assert_eq!(bench.rows().await, [1]);
}

#[tokio::test]
async fn an_answer_can_become_an_error_and_the_connection_goes_on() {
    for executed in [true, false] {
        let mut bench = Bench::new().await;
        let mut connection = bench.connect().await;
        // One that is prepared for the first time, and one that is known by name.
        for id in [1, 2] {
            let fail = Deed::Fail {
                sqlstate: "40001",
                executed,
                fatal: false,
            };
            bench.proxy.plan("insert into t", 1, fail);
            let error = insert(&mut connection, id).await.unwrap_err();
            assert_eq!(sqlstate(&error), "40001");
        }
        let expected = if executed { vec![1, 2] } else { vec![] };
        assert_eq!(bench.rows().await, expected, "executed: {executed}");
        insert(&mut connection, 3).await.unwrap();
        connection.close().await.unwrap();
    }
}

#[tokio::test]
async fn statements_without_parameters_can_fail_too() {
    for executed in [true, false] {
        let mut bench = Bench::new().await;
        let mut connection = bench.connect().await;
        let fail = Deed::Fail {
            sqlstate: "25P02",
            executed,
            fatal: false,
        };
        bench.proxy.plan("insert into t", 1, fail);
        let error = connection
            .execute("insert into t values (1)")
            .await
            .unwrap_err();
        assert_eq!(sqlstate(&error), "25P02");
        let row = connection.fetch_one("select 7").await.unwrap();
        assert_eq!(row.get::<i32, _>(0), 7);
        assert_eq!(bench.rows().await.len(), usize::from(executed));
    }
}

#[tokio::test]
async fn a_transaction_in_which_a_statement_fails_is_rolled_back() {
    for executed in [true, false] {
        let mut bench = Bench::new().await;
        let mut connection = bench.connect().await;
        let fail = Deed::Fail {
            sqlstate: "40P01",
            executed,
            fatal: false,
        };
        bench.proxy.plan("insert into t", 2, fail);
        let mut transaction = connection.begin().await.unwrap();
        insert(&mut transaction, 1).await.unwrap();
        let error = insert(&mut transaction, 2).await.unwrap_err();
        assert_eq!(sqlstate(&error), "40P01");
        transaction.rollback().await.unwrap();
        assert!(bench.rows().await.is_empty());
        insert(&mut connection, 3).await.unwrap();
    }
}

#[tokio::test]
async fn a_fatal_error_ends_the_connection() {
    let mut bench = Bench::new().await;
    for (id, executed) in [(1, true), (2, false)] {
        let mut connection = bench.connect().await;
        let fail = Deed::Fail {
            sqlstate: "57P01",
            executed,
            fatal: true,
        };
        bench.proxy.plan("insert into t", 1, fail);
        let error = insert(&mut connection, id).await.unwrap_err();
        assert_eq!(sqlstate(&error), "57P01");
        assert!(connection.ping().await.is_err());
        bench.sessions_end().await;
    }
    assert_eq!(bench.rows().await, [1]);
}

#[tokio::test]
async fn sessions_can_be_refused() {
    let bench = Bench::new().await;
    bench.proxy.refuse_sessions(2, "53300");
    for _ in 0..2 {
        let error = PgConnection::connect(&bench.url).await.unwrap_err();
        assert_eq!(sqlstate(&error), "53300");
    }
    assert_eq!(bench.proxy.to_come(), 0);
    bench.connect().await.ping().await.unwrap();
}

/// One insert, cut behind so many bytes; whether the client was told that it succeeded.
async fn cut_insert(bench: &mut Bench, id: i32, from: Side, after: u64) -> bool {
    let mut connection = bench.connect().await;
    // Known by name, so that only Bind, Execute, Close and Sync are counted.
    insert(&mut connection, -1).await.ok();
    bench
        .proxy
        .plan("insert into t", 1, Deed::Cut { from, after });
    let told = insert(&mut connection, id).await.is_ok();
    drop(connection);
    bench.sessions_end().await;
    assert_eq!(bench.proxy.to_come(), 0);
    told
}

#[tokio::test]
async fn an_exchange_can_be_cut_at_every_byte() {
    let mut bench = Bench::new().await;
    let mut connection = bench.connect().await;
    insert(&mut connection, -1).await.unwrap();
    bench.proxy.plan("insert into t", 1, Deed::Measure);
    insert(&mut connection, 0).await.unwrap();
    let whole = bench.proxy.measured().unwrap();
    drop(connection);
    // Bind with one int, Execute, Close, Sync; and their answers.
    assert!(
        40 < whole.from_client && whole.from_client < 200,
        "{whole:?}"
    );
    assert!(
        30 < whole.from_server && whole.from_server < 200,
        "{whole:?}"
    );

    let mut id = 0;
    for after in 0..=whole.from_client {
        id += 1;
        let told = cut_insert(&mut bench, id, Side::Client, after).await;
        let there = bench.rows().await.contains(&id);
        // Only with the last byte, Sync's, it is committed.
        assert_eq!(
            there,
            after == whole.from_client,
            "from the client: {after}"
        );
        assert!(there || !told);
    }
    for after in 0..=whole.from_server + 1 {
        id += 1;
        let told = cut_insert(&mut bench, id, Side::Server, after).await;
        assert!(bench.rows().await.contains(&id), "from the server: {after}");
        if after < whole.from_server - 6 {
            assert!(!told, "from the server: {after}");
        }
        if whole.from_server < after {
            assert!(told, "there are not that many bytes");
        }
    }
}

#[tokio::test]
async fn answers_of_many_megabytes_pass_and_only_the_end_is_lost() {
    let bench = Bench::new().await;
    let mut connection = bench.connect().await;
    let lengths = |rows: Vec<sqlx::postgres::PgRow>| -> usize {
        rows.iter().map(|row| row.get::<&str, _>(0).len()).sum()
    };
    let ask = "select repeat('x', $1) from generate_series(1, 8)";
    let rows = sqlx::query(ask)
        .bind(1_000_000)
        .fetch_all(&mut connection)
        .await
        .unwrap();
    assert_eq!(lengths(rows), 8_000_000);
    let deed = Deed::LoseAnswer(Ending::Reset);
    bench.proxy.plan("generate_series", 1, deed);
    let asked = sqlx::query(ask).bind(1_000_000).fetch_all(&mut connection);
    let answer = timeout(WITHIN, asked).await.unwrap();
    assert!(answer.is_err());
    assert!(8_000_000 < bench.proxy.line.counters().from_server - 8_000_000);
}
