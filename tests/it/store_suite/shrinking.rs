//! A SQLite file gives back what it does not need any more, and its write-ahead log has an end.

use std::path::PathBuf;
use std::sync::Arc;

use hookwell::event::{Micros, Position};
use hookwell::store::{EventFilter, EventRange};
use sqlx::{Connection, Executor, SqliteConnection};

use super::{Access, DEADLINE, Fixture, NO_LIMIT, SqliteStore, StoreUrl, event};
use crate::harness::{Backend, Daemon, DaemonConfig, done, eventually, run_cli, store_url};

const MIB: u64 = 1024 * 1024;
/// Bytes of a body.
const BODY: usize = 16 * 1024;
/// Events of a batch.
const BATCH: i64 = 128;

fn path(url: &StoreUrl) -> PathBuf {
    PathBuf::from(url.url().strip_prefix("sqlite://").unwrap())
}

fn size(url: &StoreUrl) -> u64 {
    path(url).metadata().unwrap().len()
}

/// The write-ahead log of a file.
fn log_of(url: &StoreUrl) -> u64 {
    let log = format!("{}-wal", path(url).display());
    std::fs::metadata(log).map_or(0, |log| log.len())
}

async fn number(url: &StoreUrl, sql: &'static str) -> i64 {
    let mut connection = SqliteConnection::connect(url.url()).await.unwrap();
    sqlx::query_scalar(sql)
        .fetch_one(&mut connection)
        .await
        .unwrap()
}

impl Fixture {
    /// Appends so many batches, lets them be published, and removes all of them but the last one.
    async fn fill_and_prune(&self, batches: i64) {
        for batch in 0..batches {
            let events: Vec<_> = (0..BATCH)
                .map(|n| event(&format!("{batch}-{n}"), vec![b'x'; BODY]))
                .collect();
            self.append(&events).await;
        }
        let kept = event("kept", vec![b'k'; BODY]);
        self.append(&[kept]).await;
        let count = batches * BATCH;
        let published = done(count, count, &[]);
        self.reader()
            .await
            .settle(&published, Micros(1))
            .await
            .unwrap();
        self.prune_by(1_000, NO_LIMIT, NO_LIMIT).await;
        assert_eq!(self.positions().await, [count + 1]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sqlite_file_shrinks_to_what_is_kept_while_events_come() {
    let f = Fixture::new(Backend::Sqlite).await;
    assert_eq!(number(&f.url, "pragma auto_vacuum").await, 2);
    let appends = async {
        f.fill_and_prune(48).await;
        let full = size(&f.url);
        assert!(64 * MIB < full, "{full}");
        let mut n = 0;
        // What is free and stays is 16 MiB, and what is kept a few KiB.
        eventually("the file is small", 6 * DEADLINE, async || {
            n += 1;
            f.append(&[event(&format!("later-{n}"), "later")]).await;
            (size(&f.url) < 20 * MIB && n > 10).then_some(())
        })
        .await;
        assert_eq!(f.ledger().await.accepted, 48 * BATCH + 1 + n);
    };
    tokio::select! {
        () = f.store.upkeep() => (),
        () = appends => (),
    }
    assert_eq!(
        number(
            &f.url,
            "select count(*) from pragma_integrity_check where integrity_check <> 'ok'"
        )
        .await,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_file_is_compacted_by_a_command_and_shrinks_by_itself_from_then_on() {
    let url = store_url(Backend::Sqlite).await;
    // As it was made before: with a first page that says nothing of free ones.
    let mut plain = SqliteConnection::connect(&format!("{}?mode=rwc", url.url()))
        .await
        .unwrap();
    plain.execute("pragma journal_mode = wal").await.unwrap();
    plain
        .execute("create table made_before (n integer)")
        .await
        .unwrap();
    plain.execute("drop table made_before").await.unwrap();
    plain.close().await.unwrap();
    let store = SqliteStore::open(url.url(), Access::Exclusive)
        .await
        .unwrap();
    store.migrate().await.unwrap();
    let f = Fixture {
        store: Arc::new(store),
        url,
    };
    assert_eq!(number(&f.url, "pragma auto_vacuum").await, 0);
    f.fill_and_prune(24).await;
    f.store.close().await;
    let Fixture { store, url } = f;
    drop(store);
    let full = size(&url);
    assert!(32 * MIB < full, "{full}");

    let config = DaemonConfig::new(url.url());
    let mut daemon = Daemon::start(&config).await;
    let refused = run_cli(&["compact"], &config);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(69), "{said}");
    assert!(said.contains("stop the daemon first"), "{said}");
    assert!(daemon.terminate().await.success());
    assert_eq!(size(&url), full);

    let output = run_cli(&["compact", "--json"], &config);
    assert!(output.status.success(), "{output:?}");
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    // A write-ahead log that the daemon left counts, too.
    let before = said["bytes_before"].as_u64().unwrap();
    assert!((full..full + MIB).contains(&before), "{before}");
    assert!(size(&url) < MIB, "{}", size(&url));
    assert_eq!(said["bytes_after"].as_u64().unwrap() / MIB, 0);
    assert_eq!(number(&url, "pragma auto_vacuum").await, 2);
    let audited = run_cli(&["audit"], &config);
    assert!(
        String::from_utf8_lossy(&audited.stdout).contains("compact"),
        "{audited:?}"
    );
    let status = run_cli(&["status", "--json"], &config);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["accepted"], 24 * BATCH + 1, "{status}");
}

#[test]
fn there_is_nothing_to_compact_without_a_file_or_on_postgres() {
    let config = DaemonConfig::new("postgres://u:p@db/h");
    assert_eq!(run_cli(&["compact"], &config).status.code(), Some(64));
    let config = DaemonConfig::new("sqlite://nowhere.db");
    assert_eq!(run_cli(&["compact"], &config).status.code(), Some(69));
    assert!(!config.dir().join("nowhere.db").exists());
}

/// A page of the console and each part of an export is a read of its own, however long the whole of it takes.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_lists_or_exports_events_does_not_make_the_write_ahead_log_grow() {
    let f = Fixture::new(Backend::Sqlite).await;
    let appends = async {
        let mut largest = 0;
        for batch in 0..100 {
            let events: Vec<_> = (0..BATCH)
                .map(|n| event(&format!("{batch}-{n}"), vec![b'x'; BODY]))
                .collect();
            f.append(&events).await;
            largest = largest.max(log_of(&f.url));
        }
        // 200 MiB of bodies went through it.
        assert!(largest < 96 * MIB, "{largest} bytes");
    };
    let lists = async {
        let filter = EventFilter {
            limit: 200,
            ..EventFilter::default()
        };
        loop {
            f.store.events(&filter).await.unwrap();
        }
    };
    let mut exported = 0;
    let exports = async {
        loop {
            let mut range = EventRange {
                upto: Position(i64::MAX),
                ..EventRange::default()
            };
            loop {
                let part = f.store.read_range(&range, 500, 4 * MIB as i64).await;
                let (events, after) = part.unwrap();
                if events.is_empty() {
                    break;
                }
                exported += events.len();
                range.after = after;
            }
        }
    };
    tokio::select! {
        () = f.store.upkeep() => (),
        () = lists => (),
        () = exports => (),
        () = appends => (),
    }
    assert!(1_000 < exported, "{exported}");
}
