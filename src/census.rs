//! Notices that webhooks fail or stop: counts answers against GHL's rule, tenants that fall silent, and tokens that
//! want a person.
//!
//! GHL pauses a URL with more than 10,000 webhooks in three days of which under 90 % were answered 2xx (GHL's webhook guide,
//! on retries and health); we count the same from our side, over all daemons.
//! Tenants are counted behind the log, by a cursor that every daemon may move: whoever is late writes nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::store::{self, Answers, Store};
use crate::telemetry::Chain;

/// How often a daemon adds its answers to those in the store.
pub const PERIOD: Duration = Duration::from_secs(10);
/// Places of the log counted in one go.
const PART: i64 = 5_000;
/// Parts of one period: more wait for the next, so that a backlog is counted beside everything else.
const PARTS: usize = 50;

/// Counts until shutdown.
pub async fn run(
    store: Arc<dyn Store>,
    clock: Clock,
    metrics: Metrics,
    shutdown: CancellationToken,
) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut counted = Answers::default();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => (),
        }
        if let Err(error) = look(store.as_ref(), &clock, &metrics, &mut counted, &shutdown).await {
            tracing::debug!(error = %Chain(&error), "tenants and answers are not counted now");
        }
    }
}

async fn look(
    store: &dyn Store,
    clock: &Clock,
    metrics: &Metrics,
    counted: &mut Answers,
    shutdown: &CancellationToken,
) -> Result<(), store::Error> {
    let total = |outcome: &str| {
        i64::try_from(metrics.webhook_outcomes.with_label_values(&[outcome]).get()).unwrap_or(0)
    };
    let now = Answers {
        ok: total("ok"),
        failed: total("failed"),
    };
    let fresh = Answers {
        ok: now.ok - counted.ok,
        failed: now.failed - counted.failed,
    };
    if 0 < fresh.all() {
        store.note_answers(fresh, clock()).await?;
        *counted = now;
    }
    let all = store.answers(clock()).await?;
    metrics.webhook_answers.set(all.all());
    metrics.webhook_success_ratio.set(all.success_ratio());

    metrics
        .tokens_reauthorise
        .set(store.token_census(clock()).await?.reauthorise);
    for _ in 0..PARTS {
        let part = store.count_on(PART).await?;
        if part.after < part.upto && !store.keep_count(&part, clock()).await? {
            // Another daemon counts; what it wrote is looked at next time.
            return Ok(());
        }
        if part.is_end {
            let tenants = store.tenants(clock()).await?;
            metrics.tenants.set(tenants.known);
            metrics.silent_tenants.set(tenants.silent);
            return Ok(());
        }
        if shutdown.is_cancelled() {
            return Ok(());
        }
    }
    Ok(())
}
