//! What GHL says of its limits in the head of an answer.
//!
//! The names are those of its page on rate limits; `X-RateLimit-Daily-Reset` is not on it and was observed.
//! There is no `Retry-After`.

use std::time::Duration;

use crate::budget::Told;

/// Reads the headers of an answer through `header`, which finds one by its lower-case name.
pub fn told<'a>(status: u16, header: impl Fn(&str) -> Option<&'a str>) -> Told {
    let number = |name: &str| header(name).and_then(|value| value.trim().parse::<u64>().ok());
    let count = |name: &str| number(name).and_then(|value| u32::try_from(value).ok());
    Told {
        remaining: count("x-ratelimit-remaining"),
        daily_remaining: count("x-ratelimit-daily-remaining"),
        daily_reset: number("x-ratelimit-daily-reset").map(Duration::from_millis),
        interval: number("x-ratelimit-interval-milliseconds").map(Duration::from_millis),
        refused: status == 429,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_and_a_number_is_read() {
        let header = |name: &str| match name {
            "x-ratelimit-remaining" => Some("97"),
            "x-ratelimit-daily-remaining" => Some(" 199642 "),
            "x-ratelimit-daily-reset" => Some("84322000"),
            "x-ratelimit-interval-milliseconds" => Some("10000"),
            _ => None,
        };
        let expected = Told {
            remaining: Some(97),
            daily_remaining: Some(199_642),
            daily_reset: Some(Duration::from_secs(84_322)),
            interval: Some(Duration::from_secs(10)),
            refused: false,
        };
        assert_eq!(told(200, header), expected);
        let nonsense = told(429, |_| Some("-1"));
        assert_eq!(
            nonsense,
            Told {
                refused: true,
                ..Told::default()
            }
        );
    }
}
