//! Looks at the store and the daemon's own tasks once a second, and at the calls that wait every ten, and tells metrics
//! and readiness what it saw.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::store::{self, FollowUpCounts, Ledger, Store};
use crate::telemetry::Chain;

use appends::Appends;

mod appends;
mod history;
mod readiness;

pub use history::{History, MINUTES, Sample};
pub use readiness::Readiness;

const PERIOD: Duration = Duration::from_secs(1);
/// Counting calls reads as many rows as wait.
const CALLS_EVERY: u32 = 10;
/// A store that takes longer than this to show that it lives is not ready. A check may be given up half
/// way: the connection it used is then thrown away.
const PATIENCE: Duration = Duration::from_secs(2);

/// Observes until shutdown.
pub async fn run(
    store: Arc<dyn Store>,
    readiness: Arc<Readiness>,
    clock: Clock,
    metrics: Metrics,
    history: Arc<History>,
    shutdown: CancellationToken,
) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut was_up, mut looks) = (None, 0_u32);
    let mut appends = Appends::new(metrics.clone());
    loop {
        tokio::select! {
            () = shutdown.cancelled() => {
                readiness.drain();
                return;
            }
            _ = ticks.tick() => (),
        }
        let tasks = Handle::current().metrics().num_alive_tasks();
        metrics
            .runtime_tasks
            .set(i64::try_from(tasks).unwrap_or(i64::MAX));
        let checked = timeout(PATIENCE, store.check())
            .await
            .unwrap_or(Err(store::Error::Deadline(PATIENCE)));
        let up = checked.is_ok()
            && timeout(PATIENCE, appends.come_through(store.as_ref(), clock()))
                .await
                .unwrap_or(false);
        readiness.store(up);
        metrics.store_up.set(i64::from(up));
        if was_up != Some(up) {
            match &checked {
                Ok(()) if up => tracing::info!("the store takes appends"),
                Ok(()) => tracing::error!(
                    "the store answers, and does not commit; webhooks are answered 429 until it does"
                ),
                Err(error) => tracing::error!(
                    error = %Chain(error),
                    "the store takes no appends; webhooks are answered 429 until it does"
                ),
            }
            was_up = Some(up);
        }
        // A store that stops answering just now must not stop the next look at it.
        if up && let Ok(Ok(ledger)) = timeout(PATIENCE, store.ledger()).await {
            show(&metrics, &ledger, &clock);
            history.note(clock(), ledger);
        }
        let counts_calls = looks.is_multiple_of(CALLS_EVERY);
        looks = looks.wrapping_add(1);
        if up
            && counts_calls
            && let Ok(Ok(counts)) = timeout(PATIENCE, store.follow_up_counts()).await
        {
            show_follow_ups(&metrics, &counts, &clock);
        }
    }
}

fn show_follow_ups(metrics: &Metrics, counts: &FollowUpCounts, clock: &Clock) {
    for (state, count) in [("pending", counts.pending), ("parked", counts.dead)] {
        metrics.follow_ups.with_label_values(&[state]).set(count);
    }
    let age = counts
        .oldest_pending_at
        .map_or(0, |at| (clock().0 - at.0).max(0) / 1_000_000);
    metrics.follow_ups_oldest.set(age);
}

fn show(metrics: &Metrics, ledger: &Ledger, clock: &Clock) {
    let states = [
        ("accepted", ledger.accepted),
        ("published", ledger.published),
        ("pending", ledger.pending),
        ("parked", ledger.parked),
        ("discarded", ledger.discarded),
    ];
    for (state, count) in states {
        metrics.ledger.with_label_values(&[state]).set(count);
    }
    metrics.ledger_mismatch.set(ledger.mismatch());
    metrics.backlog.set(ledger.pending);
    let age = ledger
        .oldest_pending_at
        .map_or(0, |at| (clock().0 - at.0).max(0) / 1_000_000);
    metrics.backlog_oldest.set(age);
    metrics.held_events.set(ledger.held);
    metrics.held_tenants.set(ledger.held_tenants);
    metrics.quarantine_entries.set(ledger.quarantined);
}
