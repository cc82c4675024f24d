//! How long to wait before trying again: reconnects, repeated publishes, API calls.
//!
//! The only home of the `backoff` crate. [`Delays`] grow by 2 from `first` to `cap`, each with ±50 % of
//! jitter but never above `cap`, and never give up: whoever waits decides when to stop. [`Attempts`] does give
//! up, and keeps nothing in memory: which attempt it was is written in the store.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;

/// A row of growing delays.
#[derive(Debug)]
pub struct Delays(ExponentialBackoff);

impl Delays {
    /// Delays from `first` up to `cap`.
    pub fn new(first: Duration, cap: Duration) -> Self {
        Self(ExponentialBackoff {
            current_interval: first,
            initial_interval: first,
            randomization_factor: 0.5,
            multiplier: 2.0,
            max_interval: cap,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        })
    }

    /// The next delay.
    pub fn next_delay(&mut self) -> Duration {
        let cap = self.0.max_interval;
        self.0.next_backoff().map_or(cap, |delay| delay.min(cap))
    }

    /// Starts again from `first`, after a success.
    pub fn reset(&mut self) {
        self.0.reset();
    }
}

/// How often an API call is tried, and how long it waits in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempts {
    /// Calls at most, the first one included; at least 1.
    pub most: u32,
    /// Before the second one.
    pub first: Duration,
    /// The longest delay.
    pub cap: Duration,
}

impl Attempts {
    /// How long to wait after the `attempt`th call (the first one is 1) failed; `None` when that was the
    /// last. `chance` is in `0.0..1.0`: delays are spread over the half below their full length.
    pub fn after(&self, attempt: u32, chance: f64) -> Option<Duration> {
        if self.most <= attempt {
            return None;
        }
        let doubled = 1_u32
            .checked_shl(attempt.saturating_sub(1))
            .unwrap_or(u32::MAX);
        let full = self.first.saturating_mul(doubled).min(self.cap);
        Some(full.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_tried_three_times_a_second_and_two_seconds_apart_and_never_more_than_the_cap() {
        let second = Duration::from_secs(1);
        let attempts = Attempts {
            most: 3,
            first: second,
            cap: 5 * second,
        };
        assert_eq!(attempts.after(1, 1.0), Some(second));
        assert_eq!(attempts.after(2, 1.0), Some(2 * second));
        assert_eq!(attempts.after(2, 0.0), Some(second));
        assert_eq!(attempts.after(3, 0.5), None);
        let many = Attempts {
            most: 100,
            ..attempts
        };
        for attempt in 4..100 {
            assert_eq!(many.after(attempt, 1.0), Some(5 * second), "{attempt}");
        }
    }

    #[test]
    fn delays_grow_to_the_cap_and_start_again_after_a_reset() {
        let (first, cap) = (Duration::from_millis(100), Duration::from_secs(2));
        let mut delays = Delays::new(first, cap);
        let taken: Vec<_> = (0..50).map(|_| delays.next_delay()).collect();
        assert!(
            taken[0] <= first * 3 / 2,
            "the first delay is {:?}",
            taken[0]
        );
        assert!(taken.iter().all(|delay| *delay <= cap));
        assert!(taken[49] >= cap / 2, "the last delay is {:?}", taken[49]);
        delays.reset();
        assert!(delays.next_delay() <= first * 3 / 2);
    }
}
