//! What the store keeps of API calls: the planner's reader, claims, budgets, and what became of each call.
//!
//! A claim is one short transaction: it takes calls of those tenants that waited longest and have budget, raises
//! their lease, and moves their due time to the claim's end, so that a crash needs nobody to clean up. No call
//! is made inside a transaction. Every end is written under the lease; whoever was late changes nothing.

use std::time::Duration;

use async_trait::async_trait;

use super::Error;
use crate::budget::{Limits, Told};
use crate::event::lifecycle::Lifecycle;
use crate::event::{Micros, Position, Recorded};

/// The planner's name in `cursors`.
pub const PLANNER: &str = "planner";

/// Why a call waits: nobody has authorised the app for the tenant yet. A token that comes makes it due.
pub const NO_TOKEN: &str = "no_token";
/// Why a call waits: a claim of it is over without an end. It may have been made.
pub const CLAIM_LOST: &str = "claim_lost";

/// A call that an event calls for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The event.
    pub position: Position,
    /// The rule's name.
    pub rule: String,
    /// The event's app.
    pub app_id: String,
    /// Whose budget it is; empty for an event of nobody.
    pub tenant: String,
    /// The record that it is about: calls of one rule and record run one after the other.
    pub entity_id: Option<String>,
    /// How long to wait before it is made, so that other events of the record join it; `None` for a call
    /// of its own at once.
    pub coalesce: Option<Duration>,
}

/// What the planner made of a run of the log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// The end of the run.
    pub upto: Position,
    /// What happened to installations, in order: place, app, and what.
    pub lifecycles: Vec<(Position, String, Lifecycle)>,
    /// The calls, in order.
    pub calls: Vec<Planned>,
}

/// A look at a part of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// What was looked for, in order.
    pub events: Vec<Recorded>,
    /// The last place looked at.
    pub upto: Position,
    /// The head of the log at that time.
    pub head: Position,
}

/// The planner's reader: a cursor, and the right to move it, as the relay has (see [`super::RelayReader`]).
#[async_trait]
pub trait PlanReader: Send {
    /// Where the cursor stands.
    async fn position(&mut self) -> Result<Position, Error>;

    /// The events of these types among the next `limit` of the log. Their bodies take `max_bytes` at most, but for
    /// the first.
    async fn read(
        &mut self,
        after: Position,
        types: &[String],
        limit: i64,
        max_bytes: i64,
    ) -> Result<Looked, Error>;

    /// Writes down calls and what happened to installations, and moves the cursor, in one transaction.
    async fn settle(&mut self, plan: &Plan, now: Micros) -> Result<(), Error>;
}

/// A call that is this daemon's to make until its claim ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// Its number.
    pub id: i64,
    /// The number of the claim.
    pub lease: i64,
    /// The rule's name.
    pub rule: String,
    /// Whose budget it is; empty for an event of nobody.
    pub tenant: String,
    /// Calls made before that counted.
    pub attempt: u32,
    /// What the calls before left, as JSON.
    pub progress: String,
    /// Whether somebody had claimed it and did not end: the call may have been made.
    pub taken_over: bool,
    /// The event.
    pub event: Recorded,
}

/// A claimed row before its event is read.
pub(super) struct ClaimedRow {
    pub(super) id: i64,
    pub(super) lease: i64,
    pub(super) rule: String,
    pub(super) tenant: String,
    pub(super) attempt: u32,
    pub(super) progress: String,
    pub(super) taken_over: bool,
    pub(super) position: i64,
}

/// What a claim brought.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Claims {
    /// The calls.
    pub calls: Vec<Claimed>,
    /// When something may be claimed next, as far as it is known: how long from now.
    pub next_in: Option<Duration>,
}

