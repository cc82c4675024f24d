//! The log in one SQLite file, for one daemon.
//!
//! WAL with `synchronous = FULL`: a commit is on disk when it returns. One write connection,
//! always `begin immediate`; reads go through their own read-only connections, so they never wait for
//! the writer. A lock file beside the database keeps a second daemon out.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool,
    SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, Sqlite};
use tokio::sync::Mutex;
use tokio::time::sleep;

use super::schema;
use super::{
    Appended, Census, Cutoff, DeadLetter, Error, HeldTenant, Ledger, Migrated, Pruned,
    QuarantineBounds, Quarantined, Reader, Refused, Schema, Selection, Store, Sweep,
};
use crate::event::{Event, Position, Recorded};
use crate::failpoints;
use crate::telemetry::Chain;

use checkpoint::Written;
use reader::SqliteReader;
use writer::{Writer, on};

mod append;
mod census;
mod checkpoint;
mod compact;
mod erasure;
mod follow_ups;
mod gaps;
mod installations;
mod keys;
mod reader;
mod replays;
mod shrink;
mod subscriptions;
mod writer;

mod statements {
    use super::super::sql::{
        call_list_statements, census_statements, erasure_statements, event_columns,
        follow_up_statements, gap_statements, held_statements, installation_statements,
        listing_statements, planning_statements, replay_statements, retention_statements,
        shared_statements, subscription_statements, token_statements,
    };
    shared_statements!(sqlx::SqliteConnection, sqlx::sqlite::SqliteRow);
    held_statements!(
        sqlx::Sqlite,
        sqlx::SqliteConnection,
        sqlx::sqlite::SqliteRow
    );
    retention_statements!(
        sqlx::Sqlite,
        sqlx::SqliteConnection,
        sqlx::sqlite::SqliteRow
    );
    erasure_statements!(
        sqlx::Sqlite,
        sqlx::SqliteConnection,
        sqlx::sqlite::SqliteRow,
        ("instr(e.body, ", ") > 0")
    );
    planning_statements!(
        sqlx::Sqlite,
        sqlx::SqliteConnection,
        sqlx::sqlite::SqliteRow
    );
    replay_statements!(
        sqlx::Sqlite,
        sqlx::SqliteConnection,
        sqlx::sqlite::SqliteRow
    );
    installation_statements!(sqlx::SqliteConnection, sqlx::sqlite::SqliteRow);
    token_statements!(sqlx::SqliteConnection, sqlx::sqlite::SqliteRow);
    subscription_statements!(sqlx::SqliteConnection, sqlx::sqlite::SqliteRow);
    call_list_statements!(
        sqlx::Sqlite,
        sqlx::SqliteConnection,
        sqlx::sqlite::SqliteRow
    );
    census_statements!(
        sqlx::Sqlite,
        sqlx::SqliteConnection,
        sqlx::sqlite::SqliteRow,
        "max"
    );
    listing_statements!(
        sqlx::Sqlite,
        sqlx::SqliteConnection,
        sqlx::sqlite::SqliteRow,
        ("instr(e.body, ", ") > 0")
    );
    gap_statements!(
        sqlx::Sqlite,
        sqlx::SqliteConnection,
        sqlx::sqlite::SqliteRow,
        ""
    );
    // There is one writer: nothing to lock.
    follow_up_statements!(
        sqlx::Sqlite,
        sqlx::SqliteConnection,
        sqlx::sqlite::SqliteRow,
        "",
        ""
    );
}

/// How long a statement waits for another process's lock (a command of an operator, a backup).
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Memory for pages of the write connection, in KiB when negative: the tree of keys is read at random.
const PAGE_CACHE: &str = "-16384";

/// Room without which an append is not believed to come through: a body and what is written beside it.
const LEAST_ROOM: u64 = 1024 * 1024;

/// How long after a failed checkpoint another one is tried.
const AGAIN: Duration = Duration::from_secs(1);

/// The log in one SQLite file.
pub struct SqliteStore {
    writer: Arc<Mutex<Writer>>,
    readers: SqlitePool,
    path: PathBuf,
    /// For the checkpoints: their connection's settings, and how much there is to do.
    options: SqliteConnectOptions,
    written: Arc<Written>,
    /// Where the sweep over the keys stands.
    sweep: Sweep,
    /// Held by a daemon for as long as it lives.
    _lock: Option<FileLock>,
}

