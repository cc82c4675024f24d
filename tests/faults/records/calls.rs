//! What a run with follow-ups leaves beside the rest: the journal of the GHL that it called, what that counted,
//! the rows of calls at the end, and what must appear nowhere.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Every request that the played GHL got, as [`Request`]s in the order of their arrival.
pub const API: &str = "api.jsonl";
/// What it counted.
pub const REPORT: &str = "api.json";
/// The rows of calls at the end.
pub const CALLS: &str = "calls.jsonl";
/// What must appear nowhere.
pub const CANARIES: &str = "canaries.json";
/// A folder: what the daemon and its commands said to whoever asked, besides logs and scrapes.
pub const SAID: &str = "said";
/// A folder: the whole store as it lies on the disk, or as its own tool dumps it.
pub const DUMP: &str = "dump";

/// A rule of the daemon's configuration, as far as it is judged. Its requests carry `rule=NAME&for=EVENT KEY` in
/// their query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// Binding patterns: an event calls for it where one of them takes its routing key.
    pub bind: Vec<String>,
    /// Whether a call may be made twice.
    pub idempotent: bool,
    /// Whether the answer becomes an event of the log.
    pub publishes: bool,
}

/// What a run's follow-ups are set up as, and what they may do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FollowUps {
    /// The rules.
    pub rules: Vec<Rule>,
    /// Reasons for which this row may park calls.
    pub parked: Vec<String>,
    /// Whether apps are uninstalled: their calls are cancelled, their tokens erased.
    pub uninstalls: bool,
    /// How long the daemon waits for an answer of the API.
    pub timeout_us: u64,
}

/// A request that the played GHL got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// When it came.
    pub t: u64,
    /// When its answer was ready; none while it is under way, and for good if the client hung up.
    #[serde(default)]
    pub answered: Option<u64>,
    /// Its method.
    pub method: String,
    /// Its path.
    pub path: String,
    /// What came after the `?`.
    #[serde(default)]
    pub query: String,
    /// Whose token it carries, or asks for.
    #[serde(default)]
    pub tenant: Option<String>,
    /// What was answered; none where the connection was ended instead.
    #[serde(default)]
    pub status: Option<u16>,
    /// The trouble that it met.
    #[serde(default)]
    pub fault: Option<String>,
}

impl Request {
    /// A value of its query.
    pub fn argument(&self, name: &str) -> Option<&str> {
        let mut pairs = self
            .query
            .split('&')
            .filter_map(|pair| pair.split_once('='));
        pairs.find_map(|(key, value)| (key == name).then_some(value))
    }

    /// Whether it was answered 2xx.
    pub fn succeeded(&self) -> bool {
        matches!(self.status, Some(200..=299))
    }

    /// Whether its answer did not come to whoever asked and waits so long, or not in a form that says anything.
    pub fn answer_was_lost(&self, timeout_us: u64) -> bool {
        const SPOILED: [&str; 4] = ["hang_up", "malformed", "wrong_type", "no_refresh_token"];
        let spoiled = (self.fault.as_deref()).is_some_and(|fault| SPOILED.contains(&fault));
        let late = (self.answered).is_none_or(|at| timeout_us <= at.saturating_sub(self.t));
        self.status.is_none() || spoiled || late
    }
}

/// How often one refresh token was presented.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presentations {
    /// The account it is for.
    pub tenant: String,
    /// How often it brought a new pair.
    pub successful: u64,
    /// How often it came again after that.
    pub spent: u64,
}

/// The budget of one account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// Requests that cost budget.
    pub requests: u64,
    /// Those of them that were over it.
    pub over_budget: u64,
    /// The most of them in any interval.
    pub most_in_an_interval: u64,
}

/// What the played GHL counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Requests of whatever kind.
    pub requests: u64,
    /// Requests over a limit.
    pub over_budget: u64,
    /// By account.
    pub tenants: BTreeMap<String, Used>,
    /// By the id of the refresh token.
    pub refresh_tokens: BTreeMap<String, Presentations>,
    /// Presentations of refresh tokens that never were.
    pub unknown_refresh_tokens: u64,
    /// Successful refreshes by account.
    pub refreshes: BTreeMap<String, u64>,
    /// Location tokens made from an agency's, by sub-account.
    pub minted: BTreeMap<String, u64>,
}

/// A row of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Its number.
    pub id: i64,
    /// The event's place.
    pub position: i64,
    /// The rule's name.
    pub rule: String,
    /// The tenant.
    pub tenant: String,
    /// The record.
    #[serde(default)]
    pub entity: Option<String>,
    /// `pending`, `done`, `dead`, `cancelled` or `merged`.
    pub state: String,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// When it was planned, in microseconds since 1970.
    pub planned: i64,
    /// When it ended, likewise.
    #[serde(default)]
    pub ended: Option<i64>,
}

/// The token of a tenant at the end, as the store has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// Whose.
    pub tenant: String,
    /// `usable` or `reauthorise`.
    pub state: String,
    /// Whether a call was asked of it when every access token had been ended.
    pub asked: bool,
}

/// Something that must appear nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// What it is.
    pub name: String,
    /// Its text, or a part of it that nothing else has.
    pub text: String,
    /// Whether it must not be in the store in plain either. Bodies are kept as they came.
    pub stored_sealed: bool,
}
