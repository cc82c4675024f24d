//! The relay's reader on Postgres. Its connection holds an advisory lock, so that of several daemons one reads.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tokio::time::timeout;

use super::super::{Error, Parked, Reader, Settled, SettledHeld};
use super::statements;
use crate::event::{Micros, Position, Recorded};

/// The class of hookwell's advisory locks ("hkwl"); the second half says which reader.
const LOCK_CLASS: i32 = 0x686b_776c;
const RELAY_LOCK: i32 = 1;

/// The relay's reader; the connection holds the advisory lock.
pub(super) struct PostgresReader {
    connection: PgConnection,
    deadline: Duration,
}

impl PostgresReader {
    /// Takes the lock, if nobody has it.
    pub(super) async fn lock(
        mut connection: PgConnection,
        deadline: Duration,
    ) -> Result<Option<Self>, Error> {
        let asked = async {
            let held: bool = sqlx::query_scalar("select pg_try_advisory_lock($1, $2)")
                .bind(LOCK_CLASS)
                .bind(RELAY_LOCK)
                .fetch_one(&mut connection)
                .await?;
            Ok(held)
        };
        // A server that fell silent must not hold up the relay for ever.
        if !Self::bounded(deadline, asked).await? {
            let closed = async { Ok(connection.close().await?) };
            Self::bounded(deadline, closed).await?;
            return Ok(None);
        }
        Ok(Some(Self {
            connection,
            deadline,
        }))
    }

    /// Bounds a statement. After a deadline the reader must be dropped, and with it connection and lock.
    async fn bounded<T>(
        deadline: Duration,
        work: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        timeout(deadline, work)
            .await
            .map_err(|_| Error::Deadline(deadline))?
    }
}

#[async_trait]
impl Reader for PostgresReader {
    async fn position(&mut self) -> Result<Position, Error> {
        Self::bounded(
            self.deadline,
            statements::relay_position(&mut self.connection),
        )
        .await
    }

    async fn read(
        &mut self,
        after: Position,
        limit: i64,
        max_bytes: i64,
    ) -> Result<Vec<Recorded>, Error> {
        let work = statements::read(&mut self.connection, after, limit, max_bytes);
        Self::bounded(self.deadline, work).await
    }

    async fn settle(&mut self, settled: &Settled, now: Micros) -> Result<(), Error> {
        let work = async {
            let connection = &mut self.connection;
            if settled.rows() == 0 {
                return statements::move_cursor(connection, settled.upto, settled.published).await;
            }
            let mut transaction = connection.begin().await?;
            statements::settle(&mut transaction, settled, now).await?;
            Ok(transaction.commit().await?)
        };
        Self::bounded(self.deadline, work).await
    }

    async fn held(
        &mut self,
        tenant: &str,
        limit: i64,
        max_bytes: i64,
    ) -> Result<Vec<Recorded>, Error> {
        let work = statements::held(&mut self.connection, tenant, limit, max_bytes);
        Self::bounded(self.deadline, work).await
    }

    async fn settle_held(
        &mut self,
        settled: &[SettledHeld],
        now: Micros,
    ) -> Result<Vec<String>, Error> {
        let work = async {
            let mut transaction = self.connection.begin().await?;
            let released = statements::settle_held(&mut transaction, settled, now).await?;
            transaction.commit().await?;
            Ok(released)
        };
        Self::bounded(self.deadline, work).await
    }

    async fn retries(&mut self, limit: i64) -> Result<Vec<Recorded>, Error> {
        Self::bounded(
            self.deadline,
            statements::retries(&mut self.connection, limit),
        )
        .await
    }

    async fn settle_retry(
        &mut self,
        position: Position,
        parked: Option<&Parked>,
        now: Micros,
    ) -> Result<(), Error> {
        let work = async {
            let mut transaction = self.connection.begin().await?;
            match parked {
                Some(entry) => statements::park(&mut transaction, entry, now).await?,
                None => statements::drop_dead_letter(&mut transaction, position).await?,
            }
            Ok(transaction.commit().await?)
        };
        Self::bounded(self.deadline, work).await
    }
}
