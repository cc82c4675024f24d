//! Times as people write them on the command line.

use super::Failure;
use crate::event::Micros;
use crate::event::lifecycle::moment;

/// A moment, or a time before now.
pub(super) fn when(text: &str, now: Micros) -> Result<Micros, Failure> {
    if let Some(moment) = moment(text) {
        return Ok(moment);
    }
    let before = humantime::parse_duration(text).ok();
    let before = before.and_then(|before| i64::try_from(before.as_micros()).ok());
    before
        .map(|before| Micros(now.0.saturating_sub(before).max(0)))
        .ok_or_else(|| {
            Failure::saying(
                Failure::USAGE,
                format!(
                    "{text:?} is no moment such as 2026-11-24T08:00:00Z, and no time such as 2h"
                ),
            )
        })
}
