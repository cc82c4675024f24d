//! Requests that were refused, as they are kept.

use crate::event::Micros;

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

/// How much the quarantine may hold.
#[derive(Debug, Clone, Copy)]
pub struct QuarantineBounds {
    /// Entries.
    pub entries: i64,
    /// Bytes of bodies.
    pub bytes: i64,
}