/// Who opens the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The daemon or a migration: creates the file, and keeps every other one out.
    Exclusive,
    /// A command of an operator that keeps every other one out. The file must be there.
    Alone,
    /// A command of an operator, beside a running daemon. The file must be there.
    Shared,
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
        let (path, lock) = match access {
            Access::Exclusive => {
                let path = create(options.get_filename())?;
                let lock = lock_file(&path)?;
                if path.metadata().is_ok_and(|file| file.len() == 0) {
                    lay_out(&options).await?;
                }
                (path, Some(lock))
            }
            Access::Alone => {
                let path = expect_there(options.get_filename())?;
                let path = path
                    .canonicalize()
                    .map_err(|error| file_error(path, error))?;
                let lock = lock_file(&path)?;
                (path, Some(lock))
            }
            Access::Shared => (expect_there(options.get_filename())?.to_path_buf(), None),
        };
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

fn file_error(path: &Path, source: std::io::Error) -> Error {
    Error::File {
        path: path.display().to_string(),
        source,
    }
}

/// Creates the file where there is none, readable by its owner alone (it will hold people's data), and
/// returns its one true path, so that two names of one file cannot be two daemons' stores.
fn create(path: &Path) -> Result<PathBuf, Error> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|source| file_error(folder, source))?;
    }
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .and_then(|_| path.canonicalize())
        .map_err(|source| file_error(path, source))
}

/// Writes the first page of an empty file. Later only a rewrite of the file lets it shrink.
async fn lay_out(options: &SqliteConnectOptions) -> Result<(), Error> {
    let options = options.clone().auto_vacuum(SqliteAutoVacuum::Incremental);
    Ok(options.connect().await?.close().await?)
}

fn expect_there(path: &Path) -> Result<&Path, Error> {
    match path.exists() {
        true => Ok(path),
        false => Err(Error::Schema(format!(
            "there is no database at {}; `hookwell serve` or `hookwell migrate` creates it",
            path.display()
        ))),
    }
}

/// The lock that keeps a second daemon out. Given back by name: closing the file alone leaves it with a copy that a
/// process has which was just started, until that runs its own program.
struct FileLock(File);

impl Drop for FileLock {
    fn drop(&mut self) {
        // What cannot be given back ends with the process.
        let _ = self.0.unlock();
    }
}

fn lock_file(database: &Path) -> Result<FileLock, Error> {
    let mut path = database.as_os_str().to_owned();
    path.push(".lock");
    let path = PathBuf::from(path);
    let file = File::create(&path).map_err(|source| file_error(&path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(FileLock(file)),
        Err(TryLockError::WouldBlock) => Err(Error::InUse(format!(
            "another hookwell has {} open; SQLite serves one daemon, use Postgres for several",
            database.display()
        ))),
        Err(TryLockError::Error(source)) => Err(file_error(&path, source)),
    }
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
        if !self.path.exists() {
            // The open file would take events that nobody can ever read again.
            return Err(Error::NotDurable(format!(
                "{} is gone",
                self.path.display()
            )));
        }
        keys::know(&mut writer, &self.written).await?;
        let done = on!(writer, Now, connection => async {
            let mut transaction = connection.begin_with("begin immediate").await?;
            let young = writer.keys.get_or_insert_default();
            let done = append::append(&mut transaction, young, batch).await?;
            failpoints::crash("append.inside");
            transaction.commit().await?;
            Ok::<_, Error>(done)
        })?;
        if let Some(keys) = &mut writer.keys {
            keys.committed(done.young, done.head);
        }
        self.written.batch(batch);
        Ok(done.appended)
    }

    async fn relay_reader(&self) -> Result<Option<Box<dyn Reader>>, Error> {
        // The lock on the file is the right to read: whoever has the store open has it.
        Ok(Some(Box::new(SqliteReader {
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
        let mut writer = self.writer.lock().await;
        on!(writer, Later, connection => async {
            let mut transaction = connection.begin_with("begin immediate").await?;
            for entry in refused {
                statements::refuse(&mut transaction, entry).await?;
            }
            statements::trim_quarantine(&mut transaction, bounds).await?;
            Ok(transaction.commit().await?)
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
        if !self.path.exists() {
            return Err(Error::NotDurable(format!(
                "{} is gone",
                self.path.display()
            )));
        }
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
            let mut transaction = connection.begin_with("begin immediate").await?;
            let young = writer.keys.get_or_insert_default();
            append::append(&mut transaction, young, std::slice::from_ref(event)).await?;
            transaction.rollback().await?;
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
        self.readers.close().await;
        let mut writer = self.writer.lock().await;
        let done = on_close(&mut writer).await;
        if let Err(error) = done {
            tracing::debug!(%error, "the write-ahead log stays beside the database");
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