/// What comes after a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nothing: it is done.
    Done,
    /// Nothing: the tenant is gone.
    Cancelled,
    /// Another call.
    Again {
        /// When, from now.
        after: Duration,
        /// Calls that counted so far.
        attempt: u32,
        /// What the next one has to know, as JSON.
        progress: String,
    },
    /// A person decides.
    Park,
}

/// How a claim ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The call's number.
    pub id: i64,
    /// The claim's.
    pub lease: i64,
    /// The app.
    pub app_id: String,
    /// Whose budget it is.
    pub tenant: String,
    /// What the answer said of the limits; `None` where no call was made.
    pub told: Option<Told>,
    /// The status of the answer, where there was one.
    pub status: Option<u16>,
    /// Why it is parked or made again, in a word.
    pub reason: Option<&'static str>,
    /// The same in the words of the answer.
    pub detail: String,
    /// What it leaves, as JSON, where nothing comes next.
    pub progress: Option<String>,
    /// What comes next.
    pub next: Next,
}

impl Ended {
    /// Whether it would be forgotten with the next call: it failed, and another one follows or may.
    pub(crate) fn is_remembered(&self) -> bool {
        match self.next {
            Next::Done | Next::Cancelled => false,
            Next::Again { .. } => self.told.is_some() && self.reason.is_some(),
            Next::Park => true,
        }
    }
}

/// What came of a call that was not the last one, or that was parked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// When its end was written down.
    pub at: Micros,
    /// The status of the answer, where there was one.
    pub status: Option<i64>,
    /// Why it was not the end, in a word.
    pub reason: Option<String>,
    /// The same in the words of the answer.
    pub detail: Option<String>,
}

/// Whether there is room for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// It is taken: this place, which [`FollowUps::end_call`] gives back.
    Taken(Micros),
    /// There may be some so long from now.
    None(Duration),
}

/// A call as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowUp {
    /// Its number.
    pub id: i64,
    /// The event's place.
    pub position: Position,
    /// The rule's name.
    pub rule: String,
    /// The app.
    pub app_id: String,
    /// The tenant.
    pub tenant: String,
    /// The record.
    pub entity_id: Option<String>,
    /// `pending`, `done`, `dead`, `cancelled` or `merged`.
    pub state: String,
    /// When it may be made, or when its claim ends.
    pub due_at: Micros,
    /// Whether somebody makes it now.
    pub claimed: bool,
    /// Calls that counted.
    pub attempt: i64,
    /// What the next call has to know of the ones before, as JSON.
    pub progress: String,
    /// When it was planned.
    pub planned_at: Micros,
    /// When it ended.
    pub ended_at: Option<Micros>,
    /// The status of the last answer.
    pub status: Option<i64>,
    /// Why it waits or is parked.
    pub reason: Option<String>,
    /// The same in the words of the answer.
    pub detail: Option<String>,
}

/// Which calls to list, newest first.
#[derive(Debug, Clone, Default)]
pub struct FollowUpFilter {
    /// Only in this state.
    pub state: Option<String>,
    /// Only of this rule.
    pub rule: Option<String>,
    /// Only of this tenant.
    pub tenant: Option<String>,
    /// Only those that this event called for.
    pub position: Option<Position>,
    /// Only those before this number.
    pub before: Option<i64>,
    /// At most so many.
    pub limit: i64,
}

/// How many calls there are in each state that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FollowUpCounts {
    /// To be made.
    pub pending: i64,
    /// Parked for a person.
    pub dead: i64,
    /// When the oldest pending one was planned.
    pub oldest_pending_at: Option<Micros>,
}

/// Calls of which one page looks at so many, at most.
pub(crate) const CALLS_LOOK: i64 = 20_000;

/// Some calls, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FollowUpPage {
    /// Those that were found.
    pub rows: Vec<FollowUp>,
    /// Where to look on, as [`FollowUpFilter::before`]; none where nothing is left.
    pub next: Option<i64>,
}

/// Which calls a person means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhichCalls {
    /// One.
    One(i64),
    /// Those of a rule.
    Rule(String),
    /// Every one.
    All,
}

