//! What the calls of one daemon share: the circuit breaker, and answers of lookups that are kept for a while.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value as Json;
use tokio::time::Instant;

use super::super::breaker::Breaker;

/// Answers of lookups kept at most, over all tenants.
const KEPT_ANSWERS: usize = 10_000;

/// Answers of lookups, for a while.
#[derive(Default)]
pub(super) struct Kept(std::sync::Mutex<HashMap<String, (Instant, Arc<Json>)>>);

impl Kept {
    pub(super) fn get(&self, name: &str) -> Option<Arc<Json>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, answer) = kept.get(name)?;
        (Instant::now() < *until).then(|| Arc::clone(answer))
    }

    pub(super) fn put(&self, name: String, keep: Duration, answer: Json) {
        let now = Instant::now();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if KEPT_ANSWERS <= kept.len() {
            kept.retain(|_, (until, _)| now < *until);
        }
        if kept.len() < KEPT_ANSWERS {
            kept.insert(name, (now + keep, Arc::new(answer)));
        }
    }
}

/// What the calls of one daemon share.
#[derive(Default)]
pub(super) struct Shared {
    breaker: std::sync::Mutex<Breaker>,
    pub(super) kept: Kept,
}

impl Shared {
    pub(super) fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
