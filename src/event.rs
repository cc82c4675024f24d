//! What arrived: the vocabulary that every layer shares.
//!
//! Values only. Nothing here reads a clock, touches IO or decides policy; reading a body is
//! [`identify`]'s job, the table of known types is [`catalogue`]'s.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};

pub mod backfill;
pub mod catalogue;
pub mod identify;
pub mod lifecycle;
#[cfg(test)]
pub(crate) mod recorded;
pub mod samples;
pub mod subscription;
pub mod trace;

/// The type under which a body is stored that nothing could be read from.
pub const UNKNOWN_TYPE: &str = "unknown";

/// Whether an id fits everywhere an id goes: 1 to [`EventKey::MAX_ID_BYTES`] bytes of graphic ASCII.
pub fn is_plain_id(id: &str) -> bool {
    let fits = (1..=EventKey::MAX_ID_BYTES).contains(&id.len());
    fits && id.bytes().all(|byte| byte.is_ascii_graphic())
}

/// What makes a delivery one event: GHL's `webhookId`, or the hash of the body where there is none.
///
/// Unique per app. 1 to 160 bytes of graphic ASCII, so it fits an AMQP short string, a text column
/// and a log line as it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventKey(String);

impl EventKey {
    /// The longest id accepted from a body, in bytes. GHL sends UUIDs (36).
    pub const MAX_ID_BYTES: usize = 128;

    /// A key from an id found in a body; `None` when it is empty, longer than
    /// [`Self::MAX_ID_BYTES`], or not graphic ASCII.
    pub fn from_id(id: &str) -> Option<Self> {
        // `~` separates an id from the hash of other bytes that came under it, see `altered`.
        (is_plain_id(id) && !id.contains('~')).then(|| Self(id.to_owned()))
    }

    /// The fallback for a body without a usable id: a retry brings the same bytes, so the same key.
    pub fn from_body(hash: &BodyHash) -> Self {
        Self(format!("sha256-{hash}"))
    }

    /// The key under which other bytes with a known id are kept: `<id>~<first 16 digits of the hash>`.
    pub fn altered(&self, hash: &BodyHash) -> Self {
        let digits = hash.to_string();
        Self(format!("{}~{}", self.0, &digits[..16]))
    }

    /// A key as the store gave it back.
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// SHA-256 of a body; displayed as 64 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BodyHash(pub [u8; 32]);

impl BodyHash {
    /// Hashes `body`.
    pub fn of(body: &[u8]) -> Self {
        Self(Sha256::digest(body).into())
    }
}

impl fmt::Display for BodyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A place in the log. The first event has position 1; positions are given out without gaps, but for the one that a
/// restored log begins behind (`hookwell restored`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub i64);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A moment, in microseconds since the Unix epoch (UTC).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Micros(pub i64);

/// A length of time in microseconds; what is too long for any clock leaves room to be added to a moment.
pub fn micros(length: Duration) -> i64 {
    i64::try_from(length.as_micros()).unwrap_or(i64::MAX / 4)
}

/// How an event came into the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// GHL posted it.
    Webhook,
    /// The answer of an API call that an event called for.
    FollowUp,
    /// Found by reading the API, or asked for by hookwell itself so that it is read: a backfill, a repair.
    Backfill,
    /// Published again on request.
    Replay,
}

impl Origin {
    /// The name used in the store, in message headers and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::FollowUp => "follow_up",
            Self::Backfill => "backfill",
            Self::Replay => "replay",
        }
    }

    /// The inverse of [`Self::as_str`].
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Webhook, Self::FollowUp, Self::Backfill, Self::Replay]
            .into_iter()
            .find(|origin| origin.as_str() == name)
    }
}

/// Which account an event belongs to. Both ids are graphic ASCII, 1 to 128 bytes, or absent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Tenant {
    /// The agency.
    pub company_id: Option<String>,
    /// The sub-account.
    pub location_id: Option<String>,
}

impl Tenant {
    /// The one id that orders and routes: the location, else the company.
    pub fn id(&self) -> Option<&str> {
        self.location_id.as_deref().or(self.company_id.as_deref())
    }
}

/// An event that is ready to be appended to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Unique per app.
    pub key: EventKey,
    /// The configured app it was sent to.
    pub app_id: String,
    /// GHL's name for it, or [`UNKNOWN_TYPE`].
    pub event_type: String,
    /// Whose it is.
    pub tenant: Tenant,
    /// The contact, opportunity, … it is about.
    pub entity_id: Option<String>,
    /// How it came.
    pub origin: Origin,
    /// The signature header's value, as it came.
    pub signature: Option<String>,
    /// When the whole request had been read.
    pub received_at: Micros,
    /// SHA-256 of `body`.
    pub body_hash: BodyHash,
    /// The very bytes that were signed.
    pub body: Bytes,
}

/// An event with its place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its place.
    pub position: Position,
    /// The event.
    pub event: Event,
}
