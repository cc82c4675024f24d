//! Reads a store behind the daemon's back: the rows of the log, and the figures of its end state.

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use futures_util::TryStreamExt;
use sha2::{Digest, Sha256};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection, Row as _, SqliteConnection};

use crate::records::calls::Call;
use crate::records::{Clock, DeadLetter, Row, Taken, Writer};

/// What a store says besides its rows.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// `log_head`.
    pub head: i64,
    /// The relay's cursor.
    pub cursor: i64,
    /// What its row says was published.
    pub published: i64,
    /// Entries of the quarantine.
    pub quarantined: i64,
    /// What is parked.
    pub dead_letters: Vec<DeadLetter>,
}

const EVENTS: &str =
    "select position, event_key, app_id, body from events where $1 < position order by position";
const FIGURES: &str = "select h.position as head, c.position as cursor, c.published as published, \
     (select count(*) from quarantine) as quarantined \
     from log_head h cross join cursors c where c.reader = 'relay'";
const DEAD: &str = "select position, reason, state from dead_letters order by position";

const CALLS: &str = "select id, position, rule, tenant, entity_id, state, reason, planned_at, ended_at \
     from follow_ups where $1 <= coalesce(ended_at, $1) order by id";

/// Both kinds of connection take the same statements.
macro_rules! reading {
    ($rows:ident, $figures:ident, $calls:ident, $connection:ty) => {
        async fn $calls(connection: &mut $connection, since: i64) -> sqlx::Result<Vec<Call>> {
            let rows = sqlx::query(CALLS).bind(since).fetch_all(connection).await?;
            let call = |row: &_| -> sqlx::Result<Call> {
                let row: &<<$connection as Connection>::Database as sqlx::Database>::Row = row;
                Ok(Call {
                    id: row.try_get("id")?,
                    position: row.try_get("position")?,
                    rule: row.try_get("rule")?,
                    tenant: row.try_get("tenant")?,
                    entity: row.try_get("entity_id")?,
                    state: row.try_get("state")?,
                    reason: row.try_get("reason")?,
                    planned: row.try_get("planned_at")?,
                    ended: row.try_get("ended_at")?,
                })
            };
            rows.iter().map(call).collect()
        }

        async fn $rows(
            connection: &mut $connection,
            behind: &mut i64,
            into: &Writer,
        ) -> sqlx::Result<()> {
            let mut rows = sqlx::query(EVENTS).bind(*behind).fetch(connection);
            while let Some(row) = rows.try_next().await? {
                *behind = row.try_get("position")?;
                into.write(&Row {
                    position: *behind,
                    id: row.try_get("event_key")?,
                    app: row.try_get("app_id")?,
                    sha256: hex(&Sha256::digest(row.try_get::<Vec<u8>, _>("body")?)),
                });
            }
            Ok(())
        }

        async fn $figures(connection: &mut $connection) -> sqlx::Result<Figures> {
            let row = sqlx::query(FIGURES).fetch_one(&mut *connection).await?;
            let dead = sqlx::query(DEAD).fetch_all(connection).await?;
            let letter = |row: &_| -> sqlx::Result<DeadLetter> {
                let row: &<<$connection as Connection>::Database as sqlx::Database>::Row = row;
                Ok(DeadLetter {
                    position: row.try_get("position")?,
                    reason: row.try_get("reason")?,
                    state: row.try_get("state")?,
                })
            };
            Ok(Figures {
                head: row.try_get("head")?,
                cursor: row.try_get("cursor")?,
                published: row.try_get("published")?,
                quarantined: row.try_get("quarantined")?,
                dead_letters: dead.iter().map(letter).collect::<sqlx::Result<_>>()?,
            })
        }
    };
}

reading!(
    postgres_rows,
    postgres_figures,
    postgres_calls,
    PgConnection
);
reading!(sqlite_rows, sqlite_figures, sqlite_calls, SqliteConnection);

/// Opens a file of rows that begins now.
pub fn begin(clock: &Clock, folder: &Path, name: &str) -> io::Result<Writer> {
    let into = Writer::open(folder, name)?;
    into.write(&Taken {
        taken: clock.micros(),
    });
    Ok(into)
}

/// Writes the rows behind a position, which goes on to the last one written.
pub async fn rows_behind(url: &str, behind: &mut i64, into: &Writer) -> sqlx::Result<()> {
    match url.starts_with("sqlite:") {
        true => sqlite_rows(&mut sqlite(url).await?, behind, into).await,
        false => postgres_rows(&mut PgConnection::connect(url).await?, behind, into).await,
    }
}

/// Writes every row of the store at `url` into a file of a run. A store without a schema has none.
pub async fn rows(url: &str, clock: &Clock, folder: &Path, name: &str) -> io::Result<()> {
    let into = begin(clock, folder, name)?;
    let read = match url.starts_with("sqlite:") && !file_of(url).exists() {
        // Killed before it made the file, it has acknowledged nothing.
        true => Ok(()),
        false => rows_behind(url, &mut 0, &into).await,
    };
    into.finish();
    match read {
        // Or before its first migration.
        Err(error) if error.to_string().contains("no such table") => Ok(()),
        other => other.map_err(io::Error::other),
    }
}

/// The figures of the store at `url`.
pub async fn figures(url: &str) -> sqlx::Result<Figures> {
    match url.starts_with("sqlite:") {
        true => sqlite_figures(&mut sqlite(url).await?).await,
        false => postgres_figures(&mut PgConnection::connect(url).await?).await,
    }
}

/// The rows of calls of the store at `url`.
pub async fn calls(url: &str) -> sqlx::Result<Vec<Call>> {
    calls_since(url, 0).await
}

/// The same without those that had ended before.
pub async fn calls_since(url: &str, since: i64) -> sqlx::Result<Vec<Call>> {
    match url.starts_with("sqlite:") {
        true => sqlite_calls(&mut sqlite(url).await?, since).await,
        false => postgres_calls(&mut PgConnection::connect(url).await?, since).await,
    }
}

async fn sqlite(url: &str) -> sqlx::Result<SqliteConnection> {
    // Not read-only: the first one after a crash has to be able to recover the log.
    let options = SqliteConnectOptions::from_str(url)?;
    options.disable_statement_logging().connect().await
}

/// The file of a `sqlite://` URL.
pub fn file_of(url: &str) -> PathBuf {
    PathBuf::from(url.strip_prefix("sqlite://").unwrap_or(url))
}

/// Lower-case hex digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
