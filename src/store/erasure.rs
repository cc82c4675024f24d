//! What a person has removed before its time: everything about a contact or of a tenant, and dead letters that are
//! given up on.
//!
//! An event goes only when every reader is past it, so nothing is published or planned half way. Its dedupe key stays:
//! a late repeat of GHL's must not bring it back. What was still to be published is counted as discarded.

use async_trait::async_trait;

use super::{Error, Selection};
use crate::event::Position;

/// Places of the log that one look covers, and dead letters that go at once.
pub(crate) const ERASE_LOOK: i64 = 5_000;

/// Whose data it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A contact: what is about it, and what has its id anywhere in its body.
    Contact(String),
    /// A location or a company.
    Tenant(String),
}

impl Subject {
    /// Its id.
    pub fn id(&self) -> &str {
        match self {
            Self::Contact(id) | Self::Tenant(id) => id,
        }
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Contact(id) => write!(f, "contact {id}"),
            Self::Tenant(id) => write!(f, "tenant {id}"),
        }
    }
}

/// What a part of the log holds of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Found {
    /// Events.
    pub events: i64,
    /// Those among them that a reader has not passed.
    pub waiting: i64,
    /// Where to look on; none at the end of the log.
    pub next: Option<Position>,
}

/// What was removed from a part of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Erased {
    /// Events with their bodies.
    pub events: u64,
    /// Those among them that were still to be published: dead letters and held ones.
    pub discarded: u64,
    /// API calls that they called for.
    pub calls: u64,
    /// Events that stay, as a call for them is being made, or a reader has not passed them.
    pub left: u64,
    /// Where to go on; none at the end of the log.
    pub next: Option<Position>,
}

impl Erased {
    /// Counts what was removed from a further part.
    pub fn add(&mut self, part: &Self) {
        self.events += part.events;
        self.discarded += part.discarded;
        self.calls += part.calls;
        self.left += part.left;
    }
}

/// What there is of a subject beside the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Beside {
    /// Refused requests with its id in their body.
    pub quarantined: i64,
    /// API calls whose events are gone already.
    pub calls: i64,
    /// Installations that are over, with their workflow triggers.
    pub installations: i64,
    /// Installations that are not over: they stay.
    pub installed: i64,
}

/// Removal by a person.
#[async_trait]
pub trait Erasure: Send + Sync {
    /// Up to where events can be removed: every reader is past it.
    async fn erasable_upto(&self) -> Result<Position, Error>;

    /// Counts what there is of a subject, in one bounded part of the log.
    async fn find_subject(&self, subject: &Subject, after: Position) -> Result<Found, Error>;

    /// Removes what there is of a subject in one bounded part of the log, in one transaction.
    async fn erase_events(&self, subject: &Subject, after: Position) -> Result<Erased, Error>;

    /// Counts what there is of a subject beside the log.
    async fn find_beside(&self, subject: &Subject) -> Result<Beside, Error>;

    /// Removes what there is of a subject beside the log, in one transaction; returns what went.
    async fn erase_beside(&self, subject: &Subject) -> Result<Beside, Error>;

    /// Gives up on dead letters behind a place: they go, with their events, so many in one transaction. Those whose calls
    /// are being made stay.
    async fn discard_dead_letters(
        &self,
        selection: Selection,
        after: Position,
    ) -> Result<Erased, Error>;
}
