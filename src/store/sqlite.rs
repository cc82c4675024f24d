//! The log in one SQLite file, for one daemon.
//!
//! WAL with `synchronous = FULL`: a commit is on disk when it returns. One write connection,
//! always `begin immediate`; reads go through their own read-only connections, so they never wait for
//! the writer. A lock file beside the database keeps a second daemon out.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions, Sqlite};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use super::schema;
use super::{
    Appended, Census, Cutoff, DeadLetter, Error, HeldTenant, Ledger, Migrated, Pruned,
    QuarantineBounds, Quarantined, Refused, RelayReader, Schema, Selection, Store, Sweep,
};
use crate::event::{Event, Position, Recorded};
use crate::failpoints;
use crate::telemetry::Chain;

pub use file::Access;

use checkpoint::Written;
use file::FileLock;
use reader::SqliteRelayReader;
use writer::{Writer, on, transaction};

mod append;
mod census;
mod checkpoint;
mod compact;
mod erasure;
mod file;
mod follow_ups;
mod gaps;
mod installations;
mod keys;
mod listing;
mod reader;
mod replays;
mod shrink;
mod statements;
mod subscriptions;
mod writer;

/// How long a statement waits for another process's lock (a command of an operator, a backup).
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Memory for pages of the write connection, in KiB when negative: the tree of keys is read at random.
const PAGE_CACHE: &str = "-16384";

/// Room without which an append is not believed to come through: a body and what is written beside it.
const LEAST_ROOM: u64 = 1024 * 1024;

/// How long after a failed checkpoint another one is tried.
const AGAIN: Duration = Duration::from_secs(1);

/// How long the end of the process waits for what is under way and for the last checkpoint.
const LAST: Duration = Duration::from_secs(5);

/// The log in one SQLite file.
pub struct SqliteStore {
    writer: Arc<Mutex<Writer>>,
    readers: SqlitePool,
    path: PathBuf,
    /// For the checkpoints: their connection's settings, and how much there is to do.
    options: SqliteConnectOptions,
    written: Arc<Written>,
    /// Where the sweeps of retention stand.
    sweep: Sweep,
    /// Held by a daemon for as long as it lives.
    _lock: Option<FileLock>,
}

impl SqliteStore {
    /// Opens the file of a `sqlite://` URL and checks, by reading them back, that its settings are
    /// durable.
    ///
    /// # Errors
    /// [`Error::InUse`] when a daemon has it, [`Error::NotDurable`] when WAL or `FULL` was not granted.
    pub async fn open(url: &str, access: Access) -> Result<Self, Error> {
        let options = SqliteConnectOptions::from_str(url)?
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            // Only where nothing checkpoints beside the appends, as in a command.
            .pragma("wal_autocheckpoint", "32768")
            // Rows cross from SQLite's thread in one go. What they hold is bounded by the reader.
            .row_buffer_size(1024)
            .disable_statement_logging();
        let (path, lock) = file::open(&options, access).await?;
        let mut writer = Writer::new(options.clone().pragma("cache_size", PAGE_CACHE));
        on!(writer, Now, connection => expect_durable(connection, &path))?;
        let readers = SqlitePoolOptions::new()
            .max_connections(3)
            .acquire_timeout(BUSY_TIMEOUT)
            .connect_lazy_with(options.clone().read_only(true));
        Ok(Self {
            writer: Arc::new(Mutex::new(writer)),
            readers,
            path,
            options: options.synchronous(SqliteSynchronous::Full),
            written: Arc::default(),
            sweep: Sweep::default(),
            _lock: lock,
        })
    }

    /// Brings the schema up to date.
    ///
    /// # Errors
    /// [`Error::Schema`] when the schema is newer and not for this binary.
    pub async fn migrate(&self) -> Result<Migrated, Error> {
        let mut writer = self.writer.lock().await;
        let migrator = schema::migrations!("sqlite");
        on!(writer, Now, connection => async {
            let before = schema::found!(connection);
            before.expect_compatible()?;
            let ran = migrator.run(&mut *connection).await;
            ran.map_err(schema::migration_error)?;
            before.migrated_to(schema::found!(connection))
        })
    }

