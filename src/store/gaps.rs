//! What the store keeps of acceptance: until when daemons could take webhooks, and the times in which none could.
//! And what it knows of records, so that a repair appends what the log lacks and nothing else.

use std::time::Duration;

use async_trait::async_trait;

use super::Error;
use crate::event::{Micros, Position};

/// A time in which no daemon could take webhooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// From here.
    pub since: Micros,
    /// To here.
    pub until: Micros,
    /// When what changed in it was asked for.
    pub repaired_at: Option<Micros>,
}

impl Gap {
    /// How long it was.
    pub fn length(&self) -> Duration {
        super::until(self.since, self.until)
    }
}

/// The newest event of a record in a part of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The record.
    pub entity_id: String,
    /// When it came.
    pub received_at: Micros,
}

/// Acceptance, and what the log has of records. Times are the store's own where daemons share it (Postgres), else
/// `now`.
#[async_trait]
pub trait Gaps: Send + Sync {
    /// Notes that webhooks can be taken now. Where that was not so for longer than `silence`, a gap is noted with it.
    async fn beat(&self, silence: Duration, now: Micros) -> Result<(), Error>;

    /// Gaps, newest first.
    async fn gaps(&self, limit: i64) -> Result<Vec<Gap>, Error>;

    /// Notes that what changed in the gap that began then was asked for.
    async fn gap_repaired(&self, since: Micros, now: Micros) -> Result<(), Error>;

    /// The place behind which events came after that time, as far as times follow places: daemons' clocks differ.
    async fn place_at(&self, time: Micros) -> Result<Position, Error>;

    /// The newest events of these records of a location, among those behind `after` and up to `upto`.
    async fn known(
        &self,
        app_id: &str,
        location_id: &str,
        records: &[String],
        after: Position,
        upto: Position,
    ) -> Result<Vec<Known>, Error>;
}
