//! Replays as people ask for them, on SQLite.

use async_trait::async_trait;

use super::super::{Error, EventRange, RELAY, Replay, ReplayCount, Replays};
use super::writer::on;
use super::{SqliteStore, statements};
use crate::event::{Micros, Position};

#[async_trait]
impl Replays for SqliteStore {
    async fn replayable_upto(&self) -> Result<Position, Error> {
        statements::position_of(&mut *self.reader().await?, RELAY).await
    }

    async fn count_replay(&self, filter: &EventRange) -> Result<ReplayCount, Error> {
        statements::count_replay(&mut *self.reader().await?, filter).await
    }

    async fn ask_replay(
        &self,
        filter: &EventRange,
        who: &str,
        rate: i64,
        matched: i64,
        now: Micros,
    ) -> Result<i64, Error> {
        let mut writer = self.writer.lock().await;
        on!(writer, Now, connection => statements::ask_replay(connection, filter, who, rate, matched, now))
    }

    async fn replays(&self, limit: i64) -> Result<Vec<Replay>, Error> {
        statements::replays(&mut *self.reader().await?, limit).await
    }

    async fn replay(&self, id: i64) -> Result<Option<Replay>, Error> {
        statements::replay(&mut *self.reader().await?, id).await
    }

    async fn cancel_replay(&self, id: i64, now: Micros) -> Result<bool, Error> {
        let mut writer = self.writer.lock().await;
        on!(writer, Now, connection => statements::cancel_replay(connection, id, now))
    }
}
