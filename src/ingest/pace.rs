//! How many events may wait for the writer: no more than are committed well before their senders are told to come
//! again. What waits longer is committed for nobody, and comes once more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// One batch counts so much of the pace.
const WEIGHT: f64 = 1.0 / 8.0;

/// How long the store takes for an event where many come at once.
pub(super) struct Pace {
    /// In seconds; none before the first batch that was full.
    each: Option<f64>,
    /// So many events are a full batch.
    full: usize,
    /// How long an event may wait.
    patience: Duration,
    limit: Limit,
}

/// How many may wait, for everybody to see.
#[derive(Clone)]
pub(super) struct Limit {
    most: Arc<AtomicUsize>,
}

impl Limit {
    /// Whether one more may wait beside so many.
    pub fn takes(&self, waiting: usize) -> bool {
        waiting < self.most.load(Ordering::Relaxed)
    }
}

impl Pace {
    /// Nothing is known of the store yet: as many may wait as like.
    pub fn new(full: usize, patience: Duration) -> (Self, Limit) {
        let limit = Limit {
            most: Arc::new(AtomicUsize::new(usize::MAX)),
        };
        let pace = Self {
            each: None,
            full,
            patience,
            limit: limit.clone(),
        };
        (pace, limit)
    }

    /// Learns from a commit. A small batch says little of what a full one takes, unless it was faster.
    pub fn note(&mut self, events: usize, took: Duration) {
        let each = took.as_secs_f64() / events.max(1) as f64;
        let faster = self.each.is_some_and(|known| each < known);
        if events < self.full && !faster {
            return;
        }
        let learnt = match self.each {
            Some(known) => known + WEIGHT * (each - known),
            None => each,
        };
        self.each = Some(learnt);
        let most = self.patience.as_secs_f64() / learnt.max(f64::EPSILON);
        // A cast ends at the largest number.
        self.limit
            .most
            .store((most as usize).max(self.full), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: usize = 64;

    fn pace() -> (Pace, Limit) {
        Pace::new(FULL, Duration::from_millis(2500))
    }

    #[test]
    fn as_many_may_wait_as_are_committed_in_time() {
        let (mut pace, limit) = pace();
        assert!(limit.takes(1_000_000), "nothing is known");
        pace.note(FULL, Duration::from_millis(640));
        // 10 ms each.
        assert!(limit.takes(249));
        assert!(!limit.takes(250));
    }

    #[test]
    fn a_small_batch_says_nothing_unless_it_is_faster() {
        let (mut pace, limit) = pace();
        pace.note(1, Duration::from_secs(1));
        assert!(limit.takes(1_000_000), "one event is no measure");
        pace.note(FULL, Duration::from_millis(640));
        pace.note(1, Duration::from_secs(1));
        assert!(limit.takes(249) && !limit.takes(250));
        for _ in 0..50 {
            pace.note(FULL / 2, Duration::from_millis(32));
        }
        // 1 ms each; where few may wait there is no full batch to learn it from.
        assert!(limit.takes(2_400), "a store that is well again is seen");
    }

    #[test]
    fn a_single_slow_batch_is_not_the_pace_and_a_full_one_may_always_wait() {
        let (mut pace, limit) = pace();
        pace.note(FULL, Duration::from_millis(64));
        pace.note(FULL, Duration::from_millis(640));
        assert!(limit.takes(1_000) && !limit.takes(2_000));
        for _ in 0..100 {
            pace.note(FULL, Duration::from_secs(60));
        }
        assert!(limit.takes(FULL - 1) && !limit.takes(FULL));
    }
}
