//! The durable log and what is kept beside it, behind one trait with two real implementations.
//!
//! Invariants: what [`Store::append`] answered is on disk; positions become visible in order and
//! without gaps; only the holder of a reader's lock moves its cursor. The only SQL of the project is
//! under this module. It must not know HTTP, AMQP or policy.
//!
//! No request may own one of these futures: a future dropped half way can leave a pooled connection
//! inside an open transaction (sqlx issue 4385) and lose somebody else's insert. Long-lived tasks call
//! the store; handlers hand over and wait.

use async_trait::async_trait;

use crate::event::{Event, EventKey, Micros, Position, Recorded};

mod census;
mod erasure;
mod follow_ups;
mod gaps;
mod installations;
mod listing;
mod postgres;
mod replays;
mod schema;
mod sql;
mod sqlite;
mod subscriptions;

pub use census::{
    ANSWERS_KEPT, Answers, Census, Counted, Disk, GHL_LEAST, Heard, SILENCE_FACTOR, SILENCE_LEAST,
    Silent, Tenants, TokenCensus,
};
pub use erasure::{Beside, Erased, Erasure, Found, Subject};
use follow_ups::ClaimedRow;
pub use follow_ups::{
    Attempt, CLAIM_LOST, Claimed, Claims, Ended, FollowUp, FollowUpCounts, FollowUpFilter,
    FollowUpPage, FollowUps, NO_TOKEN, Next, PLANNER, Plan, PlanReader, Planned, Room, WhichCalls,
};
pub use gaps::{Gap, Gaps, Known, Restored};
pub use installations::{
    Begun, Installation, InstallationFilter, Installations, NewToken, OauthState, RefreshEnd,
    SealedToken, TokenState,
};
pub use listing::{AuditEntry, EventFilter, EventPage, EventRange, EventState, Listed, Listings};
pub use postgres::PostgresStore;
pub use replays::{Replay, ReplayCount, ReplayStep, Replays};
pub use schema::{Migrated, Schema};
pub use sqlite::{Access, SqliteStore};
pub use subscriptions::{SUBSCRIPTIONS, Subscribed, SubscriptionFilter, Subscriptions};

/// The relay's name in `cursors`.
pub const RELAY: &str = "relay";

