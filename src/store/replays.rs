//! Events that a person wants published again: which, how fast, and how far the relay is with them.
//!
//! A replay is a range of the log with a cursor of its own, which only the holder of the relay's reader moves. It
//! takes what was published once: what still waits, is held or is a dead letter goes out by itself or by a retry.

use async_trait::async_trait;

use super::{Error, EventRange};
use crate::event::{Micros, Position};

/// A replay as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// Its number.
    pub id: i64,
    /// When it was asked for.
    pub asked_at: Micros,
    /// By whom.
    pub who: String,
    /// Which events, out of those that were published.
    pub filter: EventRange,
    /// Events a second at most.
    pub rate: i64,
    /// How many there were when it was asked for.
    pub matched: i64,
    /// `running`, `done` or `cancelled`.
    pub state: String,
    /// Everything up to here is done.
    pub position: Position,
    /// How many have a positive confirm.
    pub published: i64,
    /// How many RabbitMQ did not take: returned, or refused.
    pub failed: i64,
    /// What RabbitMQ said of the last that it did not take.
    pub detail: Option<String>,
    /// When it ended.
    pub ended_at: Option<Micros>,
}

impl Replay {
    /// The state of one that is not over.
    pub const RUNNING: &'static str = "running";

    /// Whether it is not over.
    pub fn is_running(&self) -> bool {
        self.state == Self::RUNNING
    }

    /// Events that it matched and that are neither out nor refused: still to come, or, once it is done, gone by retention.
    pub fn left(&self) -> i64 {
        (self.matched - self.published - self.failed).max(0)
    }
}

/// What a part of the log holds of a replay.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReplayCount {
    /// How many of which type, by type.
    pub types: Vec<(String, i64)>,
    /// Where to count on, as [`EventRange::after`]; none at its end.
    pub next: Option<Position>,
}

/// How far the relay came with a replay in one turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayStep {
    /// Which replay.
    pub id: i64,
    /// Everything up to here is done.
    pub upto: Position,
    /// How many of it have a positive confirm.
    pub published: i64,
    /// How many RabbitMQ did not take.
    pub failed: i64,
    /// What it said.
    pub detail: Option<String>,
}

/// Replays, as people ask for them. What the relay does with them is in [`super::RelayReader`].
#[async_trait]
pub trait Replays: Send + Sync {
    /// Up to where events can be replayed: the relay's cursor.
    async fn replayable_upto(&self) -> Result<Position, Error>;

    /// Counts what a replay would take, in one bounded part of the log.
    async fn count_replay(&self, filter: &EventRange) -> Result<ReplayCount, Error>;

    /// Asks the relay for it; returns its number.
    async fn ask_replay(
        &self,
        filter: &EventRange,
        who: &str,
        rate: i64,
        matched: i64,
        now: Micros,
    ) -> Result<i64, Error>;

    /// Replays, newest first.
    async fn replays(&self, limit: i64) -> Result<Vec<Replay>, Error>;

    /// One replay.
    async fn replay(&self, id: i64) -> Result<Option<Replay>, Error>;

    /// Ends one that is running; false where there is none.
    async fn cancel_replay(&self, id: i64, now: Micros) -> Result<bool, Error>;
}
