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
        sqlx::query(durability.statement())
            .execute(&mut connection)
            .await?;
        Ok(Tuned {
            connection,
            durability,
        })
    }

    /// Gives it back, for the next one.
    pub(super) fn put(&mut self, tuned: Tuned) {
        self.open = Some(tuned);
    }
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
        if answer.is_ok() {
            $writer.put(taken);
        }
        answer
    }};
}
pub(super) use on;

/// Runs a deed in a transaction on the write connection.
macro_rules! deed {
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
pub(super) use deed;
