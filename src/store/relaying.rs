//! What the relay asks of the store: the events from its cursor on, and where to write down what became of them.

use async_trait::async_trait;

use super::{Error, Replay, ReplayStep};
use crate::event::{Micros, Position, Recorded};

/// The relay's name in `cursors`.
pub const RELAY: &str = "relay";

/// An event that the relay gave up on, with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// Which event.
    pub position: Position,
    /// One word of a closed set, see [`crate::relay`].
    pub reason: &'static str,
    /// What the broker said.
    pub detail: String,
}

/// What became of a run of the log, from the cursor on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settled {
    /// Its end: nothing up to here is left to do, but for what is held.
    pub upto: Position,
    /// How many events of it have a positive confirm.
    pub published: i64,
    /// Those that become dead letters.
    pub parked: Vec<Parked>,
    /// Those that wait until RabbitMQ takes their tenant's events again.
    pub held: Vec<Held>,
}

impl Settled {
    /// Rows to be written beside the cursor's.
    pub(super) fn rows(&self) -> u64 {
        let held: usize = self.held.iter().map(|held| held.positions.len()).sum();
        (self.parked.len() + held) as u64
    }
}

/// Events of one tenant that are to wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Whose they are, see [`crate::event::Tenant::id`]; empty for events of nobody.
    pub tenant: String,
    /// Why, where the tenant is not held yet: one word of a closed set, see [`crate::relay`].
    pub reason: &'static str,
    /// What the broker said.
    pub detail: String,
    /// Where they are, in order. Never empty.
    pub positions: Vec<Position>,
}

/// What became of held events of one tenant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SettledHeld {
    /// Whose they are.
    pub tenant: String,
    /// Those with a positive confirm.
    pub published: Vec<Position>,
    /// Those that become dead letters.
    pub parked: Vec<Parked>,
}

/// A tenant whose events wait while those of others go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldTenant {
    /// Its id; empty for events of nobody.
    pub tenant: String,
    /// Why it was held.
    pub reason: String,
    /// What the broker said then.
    pub detail: String,
    /// Since when.
    pub since: Micros,
    /// How many events wait.
    pub events: i64,
}

/// A dead letter as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its event's place.
    pub position: Position,
    /// Its event's key.
    pub event_key: String,
    /// Its event's type.
    pub event_type: String,
    /// Why it was parked.
    pub reason: String,
    /// What the broker said.
    pub detail: String,
    /// When.
    pub parked_at: Micros,
    /// How often a person asked for it again.
    pub retries: i64,
    /// `parked`, or `retry` when the relay is to take it again.
    pub state: String,
}

impl DeadLetter {
    /// Whether it waits for a person.
    pub fn is_parked(&self) -> bool {
        self.state == "parked"
    }
}

/// Which dead letters a person means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// One event.
    One(Position),
    /// Every parked one.
    All,
}

impl Selection {
    /// The one at this place, or all where none is given.
    pub fn of(position: Option<i64>) -> Self {
        position.map_or(Self::All, |position| Self::One(Position(position)))
    }

    /// The place that it is bound to.
    pub(super) fn bound(self) -> Option<i64> {
        match self {
            Self::One(position) => Some(position.0),
            Self::All => None,
        }
    }
}

/// A reader of the log: a cursor, and the right to move it.
///
/// On Postgres that right is an advisory lock held by the very connection that moves the cursor: lose
/// the connection and you lose both.
#[async_trait]
pub trait RelayReader: Send {
    /// Where the cursor stands: everything up to here is done, or held.
    async fn position(&mut self) -> Result<Position, Error>;

    /// The events after `after`, in order: at most `limit`, the last one being that which reaches
    /// `max_bytes` of bodies (so there is always one).
    async fn read(
        &mut self,
        after: Position,
        limit: i64,
        max_bytes: i64,
    ) -> Result<Vec<Recorded>, Error>;

    /// Moves the cursor and writes down what became of the events that it passes, in one transaction.
    async fn settle(&mut self, settled: &Settled, now: Micros) -> Result<(), Error>;

    /// A tenant's held events, oldest first, bounded as [`Self::read`] is.
    async fn held(
        &mut self,
        tenant: &str,
        limit: i64,
        max_bytes: i64,
    ) -> Result<Vec<Recorded>, Error>;

    /// Ends the wait of held events, in one transaction; returns the tenants of which none is left, in any
    /// order. They are held no more.
    async fn settle_held(
        &mut self,
        settled: &[SettledHeld],
        now: Micros,
    ) -> Result<Vec<String>, Error>;

    /// Dead letters a person asked for again.
    async fn retries(&mut self, after: Position, limit: i64) -> Result<Vec<Recorded>, Error>;

    /// Ends a retry: published, or parked again.
    async fn settle_retry(
        &mut self,
        position: Position,
        parked: Option<&Parked>,
        now: Micros,
    ) -> Result<(), Error>;

    /// Replays that are not over, oldest first.
    async fn running_replays(&mut self, limit: i64) -> Result<Vec<Replay>, Error>;

    /// The next events of a replay, bounded as [`Self::read`] is, and up to where there is no other.
    async fn read_replay(
        &mut self,
        replay: &Replay,
        limit: i64,
        max_bytes: i64,
    ) -> Result<(Vec<Recorded>, Position), Error>;

    /// Moves a replay's cursor; at its end it is done. One that was cancelled meanwhile only counts.
    async fn settle_replay(&mut self, step: &ReplayStep, now: Micros) -> Result<(), Error>;
}
