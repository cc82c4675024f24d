//! Readers on Postgres. The connection of each holds an advisory lock, so that of several daemons one reads.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tokio::time::timeout;

use super::super::{Error, Parked, Reader, Replay, ReplayStep, Settled, SettledHeld};
use super::statements;
use crate::event::{Micros, Position, Recorded};

/// The class of hookwell's advisory locks ("hkwl"); the second half says which reader.
pub(super) const LOCK_CLASS: i32 = 0x686b_776c;
pub(super) const RELAY_LOCK: i32 = 1;
pub(super) const PLANNER_LOCK: i32 = 2;

/// A connection that holds the lock of a reader.
pub(super) struct Locked {
    pub(super) connection: PgConnection,
    pub(super) deadline: Duration,
}

impl Locked {
    /// Takes the lock, if nobody has it.
    pub(super) async fn lock(
        mut connection: PgConnection,
        reader: i32,
        deadline: Duration,
    ) -> Result<Option<Self>, Error> {
        let asked = async {
            let held: bool = sqlx::query_scalar("select pg_try_advisory_lock($1, $2)")
                .bind(LOCK_CLASS)
                .bind(reader)
                .fetch_one(&mut connection)
                .await?;
            Ok(held)
        };
        // A server that fell silent must not hold up the reader for ever.
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
    pub(super) async fn bounded<T>(
        deadline: Duration,
        work: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        timeout(deadline, work)
            .await
            .map_err(|_| Error::Deadline(deadline))?
    }
}

/// The relay's reader.
pub(super) struct PostgresReader(pub(super) Locked);

#[async_trait]
impl Reader for PostgresReader {
    async fn position(&mut self) -> Result<Position, Error> {
        Locked::bounded(
            self.0.deadline,
            statements::relay_position(&mut self.0.connection),
        )
        .await
    }

    async fn read(
        &mut self,
        after: Position,
        limit: i64,
        max_bytes: i64,
    ) -> Result<Vec<Recorded>, Error> {
        let work = statements::read(&mut self.0.connection, after, limit, max_bytes);
        Locked::bounded(self.0.deadline, work).await
    }

    async fn settle(&mut self, settled: &Settled, now: Micros) -> Result<(), Error> {
        let work = async {
            let connection = &mut self.0.connection;
            if settled.rows() == 0 {
                return statements::move_cursor(connection, settled.upto, settled.published).await;
            }
            let mut transaction = connection.begin().await?;
            statements::settle(&mut transaction, settled, now).await?;
            Ok(transaction.commit().await?)
        };
        Locked::bounded(self.0.deadline, work).await
    }

    async fn held(
        &mut self,
        tenant: &str,
        limit: i64,
        max_bytes: i64,
    ) -> Result<Vec<Recorded>, Error> {
        let work = statements::held(&mut self.0.connection, tenant, limit, max_bytes);
        Locked::bounded(self.0.deadline, work).await
    }

    async fn settle_held(
        &mut self,
        settled: &[SettledHeld],
        now: Micros,
    ) -> Result<Vec<String>, Error> {
        let work = async {
            let mut transaction = self.0.connection.begin().await?;
            let released = statements::settle_held(&mut transaction, settled, now).await?;
            transaction.commit().await?;
            Ok(released)
        };
        Locked::bounded(self.0.deadline, work).await
    }

    async fn retries(&mut self, limit: i64) -> Result<Vec<Recorded>, Error> {
        Locked::bounded(
            self.0.deadline,
            statements::retries(&mut self.0.connection, limit),
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
            let mut transaction = self.0.connection.begin().await?;
            match parked {
                Some(entry) => statements::park_again(&mut transaction, entry, now).await?,
                None => statements::drop_dead_letter(&mut transaction, position).await?,
            }
            Ok(transaction.commit().await?)
        };
        Locked::bounded(self.0.deadline, work).await
    }

    async fn running_replays(&mut self, limit: i64) -> Result<Vec<Replay>, Error> {
        let work = statements::running_replays(&mut self.0.connection, limit);
        Locked::bounded(self.0.deadline, work).await
    }

    async fn read_replay(
        &mut self,
        replay: &Replay,
        limit: i64,
        max_bytes: i64,
    ) -> Result<(Vec<Recorded>, Position), Error> {
        let work = statements::read_replay(&mut self.0.connection, replay, limit, max_bytes);
        Locked::bounded(self.0.deadline, work).await
    }

    async fn settle_replay(&mut self, step: &ReplayStep, now: Micros) -> Result<(), Error> {
        let work = statements::settle_replay(&mut self.0.connection, step, now);
        Locked::bounded(self.0.deadline, work).await
    }
}
