//! The durable log and what is kept beside it, behind traits with two real implementations.
//!
//! Invariants: what [`Store::append`] answered is on disk; positions become visible in order; only the holder of a reader's lock moves its cursor. The only SQL of the project is
//! under this module. It must not know HTTP, AMQP or policy.
//!
//! No request may own one of these futures: a future dropped half way can leave a pooled connection
//! inside an open transaction (sqlx issue 4385) and lose somebody else's insert. Long-lived tasks call
//! the store; handlers hand over and wait.

use async_trait::async_trait;

use crate::event::{Event, EventKey, Micros, Position, Recorded};

mod census;
mod erasure;
mod error;
mod follow_ups;
mod gaps;
mod installations;
mod listing;
mod postgres;
mod quarantine;
mod relaying;
mod replays;
mod retention;
mod schema;
mod sql;
mod sqlite;
mod subscriptions;

pub use census::{
    ANSWERS_KEPT, Answers, Census, Counted, Disk, GHL_LEAST, Heard, SILENCE_FACTOR, SILENCE_LEAST,
    Silent, Tenants, TokenCensus,
};
pub use erasure::{Beside, Erased, Erasure, Found, Subject};
pub use error::Error;
use follow_ups::ClaimedRow;
pub use follow_ups::{
    Attempt, CLAIM_LOST, Claimed, Claims, Ended, FollowUp, FollowUpCounts, FollowUpFilter,
    FollowUpPage, FollowUps, Looked, NO_TOKEN, Next, PLANNER, Plan, PlanReader, Planned, Room,
    WhichCalls,
};
pub use gaps::{Gap, Gaps, Known, Restored};
pub use installations::{
    Begun, Installation, InstallationFilter, Installations, NewToken, OauthState, RefreshEnd,
    SealedToken, TokenState,
};
pub use listing::{AuditEntry, EventFilter, EventPage, EventRange, EventState, Listed, Listings};
pub use postgres::PostgresStore;
pub use quarantine::{QuarantineBounds, Quarantined, Refused};
pub use relaying::{
    DeadLetter, Held, HeldTenant, Parked, RELAY, RelayReader, Selection, Settled, SettledHeld,
};
pub use replays::{Replay, ReplayCount, ReplayStep, Replays};
pub use retention::{Compacted, Cutoff, Pruned};
use retention::{Sweep, Swept};
pub use schema::{Migrated, Schema};
pub use sqlite::{Access, SqliteStore};
pub use subscriptions::{SUBSCRIPTIONS, Subscribed, SubscriptionFilter, Subscriptions};

/// What became of one event of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// It is in the log, at this place.
    New(Position),
    /// The same id came with these bytes before.
    Duplicate,
    /// The same id came with other bytes before; these are in the log under a key of their own.
    Altered(Position, EventKey),
}

impl Appended {
    /// Where it is in the log now; none where it was there before.
    pub fn position(&self) -> Option<Position> {
        match self {
            Self::New(position) | Self::Altered(position, _) => Some(*position),
            Self::Duplicate => None,
        }
    }
}

/// Accepted = published + pending + parked + discarded, at any moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ledger {
    /// Events in the log since its beginning.
    pub accepted: i64,
    /// The newest place of the log. Places that a restore left out make it more than `accepted`.
    pub head: Position,
    /// Events with a positive confirm.
    pub published: i64,
    /// Events that are still to be published: those after the relay's cursor, and the held ones.
    pub pending: i64,
    /// Events that wait because RabbitMQ refuses those of their tenant; a part of `pending`.
    pub held: i64,
    /// How many tenants these are.
    pub held_tenants: i64,
    /// Open dead letters.
    pub parked: i64,
    /// Those of them that a person asked for again, until they are out or refused again; a part of `parked`.
    pub retry: i64,
    /// Dead letters and held events that a person gave up on.
    pub discarded: i64,
    /// Entries in quarantine.
    pub quarantined: i64,
    /// When the oldest pending event was received.
    pub oldest_pending_at: Option<Micros>,
}

impl Ledger {
    /// Events unaccounted for. Anything but 0 is a defect.
    pub fn mismatch(&self) -> i64 {
        self.accepted - self.published - self.pending - self.parked - self.discarded
    }
}

/// The log and what is kept beside it. Each method is done as a whole or not at all.
#[async_trait]
pub trait Store:
    FollowUps + Installations + Subscriptions + Gaps + Listings + Census + Replays + Erasure
{
    /// Its schema, where this binary may run on it; [`Error::Schema`] where not. Changes nothing.
    async fn schema(&self) -> Result<Schema, Error>;

    /// Appends a batch in one transaction and says what became of each event, in order. On return the
    /// new ones are durable. No two events of a batch may share app and key.
    ///
    /// After an error the outcome is unknown; appending the same events again is safe.
    async fn append(&self, batch: &[Event]) -> Result<Vec<Appended>, Error>;

    /// The relay's reader, if no other process holds it.
    async fn relay_reader(&self) -> Result<Option<Box<dyn RelayReader>>, Error>;

    /// The ledger as it stands.
    async fn ledger(&self) -> Result<Ledger, Error>;

    /// The event at a place, if its body is still kept.
    async fn event_at(&self, position: Position) -> Result<Option<Recorded>, Error>;

    /// The places of events with this key, over all apps.
    async fn positions_of(&self, key: &str) -> Result<Vec<Position>, Error>;

    /// Open dead letters, oldest first.
    async fn dead_letters(&self, limit: i64) -> Result<Vec<DeadLetter>, Error>;

    /// One open dead letter.
    async fn dead_letter(&self, position: Position) -> Result<Option<DeadLetter>, Error>;

    /// Tenants whose events wait while those of others go on, the one held longest first.
    async fn held_tenants(&self) -> Result<Vec<HeldTenant>, Error>;

    /// Asks the relay to take dead letters again; returns how many.
    async fn retry_dead_letters(&self, selection: Selection) -> Result<u64, Error>;

    /// Keeps refused requests and drops the oldest ones beyond the bounds.
    async fn quarantine(&self, refused: &[Refused], bounds: QuarantineBounds) -> Result<(), Error>;

    /// Refused requests, newest first, with empty bodies.
    async fn quarantined(&self, limit: i64) -> Result<Vec<Quarantined>, Error>;

    /// One refused request with its body.
    async fn quarantined_one(&self, id: i64) -> Result<Option<Quarantined>, Error>;

    /// Drops a refused request, for it is in the log now.
    async fn release_quarantined(&self, id: i64) -> Result<(), Error>;

    /// Removes what is older than the cutoff and behind every reader.
    async fn prune(&self, cutoff: &Cutoff) -> Result<Pruned, Error>;

    /// Whether an append could be made now.
    async fn check(&self) -> Result<(), Error>;

    /// Appends an event and takes it back: whether there is room for one. Asked where an append failed.
    async fn rehearse(&self, event: &Event) -> Result<(), Error>;

    /// What the store needs done beside the appends, for as long as it is open. Never returns; may be
    /// dropped at any moment. Without it all is correct, only slower.
    async fn upkeep(&self);

    /// Ends the use of the store: on SQLite the write-ahead log goes into the database file, so that
    /// the file alone is the store. Nothing is lost without it.
    async fn close(&self);
}

/// How long it is from now to then.
fn until(now: Micros, then: Micros) -> std::time::Duration {
    std::time::Duration::from_micros(u64::try_from(then.0 - now.0).unwrap_or(0))
}