    /// The open file of one that is gone would take events that nobody can ever read again.
    fn expect_there(&self) -> Result<(), Error> {
        match self.path.exists() {
            true => Ok(()),
            false => Err(Error::NotDurable(format!(
                "{} is gone",
                self.path.display()
            ))),
        }
    }

    async fn reader(&self) -> Result<PoolConnection<Sqlite>, Error> {
        Ok(self.readers.acquire().await?)
    }
}

/// Moves the write-ahead log into the database file and cuts it to nothing.
async fn on_close(writer: &mut Writer) -> Result<(), Error> {
    let truncate = "pragma wal_checkpoint(truncate)";
    on!(writer, Now, connection => async {
        sqlx::query(truncate).execute(connection).await?;
        Ok(())
    })
}

/// Reads the settings back: a file system without shared memory silently refuses WAL, for example.
async fn expect_durable(connection: &mut SqliteConnection, path: &Path) -> Result<(), Error> {
    let journal: String = sqlx::query_scalar("pragma journal_mode")
        .fetch_one(&mut *connection)
        .await?;
    let synchronous: i64 = sqlx::query_scalar("pragma synchronous")
        .fetch_one(&mut *connection)
        .await?;
    const FULL: i64 = 2;
    if journal != "wal" || (synchronous < FULL && !failpoints::mutant("mutant.M2")) {
        return Err(Error::NotDurable(format!(
            "{} runs with journal_mode = {journal} and synchronous = {synchronous}, it needs wal and 2 (FULL); \
             put it on a local file system",
            path.display()
        )));
    }
    Ok(())
}

#[async_trait]
impl Store for SqliteStore {
    async fn schema(&self) -> Result<Schema, Error> {
        let mut writer = self.writer.lock().await;
        on!(writer, Now, connection => async { schema::found!(connection).expect_usable() })
    }

    async fn append(&self, batch: &[Event]) -> Result<Vec<Appended>, Error> {
        let mut writer = self.writer.lock().await;
        self.expect_there()?;
        keys::know(&mut writer, &self.written).await?;
        let done = on!(writer, Now, connection => async {
            let young = writer.keys.get_or_insert_default();
            let done = append::append(connection, young, batch).await?;
            failpoints::crash("append.inside");
            sqlx::query("commit").execute(connection).await?;
            Ok::<_, Error>(done)
        })?;
        if let Some(keys) = &mut writer.keys {
            keys.committed(done.young, done.head);
        }
        self.written.batch(batch);
        Ok(done.appended)
    }

    async fn relay_reader(&self) -> Result<Option<Box<dyn RelayReader>>, Error> {
        // The lock on the file is the right to read: whoever has the store open has it.
        Ok(Some(Box::new(SqliteRelayReader {
            writer: Arc::clone(&self.writer),
            written: Arc::clone(&self.written),
            readers: self.readers.clone(),
        })))
    }

    async fn ledger(&self) -> Result<Ledger, Error> {
        statements::ledger(&mut *self.reader().await?).await
    }

    async fn event_at(&self, position: Position) -> Result<Option<Recorded>, Error> {
        statements::event_at(&mut *self.reader().await?, position).await
    }

    async fn positions_of(&self, key: &str) -> Result<Vec<Position>, Error> {
        let mut connection = self.reader().await?;
        let mut found = statements::positions_of(&mut connection, key).await?;
        found.extend(keys::young_positions_of(&mut connection, key).await?);
        found.sort_unstable();
        // A key that is being written into the tree may be at both places.
        found.dedup();
        Ok(found)
    }

    async fn dead_letters(&self, limit: i64) -> Result<Vec<DeadLetter>, Error> {
        statements::dead_letters(&mut *self.reader().await?, limit).await
    }

