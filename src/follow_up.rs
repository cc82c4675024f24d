//! Follow-ups: the API calls that events call for.
//!
//! The cast: a [`Rule`](rule::Rule) says which events call for which call. The [`Planner`] reads the log behind a
//! cursor of its own and writes down a row for each event and rule. The [`Runner`] claims rows, within the budget
//! of each tenant, makes the calls, and writes down what became of them. [`Tokens`] has a good token for it.
//!
//! The life of a row:
//!
//! ```text
//!            claimed               done: its answer is in the log first, where the rule publishes it
//!  pending ─────────▶ a call ─────▶ dead: parked with a reason; `hookwell follow-ups retry` makes it pending
//!    ▲  │                │
//!    │  └─ cancelled     └─▶ pending again: after a delay, or when there is room, a token, or the host is back
//!    │     (uninstalled)
//!    └── the claim's time is over: whoever had it is gone
//! ```
//!
//! A call that may not repeat and whose outcome nobody knows is parked. No SQL, no HTTP.

use std::time::Duration;

use crate::budget::Limits;
use crate::event::backfill::Kind;
use crate::store::Gap;
use verdict::Policy;

pub mod breaker;
pub mod planner;
pub mod rule;
pub mod runner;
pub mod template;
pub mod tokens;
pub mod verdict;
pub mod watch;

pub use planner::Planner;
pub use runner::Runner;
pub use tokens::Tokens;
pub use watch::Watch;

/// The built-in rule that gets an installation its token.
pub const INSTALLATION_TOKEN: &str = "hookwell.token";

/// The built-in rule that reads records which changed in a time; a call for each kind, as `hookwell.backfill/contacts`.
pub const BACKFILL: &str = "hookwell.backfill";

/// The built-in rule that reads where an app is installed.
pub const RECONCILE: &str = "hookwell.reconcile";

/// How follow-ups are made.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Calls of this daemon at once.
    pub concurrency: u32,
    /// What GHL allows.
    pub limits: Limits,
    /// How long a claim lasts: longer than a call with everything before and after it may take.
    pub lease: Duration,
    /// How long after its claim a call may be sent, so that it ends within the claim.
    pub send_within: Duration,
    /// How long calls under way may take to end after shutdown.
    pub drain: Duration,
    /// Of what is built in.
    pub policy: Policy,
    /// Between two pages of a repair.
    pub page_gap: Duration,
    /// How long after a location was missing in GHL's list it is looked for again.
    pub confirm_after: Duration,
}

/// What is read from the API without an event that calls for it.
#[derive(Debug, Clone)]
pub struct Repair {
    /// Whether gaps are repaired without a command.
    pub automatic: bool,
    /// How long a gap has to be: GHL delivers again what came in a shorter one.
    pub gap_after: Duration,
    /// How long after its end it is repaired: searches know what changed only after a while.
    pub settle: Duration,
    /// What is read before and after it, too.
    pub margin: Duration,
    /// What is read of a location when the app is installed there.
    pub first_sync: Vec<Kind>,
    /// How often it is read where the apps are installed.
    pub reconcile_every: Option<Duration>,
}

impl Repair {
    /// Whether a gap is long enough to be repaired, or nothing of it comes again, and it was not yet.
    pub fn is_due(&self, gap: &Gap) -> bool {
        gap.repaired_at.is_none() && (gap.is_restore || self.gap_after <= gap.length())
    }

    /// What becomes of a gap; `has_calls` says whether any app has credentials.
    pub fn of(&self, gap: &Gap, has_calls: bool) -> &'static str {
        match gap.repaired_at {
            Some(_) => "what changed meanwhile was asked for",
            None if !self.is_due(gap) => "shorter than repair.gap_after: GHL delivers again",
            None if !has_calls => "no app has credentials to read what changed",
            None if !self.automatic => "repair.automatic is off; see `hookwell backfill`",
            None => "what changed meanwhile will be asked for",
        }
    }
}
