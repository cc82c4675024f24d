//! Rows of follow-ups -> calls -> what became of them.
//!
//! Every daemon runs one. It claims as many calls as it may make at once, makes each in a task of its own, and
//! writes the ends down, many in one transaction. Each claim is at most one call of the API: a lookup that is
//! missing, or a token that was not taken, is a claim of its own, so that budgets are exact. An answer that is
//! published is in the log before its row is done; a crash between the two makes the call again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::Settings;
use super::rule::Rules;
use super::tokens::Tokens;
use crate::chance::Chance;
use crate::clock::Clock;
use crate::failpoints;
use crate::ghl::Client;
use crate::ingest::Handle;
use crate::metrics::Metrics;
use crate::spans::Spans;
use crate::store::{Ended, Next, Store};
use crate::telemetry::Chain;

mod answer;
mod backfill;
mod call;
mod kept;
mod outcome;
mod prepare;
mod progress;
mod reconcile;
mod shared;

use shared::{Probe, Shared};

/// How often due calls are looked for when nothing wakes the runner.
const POLL: Duration = Duration::from_millis(500);

/// Told when there is something to make, or something to make it with.
pub type Wake = Arc<Notify>;

/// The runner; run it as a task of its own.
pub struct Runner {
    /// The rows.
    pub store: Arc<dyn Store>,
    /// What is called for.
    pub rules: Arc<Rules>,
    /// The way to the API.
    pub client: Client,
    /// Tokens for it.
    pub tokens: Arc<Tokens>,
    /// Where answers go.
    pub writer: Handle,
    /// How calls are made.
    pub settings: Settings,
    /// Told by the planner.
    pub wake: Wake,
    /// The clock.
    pub clock: Clock,
    /// The spread of delays.
    pub chance: Chance,
    /// The metrics.
    pub metrics: Metrics,
    /// Where it is told which call was made when.
    pub spans: Spans,
}

impl Runner {
    /// Makes calls until shutdown, then lets those under way end.
    pub async fn run(self, shutdown: CancellationToken) {
        let this = Arc::new(self);
        let shared = Arc::new(Shared::default());
        let mut calls: JoinSet<Ended> = JoinSet::new();
        let mut look_at = Instant::now();
        while !shutdown.is_cancelled() {
            let mut woken = std::pin::pin!(this.wake.notified());
            // Registered before looking, so that no wake-up is lost.
            woken.as_mut().enable();
            if look_at <= Instant::now() {
                look_at = Instant::now() + this.claim(&mut calls, &shared).await;
            }
            tokio::select! {
                () = shutdown.cancelled() => (),
                () = woken => look_at = Instant::now(),
                Some(done) = calls.join_next() => {
                    this.end(done, &mut calls, &shutdown).await;
                    look_at = Instant::now();
                }
                () = sleep_until(look_at) => (),
            }
        }
        // What has not ended by then is left: its claim ends by itself, and another daemon, or this one after
        // its restart, makes the call again or parks it.
        let drained = timeout(this.settings.drain, async {
            while let Some(done) = calls.join_next().await {
                this.end(done, &mut calls, &shutdown).await;
            }
        });
        if drained.await.is_err() {
            tracing::warn!(
                calls = calls.len(),
                "follow-ups were still under way at the end"
            );
        }
    }

    /// Writes down how a call ended, and all others that have ended by now.
    async fn end(
        &self,
        first: Result<Ended, JoinError>,
        calls: &mut JoinSet<Ended>,
        shutdown: &CancellationToken,
    ) {
        let mut ended = Vec::new();
        let mut next = Some(first);
        while let Some(done) = next {
            match done {
                Ok(one) => ended.push(one),
                // Its claim ends by itself, and the call is made again.
                Err(error) => tracing::error!(%error, "a follow-up ended badly"),
            }
            next = calls.try_join_next();
        }
        self.write_down(&ended, shutdown).await;
    }

    /// Claims what there is room for; when to look again.
    async fn claim(self: &Arc<Self>, calls: &mut JoinSet<Ended>, shared: &Arc<Shared>) -> Duration {
        failpoints::panic("runner.panic");
        let busy = u32::try_from(calls.len()).unwrap_or(u32::MAX);
        let now = (self.clock)();
        let free = self.settings.concurrency.saturating_sub(busy);
        let (allowed, is_closed, opens_at) = {
            let mut breaker = shared.breaker();
            let allowed = breaker.allowed(free, now);
            (allowed, breaker.is_closed(), breaker.opens_at())
        };
        if allowed == 0 {
            let opens =
                opens_at.map(|at| Duration::from_micros(u64::try_from(at.0 - now.0).unwrap_or(0)));
            return opens.unwrap_or(POLL).clamp(Duration::from_millis(1), POLL);
        }
        let mut probe = (!is_closed).then(|| Probe::new(shared));
        let settings = &self.settings;
        let send_by = Instant::now() + settings.send_within;
        let claims = self
            .store
            .claim_calls(allowed, &settings.limits, settings.lease, now)
            .await;
        let claims = match claims {
            Ok(claims) => claims,
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "follow-ups cannot be claimed");
                return POLL;
            }
        };
        failpoints::crash("call.claimed");
        let taken = claims.calls.len();
        if taken == 0 && probe.is_some() {
            // Another daemon made the calls: none waits for this breaker, which the next one tries.
            self.metrics.api_breaker_open.set(0);
        }
        for claimed in claims.calls {
            let (this, shared, probe) = (Arc::clone(self), Arc::clone(shared), probe.take());
            calls.spawn(async move { this.make(claimed, send_by, &shared, probe).await });
        }
        if taken as u32 == allowed {
            return Duration::ZERO;
        }
        claims.next_in.map_or(POLL, |next| next.min(POLL))
    }

    /// Writes ends down, however often it takes: until then the claims stand, and after that somebody makes
    /// the calls again. At shutdown it does not take longer than calls may.
    async fn write_down(&self, ended: &[Ended], shutdown: &CancellationToken) {
        let mut give_up = Instant::now() + self.settings.lease;
        loop {
            failpoints::crash("call.ended");
            let done = self
                .store
                .end_calls(ended, &self.settings.limits, (self.clock)())
                .await;
            match done {
                Ok(held) => {
                    for (one, held) in ended.iter().zip(held) {
                        let state = match (&one.next, held) {
                            (_, false) => "lost",
                            (Next::Done, _) => "done",
                            (Next::Cancelled, _) => "cancelled",
                            (Next::Park, _) => "parked",
                            (Next::Again { .. }, _) => "again",
                        };
                        self.metrics
                            .follow_ups_ended
                            .with_label_values(&[state])
                            .inc();
                    }
                    return;
                }
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), calls = ended.len(), "ends of follow-ups are not written down yet");
                    if give_up <= Instant::now() {
                        return;
                    }
                    if shutdown.is_cancelled() {
                        give_up = give_up.min(Instant::now() + self.settings.drain);
                    }
                    sleep(POLL).await;
                }
            }
        }
    }
}