    async fn dead_letter(&self, position: Position) -> Result<Option<DeadLetter>, Error> {
        statements::dead_letter(&mut *self.reader().await?, position).await
    }

    async fn held_tenants(&self) -> Result<Vec<HeldTenant>, Error> {
        statements::held_tenants(&mut *self.reader().await?).await
    }

    async fn retry_dead_letters(&self, selection: Selection) -> Result<u64, Error> {
        let mut writer = self.writer.lock().await;
        on!(writer, Now, connection => statements::retry_dead_letters(connection, selection))
    }

    async fn quarantine(&self, refused: &[Refused], bounds: QuarantineBounds) -> Result<(), Error> {
        transaction!(self, Later, transaction => async {
            for entry in refused {
                statements::refuse(transaction, entry).await?;
            }
            statements::trim_quarantine(transaction, bounds).await
        })
    }

    async fn quarantined(&self, limit: i64) -> Result<Vec<Quarantined>, Error> {
        statements::quarantined(&mut *self.reader().await?, limit).await
    }

    async fn quarantined_one(&self, id: i64) -> Result<Option<Quarantined>, Error> {
        statements::quarantined_one(&mut *self.reader().await?, id).await
    }

    async fn release_quarantined(&self, id: i64) -> Result<(), Error> {
        let mut writer = self.writer.lock().await;
        on!(writer, Now, connection => statements::release_quarantined(connection, id))
    }

    async fn prune(&self, cutoff: &Cutoff) -> Result<Pruned, Error> {
        let before = cutoff.bodies_before.max(cutoff.keys_before);
        keys::write_older(&self.writer, &self.written, before).await?;
        let mut writer = self.writer.lock().await;
        let after = self.sweep.after();
        let (pruned, stopped) = on!(writer, Later, connection => statements::prune(connection, cutoff, cutoff.bodies_before, &after))?;
        self.sweep.stop(stopped);
        Ok(pruned)
    }

    async fn check(&self) -> Result<(), Error> {
        self.expect_there()?;
        let mut writer = self.writer.lock().await;
        on!(writer, Now, connection => expect_durable(connection, &self.path))
    }

    async fn rehearse(&self, event: &Event) -> Result<(), Error> {
        // What a transaction writes is in memory until its commit, so room has to be asked for.
        if self.disk().is_some_and(|disk| disk.free < LEAST_ROOM) {
            return Err(Error::NoRoom(format!(
                "there is no room for {}",
                self.path.display()
            )));
        }
        let mut writer = self.writer.lock().await;
        keys::know(&mut writer, &self.written).await?;
        on!(writer, Now, connection => async {
            let young = writer.keys.get_or_insert_default();
            append::append(connection, young, std::slice::from_ref(event)).await?;
            sqlx::query("rollback").execute(&mut *connection).await?;
            // Something has to reach the disk. It is 0 in any case.
            sqlx::query("pragma user_version = 0").execute(connection).await?;
            Ok(())
        })
    }

    async fn upkeep(&self) {
        let shrink = shrink::run(&self.writer, &self.written);
        let keep = async {
            loop {
                let ended = tokio::try_join!(
                    checkpoint::run(&self.options, &self.written, &self.writer),
                    keys::run(&self.writer, &self.written),
                );
                if let Err(error) = ended {
                    tracing::warn!(error = %Chain(&error), "the upkeep of the store failed; its write-ahead log grows until it succeeds");
                }
                sleep(AGAIN).await;
            }
        };
        tokio::join!(shrink, keep);
    }

    async fn close(&self) {
        let done = timeout(LAST, async {
            self.readers.close().await;
            on_close(&mut *self.writer.lock().await).await
        });
        match done.await {
            Ok(Ok(())) => (),
            Ok(Err(error)) => {
                tracing::debug!(%error, "the write-ahead log stays beside the database");
            }
            Err(_) => {
                tracing::warn!("the store could not be closed in time; nothing in it is lost")
            }
        }
    }
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
