//! What a person looks at: events, newest first and without their bodies, and what people did.
//!
//! A page looks at a bounded part of the log, so it costs the same however long the log is and however rare
//! what is asked for. There is no index for it, which every append would pay for.

use async_trait::async_trait;

#[cfg(doc)]
use super::Gaps;
use super::{Error, Store};
use crate::event::{EventKey, Micros, Origin, Position, Recorded, Tenant};

/// Where an event stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventState {
    /// Still to be published.
    Pending,
    /// Waits because RabbitMQ refuses those of its tenant.
    Held,
    /// A dead letter.
    Parked,
    /// A dead letter that the relay is to publish again.
    Retry,
    /// Confirmed.
    Published,
}

impl EventState {
    /// Every state.
    pub const ALL: [Self; 5] = [
        Self::Pending,
        Self::Held,
        Self::Parked,
        Self::Retry,
        Self::Published,
    ];

    /// The name used in the store, on pages and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Held => "held",
            Self::Parked => "parked",
            Self::Retry => "retry",
            Self::Published => "published",
        }
    }

    /// The inverse of [`Self::as_str`].
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// Which events to list, newest first.
#[derive(Debug, Clone)]
pub struct EventFilter {
    /// Only this type.
    pub event_type: Option<String>,
    /// Only this location or company.
    pub tenant: Option<String>,
    /// Only those in this state.
    pub state: Option<EventState>,
    /// Only those with these bytes in their body.
    pub text: Option<String>,
    /// Only events behind this place.
    pub after: Position,
    /// Only events before this place.
    pub before: Option<Position>,
    /// At most so many.
    pub limit: i64,
    /// So many places are looked at, at most.
    pub look: i64,
}

impl Default for EventFilter {
    /// The newest twenty.
    fn default() -> Self {
        Self {
            event_type: None,
            tenant: None,
            state: None,
            text: None,
            after: Position(0),
            before: None,
            limit: 20,
            look: 20_000,
        }
    }
}

impl EventFilter {
    /// The event at a place.
    pub fn alone(position: Position) -> Self {
        Self {
            after: Position(position.0.saturating_sub(1)),
            before: Some(Position(position.0.saturating_add(1))),
            limit: 1,
            ..Self::default()
        }
    }

    /// The same, of events that were received in a time alone, as far as times follow places (see [`Gaps::place_at`]).
    pub async fn received(
        mut self,
        store: &dyn Store,
        since: Option<Micros>,
        until: Option<Micros>,
    ) -> Result<Self, Error> {
        let (after, upto) = places(store, since, until).await?;
        self.after = self.after.max(after);
        if let Some(upto) = upto {
            let until = Position(upto.0 + 1);
            self.before = Some(self.before.map_or(until, |before| before.min(until)));
        }
        Ok(self)
    }
}

/// Places of the log that one look at a range covers.
pub(crate) const RANGE_LOOK: i64 = 10_000;

/// A part of the log, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventRange {
    /// Only this type.
    pub event_type: Option<String>,
    /// Only this location or company.
    pub tenant: Option<String>,
    /// Only behind this place.
    pub after: Position,
    /// Only up to this place.
    pub upto: Position,
}

impl EventRange {
    /// The same, of events that were received in a time alone, as far as times follow places (see [`Gaps::place_at`]).
    pub async fn received(
        mut self,
        store: &dyn Store,
        since: Option<Micros>,
        until: Option<Micros>,
    ) -> Result<Self, Error> {
        let (after, upto) = places(store, since, until).await?;
        self.after = self.after.max(after);
        self.upto = upto.map_or(self.upto, |upto| self.upto.min(upto));
        self.after = self.after.min(self.upto);
        Ok(self)
    }
}

/// Behind which place what was received in a time begins, and up to which it goes.
async fn places(
    store: &dyn Store,
    since: Option<Micros>,
    until: Option<Micros>,
) -> Result<(Position, Option<Position>), Error> {
    let after = match since {
        Some(since) => store.place_at(since).await?,
        None => Position(0),
    };
    let upto = match until {
        Some(until) => Some(store.place_at(until).await?),
        None => None,
    };
    Ok((after, upto))
}

/// An event without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its place.
    pub position: Position,
    /// Its key.
    pub key: EventKey,
    /// Its app.
    pub app_id: String,
    /// Its type.
    pub event_type: String,
    /// Whose it is.
    pub tenant: Tenant,
    /// What it is about.
    pub entity_id: Option<String>,
    /// How it came.
    pub origin: Origin,
    /// When.
    pub received_at: Micros,
    /// Bytes of its body.
    pub body_bytes: i64,
    /// Where it stands.
    pub state: EventState,
}

/// Some events, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventPage {
    /// Those that were found.
    pub rows: Vec<Listed>,
    /// Where to look on, as [`EventFilter::before`]; none where nothing is left.
    pub next: Option<Position>,
}

/// What a person did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its number.
    pub id: i64,
    /// When.
    pub at: Micros,
    /// Who.
    pub who: String,
    /// What, in a word of a closed set, see [`crate::operator`].
    pub action: String,
    /// To what.
    pub subject: String,
    /// To how many.
    pub count: i64,
}

/// What people look at.
#[async_trait]
pub trait Listings: Send + Sync {
    /// Events, newest first.
    async fn events(&self, filter: &EventFilter) -> Result<EventPage, Error>;

    /// The next events of a range with their bodies, oldest first: at most `limit`, the last one being that which
    /// reaches `max_bytes` of bodies; and up to where there is no other.
    async fn read_range(
        &self,
        range: &EventRange,
        limit: i64,
        max_bytes: i64,
    ) -> Result<(Vec<Recorded>, Position), Error>;

    /// Notes what a person did, and returns its number.
    async fn note_audit(
        &self,
        who: &str,
        action: &str,
        subject: &str,
        count: i64,
        now: Micros,
    ) -> Result<i64, Error>;

    /// What people did, newest first: at most `limit`, before that number.
    async fn audit_trail(&self, before: Option<i64>, limit: i64) -> Result<Vec<AuditEntry>, Error>;
}
