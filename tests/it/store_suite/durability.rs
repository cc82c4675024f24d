//! A store that could lose what it acknowledged, or that is somebody else's, is refused.

use super::{
    Access, DEADLINE, Error, Fixture, Micros, NO_LIMIT, Parked, Position, PostgresStore,
    QuarantineBounds, RelayReader, SqliteStore, Store, event, eventually, postgres, refused,
};
use crate::harness::{
    Backend, Daemon, DaemonConfig, done, fresh_postgres_url, own_postgres, run_cli, store,
    store_url,
};
use hookwell::telemetry::Chain;
use sqlx::{AssertSqlSafe, Connection, Executor, SqliteConnection};

async fn refusal(url: &str) -> String {
    match PostgresStore::open(url, DEADLINE).await {
        Err(error @ Error::NotDurable(_)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn postgres_with_asynchronous_commits_is_refused_by_name_of_the_setting() {
    let url = fresh_postgres_url().await;
    let (_, database) = url.rsplit_once('/').unwrap();
    store::execute(
        &url,
        &format!("alter database {database} set synchronous_commit = off"),
    )
    .await;
    let said = refusal(&url).await;
    assert!(said.contains("synchronous_commit = off"), "{said}");

    let config = DaemonConfig::new(&url);
    let (code, log) = Daemon::try_start(&config).await.err().unwrap();
    assert_eq!(code, Some(69), "{log}");
    assert!(log.contains("synchronous_commit = off"), "{log}");
    let output = run_cli(&["migrate"], &config);
    assert_eq!(output.status.code(), Some(69));

    store::execute(
        &url,
        &format!("alter database {database} reset synchronous_commit"),
    )
    .await;
    postgres(&url).await.check().await.unwrap();
}

/// From now on a session that does not wait for the disk cannot quarantine.
async fn refuse_what_is_not_kept(url: &str) {
    for sql in [
        "create function refuse() returns trigger language plpgsql as $$ begin \
         if current_setting('synchronous_commit') = 'off' then raise 'not kept'; end if; return new; end $$",
        "create trigger refuse before insert on quarantine for each row execute function refuse()",
    ] {
        store::execute(url, sql).await;
    }
}

/// Writes through the pool, and not on the connection of the appends.
async fn keep(n: u8, store: &PostgresStore) -> Result<(), Error> {
    let bounds = QuarantineBounds {
        entries: 10,
        bytes: NO_LIMIT,
    };
    store
        .quarantine(&[refused(n, i64::from(n), "body")], bounds)
        .await
}

/// Tokens and calls are committed there, as is the quarantine.
#[tokio::test]
async fn what_is_committed_beside_the_appends_is_kept_though_the_server_was_told_otherwise_since() {
    let url = fresh_postgres_url().await;
    let store = postgres(&url).await;
    store.migrate().await.unwrap();
    let (_, database) = url.rsplit_once('/').unwrap();
    refuse_what_is_not_kept(&url).await;
    let off = format!("alter database {database} set synchronous_commit = off");
    store::execute(&url, &off).await;
    keep(1, &store).await.unwrap();
    assert_eq!(store.quarantined(10).await.unwrap().len(), 1);
}

/// A reload reaches sessions that stand, too.
#[tokio::test]
async fn a_session_of_the_pool_holds_what_it_was_found_with() {
    let server = own_postgres().await;
    let url = server.value("PG_URL");
    let store = postgres(&url).await;
    store.migrate().await.unwrap();
    refuse_what_is_not_kept(&url).await;
    keep(1, &store).await.unwrap();
    store::execute(&url, "alter system set synchronous_commit = off").await;
    store::execute(&url, "select pg_reload_conf()").await;
    eventually("new sessions are told", DEADLINE, async || {
        PostgresStore::open(&url, DEADLINE).await.err()
    })
    .await;
    keep(2, &store).await.unwrap();
}

#[tokio::test]
async fn a_schema_that_cannot_be_looked_at_is_not_taken_for_none() {
    let url = fresh_postgres_url().await;
    postgres(&url).await.migrate().await.unwrap();
    let (server, database) = url.rsplit_once('/').unwrap();
    let role = format!("reader_of_{database}");
    store::execute(&url, &format!("create role {role} login")).await;
    let (scheme, host) = server.rsplit_once('@').unwrap();
    let (scheme, _) = scheme.rsplit_once("//").unwrap();
    let beside = postgres(&format!("{scheme}//{role}@{host}/{database}")).await;
    let said = Chain(&beside.schema().await.unwrap_err()).to_string();
    assert!(said.contains("permission denied"), "{said}");
    store::execute(&url, &format!("drop role {role}")).await;
}

#[tokio::test]
async fn postgres_without_fsync_or_full_page_writes_is_refused_by_name_of_the_setting() {
    let server = own_postgres().await;
    let url = server.value("PG_URL");
    for setting in ["fsync", "full_page_writes"] {
        for value in ["off", "on"] {
            store::execute(&url, &format!("alter system set {setting} = {value}")).await;
            server.restart().await;
            if value == "off" {
                let said = refusal(&url).await;
                assert!(said.contains(&format!("{setting} = off")), "{said}");
            }
        }
    }
    postgres(&url).await.check().await.unwrap();
}

#[tokio::test]
async fn a_read_only_postgres_is_refused() {
    let url = fresh_postgres_url().await;
    let (_, database) = url.rsplit_once('/').unwrap();
    store::execute(
        &url,
        &format!("alter database {database} set default_transaction_read_only = on"),
    )
    .await;
    let said = refusal(&url).await;
    assert!(said.contains("read-only"), "{said}");
}

#[tokio::test]
async fn a_second_daemon_on_one_sqlite_file_is_refused_until_the_first_ends() {
    let url = store_url(Backend::Sqlite).await;
    let config = DaemonConfig::new(url.url());
    let mut first = Daemon::start(&config).await;
    match SqliteStore::open(url.url(), Access::Exclusive).await {
        Err(Error::InUse(said)) => assert!(said.contains("another hookwell"), "{said}"),
        other => panic!("{other:?}"),
    }
    let (code, log) = Daemon::try_start(&config).await.err().unwrap();
    assert_eq!(code, Some(69), "{log}");
    assert!(log.contains("another hookwell"), "{log}");
    assert_eq!(run_cli(&["migrate"], &config).status.code(), Some(69));

    // A killed daemon leaves no lock behind.
    first.kill9();
    assert!(Daemon::start(&config).await.terminate().await.success());
}

#[tokio::test]
async fn only_one_of_several_holds_the_readers_lock_on_postgres() {
    let fixture = Fixture::new(Backend::Postgres).await;
    let other = postgres(fixture.url.url()).await;
    let reader = fixture.reader().await;
    assert!(other.relay_reader().await.unwrap().is_none());
    drop(reader);
    eventually("the lock is free", DEADLINE, async || {
        other.relay_reader().await.unwrap()
    })
    .await;
}

#[tokio::test]
async fn a_sqlite_file_that_is_gone_takes_no_more_events() {
    let fixture = Fixture::new(Backend::Sqlite).await;
    fixture.fill(1).await;
    let path = fixture.url.url().strip_prefix("sqlite://").unwrap();
    std::fs::remove_file(path).unwrap();
    for outcome in [
        fixture.store.check().await,
        fixture
            .store
            .append(&[super::event("w2", "b")])
            .await
            .map(drop),
    ] {
        assert!(matches!(outcome, Err(Error::NotDurable(_))), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_sqlite_file_keeps_its_wal_mode_for_the_next_one() {
    let fixture = Fixture::new(Backend::Sqlite).await;
    let mut plain = sqlx::SqliteConnection::connect(fixture.url.url())
        .await
        .unwrap();
    let mode: String = sqlx::query_scalar("pragma journal_mode")
        .fetch_one(&mut plain)
        .await
        .unwrap();
    assert_eq!(mode, "wal");
}

#[tokio::test]
async fn the_write_ahead_log_of_sqlite_stays_bounded_and_empties_when_idle() {
    const MIB: u64 = 1024 * 1024;
    let file = crate::harness::SqliteFile::new();
    let store = SqliteStore::open(&file.url(), Access::Exclusive)
        .await
        .unwrap();
    store.migrate().await.unwrap();
    let database = file.url().replace("sqlite://", "");
    let log = std::path::PathBuf::from(format!("{database}-wal"));
    let size = || std::fs::metadata(&log).map_or(0, |file| file.len());
    let appends = async {
        let mut largest = 0;
        for batch in 0..150 {
            let events: Vec<_> = (0..256)
                .map(|n| super::event(&format!("{batch}-{n}"), vec![b'x'; 8192]))
                .collect();
            store.append(&events).await.unwrap();
            largest = largest.max(size());
        }
        // 300 MiB of bodies went through it.
        assert!(largest < 96 * MIB, "{largest} bytes");
        eventually(
            "the log is empty",
            std::time::Duration::from_secs(30),
            async || (size() == 0).then_some(()),
        )
        .await;
    };
    tokio::select! {
        () = store.upkeep() => (),
        () = appends => (),
    }
    assert_eq!(store.ledger().await.unwrap().accepted, 150 * 256);
}

/// As without room, or after a failed write: SQLite rolls back by itself, and sqlx does not see it.
#[tokio::test]
async fn sqlite_takes_events_again_after_a_transaction_that_it_rolled_back_itself() {
    let fixture = Fixture::new(Backend::Sqlite).await;
    let mut reader = fixture.store.relay_reader().await.unwrap().unwrap();
    fixture.fill(1).await;
    let mut other = SqliteConnection::connect(fixture.url.url()).await.unwrap();
    for table in ["events", "dead_letters", "quarantine"] {
        let trigger = format!(
            "create trigger no_room before insert on {table} begin select raise(rollback, 'no room'); end"
        );
        other.execute(AssertSqlSafe(trigger)).await.unwrap();
        for _ in 0..2 {
            let said = write_to(table, &fixture, reader.as_mut()).await;
            let said = said.unwrap_err().to_string();
            assert!(said.contains("unavailable"), "{said}");
        }
        other.execute("drop trigger no_room").await.unwrap();
        write_to(table, &fixture, reader.as_mut()).await.unwrap();
    }
}

async fn write_to(
    table: &str,
    fixture: &Fixture,
    reader: &mut dyn RelayReader,
) -> Result<(), Error> {
    match table {
        "events" => {
            let batch = [event("w2", "body 2".to_owned())];
            fixture.store.append(&batch).await.map(drop)
        }
        "dead_letters" => {
            let parked = Parked {
                position: Position(1),
                reason: "unroutable",
                detail: String::new(),
            };
            reader.settle(&done(1, 0, &[parked]), Micros(1)).await
        }
        _ => {
            let bounds = QuarantineBounds {
                entries: 10,
                bytes: NO_LIMIT,
            };
            let entry = refused(1, 1, "body");
            fixture.store.quarantine(&[entry], bounds).await
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_closed_is_free_at_once_while_processes_are_started() {
    let url = store_url(Backend::Sqlite).await;
    let more = std::sync::atomic::AtomicBool::new(true);
    std::thread::scope(|threads| {
        // A process that starts has a copy of every open file, the lock too, until it runs its own program.
        for _ in 0..4 {
            threads.spawn(|| {
                while more.load(std::sync::atomic::Ordering::Relaxed) {
                    std::process::Command::new("true").status().unwrap();
                }
            });
        }
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                let mut refused = 0;
                for _ in 0..200 {
                    match SqliteStore::open(url.url(), Access::Exclusive).await {
                        Ok(store) => drop(store),
                        Err(error) => {
                            refused += 1;
                            assert!(matches!(error, Error::InUse(_)), "{error}");
                        }
                    }
                }
                more.store(false, std::sync::atomic::Ordering::Relaxed);
                assert_eq!(refused, 0);
            });
        });
    });
}
