//! The last hour in memory, a sample a minute: what the console draws. It begins with the daemon.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::event::Micros;
use crate::store::Ledger;

/// Samples kept.
pub const MINUTES: usize = 60;
const MINUTE: i64 = 60 * 1_000_000;

/// The ledger at the end of a minute, or now in the running one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// When it was taken.
    pub at: Micros,
    /// The ledger then.
    pub ledger: Ledger,
}

/// The samples of the last hour.
#[derive(Debug, Default)]
pub struct History(Mutex<VecDeque<Sample>>);

impl History {
    /// Takes a look at the ledger into account: one sample stays of each minute, the last.
    pub fn note(&self, at: Micros, ledger: Ledger) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sample = Sample { at, ledger };
        match samples.back_mut() {
            Some(last) if last.at.0 / MINUTE == at.0 / MINUTE => *last = sample,
            _ => samples.push_back(sample),
        }
        // One more than is drawn: a rate is between two.
        while MINUTES + 1 < samples.len() {
            samples.pop_front();
        }
    }

    /// The samples, oldest first.
    pub fn samples(&self) -> Vec<Sample> {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        samples.iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_has_one_sample_and_an_hour_sixty_and_the_one_before() {
        let history = History::default();
        for second in 0..3 * 3600 {
            let ledger = Ledger {
                accepted: second,
                ..Ledger::default()
            };
            history.note(Micros(second * 1_000_000), ledger);
        }
        let samples = history.samples();
        assert_eq!(samples.len(), MINUTES + 1);
        // The last second of each minute.
        assert!(
            samples
                .iter()
                .all(|sample| sample.ledger.accepted % 60 == 59)
        );
        assert_eq!(
            samples.last().map(|sample| sample.ledger.accepted),
            Some(3 * 3600 - 1)
        );
    }
}
