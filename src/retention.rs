//! Removes what is old and behind every reader, in bounded batches.
//!
//! Unread events and dead letters are never touched, however old: the store's statements say so, and
//! its suite tests it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::event::{Micros, micros};
use crate::failpoints;
use crate::metrics::Metrics;
use crate::store::{Cutoff, Store};
use crate::telemetry::Chain;

/// How long things are kept.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Events with their bodies.
    pub bodies: Duration,
    /// The same for types that are kept shorter or longer.
    pub bodies_of: Vec<(String, Duration)>,
    /// Dedupe keys.
    pub keys: Duration,
}

/// Rows looked at in one call: small, since on SQLite the writer waits behind it.
const BATCH: i64 = 1_000;
/// Between calls while there is something to remove, and while there is not.
const BUSY: Duration = Duration::from_millis(250);
const IDLE: Duration = Duration::from_secs(30);

/// Removes until shutdown.
pub async fn run(
    store: Arc<dyn Store>,
    settings: Settings,
    clock: Clock,
    metrics: Metrics,
    shutdown: CancellationToken,
) {
    let before = |age: Duration| Micros((clock)().0.saturating_sub(micros(age)));
    loop {
        failpoints::panic("retention.panic");
        let cutoff = Cutoff {
            now: (clock)(),
            bodies_before: before(settings.bodies),
            bodies_before_of: settings
                .bodies_of
                .iter()
                .map(|(event_type, age)| (event_type.clone(), before(*age)))
                .collect(),
            keys_before: before(settings.keys),
            batch: BATCH,
        };
        let pause = match store.prune(&cutoff).await {
            Ok(pruned) => {
                metrics
                    .retention_removed
                    .with_label_values(&["events"])
                    .inc_by(pruned.events);
                metrics
                    .retention_removed
                    .with_label_values(&["keys"])
                    .inc_by(pruned.keys);
                metrics
                    .retention_removed
                    .with_label_values(&["follow_ups"])
                    .inc_by(pruned.follow_ups);
                if pruned.events + pruned.keys + pruned.follow_ups == 0 && !pruned.is_more {
                    IDLE
                } else {
                    BUSY
                }
            }
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "retention could not remove anything");
                IDLE
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = sleep(pause) => (),
        }
    }
}
