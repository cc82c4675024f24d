//! The relay's reader on Postgres.

use async_trait::async_trait;
use sqlx::Connection;

use super::super::{Error, Parked, RELAY, RelayReader, Replay, ReplayStep, Settled, SettledHeld};
use super::locked::{Locked, locked};
use super::statements;
use crate::event::{Micros, Position, Recorded};

/// The relay's reader.
pub(super) struct PostgresRelayReader(pub(super) Locked);

#[async_trait]
impl RelayReader for PostgresRelayReader {
    async fn position(&mut self) -> Result<Position, Error> {
        locked!(self, connection => statements::position_of(connection, RELAY))
    }

    async fn read(
        &mut self,
        after: Position,
        limit: i64,
        max_bytes: i64,
    ) -> Result<Vec<Recorded>, Error> {
        locked!(self, connection => statements::read(connection, after, limit, max_bytes))
    }

    async fn settle(&mut self, settled: &Settled, now: Micros) -> Result<(), Error> {
        locked!(self, connection => async {
            if settled.rows() == 0 {
                return statements::move_cursor(connection, settled.upto, settled.published).await;
            }
            let mut transaction = connection.begin().await?;
            statements::settle(&mut transaction, settled, now).await?;
            Ok(transaction.commit().await?)
        })
    }

    async fn held(
        &mut self,
        tenant: &str,
        limit: i64,
        max_bytes: i64,
    ) -> Result<Vec<Recorded>, Error> {
        locked!(self, connection => statements::held(connection, tenant, limit, max_bytes))
    }

    async fn settle_held(
        &mut self,
        settled: &[SettledHeld],
        now: Micros,
    ) -> Result<Vec<String>, Error> {
        locked!(self, connection => async {
            let mut transaction = connection.begin().await?;
            let released = statements::settle_held(&mut transaction, settled, now).await?;
            transaction.commit().await?;
            Ok(released)
        })
    }

    async fn retries(&mut self, after: Position, limit: i64) -> Result<Vec<Recorded>, Error> {
        locked!(self, connection => statements::retries(connection, after, limit))
    }

    async fn settle_retry(
        &mut self,
        position: Position,
        parked: Option<&Parked>,
        now: Micros,
    ) -> Result<(), Error> {
        locked!(self, connection => async {
            let mut transaction = connection.begin().await?;
            match parked {
                Some(entry) => statements::park_again(&mut transaction, entry, now).await?,
                None => statements::drop_dead_letter(&mut transaction, position).await?,
            }
            Ok(transaction.commit().await?)
        })
    }

    async fn running_replays(&mut self, limit: i64) -> Result<Vec<Replay>, Error> {
        locked!(self, connection => statements::running_replays(connection, limit))
    }

    async fn read_replay(
        &mut self,
        replay: &Replay,
        limit: i64,
        max_bytes: i64,
    ) -> Result<(Vec<Recorded>, Position), Error> {
        locked!(self, connection => statements::read_replay(connection, replay, limit, max_bytes))
    }

    async fn settle_replay(&mut self, step: &ReplayStep, now: Micros) -> Result<(), Error> {
        locked!(self, connection => statements::settle_replay(connection, step, now))
    }
}
