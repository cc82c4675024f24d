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

/// What `--since` and `--until` say, where they are given.
pub(super) fn between(
    since: Option<&str>,
    until: Option<&str>,
    now: Micros,
) -> Result<(Option<Micros>, Option<Micros>), Failure> {
    let moment = |text: Option<&str>| text.map(|text| when(text, now)).transpose();
    Ok((moment(since)?, moment(until)?))
}

/// The time of an HTTP `Date` header (RFC 9110, 5.6.7), in seconds since 1970.
pub(super) fn http_date(text: &str) -> Option<i64> {
    let at = httpdate::parse_http_date(text).ok()?;
    let since = at.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_header_is_read() {
        assert_eq!(
            http_date("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(784_111_777)
        );
        for text in [
            "",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Foo 1994 08:49:37 GMT",
            "a b c d e f",
        ] {
            assert_eq!(http_date(text), None, "{text}");
        }
    }
}
