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
    /// Whether it is what a restored copy lacks: then GHL delivers nothing of it again, however short it was.
    pub is_restore: bool,
}

impl Gap {
    /// How long it was.
    pub fn length(&self) -> Duration {
        super::until(self.since, self.until)
    }
}

/// What a copy was found to be when it was restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restored {
    /// It goes on behind this place; what came since then is read from the API.
    Raised {
        /// The newest place that the copy had.
        from: Position,
        /// Since when it lacks what came, where that is known.
        since: Option<Micros>,
    },
    /// Nothing was changed: a reader is not at the end yet. So many events wait.
    Waits(i64),
    /// Nothing was changed: the copy is beyond that place.
    Beyond(Position),
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

    /// Makes the log of a restored copy go on behind `head`, and notes what the copy lacks as a gap that is repaired
    /// however short it was. No daemon may run.
    async fn restored(&self, head: Position, now: Micros) -> Result<Restored, Error>;

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
