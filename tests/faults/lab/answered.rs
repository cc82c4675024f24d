//! How soon and how often the load was answered, and what, while a run is under way.

use std::collections::BTreeMap;
use std::time::Duration;

use super::run::Run;
use crate::records::{self, ATTEMPTS, Attempt, Class};

/// The answers within a span of the run, above all the 200s to posts of signed events.
pub struct Answered {
    /// How long each 200 took, shortest first.
    took: Vec<u64>,
    /// All answers: to what they were given, by their status.
    by_status: BTreeMap<u16, Vec<Class>>,
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

    /// How many posts a second were answered, whatever with.
    pub fn offered(&self) -> f64 {
        let all: usize = self.by_status.values().map(Vec::len).sum();
        all as f64 * 1e6 / self.span.max(1) as f64
    }

    /// How many of a class were answered with this status, or with any.
    pub fn of(&self, class: Class, status: Option<u16>) -> usize {
        let wanted = |one: &u16| status.is_none_or(|wanted| wanted == *one);
        let answers = self.by_status.iter().filter(|(one, _)| wanted(one));
        let classes = answers.flat_map(|(_, classes)| classes);
        classes.filter(|one| **one == class).count()
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
        let mut by_status: BTreeMap<u16, Vec<Class>> = BTreeMap::new();
        // The last line may still be on its way to the file; it is none of these.
        let _ = records::each(&self.folder().join(ATTEMPTS), |attempt: Attempt| {
            let (Some(status), true) = (attempt.status, (from..to).contains(&attempt.t_recv))
            else {
                return;
            };
            by_status.entry(status).or_default().push(attempt.class);
            if attempt.class == Class::Signed && status == 200 {
                took.push(attempt.t_recv - attempt.t_send);
            }
        });
        took.sort_unstable();
        Answered {
            took,
            by_status,
            span: to.saturating_sub(from),
        }
    }
}
