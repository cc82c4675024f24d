//! The relay's reader on SQLite: it reads through connections of its own and settles on the one that writes.

use std::sync::Arc;

use async_trait::async_trait;
use sqlx::Connection;
use sqlx::sqlite::SqlitePool;
use tokio::sync::Mutex;

use super::super::{Error, Parked, RELAY, RelayReader, Replay, ReplayStep, Settled, SettledHeld};
use super::checkpoint::Written;
use super::statements;
use super::writer::{Writer, on, transaction};
use crate::event::{Micros, Position, Recorded};

/// The relay's reader.
pub(super) struct SqliteRelayReader {
    pub(super) writer: Arc<Mutex<Writer>>,
    pub(super) written: Arc<Written>,
    pub(super) readers: SqlitePool,
}

#[async_trait]
impl RelayReader for SqliteRelayReader {
    async fn position(&mut self) -> Result<Position, Error> {
        statements::position_of(&mut *self.readers.acquire().await?, RELAY).await
    }

    async fn read(
        &mut self,
        after: Position,
        limit: i64,
        max_bytes: i64,
    ) -> Result<Vec<Recorded>, Error> {
        let mut connection = self.readers.acquire().await?;
        statements::read(&mut connection, after, limit, max_bytes).await
    }

    async fn settle(&mut self, settled: &Settled, now: Micros) -> Result<(), Error> {
        let mut writer = self.writer.lock().await;
        self.written.pages(1 + settled.rows());
        on!(writer, Later, connection => async {
            if settled.rows() == 0 {
                return statements::move_cursor(connection, settled.upto, settled.published).await;
            }
            let mut transaction = connection.begin_with("begin immediate").await?;
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
        let mut connection = self.readers.acquire().await?;
        statements::held(&mut connection, tenant, limit, max_bytes).await
    }

    async fn settle_held(
        &mut self,
        settled: &[SettledHeld],
        now: Micros,
    ) -> Result<Vec<String>, Error> {
        self.written.pages(settled.len() as u64);
        transaction!(self, Later, transaction => statements::settle_held(transaction, settled, now))
    }

    async fn retries(&mut self, after: Position, limit: i64) -> Result<Vec<Recorded>, Error> {
        statements::retries(&mut *self.readers.acquire().await?, after, limit).await
    }

    async fn settle_retry(
        &mut self,
        position: Position,
        parked: Option<&Parked>,
        now: Micros,
    ) -> Result<(), Error> {
        transaction!(self, Later, transaction => async {
            match parked {
                Some(entry) => statements::park_again(transaction, entry, now).await,
                None => statements::drop_dead_letter(transaction, position).await,
            }
        })
    }

    async fn running_replays(&mut self, limit: i64) -> Result<Vec<Replay>, Error> {
        statements::running_replays(&mut *self.readers.acquire().await?, limit).await
    }

    async fn read_replay(
        &mut self,
        replay: &Replay,
        limit: i64,
        max_bytes: i64,
    ) -> Result<(Vec<Recorded>, Position), Error> {
        let mut connection = self.readers.acquire().await?;
        statements::read_replay(&mut connection, replay, limit, max_bytes).await
    }

    async fn settle_replay(&mut self, step: &ReplayStep, now: Micros) -> Result<(), Error> {
        let mut writer = self.writer.lock().await;
        on!(writer, Later, connection => statements::settle_replay(connection, step, now))
    }
}
