//! One append transaction on each store: a lone event, and a full batch.
//!
//! The table grows while it is measured, as it does in the daemon.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use hookwell::clock;
use hookwell::event::Event;
use hookwell::store::{Access, PostgresStore, SqliteStore, Store};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::events::event;
use crate::{APP_ID, runtime, server};

const BATCHES: [u64; 3] = [1, 32, 256];

pub fn all(c: &mut Criterion) {
    sqlite(c);
    if let Some(url) = server("HOOKWELL_BENCH_POSTGRES_URL", "the append on Postgres") {
        postgres(c, &url);
    }
}

fn append(c: &mut Criterion, name: &str, runtime: &tokio::runtime::Runtime, store: &dyn Store) {
    let clock = clock::system();
    let next = AtomicU64::new(0);
    let mut group = c.benchmark_group(name);
    for size in BATCHES {
        group.throughput(Throughput::Elements(size));
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            let batch = || -> Vec<Event> {
                let first = next.fetch_add(size, Ordering::Relaxed);
                (first..first + size)
                    .map(|n| event(APP_ID, n, &clock))
                    .collect()
            };
            b.to_async(runtime).iter_batched(
                batch,
                |batch| async move { store.append(&batch).await.expect("the store takes a batch") },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn sqlite(c: &mut Criterion) {
    let runtime = runtime();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let url = format!("sqlite://{}/bench.db", folder.path().display());
    let store = runtime.block_on(async {
        let store = SqliteStore::open(&url, Access::Exclusive).await?;
        store.migrate().await?;
        Ok::<_, hookwell::store::Error>(store)
    });
    let store = Arc::new(store.expect("a new SQLite file"));
    let upkeep = runtime.spawn({
        let store = Arc::clone(&store);
        async move { store.upkeep().await }
    });
    append(c, "append, SQLite", &runtime, store.as_ref());
    upkeep.abort();
    runtime.block_on(store.close());
}

fn postgres(c: &mut Criterion, url: &str) {
    let runtime = runtime();
    let name = format!("hookwell_bench_{}", std::process::id());
    let (server, _) = url.rsplit_once('/').expect("the URL names a database");
    let admin = |statement: String| {
        runtime.block_on(async {
            let mut connection = PgConnection::connect(url).await?;
            sqlx::query(AssertSqlSafe(statement))
                .execute(&mut connection)
                .await?;
            connection.close().await
        })
    };
    admin(format!("create database {name}")).expect("the user may create a database");
    let opened = runtime.block_on(async {
        let url = format!("{server}/{name}");
        let store = PostgresStore::open(&url, Duration::from_secs(30)).await?;
        store.migrate().await?;
        Ok::<_, hookwell::store::Error>(store)
    });
    let store = opened.expect("a new database");
    append(c, "append, Postgres", &runtime, &store);
    runtime.block_on(store.close());
    drop(store);
    admin(format!("drop database {name} with (force)")).expect("the database goes again");
}