/// Why a store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be reached, or answered with an error; the outcome of a write is not known.
    #[error("the store is unavailable")]
    Unavailable(#[source] sqlx::Error),
    /// No answer within the deadline; the outcome of a write is not known.
    #[error("the store gave no answer within {0:?}")]
    Deadline(std::time::Duration),
    /// Its settings would let it lose what it acknowledged.
    #[error("the store cannot keep what it acknowledges: {0}")]
    NotDurable(String),
    /// A pooler before it lends its sessions by the transaction.
    #[error(
        "store.url leads to a connection pooler that lends sessions of Postgres by the transaction. The readers of the log \
         hold locks of their sessions, which would be anybody's there: lead store.url straight to Postgres, or to a pool \
         with pool_mode = session and room for 8 sessions a daemon"
    )]
    SharedSessions,
    /// Another process holds it.
    #[error("{0}")]
    InUse(String),
    /// The disk has no room for what was asked.
    #[error("{0}")]
    NoRoom(String),
    /// Its schema is not one that this binary may run on.
    #[error("{0}")]
    Schema(String),
    /// A migration failed.
    #[error("migrating the store failed")]
    Migration(#[source] sqlx::migrate::MigrateError),
    /// A file beside the database could not be used.
    #[error("cannot use {path}")]
    File {
        /// Which file.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A stored value makes no sense.
    #[error("the store holds an unusable value in {0}")]
    Corrupt(&'static str),
}

impl Error {
    /// Whether there was not enough time for what was asked: less of it may come through.
    pub fn is_deadline(&self) -> bool {
        const QUERY_CANCELED: &str = "57014";
        match self {
            Self::Deadline(_) => true,
            Self::Unavailable(sqlx::Error::Database(error)) => {
                error.code().as_deref() == Some(QUERY_CANCELED)
            }
            _ => false,
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Unavailable(error)
    }
}

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
    fn rows(&self) -> u64 {
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

/// A refused request, ready to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Hash of path, signature headers and body: a retry of the same request is the same entry.
    pub fingerprint: [u8; 32],
    /// One word of a closed set.
    pub reason: &'static str,
    /// The path it was posted to.
    pub path: String,
    /// `X-GHL-Signature`, where it is text.
    pub signature: Option<String>,
    /// `X-WH-Signature`, where it is text.
    pub legacy_signature: Option<String>,
    /// When.
    pub seen_at: Micros,
    /// What was read of the body.
    pub body: bytes::Bytes,
}

/// A refused request as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Its number.
    pub id: i64,
    /// Why it was refused.
    pub reason: String,
    /// The path it was posted to.
    pub path: String,
    /// `X-GHL-Signature`.
    pub signature: Option<String>,
    /// `X-WH-Signature`.
    pub legacy_signature: Option<String>,
    /// First time.
    pub first_seen_at: Micros,
    /// Last time.
    pub last_seen_at: Micros,
    /// How often the same request came.
    pub attempts: i64,
    /// Bytes of the body.
    pub body: Vec<u8>,
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

/// What retention may remove.
#[derive(Debug, Clone)]
pub struct Cutoff {
    /// The time.
    pub now: Micros,
    /// Bodies received before this moment, if every reader has passed them.
    pub bodies_before: Micros,
    /// The same for types that are kept shorter or longer.
    pub bodies_before_of: Vec<(String, Micros)>,
    /// Keys received before this moment, under the same condition.
    pub keys_before: Micros,
    /// At most so many rows of each in one call.
    pub batch: i64,
}

/// What retention removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Events with their bodies.
    pub events: u64,
    /// Dedupe keys.
    pub keys: u64,
    /// Calls that ended.
    pub follow_ups: u64,
    /// Whether there is more to look at, for types that are kept shorter or longer.
    pub is_more: bool,
}

/// Bytes of a file that was rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    /// Until then.
    pub before: u64,
    /// From then on.
    pub after: u64,
}

/// How much the quarantine may hold.
#[derive(Debug, Clone, Copy)]
pub struct QuarantineBounds {
    /// Entries.
    pub entries: i64,
    /// Bytes of bodies.
    pub bytes: i64,
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
    fn bound(self) -> Option<i64> {
        match self {
            Self::One(position) => Some(position.0),
            Self::All => None,
        }
    }
}

/// The log and what is kept beside it. Each method is one whole deed.
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
    async fn relay_reader(&self) -> Result<Option<Box<dyn Reader>>, Error>;

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

/// A reader of the log: a cursor, and the right to move it.
///
/// On Postgres that right is an advisory lock held by the very connection that moves the cursor: lose
/// the connection and you lose both.
#[async_trait]
pub trait Reader: Send {
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
    async fn retries(&mut self, limit: i64) -> Result<Vec<Recorded>, Error>;

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

/// How long it is from now to then.
fn until(now: Micros, then: Micros) -> std::time::Duration {
    std::time::Duration::from_micros(u64::try_from(then.0 - now.0).unwrap_or(0))
}

/// Where the sweeps of retention stand; at its end each starts again from the beginning.
#[derive(Debug, Default, Clone)]
struct Swept {
    /// The last key looked at, as (event key, app).
    key: (String, String),
    /// The last event looked at, where types are kept for times of their own.
    event: Position,
}

/// The sweeps of a store.
#[derive(Debug, Default)]
struct Sweep(std::sync::Mutex<Swept>);

impl Sweep {
    fn after(&self) -> Swept {
        self.lock().clone()
    }

    /// Remembers where they stopped.
    fn stop(&self, at: Swept) {
        *self.lock() = at;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Swept> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
