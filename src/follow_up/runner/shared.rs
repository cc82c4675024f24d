//! What the calls of one daemon share: the circuit breaker, and the kept answers of lookups.

use std::sync::{Arc, MutexGuard, PoisonError};

use super::super::breaker::Breaker;
use super::kept::Kept;

/// What the calls of one daemon share.
#[derive(Default)]
pub(super) struct Shared {
    breaker: std::sync::Mutex<Breaker>,
    pub(super) kept: Kept,
}

/// The one call that finds out whether the host is back. Where it comes to no call, it is given back.
pub(super) struct Probe(Option<Arc<Shared>>);

impl Probe {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self(Some(Arc::clone(shared)))
    }

    /// It was made, and the breaker is told of its outcome.
    pub(super) fn made(mut self) {
        self.0 = None;
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        if let Some(shared) = self.0.take() {
            shared.breaker().unused();
        }
    }
}

impl Shared {
    pub(super) fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Micros;

    #[test]
    fn a_probe_that_comes_to_no_call_is_given_back_and_one_that_was_made_is_not() {
        let shared = Arc::new(Shared::default());
        for _ in 0..5 {
            shared.breaker().failed(false, Micros(0), 1.0);
        }
        let later = Micros(1_000_000_000);
        let allowed = || shared.breaker().allowed(1, later);
        assert_eq!(allowed(), 1);
        drop(Probe::new(&shared));
        assert_eq!(allowed(), 1, "given back");
        Probe::new(&shared).made();
        assert_eq!(allowed(), 0, "its outcome decides");
    }
}
