//! What may be removed and what was, and how far the sweeps that remove have come.

use crate::event::{Micros, Position};

/// What retention may remove.
#[derive(Debug, Clone)]
pub struct Cutoff {
    /// The time.
    pub now: Micros,
    /// Bodies received before this moment, if every reader has passed them.
    pub bodies_before: Micros,
    /// The same for types that are kept shorter or longer.
    pub bodies_before_of: Vec<(String, Micros)>,
    /// Keys received before this moment, under the same condition.
    pub keys_before: Micros,
    /// At most so many rows of each in one call.
    pub batch: i64,
}

/// What retention removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Events with their bodies.
    pub events: u64,
    /// Dedupe keys.
    pub keys: u64,
    /// Calls that ended.
    pub follow_ups: u64,
    /// Whether there is more to look at, for types that are kept shorter or longer.
    pub is_more: bool,
}

/// Bytes of a file that was rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    /// Until then.
    pub before: u64,
    /// From then on.
    pub after: u64,
}

/// Where the sweeps of retention stand; at its end each starts again from the beginning.
#[derive(Debug, Default, Clone)]
pub(super) struct Swept {
    /// The last key looked at, as (event key, app).
    pub(super) key: (String, String),
    /// The last event looked at, where types are kept for times of their own.
    pub(super) event: Position,
}

/// The sweeps of a store.
#[derive(Debug, Default)]
pub(super) struct Sweep(std::sync::Mutex<Swept>);

impl Sweep {
    pub(super) fn after(&self) -> Swept {
        self.lock().clone()
    }

    /// Remembers where they stopped.
    pub(super) fn stop(&self, at: Swept) {
        *self.lock() = at;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Swept> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
