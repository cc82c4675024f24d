//! How long to wait before trying again: reconnects and repeated publishes.
//!
//! The only home of the `backoff` crate. Delays grow by 2 from `first` to `cap`, each with ±50 % of
//! jitter but never above `cap`, and never give up: whoever waits decides when to stop.

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

#[cfg(test)]
mod tests {
    use super::*;

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
