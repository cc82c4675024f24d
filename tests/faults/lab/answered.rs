//! How soon and how often the load was answered, while a run is under way.

use std::time::Duration;

use super::run::Run;
use crate::records::{self, ATTEMPTS, Attempt, Class};

/// The 200s to posts of signed events within a span of the run.
pub struct Answered {
    /// How long each took, shortest first.
    took: Vec<u64>,
    span: u64,
}

impl Answered {
    /// How many.
    pub fn count(&self) -> usize {
        self.took.len()
    }

    /// How many a second.
    pub fn rate(&self) -> f64 {
        self.count() as f64 * 1e6 / self.span.max(1) as f64
    }

    /// What 99 of a hundred took at most.
    pub fn p99(&self) -> Duration {
        let at = self.took.len() * 99 / 100;
        Duration::from_micros(self.took.get(at).copied().unwrap_or(0))
    }
}

impl Run {
    /// Those that came from one moment of the run's clock up to another one.
    pub fn answered(&self, from: u64, to: u64) -> Answered {
        self.load().log().finish();
        let mut took = Vec::new();
        // The last line may still be on its way to the file; it is none of these.
        let _ = records::each(&self.folder().join(ATTEMPTS), |attempt: Attempt| {
            let good = attempt.class == Class::Signed && attempt.status == Some(200);
            if good && (from..to).contains(&attempt.t_recv) {
                took.push(attempt.t_recv - attempt.t_send);
            }
        });
        took.sort_unstable();
        Answered {
            took,
            span: to.saturating_sub(from),
        }
    }
}
