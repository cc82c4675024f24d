//! The circuit breaker: when a host does not answer, calls wait instead of failing one by one.
//!
//! Closed, it lets everything through. After so many failures in a row it is open for a while, and nothing
//! goes; then one call goes as a probe, and its outcome decides. Pure: time and chance are handed in.

use std::time::Duration;

use crate::event::{Micros, micros};
use crate::retry::Attempts;

/// Failures in a row that open it: no more than the attempts that a call has by default, so that an outage which only one
/// call meets does not spend them.
const FAILURES: u32 = 3;
/// How long it is open at first, and at most.
const OPEN: Attempts = Attempts {
    most: u32::MAX,
    first: Duration::from_secs(1),
    cap: Duration::from_secs(60),
};

/// A circuit breaker for one host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Breaker {
    failures: u32,
    /// Until when nothing goes, where it is not closed, and how often it opened in a row.
    open: Option<(Micros, u32)>,
    probing: bool,
}

impl Breaker {
    /// Whether it is closed: calls go, and failures count against them.
    pub fn is_closed(&self) -> bool {
        self.open.is_none()
    }

    /// How many calls may be begun now; with a probe, that one is begun.
    pub fn allowed(&mut self, wanted: u32, now: Micros) -> u32 {
        match self.open {
            None => wanted,
            Some((until, _)) if until <= now && !self.probing && 0 < wanted => {
                self.probing = true;
                1
            }
            Some(_) => 0,
        }
    }

    /// When to ask again, where nothing is allowed now and no probe is under way.
    pub fn opens_at(&self) -> Option<Micros> {
        let (until, _) = self.open?;
        (!self.probing).then_some(until)
    }

    /// The probe was not made after all: there was no call to make.
    pub fn unused(&mut self) {
        self.probing = false;
    }

    /// A call was answered by the host; whether it was open until now.
    pub fn answered(&mut self) -> bool {
        let was_open = self.open.is_some();
        *self = Self::default();
        was_open
    }

    /// A call, the probe or another one, found an outage. Whether this opened it; `chance` is in `0.0..1.0`.
    pub fn failed(&mut self, is_probe: bool, now: Micros, chance: f64) -> bool {
        self.failures = self.failures.saturating_add(1);
        match self.open {
            // Calls that were under way when it opened say nothing new.
            Some(_) if !is_probe => false,
            Some((_, times)) => {
                self.probing = false;
                self.open = Some((until(now, times + 1, chance), times + 1));
                false
            }
            None if FAILURES <= self.failures => {
                self.open = Some((until(now, 1, chance), 1));
                true
            }
            None => false,
        }
    }
}

fn until(now: Micros, times: u32, chance: f64) -> Micros {
    Micros(now.0 + micros(OPEN.after(times, chance).unwrap_or(OPEN.cap)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn opened(at: i64) -> Breaker {
        let mut breaker = Breaker::default();
        for n in 1..=FAILURES {
            assert_eq!(breaker.failed(false, Micros(at), 1.0), n == FAILURES);
        }
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it_and_an_answer_between_them_does_not_let_them() {
        let mut breaker = Breaker::default();
        for _ in 1..FAILURES {
            breaker.failed(false, Micros(0), 1.0);
        }
        assert!(!breaker.answered());
        for _ in 1..FAILURES {
            breaker.failed(false, Micros(0), 1.0);
        }
        assert!(breaker.is_closed());
        assert_eq!(breaker.allowed(7, Micros(0)), 7);
        assert!(!opened(0).is_closed());
    }

    #[test]
    fn while_it_is_open_nothing_goes_then_one_call_and_then_everything() {
        let mut breaker = opened(0);
        assert_eq!(breaker.allowed(9, Micros(SECOND - 1)), 0);
        assert_eq!(breaker.opens_at(), Some(Micros(SECOND)));
        assert_eq!(breaker.allowed(9, Micros(SECOND)), 1);
        assert_eq!(
            breaker.allowed(9, Micros(2 * SECOND)),
            0,
            "one probe at a time"
        );
        assert_eq!(breaker.opens_at(), None);
        assert!(breaker.answered());
        assert_eq!(breaker.allowed(9, Micros(2 * SECOND)), 9);
    }

    #[test]
    fn a_failed_probe_opens_it_for_longer_up_to_a_minute() {
        let mut breaker = opened(0);
        let mut now = SECOND;
        for expected in [2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(breaker.allowed(1, Micros(now)), 1);
            assert!(!breaker.failed(true, Micros(now), 1.0));
            assert_eq!(breaker.opens_at(), Some(Micros(now + expected * SECOND)));
            now += expected * SECOND;
        }
        assert_eq!(breaker.allowed(1, Micros(now)), 1);
        breaker.unused();
        assert_eq!(
            breaker.allowed(1, Micros(now)),
            1,
            "a probe that was not needed"
        );
    }

    #[test]
    fn calls_that_were_under_way_when_it_opened_do_not_open_it_for_longer() {
        let mut breaker = opened(0);
        for _ in 0..50 {
            breaker.failed(false, Micros(10), 1.0);
        }
        assert_eq!(breaker.opens_at(), Some(Micros(SECOND)));
        assert_eq!(breaker.allowed(1, Micros(SECOND)), 1);
        breaker.failed(false, Micros(SECOND + 1), 1.0);
        assert_eq!(breaker.opens_at(), None, "the probe is still under way");
    }
}
