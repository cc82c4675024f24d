//! How often something may be done that anybody can ask for: a pure account of the time that is used up.
//!
//! The generic cell rate algorithm: one time stands for all that was admitted, and the next is admitted while that
//! time is not too far ahead of the clock.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::event::Micros;

/// So many at once after a pause, and one each so often in the long run.
#[derive(Debug)]
pub struct Rate {
    each: i64,
    ahead: i64,
    used_up_to: Mutex<i64>,
}

impl Rate {
    /// One `each`, and up to `burst` (one at least) at once.
    pub fn new(each: Duration, burst: u32) -> Self {
        let each = i64::try_from(each.as_micros()).unwrap_or(i64::MAX);
        Self {
            each,
            ahead: each.saturating_mul(i64::from(burst.max(1)) - 1),
            used_up_to: Mutex::new(i64::MIN),
        }
    }

    /// Whether one more may be done now. A clock that is set back closes no door for longer than the burst takes.
    pub fn admits(&self, now: Micros) -> bool {
        let mut used = self
            .used_up_to
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let most = now.0.saturating_add(self.ahead);
        let from = (*used).clamp(now.0, most.saturating_add(self.each));
        let admitted = from <= most;
        *used = if admitted {
            from.saturating_add(self.each)
        } else {
            from
        };
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Micros {
        #[allow(clippy::cast_possible_truncation)]
        Micros((seconds * 1e6) as i64)
    }

    #[test]
    fn a_burst_is_admitted_and_then_one_each_so_often() {
        let rate = Rate::new(Duration::from_millis(100), 5);
        let at_once = (0..20).filter(|_| rate.admits(at(1.0))).count();
        assert_eq!(at_once, 5);
        assert!(!rate.admits(at(1.09)));
        assert!(rate.admits(at(1.1)) && !rate.admits(at(1.1)));
        let in_ten = (0..10_000).filter(|n| rate.admits(at(2.0 + f64::from(*n) / 1000.0)));
        assert!((100..=105).contains(&in_ten.count()));
        // After a pause as many at once as at first, and no more.
        assert_eq!((0..20).filter(|_| rate.admits(at(1000.0))).count(), 5);
    }

    #[test]
    fn a_clock_that_is_set_back_closes_no_door() {
        let rate = Rate::new(Duration::from_secs(1), 3);
        while rate.admits(at(1e9)) {}
        assert!(!rate.admits(at(5.0)));
        assert!(
            rate.admits(at(8.1)),
            "the burst's time after it was set back"
        );
    }
}
