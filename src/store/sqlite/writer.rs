//! The one write connection, and how durable its commits are.
//!
//! Appends and whatever a person asked for are on disk when they return. Cursor moves and the like are in
//! order in the same write-ahead log and become durable with the next append: a power cut can lose the last
//! of them, which only repeats messages. Both go through one connection, because each connection would
//! throw its page cache away after a commit of the other.

use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use super::super::Error;
use super::keys::YoungKeys;
use crate::failpoints;

/// When a commit is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// When it returns.
    Now,
    /// With the next one that is durable.
    Later,
}

impl Durability {
    fn statement(self) -> &'static str {
        match self {
            Self::Now if failpoints::mutant("mutant.M2") => "pragma synchronous = normal",
            Self::Now => "pragma synchronous = full",
            Self::Later => "pragma synchronous = normal",
        }
    }
}

/// Room for the connection. Whoever uses it takes it out and puts it back after a success alone: one on
/// which a commit failed (a full disk) counts itself inside that transaction for ever.
pub(super) struct Writer {
    options: SqliteConnectOptions,
    open: Option<Tuned>,
    /// Whether the disk refused something: what is in the write-ahead log may be there in memory alone.
    doubtful: bool,
    /// `None` when it is not known what they are: they are read again.
    pub(super) keys: Option<YoungKeys>,
}

/// A connection with what was asked of it last.
pub(super) struct Tuned {
    pub(super) connection: SqliteConnection,
    durability: Durability,
}

impl Writer {
    pub(super) fn new(options: SqliteConnectOptions) -> Self {
        Self {
            options,
            open: None,
            doubtful: false,
            keys: None,
        }
    }

    /// The connection, with commits as durable as asked.
    pub(super) async fn take(&mut self, durability: Durability) -> Result<Tuned, Error> {
        let tuned = match self.open.take() {
            Some(tuned) if tuned.durability == durability => return Ok(tuned),
            Some(tuned) => tuned.connection,
            None => self.options.connect().await?,
        };
        let mut connection = tuned;
        if self.doubtful {
            begin_anew(&mut connection).await?;
            self.doubtful = false;
        }
        sqlx::query(durability.statement())
            .execute(&mut connection)
            .await?;
        Ok(Tuned {
            connection,
            durability,
        })
    }

    /// What went wrong, when it did: the connection is lost in any case.
    pub(super) fn failed(&mut self, error: &Error) {
        self.doubtful |= is_io_error(error);
    }

    /// Gives it back, for the next one.
    pub(super) fn put(&mut self, tuned: Tuned) {
        self.open = Some(tuned);
    }
}

/// Moves the write-ahead log into the database and cuts it to nothing.
///
/// Linux (fsync, since 4.13) tells of pages that it could not write once, and then counts them as written. A frame of a
/// commit that was to become durable later may be such a page, and what is appended behind it would be cut off with it after
/// a power cut. The checkpoint reads the frames from memory, and asks for the database to be on disk.
async fn begin_anew(connection: &mut SqliteConnection) -> Result<(), Error> {
    let busy: i64 = sqlx::query_scalar("pragma wal_checkpoint(truncate)")
        .fetch_one(connection)
        .await?;
    match busy {
        0 => Ok(()),
        _ => Err(Error::NotDurable(
            "the disk refused a write, and the write-ahead log cannot be emptied yet: somebody reads it".to_owned(),
        )),
    }
}

/// Whether it is `SQLITE_IOERR`, with whatever SQLite adds to say where.
fn is_io_error(error: &Error) -> bool {
    const IOERR: i32 = 10;
    let Error::Unavailable(sqlx::Error::Database(error)) = error else {
        return false;
    };
    let code = error.code().and_then(|code| code.parse::<i32>().ok());
    code.is_some_and(|code| code & 0xff == IOERR)
}

/// Works on the write connection; an error costs it.
macro_rules! on {
    ($writer:expr, $durability:ident, $connection:ident => $work:expr) => {{
        let mut taken = $writer
            .take(crate::store::sqlite::writer::Durability::$durability)
            .await?;
        let answer = {
            let $connection = &mut taken.connection;
            $work.await
        };
        match &answer {
            Ok(_) => $writer.put(taken),
            Err(error) => $writer.failed(error),
        }
        answer
    }};
}
pub(super) use on;

/// Runs statements in a transaction on the write connection.
macro_rules! transaction {
    ($store:expr, $durability:ident, $transaction:ident => $work:expr) => {{
        let mut writer = $store.writer.lock().await;
        $crate::store::sqlite::writer::on!(writer, $durability, connection => async {
            let mut begun = ::sqlx::Connection::begin_with(connection, "begin immediate").await?;
            let $transaction = &mut *begun;
            let answer = $work.await?;
            begun.commit().await?;
            Ok::<_, $crate::store::Error>(answer)
        })
    }};
}
pub(super) use transaction;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use sqlx::Connection as _;
    use sqlx::sqlite::SqliteJournalMode;

    use super::*;

    async fn run(writer: &mut Writer, sql: &'static str) -> Result<(), Error> {
        on!(writer, Now, connection => async {
            sqlx::query(sql).execute(connection).await?;
            Ok(())
        })
    }

    fn log_bytes(path: &Path) -> u64 {
        std::fs::metadata(path.with_extension("db-wal")).map_or(0, |file| file.len())
    }

    #[tokio::test]
    async fn after_the_disk_refused_a_write_the_log_begins_anew_or_takes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.db");
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true);
        let options = options.journal_mode(SqliteJournalMode::Wal);
        let mut writer = Writer::new(options.clone());
        run(&mut writer, "create table t (n)").await.unwrap();
        for _ in 0..100 {
            run(&mut writer, "insert into t values (zeroblob(4000))")
                .await
                .unwrap();
        }
        let grown = log_bytes(&path);

        // Somebody reads what the log holds.
        let mut reader = options.connect().await.unwrap();
        let mut reading = reader.begin().await.unwrap();
        let count = sqlx::query_scalar::<_, i64>("select count(*) from t");
        assert_eq!(count.fetch_one(&mut *reading).await.unwrap(), 100);
        writer.open = None;
        writer.doubtful = true;
        let refused = run(&mut writer, "insert into t values (1)").await;
        assert!(matches!(refused, Err(Error::NotDurable(_))), "{refused:?}");
        reading.rollback().await.unwrap();

        run(&mut writer, "insert into t values (1)").await.unwrap();
        let anew = log_bytes(&path);
        assert!(0 < anew && anew < grown / 10, "{anew} of {grown} bytes");
        let count = sqlx::query_scalar::<_, i64>("select count(*) from t");
        assert_eq!(count.fetch_one(&mut reader).await.unwrap(), 101);
    }
}
