//! Times as GHL writes them: ISO 8601 with milliseconds and `Z`.

use std::time::{Duration, UNIX_EPOCH};

use crate::clock::rfc3339;
use crate::event::Micros;
use crate::event::micros;

/// `2026-01-31T12:00:00.000Z`
pub(super) fn iso(time: Micros) -> String {
    let text = rfc3339(time);
    // Ours has microseconds.
    text.get(..23)
        .map_or_else(|| text.clone(), |millis| format!("{millis}Z"))
}

/// Milliseconds since 1970 of such a time.
pub(super) fn millis(text: &str) -> Option<i64> {
    let time = humantime::parse_rfc3339(text).ok()?;
    i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

/// Milliseconds of the beginning of a day such as `2026-01-31`.
pub(super) fn day(text: &str) -> Option<i64> {
    millis(&format!("{text}T00:00:00Z"))
}

/// The same of `01-31-2026`, the form of GHL's query parameters.
pub(super) fn american_day(text: &str) -> Option<i64> {
    let mut parts = text.splitn(3, '-');
    let (month, of_month, year) = (parts.next()?, parts.next()?, parts.next()?);
    day(&format!("{year}-{month}-{of_month}"))
}

/// `time` and so much later.
pub(super) fn after(time: Micros, length: Duration) -> Micros {
    Micros(time.0.saturating_add(micros(length)))
}
