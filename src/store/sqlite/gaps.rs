//! Since when webhooks are taken, gaps, and the log after a restore, on SQLite.

use std::time::Duration;

use async_trait::async_trait;

use super::super::{Error, Gap, Gaps, Known, Restored};
use super::writer::transaction;
use super::{SqliteStore, keys, statements};
use crate::event::{Micros, Position};

#[async_trait]
impl Gaps for SqliteStore {
    async fn beat(&self, silence: Duration, now: Micros) -> Result<(), Error> {
        transaction!(self, Later, transaction => statements::beat(transaction, silence, now))
    }

    async fn gaps(&self, limit: i64) -> Result<Vec<Gap>, Error> {
        statements::gaps(&mut *self.reader().await?, limit).await
    }

    async fn gap_repaired(&self, since: Micros, now: Micros) -> Result<(), Error> {
        transaction!(self, Later, transaction => statements::gap_repaired(transaction, since, now))
    }

    async fn restored(&self, head: Position, now: Micros) -> Result<Restored, Error> {
        // Behind the new head nothing is read for its key.
        keys::write_older(&self.writer, &self.written, Micros(i64::MAX)).await?;
        let answer =
            transaction!(self, Now, transaction => statements::restored(transaction, head, now))?;
        self.writer.lock().await.keys = None;
        Ok(answer)
    }

    async fn place_at(&self, time: Micros) -> Result<Position, Error> {
        statements::place_at(&mut *self.reader().await?, time).await
    }

    async fn known(
        &self,
        app_id: &str,
        location_id: &str,
        records: &[String],
        after: Position,
        upto: Position,
    ) -> Result<Vec<Known>, Error> {
        statements::known(
            &mut *self.reader().await?,
            app_id,
            location_id,
            records,
            after,
            upto,
        )
        .await
    }
}
