//! What the store counts so that somebody notices when webhooks fail or stop: the answers of the last days, and when each
//! tenant was last heard of.

use std::time::Duration;

use async_trait::async_trait;

use super::Error;
use crate::event::{Micros, Position};

/// Over this time GHL looks at how webhooks were answered.
pub const ANSWERS_KEPT: Duration = Duration::from_secs(3 * 24 * 3600);
/// A tenant that was silent for longer is gone, and counts no more.
pub const TENANTS_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// So many times its longest gap, and at least [`SILENCE_LEAST`], makes a tenant silent.
pub const SILENCE_FACTOR: i64 = 2;
/// The shortest silence that is one.
pub const SILENCE_LEAST: Duration = Duration::from_secs(3600);
/// For so long a tenant must be known: its usual gap is a guess before.
pub const SILENCE_KNOWN: Duration = Duration::from_secs(24 * 3600);

/// GHL pauses a URL whose share of 2xx is lower.
pub const GHL_LEAST: f64 = 0.9;

/// Answers to webhooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Answers {
    /// 2xx.
    pub ok: i64,
    /// All others.
    pub failed: i64,
}

impl Answers {
    /// How many there are.
    pub fn all(&self) -> i64 {
        self.ok + self.failed
    }

    /// The share of 2xx; 1 where there are none.
    pub fn success_ratio(&self) -> f64 {
        match self.all() {
            0 => 1.0,
            all => self.ok as f64 / all as f64,
        }
    }

    /// The same in percent, with one digit, rounded down: 89.97 % is not 90.
    pub fn success_percent(&self) -> f64 {
        (self.success_ratio() * 1000.0).floor() / 10.0
    }
}

/// A part of the log, by tenant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counted {
    /// From behind this place.
    pub after: Position,
    /// To this one.
    pub upto: Position,
    /// Whether that is the end of the log.
    pub is_end: bool,
    /// The tenants in it.
    pub tenants: Vec<Heard>,
}

/// What a part of the log says of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Who.
    pub tenant: String,
    /// Its first event there.
    pub first_at: Micros,
    /// Its last one.
    pub last_at: Micros,
    /// The longest time between two of them, in microseconds.
    pub longest_gap: i64,
}

/// A tenant that was heard of for long and is not any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silent {
    /// Who.
    pub tenant: String,
    /// Since when.
    pub last_at: Micros,
    /// The longest it was silent before, lately, in microseconds.
    pub longest_gap: i64,
}

/// How many tenants there are, and those that are silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tenants {
    /// Heard of in the last 30 days.
    pub known: i64,
    /// Of these, the silent ones.
    pub silent: i64,
}

/// The stored tokens, by what becomes of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenCensus {
    /// Good at the moment.
    pub good: i64,
    /// When the first of these expires.
    pub next_expiry: Option<Micros>,
    /// Expired; renewed with the next call that wants them.
    pub expired: i64,
    /// Only a person can renew them.
    pub reauthorise: i64,
}

/// Room for the store's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// Bytes that may still be written.
    pub free: u64,
    /// Bytes in all.
    pub total: u64,
}

/// Answers and tenants.
#[async_trait]
pub trait Census: Send + Sync {
    /// Adds answers to those of this hour, and forgets those that are too old.
    async fn note_answers(&self, answers: Answers, now: Micros) -> Result<(), Error>;

    /// The answers of the last three days.
    async fn answers(&self, now: Micros) -> Result<Answers, Error>;

    /// What the next `limit` places of the log say of its tenants.
    async fn count_on(&self, limit: i64) -> Result<Counted, Error>;

    /// Writes that down, unless another daemon was quicker, and forgets tenants that are gone; whether it was written.
    async fn keep_count(&self, counted: &Counted, now: Micros) -> Result<bool, Error>;

    /// How many tenants there are.
    async fn tenants(&self, now: Micros) -> Result<Tenants, Error>;

    /// Silent tenants, the one that was loudest before first.
    async fn silent_tenants(&self, now: Micros, limit: i64) -> Result<Vec<Silent>, Error>;

    /// How the stored tokens stand.
    async fn token_census(&self, now: Micros) -> Result<TokenCensus, Error>;

    /// The time of a store that has a clock of its own, which budgets and leases go by; none on SQLite.
    async fn server_time(&self) -> Result<Option<Micros>, Error>;

    /// Room where the store's files are; none where they are a server's affair.
    fn disk(&self) -> Option<Disk>;
}
