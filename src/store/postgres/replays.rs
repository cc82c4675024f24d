//! Replays as people ask for them, on Postgres.

use async_trait::async_trait;

use super::super::{Error, EventRange, RELAY, Replay, ReplayCount, Replays};
use super::{PostgresStore, pooled, statements};
use crate::event::{Micros, Position};

#[async_trait]
impl Replays for PostgresStore {
    async fn replayable_upto(&self) -> Result<Position, Error> {
        pooled!(self, connection => statements::position_of(connection, RELAY))
    }

    async fn count_replay(&self, filter: &EventRange) -> Result<ReplayCount, Error> {
        pooled!(self, connection => statements::count_replay(connection, filter))
    }

    async fn ask_replay(
        &self,
        filter: &EventRange,
        who: &str,
        rate: i64,
        matched: i64,
        now: Micros,
    ) -> Result<i64, Error> {
        pooled!(self, connection => statements::ask_replay(connection, filter, who, rate, matched, now))
    }

    async fn replays(&self, limit: i64) -> Result<Vec<Replay>, Error> {
        pooled!(self, connection => statements::replays(connection, limit))
    }

    async fn replay(&self, id: i64) -> Result<Option<Replay>, Error> {
        pooled!(self, connection => statements::replay(connection, id))
    }

    async fn cancel_replay(&self, id: i64, now: Micros) -> Result<bool, Error> {
        pooled!(self, connection => statements::cancel_replay(connection, id, now))
    }
}