impl WhichCalls {
    /// One if it is named, else those of a rule if that is, else every one.
    pub fn of(id: Option<i64>, rule: Option<String>) -> Self {
        match (id, rule) {
            (Some(id), _) => Self::One(id),
            (None, Some(rule)) => Self::Rule(rule),
            (None, None) => Self::All,
        }
    }

    /// The number or the rule that they are bound to.
    pub(crate) fn bounds(&self) -> (Option<i64>, Option<&str>) {
        match self {
            Self::One(id) => (Some(*id), None),
            Self::Rule(rule) => (None, Some(rule)),
            Self::All => (None, None),
        }
    }
}

/// The calls and their budgets. Times are the store's own where daemons share it (Postgres), else `now`.
#[async_trait]
pub trait FollowUps: Send + Sync {
    /// The planner's reader, if no other process holds it.
    async fn plan_reader(&self) -> Result<Option<Box<dyn PlanReader>>, Error>;

    /// Claims up to `wanted` calls for `lease`, within the budgets of their tenants.
    async fn claim_calls(
        &self,
        wanted: u32,
        limits: &Limits,
        lease: Duration,
        now: Micros,
    ) -> Result<Claims, Error>;

    /// Writes down how claims ended; whether each was still this daemon's.
    async fn end_calls(
        &self,
        ended: &[Ended],
        limits: &Limits,
        now: Micros,
    ) -> Result<Vec<bool>, Error>;

    /// Takes room in a tenant's budget for one call that no claim stands for, such as a mint, or says how long there is
    /// none. It takes `longest` at most: where its end is never told, its place comes free one interval after that.
    async fn begin_call(
        &self,
        app_id: &str,
        tenant: &str,
        limits: &Limits,
        longest: Duration,
        now: Micros,
    ) -> Result<Room, Error>;

    /// Such a call has ended: what its answer said of the limits, or nothing where none was sent.
    async fn end_call(
        &self,
        app_id: &str,
        tenant: &str,
        place: Micros,
        told: Option<&Told>,
        limits: &Limits,
        now: Micros,
    ) -> Result<(), Error>;

    /// A part of the calls, newest first.
    async fn follow_up_page(&self, filter: &FollowUpFilter) -> Result<FollowUpPage, Error>;

    /// Calls, newest first, however far back they are.
    async fn follow_ups(&self, filter: &FollowUpFilter) -> Result<Vec<FollowUp>, Error> {
        let (mut filter, mut rows) = (filter.clone(), Vec::new());
        loop {
            let page = self.follow_up_page(&filter).await?;
            filter.limit -= i64::try_from(page.rows.len()).unwrap_or(i64::MAX);
            rows.extend(page.rows);
            match page.next {
                Some(next) if 0 < filter.limit => filter.before = Some(next),
                _ => return Ok(rows),
            }
        }
    }

    /// How many calls are parked, of a rule or all, and of how many of these nobody knows whether they were made; no more
    /// than `most` are counted.
    async fn count_parked(&self, rule: Option<&str>, most: i64) -> Result<(i64, i64), Error>;

    /// What came of a call before its last end, oldest first: the newest twenty.
    async fn attempts(&self, id: i64) -> Result<Vec<Attempt>, Error>;

    /// One call.
    async fn follow_up(&self, id: i64) -> Result<Option<FollowUp>, Error>;

    /// How many there are.
    async fn follow_up_counts(&self) -> Result<FollowUpCounts, Error>;

    /// Ends calls that wait or are parked; returns how many. One that is being made is left to its end.
    async fn cancel_follow_ups(&self, which: &WhichCalls, now: Micros) -> Result<u64, Error>;

    /// Makes parked calls pending again, with all their attempts; returns how many.
    async fn retry_follow_ups(&self, which: &WhichCalls, now: Micros) -> Result<u64, Error>;
}
