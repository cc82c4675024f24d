//! After GHL gave no token for a tenant, nobody of this daemon asks for one before a pause is over: a token endpoint that
//! is down, or a wrong client secret, is asked once in a while, however many calls wait.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::retry::Attempts;

/// Pauses grow from the first to the longest, and are spread over the half below their full length.
const PAUSES: Attempts = Attempts {
    most: u32::MAX,
    first: Duration::from_secs(1),
    cap: Duration::from_secs(60),
};
/// Without a failure for so long after its end, the next pause is a first one again.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

struct Pause {
    until: Instant,
    failures: u32,
    why: String,
}

/// The pauses of one daemon, by app and tenant.
#[derive(Default)]
pub(super) struct Pauses(Mutex<HashMap<(String, String), Pause>>);

impl Pauses {
    /// How much of a tenant's pause is left, and what failed.
    pub(super) fn left(
        &self,
        app_id: &str,
        tenant: &str,
        now: Instant,
    ) -> Option<(Duration, String)> {
        let pauses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pause = pauses.get(&(app_id.to_owned(), tenant.to_owned()))?;
        let left = pause.until.checked_duration_since(now)?;
        (!left.is_zero()).then(|| (left, pause.why.clone()))
    }

    /// GHL gave none: how long the pause is, twice as long as the one before. `chance` is in `0.0..1.0`.
    pub(super) fn failed(
        &self,
        app_id: &str,
        tenant: &str,
        why: &str,
        now: Instant,
        chance: f64,
    ) -> Duration {
        let mut pauses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pauses.retain(|_, pause| now < pause.until + FORGOTTEN_AFTER);
        let key = (app_id.to_owned(), tenant.to_owned());
        let failures = pauses.get(&key).map_or(0, |pause| pause.failures) + 1;
        let length = PAUSES.after(failures, chance).unwrap_or(PAUSES.cap);
        let pause = Pause {
            until: now + length,
            failures,
            why: why.to_owned(),
        };
        pauses.insert(key, pause);
        length
    }

    /// GHL gave one.
    pub(super) fn ended(&self, app_id: &str, tenant: &str) {
        let mut pauses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pauses.remove(&(app_id.to_owned(), tenant.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute_and_are_a_tenants_own() {
        let pauses = Pauses::default();
        let mut now = Instant::now();
        let failed = |now, chance| pauses.failed("app", "l1", "no answer", now, chance);
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            let length = failed(now, 1.0);
            assert_eq!(length, Duration::from_secs(seconds));
            let (left, why) = pauses.left("app", "l1", now).unwrap();
            assert_eq!((left, why.as_str()), (length, "no answer"));
            assert!(pauses.left("app", "l2", now).is_none());
            now += length;
            assert!(pauses.left("app", "l1", now).is_none());
        }
        pauses.ended("app", "l1");
        let again = failed(now, 1.0);
        assert_eq!(again, PAUSES.first, "after a token");
        now += again + FORGOTTEN_AFTER;
        assert_eq!(failed(now, 0.0), PAUSES.first / 2, "long after it");
    }
}
