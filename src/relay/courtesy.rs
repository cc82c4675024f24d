//! How a relay that is behind leaves room for the webhooks that come in meanwhile.
//!
//! The more of them come in, compared with what it publishes, the less it has in flight at once and the longer
//! it rests between two windows: at most half of the time, and never so long that the backlog would grow.

use std::time::Duration;

use tokio::time::Instant;

/// A relay that rests still gets this many events out for each that comes in.
const GAIN: f64 = 1.5;
/// A window's size at which RabbitMQ's work on it, on two cores, delays an answer by less than 10 ms.
const SMALL: i64 = 256;
/// The longest rest: a window can take long for reasons that resting does not mend.
const LONGEST: Duration = Duration::from_millis(100);

/// A cycle: a window, and the rest after it.
#[derive(Debug, Clone, Copy)]
struct Cycle {
    /// How long the window took.
    took: Duration,
    /// Events that were published in it.
    published: u64,
    /// Events that were committed since the cycle before, and how long that is.
    arrived: u64,
    within: Duration,
}

impl Cycle {
    /// From 0, nothing comes in, to 1, half as much as goes out, or more.
    fn share(&self) -> f64 {
        (2.0 * self.arrived as f64 / self.published.max(1) as f64).min(1.0)
    }

    fn rest(&self) -> Duration {
        if self.arrived == 0 {
            return Duration::ZERO;
        }
        let rate = self.arrived as f64 / self.within.as_secs_f64().max(0.001);
        let not_to_lose = Duration::from_secs_f64(self.published as f64 / (GAIN * rate));
        let most = not_to_lose.saturating_sub(self.took);
        self.took.mul_f64(self.share()).min(most).min(LONGEST)
    }
}

/// What was committed up to the last cycle, and what followed from it.
#[derive(Debug)]
pub(super) struct Courtesy {
    committed: u64,
    since: Instant,
    share: f64,
}

impl Courtesy {
    /// With what was committed so far.
    pub(super) fn new(committed: u64) -> Self {
        Self {
            committed,
            since: Instant::now(),
            share: 0.0,
        }
    }

    /// Events in flight at most.
    pub(super) fn window(&self, full: i64) -> i64 {
        let room = full as f64 * (1.0 - self.share);
        (room as i64).max(SMALL).min(full)
    }

    /// How long to rest after a window, which took so long, for so many events; with what was committed so far.
    pub(super) fn rest(&mut self, took: Duration, published: u64, committed: u64) -> Duration {
        let cycle = Cycle {
            took,
            published,
            arrived: committed.saturating_sub(self.committed),
            within: self.since.elapsed(),
        };
        *self = Self::new(committed);
        self.share = cycle.share();
        cycle.rest()
    }

    /// There is no backlog: nothing to rest from.
    pub(super) fn none_needed(&mut self, committed: u64) {
        *self = Self::new(committed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// A window of 250 events that took 20 ms, of a cycle of 40.
    fn cycle(arrived: u64) -> Cycle {
        Cycle {
            took: millis(20),
            published: 250,
            arrived,
            within: millis(40),
        }
    }

    #[test]
    fn when_nothing_comes_in_it_does_not_rest() {
        assert_eq!(cycle(0).rest(), Duration::ZERO);
    }

    #[test]
    fn it_rests_as_much_as_comes_in_and_half_of_the_time_at_most() {
        assert_eq!(cycle(25).rest(), millis(4));
        assert_eq!(cycle(125).rest(), millis(20));
        assert_eq!(cycle(140).rest(), millis(20));
    }

    #[test]
    fn it_gains_on_what_comes_in() {
        for arrived in 1..1000 {
            let cycle = cycle(arrived);
            let rate = arrived as f64 / 0.04;
            let whole = cycle.took + cycle.rest();
            let outruns = rate * GAIN * whole.as_secs_f64() <= 250.001;
            assert!(outruns || cycle.rest().is_zero(), "{arrived}");
        }
        // More comes in than goes out: resting would not help.
        assert_eq!(cycle(600).rest(), Duration::ZERO);
    }

    #[test]
    fn after_a_window_that_took_long_it_does_not_rest_long() {
        let slow = Cycle {
            took: millis(10_000),
            within: millis(10_100),
            ..cycle(100)
        };
        assert_eq!(slow.rest(), LONGEST);
    }

    #[test]
    fn the_window_shrinks_with_what_comes_in() {
        let with = |share| Courtesy {
            share,
            ..Courtesy::new(0)
        };
        assert_eq!(with(0.0).window(1000), 1000);
        assert_eq!(with(0.5).window(1000), 500);
        assert_eq!(with(1.0).window(1000), SMALL);
        assert_eq!(with(1.0).window(10), 10);
    }
}
