//! Since when webhooks are taken, gaps, and the log after a restore, on Postgres.

use std::time::Duration;

use async_trait::async_trait;

use super::super::{Error, Gap, Gaps, Known, Restored};
use super::{PostgresStore, pooled, statements, transaction};
use crate::event::{Micros, Position};

#[async_trait]
impl Gaps for PostgresStore {
    async fn beat(&self, silence: Duration, _now: Micros) -> Result<(), Error> {
        transaction!(self, transaction, now => statements::beat(transaction, silence, now))
    }

    async fn gaps(&self, limit: i64) -> Result<Vec<Gap>, Error> {
        pooled!(self, connection => statements::gaps(connection, limit))
    }

    async fn gap_repaired(&self, since: Micros, _now: Micros) -> Result<(), Error> {
        transaction!(self, transaction, now => statements::gap_repaired(transaction, since, now))
    }

    async fn restored(&self, head: Position, _now: Micros) -> Result<Restored, Error> {
        transaction!(self, transaction, now => statements::restored(transaction, head, now))
    }

    async fn place_at(&self, time: Micros) -> Result<Position, Error> {
        pooled!(self, connection => statements::place_at(connection, time))
    }

    async fn known(
        &self,
        app_id: &str,
        location_id: &str,
        records: &[String],
        after: Position,
        upto: Position,
    ) -> Result<Vec<Known>, Error> {
        pooled!(self, connection => statements::known(connection, app_id, location_id, records, after, upto))
    }
}
