//! Opening the store: for the daemon, for a command beside it, for one that keeps it out.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::config;
use crate::retry::Delays;
use crate::store::{self, Access, Migrated, PostgresStore, SqliteStore, Store};
use crate::telemetry::Chain;

/// Opens the store for a daemon or a migration, and migrates it.
///
/// A database that does not answer is tried again until `store.connect_timeout`; one that must not be
/// used is an error at once.
pub async fn open_store(
    settings: &config::Store,
) -> Result<(Arc<dyn Store>, Migrated), store::Error> {
    if settings.url.starts_with("sqlite:") {
        let store = SqliteStore::open(&settings.url, Access::Exclusive).await?;
        let migrated = store.migrate().await?;
        return Ok((Arc::new(store), migrated));
    }
    let give_up = Instant::now() + settings.connect_timeout;
    let mut delays = Delays::new(Duration::from_millis(200), Duration::from_secs(2));
    loop {
        let opened = async {
            let store = PostgresStore::open(&settings.url, settings.statement_timeout).await?;
            let migrated = store.migrate().await?;
            Ok((Arc::new(store) as Arc<dyn Store>, migrated))
        };
        match opened.await {
            Err(error @ (store::Error::Unavailable(_) | store::Error::Deadline(_)))
                if Instant::now() < give_up =>
            {
                let delay = delays.next_delay();
                tracing::warn!(
                    error = %Chain(&error), retry_in_ms = delay.as_millis() as u64,
                    "Postgres does not answer yet"
                );
                sleep(delay).await;
            }
            other => return other,
        }
    }
}

/// Opens the store for a command beside a running daemon; changes no schema.
pub async fn open_store_beside(settings: &config::Store) -> Result<Arc<dyn Store>, store::Error> {
    if settings.url.starts_with("sqlite:") {
        let store = SqliteStore::open(&settings.url, Access::Shared).await?;
        store.schema().await?;
        return Ok(Arc::new(store));
    }
    let store = PostgresStore::open(&settings.url, settings.statement_timeout).await?;
    store.schema().await?;
    Ok(Arc::new(store))
}

/// Opens the SQLite file for a command that keeps daemons out; changes no schema.
pub async fn open_file_alone(settings: &config::Store) -> Result<Arc<SqliteStore>, store::Error> {
    let store = SqliteStore::open(&settings.url, Access::Alone).await?;
    store.schema().await?;
    Ok(Arc::new(store))
}
